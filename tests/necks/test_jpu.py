import pytest
import torch
from torch import nn

from seglit.features import FeatureSpec
from seglit.necks import JPU

SPECS = (FeatureSpec(2, 4), FeatureSpec(3, 8), FeatureSpec(4, 16), FeatureSpec(6, 32))


def features(height: int, width: int) -> list[torch.Tensor]:
    return [torch.randn(2, spec.channels, -(-height // spec.stride), -(-width // spec.stride)) for spec in SPECS]


@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
@pytest.mark.parametrize(
    ("in_index", "expected"),
    [
        ((-3, -2, -1), (FeatureSpec(20, 8), FeatureSpec(3, 8), FeatureSpec(4, 16))),
        ((0, 3), (FeatureSpec(20, 4), FeatureSpec(2, 4))),
    ],
)
def test_maps_are_as_described(size, in_index, expected):
    neck = JPU(SPECS, channels=5, in_index=in_index)
    given = features(*size)
    maps = neck(given)
    assert neck.feature_specs == expected
    for x, spec in zip(maps, neck.feature_specs, strict=True):
        assert x.shape[1:] == (spec.channels, *(-(-side // spec.stride) for side in size))
    assert all(x is given[index] for x, index in zip(maps[1:], in_index[:-1], strict=True))


def test_every_parameter_has_an_influence():
    neck = JPU(SPECS, channels=4, dilations=(1, 2))
    neck(features(64, 64))[0].square().sum().backward()
    assert [name for name, parameter in neck.named_parameters() if not parameter.grad.any()] == []


@pytest.mark.parametrize("dilation", [1, 3])
@torch.no_grad()
def test_dilations_widen_the_field_of_view(dilation):
    neck = JPU(SPECS[:2], channels=2, in_index=(0, 1), dilations=(dilation,))
    for parameter in neck.parameters():
        nn.init.constant_(parameter, 1.0)
    maps = [torch.zeros(1, 2, 21, 21), torch.zeros(1, 3, 11, 11)]
    before = neck.eval()(maps)[0]
    maps[0][..., 10, 10] = 1.0
    rows = (neck(maps)[0] - before)[0, 0].abs().gt(1e-4).nonzero()[:, 0]
    assert rows.max() == 10 + 1 + dilation


@torch.no_grad()
def test_align_corners_and_norm_are_used():
    torch.manual_seed(0)
    neck = JPU(SPECS, channels=4, norm=nn.InstanceNorm2d).eval()
    assert not any(isinstance(part, nn.BatchNorm2d) for part in neck.modules())
    given = features(64, 64)
    before = neck(given)[0]
    neck.align_corners = True
    assert not torch.allclose(before, neck(given)[0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"in_index": (0,)}, r"in_index must name two or more maps, highest resolution first, got \[0\]"),
        ({"in_index": (1, 0)}, "in_index must name two or more maps"),
        ({"in_index": (1, 4)}, "in_index=4 names no feature"),
        ({"dilations": ()}, "dilations must be one or more positive numbers"),
        ({"dilations": (1, 0)}, "dilations must be one or more positive numbers"),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        JPU(SPECS, channels=4, **arguments)
