import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from seglit.blocks import GroupNorm, conv_norm, conv_norm_relu, convolution, separable_conv


@settings(max_examples=50, deadline=None)
@given(
    size=st.integers(1, 20),
    kernel_size=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 4),
)
def test_convolution_divides_the_size_by_the_stride_and_rounds_up(size, kernel_size, stride, dilation):
    conv = convolution(1, 2, kernel_size, stride=stride, dilation=dilation)
    assert conv(torch.zeros(1, 1, size, size + 1)).shape == (
        1,
        2,
        math.ceil(size / stride),
        math.ceil((size + 1) / stride),
    )


def test_dilation_spreads_the_kernel():
    conv = convolution(1, 1, 3, dilation=2)
    nn.init.ones_(conv.weight)
    impulse = torch.zeros(1, 1, 9, 9)
    impulse[..., 4, 4] = 1.0
    rows, columns = conv(impulse)[0, 0].nonzero(as_tuple=True)
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 4, 6}


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match=r"kernel_size must be odd .* got 2"):
        convolution(1, 1, 2)


def test_weights_begin_with_hes_variance_over_the_outputs():
    torch.manual_seed(0)
    weight = convolution(32, 200, 3).weight
    assert_close(weight.std().item(), math.sqrt(2 / (200 * 9)), rtol=0.02, atol=0)
    assert_close(weight.mean().item(), 0.0, rtol=0, atol=1e-3)


def test_a_block_is_convolution_then_norm_then_relu():
    block = conv_norm_relu(3, 4, 3, norm=nn.InstanceNorm2d).double()
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    assert_close(block(x), nn.functional.instance_norm(block.conv(x)).clamp(min=0))
    assert [name for name, _ in block.named_parameters()] == ["conv.weight"]


def test_conv_norm_leaves_out_the_relu():
    block = conv_norm(4, 6, 3, groups=2, norm=nn.InstanceNorm2d).double()
    x = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    assert_close(block(x), nn.functional.instance_norm(block.conv(x)))
    assert block.conv.weight.shape == (6, 2, 3, 3)


def test_a_separable_convolution_mixes_space_then_channels():
    block = separable_conv(3, 5, 3, dilation=2, norm=nn.InstanceNorm2d).double().eval()
    x = torch.randn(1, 3, 9, 9, dtype=torch.float64)
    changed = x.clone()
    changed[:, 1] += torch.randn(9, 9, dtype=torch.float64)
    moved = (block.depthwise(changed) - block.depthwise(x)).abs().amax(dim=(0, 2, 3)) > 0
    assert moved.tolist() == [False, True, False]
    assert block.pointwise.conv.kernel_size == (1, 1)
    assert block(x).shape == (1, 5, 9, 9)
    assert separable_conv(3, 5, 3, stride=2)(x.float()).shape == (1, 5, 5, 5)


def test_group_norm_does_not_mix_images():
    norm = GroupNorm(8, num_groups=4)
    x = torch.randn(3, 8, 5, 5)
    assert_close(norm(x)[:1], norm(x[:1]))
    assert_close(norm(x)[0, :2].mean().item(), 0.0, rtol=0, atol=1e-6)


def test_group_norm_needs_groups_of_equal_size():
    with pytest.raises(ValueError, match="num_groups=32 does not divide a layer of 48 channels"):
        GroupNorm(48)
