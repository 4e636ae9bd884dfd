import math
from functools import partial

import pytest
import timm
import torch
from torch import nn
from torch.testing import assert_close

from seglit.backbones import MobileNetV2
from seglit.backbones.mobilenet_v2 import widened
from seglit.blocks import GroupNorm
from seglit.features import FeatureSpec

narrow = partial(MobileNetV2, widen_factor=0.1)


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (1, 7)])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
@torch.no_grad()
def test_features_are_as_described(output_stride, size):
    net = narrow(output_stride=output_stride).eval()
    for feature, spec in zip(net(torch.zeros(1, 3, *size)), net.feature_specs, strict=True):
        assert feature.shape == (1, spec.channels, *(math.ceil(side / spec.stride) for side in size))
    assert net.feature_specs[-1].stride == output_stride


def test_the_default():
    with torch.device("meta"):
        net = MobileNetV2()
    assert net.feature_specs == tuple(map(FeatureSpec, [24, 32, 96, 320], [4, 8, 8, 8]))


@torch.no_grad()
def test_equals_timm():
    theirs = timm.create_model("mobilenetv2_100", features_only=True, out_indices=(1, 2, 3, 4)).double()
    ours = MobileNetV2(output_stride=32).double()
    draw = torch.Generator().manual_seed(0)
    state = theirs.state_dict()
    for key, value in state.items():
        if value.ndim == 1:
            state[key] = 0.5 + torch.rand(value.shape, generator=draw, dtype=torch.float64)
    # Both list their parameters in the order of the computation.
    ours.load_state_dict(dict(zip(ours.state_dict(), state.values(), strict=True)))
    theirs.load_state_dict(state)
    image = torch.randn(1, 3, 65, 97, generator=draw, dtype=torch.float64)
    for our_map, their_map in zip(ours.eval()(image), theirs.eval()(image), strict=True):
        assert_close(our_map, their_map)


def test_only_the_first_block_of_a_stage_is_dilated():
    """As in MMSegmentation."""
    net = narrow(output_stride=8)
    assert [block.depthwise.conv.dilation for block in net.layer6] == [(4, 4), (1, 1), (1, 1)]
    assert {block.depthwise.conv.stride for block in net.layer6} == {(1, 1)}


@pytest.mark.parametrize(
    ("channels", "factor", "expected"), [(32, 1.0, 32), (32, 0.5, 16), (16, 0.1, 8), (24, 0.75, 24), (320, 1.4, 448)]
)
def test_channels_are_multiples_of_8(channels, factor, expected):
    """18 would become 16, more than a tenth less, and so becomes 24."""
    assert widened(channels, factor) == expected


def test_values_are_limited_to_6():
    net = narrow().eval()
    assert net.stem(1e6 * torch.randn(1, 3, 8, 8)).max() == 6.0


def test_every_parameter_has_an_influence():
    torch.manual_seed(0)
    net = narrow().double()
    sum(feature.square().mean() for feature in net(torch.randn(2, 3, 64, 64, dtype=torch.float64))).backward()
    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []
    assert all(parameter.grad.any() for name, parameter in net.named_parameters() if name.endswith("norm.bias"))


def test_norm_is_used_throughout():
    net = narrow(norm=partial(GroupNorm, num_groups=2))
    assert not any(isinstance(part, nn.BatchNorm2d) for part in net.modules())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_stride": 4}, r"output_stride must be one of \[8, 16, 32\], got 4"),
        ({"widen_factor": 0.0}, "widen_factor must be positive, got 0.0"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        MobileNetV2(**options)
