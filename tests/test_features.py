import pytest
from torch import nn

from seglit.features import FeatureSpec, feature_at, feature_specs_of

SPECS = (FeatureSpec(64, 4), FeatureSpec(128, 8), FeatureSpec(256, 8))


def part_with(specs: object) -> nn.Module:
    part = nn.Identity()
    part.feature_specs = specs
    return part


def test_feature_specs_of_a_part_are_what_it_publishes():
    assert feature_specs_of(part_with(SPECS)) is SPECS


@pytest.mark.parametrize("specs", [(), list(SPECS), ((64, 4),), None])
def test_feature_specs_must_be_a_tuple_of_them(specs):
    with pytest.raises(ValueError, match="Identity must have an attribute feature_specs"):
        feature_specs_of(part_with(specs))


def test_a_part_without_feature_specs_is_refused():
    with pytest.raises(ValueError, match="Linear must have an attribute feature_specs"):
        feature_specs_of(nn.Linear(1, 1))


def test_the_highest_resolution_must_come_first():
    with pytest.raises(ValueError, match=r"highest resolution first, got strides \[8, 8, 4\]"):
        feature_specs_of(part_with(SPECS[::-1]))


@pytest.mark.parametrize("index", range(-3, 3))
def test_feature_at_counts_as_python_does(index):
    assert feature_at(SPECS, index) is SPECS[index]


@pytest.mark.parametrize("index", [-4, 3])
def test_feature_at_lists_the_features_that_there_are(index):
    with pytest.raises(ValueError, match=rf"in_index={index} .* 3 \(0: 64 channels at stride 4, 1: 128"):
        feature_at(SPECS, index)
