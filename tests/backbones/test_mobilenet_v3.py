import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from seglit.backbones import MobileNetV3
from seglit.backbones.mobilenet_v3 import ChannelAttention, SamePadding
from seglit.features import FeatureSpec


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (1, 7)])
@pytest.mark.parametrize("arch", ["small", "large"])
@torch.no_grad()
def test_features_are_as_described(arch, size):
    net = MobileNetV3(arch=arch).eval()
    for feature, spec in zip(net(torch.zeros(1, 3, *size)), net.feature_specs, strict=True):
        assert feature.shape == (1, spec.channels, *(math.ceil(side / spec.stride) for side in size))


@pytest.mark.parametrize(("arch", "channels"), [("small", [16, 16, 576]), ("large", [16, 24, 960])])
def test_channels(arch, channels):
    with torch.device("meta"):
        assert MobileNetV3(arch=arch).feature_specs == tuple(map(FeatureSpec, channels, [2, 4, 8]))


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("size", [(6, 7), (1, 2), (9, 12)])
def test_a_stride_pads_more_at_the_end(kernel_size, size):
    """An even side needs an odd number of zeros, and the odd one comes last."""
    padded = SamePadding(kernel_size, 2)(torch.ones(1, 1, *size))
    assert nn.functional.conv2d(padded, torch.ones(1, 1, kernel_size, kernel_size), stride=2).shape[2:] == tuple(
        math.ceil(side / 2) for side in size
    )
    rows = padded[0, 0].any(dim=1).nonzero()
    before, after = int(rows[0]), padded.shape[2] - 1 - int(rows[-1])
    assert after - before == (1 - size[0] % 2)


@torch.no_grad()
def test_attention_scales_channels_by_numbers_from_0_to_1():
    attention = ChannelAttention(16)
    x = torch.randn(2, 16, 5, 5)
    shares = attention(x) / x
    assert_close(shares, shares[..., :1, :1].expand_as(shares))
    assert 0.0 <= float(shares.min()) <= float(shares.max()) <= 1.0


def test_gradients_reach_every_parameter():
    net = MobileNetV3(arch="small", norm=nn.InstanceNorm2d)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in net.modules())
    sum(feature.square().mean() for feature in net(torch.randn(1, 3, 64, 64))).backward()
    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []


def test_there_are_two():
    with pytest.raises(ValueError, match=r"arch must be one of \['small', 'large'\], got 'medium'"):
        MobileNetV3(arch="medium")
