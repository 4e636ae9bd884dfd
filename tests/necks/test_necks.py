from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from seglit.backbones import ResNet, VisionTransformer
from seglit.blocks import GroupNorm
from seglit.features import FeatureSpec, feature_specs_of
from seglit.heads import FCNHead
from seglit.necks import FPN, Feature2Pyramid, MLANeck, MultiLevelNeck
from seglit.segmentor import Segmentor

PYRAMID = tuple(map(FeatureSpec, (4, 6, 8), (4, 8, 16)))
SIZES = [(9, 7), (5, 4), (3, 2)]
PLAIN = 4 * (FeatureSpec(4, 16),)
NECKS = {
    "fpn": (FPN, PYRAMID, {"out_channels": 5}),
    "mla": (MLANeck, PLAIN, {"out_channels": 5}),
    "multi_level": (MultiLevelNeck, PLAIN, {}),
    "feature2pyramid": (Feature2Pyramid, PLAIN, {}),
    "feature2pyramid_2x": (Feature2Pyramid, PLAIN, {"rescales": (2, 1, 0.5, 0.25)}),
}
every = pytest.mark.parametrize(("kind", "specs", "arguments"), NECKS.values(), ids=NECKS)


def features(specs, height=64, width=128, dtype=torch.float32):
    return [torch.randn(2, spec.channels, height // spec.stride, width // spec.stride, dtype=dtype) for spec in specs]


@every
@torch.no_grad()
def test_maps_are_as_described(kind, specs, arguments):
    neck = kind(specs, **arguments).eval()
    described = feature_specs_of(neck)
    for feature, spec in zip(neck(features(specs)), described, strict=True):
        assert feature.shape == (2, spec.channels, 64 // spec.stride, 128 // spec.stride)


@every
def test_gradients_reach_all_parameters(kind, specs, arguments):
    neck = kind(specs, **arguments).double().eval()  # in training, batch normalisation takes biases away again
    sum(x.square().sum() for x in neck(features(specs, dtype=torch.float64))).backward()
    assert not [name for name, value in neck.named_parameters() if value.grad is None or not value.grad.any()]


@torch.no_grad()
def test_fpn_hands_down_the_nearest_pixel_at_odd_sizes():
    neck = FPN(PYRAMID, out_channels=5).double()
    maps = [torch.randn(1, spec.channels, *size).double() for spec, size in zip(PYRAMID, SIZES, strict=True)]
    above = neck.laterals[2](maps[2])
    expected = [neck.levels[2](above)]
    for index in (1, 0):
        above = neck.laterals[index](maps[index]) + F.interpolate(above, maps[index].shape[2:], mode="nearest")
        expected.insert(0, neck.levels[index](above))
    for ours, theirs in zip(neck(maps), expected, strict=True):
        assert_close(ours, theirs)


@torch.no_grad()
def test_one_feature_makes_all_levels():
    neck = MultiLevelNeck(PLAIN[:1], out_channels=6, scales=(2, 1, 0.5))
    assert neck.feature_specs == tuple(map(FeatureSpec, (6, 6, 6), (8, 16, 32)))
    shapes = [x.shape for x in neck(features(PLAIN[:1]))]
    assert shapes == [(2, 6, 8, 16), (2, 6, 4, 8), (2, 6, 2, 4)]


@pytest.mark.parametrize("kind", [Feature2Pyramid, partial(MLANeck, out_channels=4)])
def test_the_norm_can_be_another(kind):
    neck = kind(PLAIN, norm=partial(GroupNorm, num_groups=2))
    assert isinstance(neck.levels[0].norm, GroupNorm)


@torch.no_grad()
def test_mla_adds_the_later_maps_to_the_earlier():
    neck = MLANeck(PLAIN, out_channels=5).eval()
    maps = features(PLAIN)
    before = neck(maps)
    maps[0] = torch.randn_like(maps[0])
    same = [torch.equal(a, b) for a, b in zip(before, neck(maps), strict=True)]
    assert same == [True, True, True, False]


@pytest.mark.parametrize(
    ("kind", "specs", "arguments", "words"),
    [
        (MultiLevelNeck, PLAIN, {"scales": (0.5, 1, 2, 4)}, "scales must leave whole strides, finest first"),
        (MultiLevelNeck, PLAIN, {"scales": (32, 1, 1, 1)}, "scales must leave whole strides"),
        (MultiLevelNeck, PLAIN, {"scales": (2, 1)}, "scales must be positive, one for each of the 4 features"),
        (MultiLevelNeck, PLAIN[:1], {"scales": ()}, "scales must be positive"),
        (MultiLevelNeck, PLAIN, {"scales": (4, 2, 1, 0)}, "scales must be positive"),
        (MLANeck, PYRAMID, {}, "MLANeck adds features of one stride"),
        (Feature2Pyramid, PLAIN, {"rescales": (4, 2, 1, 1)}, "rescales must be"),
        (Feature2Pyramid, PLAIN[:2], {}, "rescales must be"),
    ],
)
def test_what_cannot_be_is_told(kind, specs, arguments, words):
    with pytest.raises(ValueError, match=words):
        kind(specs, **arguments)


@pytest.mark.parametrize(
    ("backbone", "neck"),
    [
        (partial(ResNet, 18, base_channels=4, stem_channels=4), FPN),
        (
            partial(VisionTransformer, patch_size=16, embed_dims=8, num_layers=4, num_heads=2, out_indices=range(4)),
            MultiLevelNeck,
        ),
    ],
)
@torch.no_grad()
def test_a_segmentor_builds_its_heads_on_the_necks_features(backbone, neck):
    net = Segmentor(backbone(), partial(FCNHead, num_classes=3, in_index=0), neck=neck).eval()
    assert net(torch.randn(1, 3, 64, 96))["decode"].shape == (1, 3, 16, 24)
