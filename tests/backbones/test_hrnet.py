import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from seglit.backbones import HRNet
from seglit.backbones.hrnet import Fusion, enlarged
from seglit.blocks import GroupNorm
from seglit.features import FeatureSpec

narrow = partial(HRNet, width=4, num_modules=(1, 1, 1), num_blocks=1)


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (1, 7)])
@torch.no_grad()
def test_features_are_as_described(size):
    net = narrow().eval()
    features = net(torch.zeros(1, 3, *size))
    for feature, spec in zip(features, net.feature_specs, strict=True):
        assert feature.shape == (1, spec.channels, *(math.ceil(side / spec.stride) for side in size))


@pytest.mark.parametrize(
    ("options", "channels", "millions"),
    [
        ({}, [18, 36, 72, 144], 9.6),
        ({"num_modules": (1, 3, 2), "num_blocks": 2}, [18, 36, 72, 144], 3.9),
        ({"width": 48}, [48, 96, 192, 384], 65.3),
    ],
)
def test_the_published_sizes(options, channels, millions):
    """The parameters of the papers' classification networks, less their heads."""
    with torch.device("meta"):
        net = HRNet(**options)
    assert net.feature_specs == tuple(map(FeatureSpec, channels, [4, 8, 16, 32]))
    assert round(sum(parameter.numel() for parameter in net.parameters()) / 1e6, 1) == millions


def test_numbers_of_modules_and_blocks():
    net = narrow(num_modules=(1, 3, 2), num_blocks=2)
    assert [len(stage) for stage in net.stages] == [1, 3, 2]
    assert [len(stage[0].branches) for stage in net.stages] == [2, 3, 4]
    assert {len(branch) for stage in net.stages for module in stage for branch in module.branches} == {2}
    assert len(net.layer1) == 2


@torch.no_grad()
def test_each_map_becomes_the_sum_of_all():
    """Halved by strided convolutions or enlarged after a 1 x 1 convolution; ReLU at the end alone."""
    fusion = Fusion([2, 4, 8], 1, nn.InstanceNorm2d).double()
    maps = [torch.randn(1, 2 * 2**i, 16 // 2**i, 16 // 2**i, dtype=torch.float64) for i in range(3)]
    from_finer, from_coarser = fusion.paths[0](maps[0]), fusion.paths[2](maps[2])
    assert from_finer.min() < 0
    upsampled = nn.functional.interpolate(from_coarser, scale_factor=2.0, mode="bilinear", align_corners=False)
    assert_close(fusion(maps), (from_finer + maps[1] + upsampled).relu())


def test_enlarging_ends_at_the_size_of_the_other():
    like = torch.zeros(1, 2, 7, 8)
    assert enlarged(torch.ones(1, 2, 2, 2), 4, like).shape == like.shape
    x = torch.randn(1, 2, 7, 8)
    assert enlarged(x, 1, like) is x


def test_every_parameter_has_an_influence():
    torch.manual_seed(0)
    net = narrow().double()
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            nn.init.uniform_(parameter, 0.5, 1.0)
    sum(feature.square().mean() for feature in net(torch.randn(2, 3, 64, 64, dtype=torch.float64))).backward()
    assert [name for name, parameter in net.named_parameters() if not parameter.grad.any()] == []


def test_norm_is_used_throughout():
    net = narrow(norm=partial(GroupNorm, num_groups=2))
    assert not any(isinstance(part, nn.BatchNorm2d) for part in net.modules())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"num_blocks": 0}, "num_blocks must be at least 1, got 0"),
        ({"num_modules": (1, 4)}, r"num_modules must be three positive numbers, got \[1, 4\]"),
        ({"num_modules": (1, 0, 3)}, r"num_modules must be three positive numbers, got \[1, 0, 3\]"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        HRNet(**options)
