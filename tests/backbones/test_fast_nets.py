"""STDC, BiSeNet, BiSeNet V2, Fast-SCNN, DDRNet and PIDNet: what all of them promise, and what each option does."""

import json
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from reference.mmseg_nets import fill, image
from seglit.backbones import STDC, BiSeNetV1, BiSeNetV2, DDRNet, FastSCNN, PIDNet, ResNet
from seglit.interop.mmseg.network import network

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "mmseg_fast_nets.json"
STORED = json.loads(GOLDEN.read_text())["models"]

stdc = partial(STDC, 1, channels=(4, 8, 8, 16, 32), context_channels=4, fused_channels=8)
context = partial(ResNet, 18, base_channels=2, stem_channels=2, output_stride=32)
NETS = {
    "stdc1": stdc,
    "stdc2": partial(STDC, 2, channels=(4, 8, 8, 16, 32), context_channels=4, fused_channels=8),
    "bisenetv1": lambda **more: BiSeNetV1(
        context(**more), spatial_channels=(2, 2, 2, 4), context_channels=4, fused_channels=8, **more
    ),
    "bisenetv2": partial(BiSeNetV2, detail_channels=(2, 2, 8), semantic_channels=(2, 2, 4, 8), expansion=2),
    "fast_scnn": partial(FastSCNN, shared_channels=(2, 4, 4), stage_channels=(4, 4, 8), channels=8),
    "ddrnet": partial(DDRNet, channels=2, ppm_channels=4),
    "pidnet-s": partial(PIDNet, channels=2, ppm_channels=4),
    "pidnet-l": partial(PIDNet, channels=2, ppm_channels=4, num_stem_blocks=3, num_branch_blocks=4),
}

every_net = pytest.mark.parametrize("build", NETS.values(), ids=NETS)


@every_net
@pytest.mark.parametrize("size", [(64, 96), (37, 51), (1, 9)])
@torch.no_grad()
def test_the_features_are_as_described_for_any_size(build, size):
    net = build().eval()
    features = net(torch.randn(1, 3, *size))
    for feature, spec in zip(features, net.feature_specs, strict=True):
        assert feature.shape == (1, spec.channels, *(math.ceil(side / spec.stride) for side in size))


@every_net
def test_a_gradient_reaches_every_parameter(build):
    torch.manual_seed(0)
    net = build()
    sum(feature.pow(2).sum() for feature in net(torch.randn(2, 3, 64, 64))).backward()
    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []


@every_net
@torch.no_grad()
def test_the_first_features_are_not_changed_by_what_comes_after(build):
    """A ReLU in place would make a feature that a head reads another one than that which was given."""
    torch.manual_seed(0)
    net = build().eval()
    given = net(torch.randn(1, 3, 64, 64))
    assert all(feature.isfinite().all() for feature in given)
    storages = [feature.untyped_storage().data_ptr() for feature in given]
    assert len(set(storages)) == len(storages)


@every_net
def test_norm_is_used_throughout(build):
    parts = list(build(norm=partial(nn.InstanceNorm2d, affine=True)).modules())
    assert not any(isinstance(part, nn.BatchNorm2d) for part in parts)


@pytest.mark.parametrize("name", ["bisenetv2", "fast_scnn", "ddrnet", "pidnet-s"])
@torch.no_grad()
def test_align_corners_has_an_effect(name):
    features = []
    for align_corners in (False, True):
        torch.manual_seed(0)
        net = NETS[name](align_corners=align_corners).eval()
        features.append(net(image("align", (1, 3, 96, 128)).float()))
    assert any(not torch.allclose(one, other) for one, other in zip(*features, strict=True))


@torch.no_grad()
def test_boundary_branch_of_pidnet_reads_before_its_relu():
    torch.manual_seed(0)
    detail, boundary, _ = NETS["pidnet-s"]().eval()(torch.randn(1, 3, 64, 64))
    assert (detail < 0).any()
    assert (boundary < 0).any()


WRONG = {
    "variant must be 1 or 2, got 3": partial(STDC, 3),
    "channels must be those of five stages": partial(STDC, 1, channels=(1, 2, 3)),
    "num_convs must be at least 2, got 1": partial(STDC, 1, num_convs=1),
    "divisible by 8, as num_convs=4": partial(STDC, 1, channels=(4, 8, 8, 16, 36)),
    "fused_channels must be divisible by 4": partial(STDC, 1, fused_channels=6),
    "spatial_channels must be four": lambda: BiSeNetV1(context(), spatial_channels=(2, 2)),
    r"strides \(8, 16, 32\), got": lambda: BiSeNetV1(ResNet(18, base_channels=2, stem_channels=2)),
    "detail_channels must be three": partial(BiSeNetV2, detail_channels=(2, 2)),
    "the first of them even": partial(BiSeNetV2, semantic_channels=(3, 4, 4, 128)),
    "must end in the same number": partial(BiSeNetV2, semantic_channels=(4, 4, 4, 4)),
    "shared_channels must be three": partial(FastSCNN, shared_channels=(2, 2)),
    "stage_channels must be three": partial(FastSCNN, stage_channels=(2, 2)),
    "num_stem_blocks must be at least 2, got 1": partial(PIDNet, num_stem_blocks=1),
    "num_branch_blocks must be at least 2, got 1": partial(PIDNet, num_branch_blocks=1),
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_values_are_named(words):
    with pytest.raises(ValueError, match=words):
        WRONG[words]()


@pytest.mark.parametrize("name", STORED)
@torch.no_grad()
def test_logits_are_those_of_mmsegmentation(name):
    """Weights are a function of their names there; see `scripts/make_parts_golden.py`."""
    model = STORED[name]
    translated = network(model["settings"])
    net = translated.build().eval().double()
    shapes = {key: tuple(shape) for key, shape in model["weights"].items()}
    net.load_state_dict(translated.renamed({key: fill(key, shape) for key, shape in shapes.items()}))
    logits = net(image(name, (1, 3, 64, 96)))["decode"]
    samples = torch.tensor(model["samples"], dtype=torch.float64)
    assert list(logits.shape) == model["shape"]
    places = torch.linspace(0, logits.numel() - 1, len(samples)).long()
    assert_close(logits.flatten()[places], samples, rtol=1e-9, atol=1e-9 * model["absmax"])
