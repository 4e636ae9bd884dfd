"""The heads that read several features: SegFormer's, UPerNet's, semantic FPN's, SegNeXt's and SETR's."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from seglit.blocks import GroupNorm
from seglit.features import FeatureSpec
from seglit.heads import FPNHead, LightHamHead, SegformerHead, SETRMLAHead, SETRUPHead, UPerHead
from seglit.heads.ham import factorised

SPECS = tuple(map(FeatureSpec, (4, 6, 8, 10), (4, 8, 16, 32)))
HAM = partial(LightHamHead, ham_channels=8, rank=3, norm=partial(GroupNorm, num_groups=2))
HEADS = [SegformerHead, UPerHead, FPNHead, partial(HAM, in_index=(0, 1, 2, 3))]
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


@torch.no_grad()
def test_ham_begins_alike_in_evaluation_alone():
    head = HAM(SPECS, 2, channels=4, dropout_ratio=0.0)
    maps = features()
    assert not torch.equal(head(maps), head(maps))
    head.eval()
    assert torch.equal(head(maps), head(maps))
    assert_close(head(maps)[1:], head([feature[1:] for feature in maps]))


@pytest.mark.parametrize("argument", ["rank", "train_steps", "eval_steps"])
def test_ham_needs_a_rank_and_steps(argument):
    with pytest.raises(ValueError, match=f"{argument} must be at least 1, got 0"):
        LightHamHead(SPECS, 2, **{argument: 0})


@torch.no_grad()
def test_more_steps_of_factorisation_come_nearer():
    torch.manual_seed(0)
    pixels = torch.rand(1, 6, 40, dtype=torch.float64)
    bases = F.normalize(torch.rand(1, 6, 3, dtype=torch.float64), dim=1)
    found = [factorised(pixels, bases, steps) for steps in (1, 3, 9, 100)]
    errors = [(x - pixels).square().sum().item() for x in found]
    assert errors == sorted(errors, reverse=True)
    assert torch.linalg.matrix_rank(found[-1]).item() == 3


def test_ham_takes_as_many_steps_as_it_is_told(monkeypatch):
    taken = []
    monkeypatch.setattr("seglit.heads.ham.factorised", lambda pixels, bases, steps: taken.append(steps) or pixels)
    head = HAM(SPECS, 2, channels=4, train_steps=2, eval_steps=5)
    head(features())
    head.eval()(features())
    assert taken == [2, 5]


PLAIN = 4 * (FeatureSpec(6, 16),)


@pytest.mark.parametrize(
    ("kind", "arguments", "stride"),
    [
        (SETRUPHead, {}, 4),
        (SETRUPHead, {"num_convs": 4, "up_scale": 2, "channels": 5}, 1),
        (SETRUPHead, {"kernel_size": 1, "in_index": (0, 1)}, 4),
        (SETRMLAHead, {"mla_channels": 3}, 4),
        (SETRMLAHead, {"mla_channels": 3, "up_scale": 2, "in_index": 0}, 8),
    ],
)
def test_setr_enlarges(kind, arguments, stride):
    torch.manual_seed(0)
    head = kind(PLAIN, 5, dropout_ratio=0.0, **arguments).double()
    maps = [torch.randn(2, 6, 3, 5, dtype=torch.float64) for _ in PLAIN]
    logits = head(maps)
    assert head.stride == stride
    assert logits.shape == (2, 5, 3 * 16 // stride, 5 * 16 // stride)
    logits.square().sum().backward()
    assert not [name for name, value in head.named_parameters() if value.grad is None or not value.grad.any()]
    head.align_corners = True
    assert not torch.allclose(head(maps), logits)


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        (SETRUPHead, {"num_convs": 0}, "num_convs must be at least 1, got 0"),
        (SETRUPHead, {"num_convs": 3}, "up_scale=4, 3 times, leaves no whole stride"),
        (SETRMLAHead, {"up_scale": 0}, "up_scale=0, 1 times, leaves no whole stride"),
    ],
)
def test_setr_cannot_be_finer_than_the_image(kind, arguments, words):
    with pytest.raises(ValueError, match=words):
        kind(PLAIN, 5, **arguments)


def test_setr_aggregates_maps_of_one_stride():
    with pytest.raises(ValueError, match=r"features of one stride, got strides \[4, 8, 16, 32\]"):
        SETRMLAHead(SPECS, 5)
