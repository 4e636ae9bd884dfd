import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from seglit.backbones import UNet
from seglit.backbones.unet import Upsample
from seglit.blocks import GroupNorm
from seglit.features import FeatureSpec


def test_the_default_is_s5_d16():
    with torch.device("meta"):
        net = UNet()
    assert net.feature_specs == tuple(map(FeatureSpec, [64, 128, 256, 512, 1024], [1, 2, 4, 8, 16]))


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), num_stages=st.integers(2, 5))
@torch.no_grad()
def test_any_size_works(height, width, num_stages):
    net = UNet(base_channels=2, num_stages=num_stages, encoder_convs=1, decoder_convs=1).eval()
    features = net(torch.zeros(1, 3, height, width))
    for feature, spec in zip(features, net.feature_specs, strict=True):
        sides = (math.ceil(side / spec.stride) for side in (height, width))
        assert feature.shape == (1, spec.channels, *sides)


@torch.no_grad()
def test_pixels_stay_aligned_at_odd_sizes():
    """Away from the border that was added, an image and its padded copy have the same features."""
    net = UNet(base_channels=4, num_stages=3, encoder_convs=1, decoder_convs=1).eval().double()
    image = torch.randn(1, 3, 61, 63, dtype=torch.float64)
    padded = F.pad(image, (0, 1, 0, 3))
    for feature, of_padded, spec in zip(net(image), net(padded), net.feature_specs, strict=True):
        kept = 36 // spec.stride
        assert_close(feature[..., :kept, :kept], of_padded[..., :kept, :kept])


@torch.no_grad()
def test_upsampling_commutes_with_the_convolution():
    upsample = Upsample(6, 3, nn.Identity).double()
    x = torch.randn(2, 6, 5, 7, dtype=torch.float64)
    expected = F.relu(upsample.conv(F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)))
    assert_close(upsample(x, torch.Size([10, 14])), expected)
    assert_close(upsample(x, torch.Size([9, 13])), expected[..., :9, :13])


@torch.no_grad()
def test_the_encoder_is_seen_past_the_deeper_stages():
    net = UNet(base_channels=4, num_stages=2).eval()
    nn.init.zeros_(net.decoder[0].upsample.conv.weight)
    images = torch.randn(2, 1, 3, 8, 8)
    assert not torch.allclose(net(images[0])[0], net(images[1])[0])


def test_a_stage_rests_on_the_encoder_and_all_deeper_stages():
    net = UNet(base_channels=2, num_stages=3).double()
    for stage in range(2):
        net.zero_grad()
        net(torch.randn(2, 3, 16, 16, dtype=torch.float64))[stage].square().mean().backward()
        reached = {
            name for name, parameter in net.named_parameters() if parameter.grad is not None and parameter.grad.any()
        }
        assert reached == {
            name for name, _ in net.named_parameters() if name.startswith("encoder") or int(name.split(".")[1]) >= stage
        }


@pytest.mark.parametrize(("encoder_convs", "decoder_convs"), [(2, 2), (1, 3), (3, 1)])
def test_numbers_of_convolutions(encoder_convs, decoder_convs):
    net = UNet(base_channels=2, num_stages=4, encoder_convs=encoder_convs, decoder_convs=decoder_convs)
    assert [len(stage) for stage in net.encoder] == [encoder_convs] * 4
    assert [len(stage.convs) for stage in net.decoder] == [decoder_convs] * 3


def test_norm_is_used_throughout():
    net = UNet(base_channels=4, num_stages=3, norm=partial(GroupNorm, num_groups=2))
    assert not any(isinstance(part, nn.BatchNorm2d) for part in net.modules())
    assert sum(isinstance(part, nn.GroupNorm) for part in net.modules()) == 2 * 3 + 3 * 2


@pytest.mark.parametrize("name", ["encoder_convs", "decoder_convs"])
def test_a_stage_needs_a_convolution(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        UNet(**{name: 0})


def test_one_stage_is_no_unet():
    with pytest.raises(ValueError, match="num_stages must be at least 2"):
        UNet(num_stages=1)
