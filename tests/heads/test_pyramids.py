"""The heads that read several features: SegFormer's, UPerNet's and semantic FPN's."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from seglit.blocks import GroupNorm
from seglit.features import FeatureSpec
from seglit.heads import FPNHead, SegformerHead, UPerHead

SPECS = tuple(map(FeatureSpec, (4, 6, 8, 10), (4, 8, 16, 32)))
HEADS = [SegformerHead, UPerHead, FPNHead]
every = pytest.mark.parametrize("kind", HEADS)


def features(height=65, width=97, count=2, dtype=torch.float32):
    return [
        torch.randn(count, spec.channels, -(-height // spec.stride), -(-width // spec.stride), dtype=dtype)
        for spec in SPECS
    ]


@every
@pytest.mark.parametrize("in_index", [(0, 1, 2, 3), (1, 3), 2])
@torch.no_grad()
def test_logits_are_at_the_finest_stride(kind, in_index):
    head = kind(SPECS, 5, channels=4, in_index=in_index).eval()
    maps = features()
    assert head(maps).shape == (2, 5, *maps[head.in_index[0]].shape[2:])


@every
def test_gradients_reach_all_parameters(kind):
    torch.manual_seed(0)
    head = kind(SPECS, 5, channels=4, dropout_ratio=0.0).double()
    head(features(dtype=torch.float64)).square().sum().backward()
    assert not [name for name, value in head.named_parameters() if value.grad is None or not value.grad.any()]


@every
@torch.no_grad()
def test_every_feature_and_align_corners_have_an_effect(kind):
    torch.manual_seed(0)
    head = kind(SPECS, 5, channels=4).eval()
    maps = features()
    before = head(maps)
    for index in range(4):
        changed = [*maps]
        changed[index] = changed[index] + torch.randn_like(changed[index])
        assert not torch.allclose(head(changed), before)
    head.align_corners = True
    assert not torch.allclose(head(maps), before)


@every
def test_the_norm_can_be_another(kind):
    head = kind(SPECS, 5, channels=4, norm=partial(GroupNorm, num_groups=2))
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in head.modules())
    assert head([feature[:1] for feature in features()]).shape[0] == 1


@every
def test_the_finest_comes_first(kind):
    with pytest.raises(ValueError, match="must begin with the finest feature, got strides"):
        kind(SPECS, 5, in_index=(2, 0))


@torch.no_grad()
def test_segformer_fuses_each_pixel_by_itself():
    head = SegformerHead(SPECS[:1], 2, channels=4, in_index=0).eval()
    [feature] = features()[:1]
    changed = feature.clone()
    changed[..., 0, 0] += 1
    difference = (head([changed]) - head([feature])).abs().sum(1)
    assert difference[:, 0, 0].all()
    assert not difference.flatten(1)[:, 1:].any()


@torch.no_grad()
def test_uper_hands_down_what_is_deeper():
    head = UPerHead(SPECS, 2, channels=4, pool_scales=(1, 2)).eval().double()
    assert len(head.pools) == 2
    maps = features(dtype=torch.float64)
    pooled = [F.adaptive_avg_pool2d(maps[3], scale) for scale in (1, 2)]
    resize = partial(F.interpolate, mode="bilinear", align_corners=False)
    branches = [resize(conv(x), maps[3].shape[2:]) for conv, x in zip(head.pools, pooled, strict=True)]
    levels = [head.bottleneck(torch.cat([maps[3], *branches], 1))]
    above = levels[0]
    for index in (2, 1, 0):
        above = head.laterals[index](maps[index]) + resize(above, maps[index].shape[2:])
        levels.insert(0, head.levels[index](above))
    stacked = torch.cat([resize(level, maps[0].shape[2:]) for level in levels], 1)
    assert_close(head.embed(maps), head.fusion(stacked))


def test_pool_scales_must_be_positive():
    with pytest.raises(ValueError, match="pool_scales must be one or more positive numbers"):
        UPerHead(SPECS, 2, pool_scales=())


def test_fpn_convolves_before_each_doubling():
    head = FPNHead(SPECS, 2, channels=4)
    assert [len(branch) for branch in head.branches] == [1, 1, 2, 3]
    assert head.doublings == [0, 1, 2, 3]


def test_fpn_needs_powers_of_two():
    with pytest.raises(ValueError, match=r"powers of 2 times the first's, got \[4, 12\]"):
        FPNHead((FeatureSpec(4, 4), FeatureSpec(4, 12)), 2, in_index=(0, 1))
