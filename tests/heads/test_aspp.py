from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from seglit.blocks import GroupNorm
from seglit.features import FeatureSpec
from seglit.heads import ASPPHead, DepthwiseSeparableASPPHead

SPECS = (FeatureSpec(3, 4), FeatureSpec(6, 8), FeatureSpec(8, 16))
DRAW = torch.Generator().manual_seed(0)
FEATURES = tuple(torch.randn(2, spec.channels, 64 // spec.stride, 96 // spec.stride, generator=DRAW) for spec in SPECS)

narrow = {"channels": 4, "dilations": (1, 2)}
every_head = pytest.mark.parametrize("head", [ASPPHead, DepthwiseSeparableASPPHead])


@torch.no_grad()
def reach(dilation: int) -> int:
    """How far a branch alone sees; the average sees everything and is switched off, the fusion sees 1 further."""
    head = ASPPHead((FeatureSpec(2, 8),), 2, channels=2, dilations=(dilation,)).eval()
    for parameter in head.parameters():
        nn.init.ones_(parameter)
    nn.init.zeros_(head.pyramid.average.conv.weight)
    impulse = torch.zeros(1, 2, 41, 41)
    impulse[..., 20, 20] = 1.0
    response = head([impulse]) - head([torch.zeros_like(impulse)])
    return int(response[0, 0].abs().gt(1e-4).nonzero()[:, 0].max()) - 20


@pytest.mark.parametrize(("dilation", "expected"), [(1, 1), (2, 3), (6, 7), (12, 13)])
def test_a_branch_sees_as_far_as_its_dilation(dilation, expected):
    assert reach(dilation) == expected


@every_head
@torch.no_grad()
def test_every_pixel_sees_the_average_of_the_map(head):
    built = head(SPECS, 2, dropout_ratio=0.0, **narrow).double().eval()
    for parameter in built.parameters():
        parameter.abs_()
    features = [feature.double().abs() for feature in FEATURES]
    changed = [feature.clone() for feature in features]
    changed[-1][..., -1, -1] += 5.0
    assert ((built(changed) - built(features)).abs() > 1e-12).all()


@torch.no_grad()
def test_the_average_is_the_same_everywhere():
    pyramid = ASPPHead(SPECS, 2, **narrow).pyramid.eval()
    pyramid.bottleneck = nn.Identity()
    average = pyramid(FEATURES[-1])[:, :4]
    assert_close(average, average[..., :1, :1].expand_as(average))


@every_head
def test_dilations_make_the_branches(head):
    built = head(SPECS, 2, channels=4, dilations=(1, 2, 3))
    assert len(built.pyramid.branches) == 3
    assert built.pyramid.bottleneck.conv.in_channels == 4 * 4
    assert head(SPECS, 2, channels=4).pyramid.bottleneck.conv.in_channels == 5 * 4


def test_the_separable_heads_dilated_branches_are_depthwise():
    branches = DepthwiseSeparableASPPHead(SPECS, 2, **narrow).pyramid.branches
    assert branches[0].conv.kernel_size == (1, 1)
    assert branches[1].depthwise.conv.groups == branches[1].depthwise.conv.in_channels == 8
    assert branches[1].depthwise.conv.dilation == (2, 2)


@pytest.mark.parametrize("skip_index", [0, 1, -3])
def test_the_logits_lie_at_the_stride_of_the_finer_feature(skip_index):
    built = DepthwiseSeparableASPPHead(SPECS, 3, skip_index=skip_index, skip_channels=2, **narrow)
    spec = SPECS[skip_index]
    assert built.stride == spec.stride
    assert built.skip.conv.weight.shape[:2] == (2, spec.channels)
    assert built(FEATURES).shape == (2, 3, *FEATURES[skip_index].shape[2:])


@torch.no_grad()
def test_the_decoder_sees_both_features():
    built = DepthwiseSeparableASPPHead(SPECS, 3, in_index=[1, 2], skip_index=0, **narrow).eval()
    logits = built(FEATURES)
    for index in range(3):
        changed = [feature + (place == index) * torch.rand_like(feature) for place, feature in enumerate(FEATURES)]
        assert not torch.allclose(built(changed), logits), index


@torch.no_grad()
def test_align_corners_changes_the_decoder():
    built = DepthwiseSeparableASPPHead(SPECS, 3, **narrow).eval()
    before = built(FEATURES)
    built.align_corners = True
    assert not torch.allclose(before, built(FEATURES))


@every_head
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, partial(GroupNorm, num_groups=2)])
def test_gradients_reach_every_parameter(head, norm):
    options = {"skip_channels": 2} if head is DepthwiseSeparableASPPHead else {}
    built = head(SPECS, 3, norm=norm, **narrow, **options)
    if norm is not nn.BatchNorm2d:
        nn.init.ones_(built.pyramid.average.norm.bias)
        assert not any(isinstance(part, nn.BatchNorm2d) for part in built.modules())
    sizes = torch.Size([2, 3, 16, 24] if head is DepthwiseSeparableASPPHead else [2, 3, 4, 6])
    weight = torch.randn(sizes, generator=torch.Generator().manual_seed(1))
    (built([feature.square() for feature in FEATURES]) * weight).sum().backward()
    assert [name for name, parameter in built.named_parameters() if parameter.grad is None] == []


@every_head
@pytest.mark.parametrize("dilations", [(), (0, 2)])
def test_dilations_must_be_positive(head, dilations):
    with pytest.raises(ValueError, match="dilations must be one or more positive numbers"):
        head(SPECS, 2, dilations=dilations)


def test_skip_index_must_name_a_feature():
    with pytest.raises(ValueError, match="names no feature; there are 3"):
        DepthwiseSeparableASPPHead(SPECS, 2, skip_index=3)
