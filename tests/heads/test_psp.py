from functools import partial

import pytest
import torch
from torch.testing import assert_close

from seglit.blocks import GroupNorm
from seglit.features import FeatureSpec
from seglit.heads import PSPHead

SPECS = (FeatureSpec(4, 8),)


def without_cancelling(head: PSPHead) -> PSPHead:
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.abs_()
    return head.eval().double()


@torch.no_grad()
def test_a_pool_scale_of_one_shows_every_pixel_the_whole_map():
    head = without_cancelling(PSPHead(SPECS, 2, channels=4, pool_scales=[1]))
    feature = torch.rand(1, 4, 12, 12, dtype=torch.float64)
    changed = feature.clone()
    changed[..., 11, 11] += 5.0
    assert ((head([changed]) - head([feature])).abs() > 1e-9).all()


@torch.no_grad()
def test_a_pool_scale_of_the_maps_own_size_shows_no_more_than_the_fusion_does():
    head = without_cancelling(PSPHead(SPECS, 2, channels=4, pool_scales=[12]))
    feature = torch.rand(1, 4, 12, 12, dtype=torch.float64)
    changed = feature.clone()
    changed[..., 11, 11] += 5.0
    difference = (head([feature]) - head([changed])).abs().sum(dim=1)[0]
    assert difference[10:, 10:].all()
    assert not difference[:10].any()
    assert not difference[:, :10].any()


@pytest.mark.parametrize("pool_scales", [(1, 2, 3, 6), (1,), (2, 5)])
@torch.no_grad()
def test_of_a_constant_map_the_branches_are_constant(pool_scales):
    head = PSPHead(SPECS, 2, channels=4, pool_scales=pool_scales).eval().double()
    logits = head([torch.rand(1, 4, 1, 1, dtype=torch.float64).expand(1, 4, 9, 9)])
    assert len(head.pools) == len(pool_scales)
    assert head.bottleneck.conv.in_channels == 4 + 4 * len(pool_scales)
    assert_close(logits[..., 1:-1, 1:-1], logits[..., 4:5, 4:5].expand(-1, -1, 7, 7))


@torch.no_grad()
def test_align_corners_changes_the_branches():
    torch.manual_seed(0)
    head = PSPHead(SPECS, 2, channels=4, pool_scales=(2, 3)).eval()
    feature = torch.randn(1, 4, 9, 9)
    before = head([feature])
    head.align_corners = True
    assert not torch.allclose(before, head([feature]))


def test_group_norm_trains_on_a_single_image():
    feature = torch.randn(1, 4, 6, 6)
    head = PSPHead(SPECS, 2, channels=4, norm=partial(GroupNorm, num_groups=2))
    head([feature]).sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        PSPHead(SPECS, 2, channels=4)([feature])


@pytest.mark.parametrize("pool_scales", [(), (0, 1)])
def test_pool_scales_must_be_positive(pool_scales):
    with pytest.raises(ValueError, match="pool_scales must be one or more positive numbers"):
        PSPHead(SPECS, 2, pool_scales=pool_scales)
