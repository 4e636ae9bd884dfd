from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from seglit.features import FeatureSpec
from seglit.heads import ASPPHead, FCNHead, PSPHead

SPECS = (FeatureSpec(4, 4), FeatureSpec(6, 8))
DRAW = torch.Generator().manual_seed(0)
FEATURES = (torch.randn(2, 4, 10, 12, generator=DRAW), torch.randn(2, 6, 5, 6, generator=DRAW))

every_head = pytest.mark.parametrize("head", [partial(head, channels=16) for head in (ASPPHead, FCNHead, PSPHead)])


@every_head
@pytest.mark.parametrize(("in_index", "feature"), [(0, 0), (-2, 0), (1, 1), (-1, 1)])
def test_in_index_chooses_the_feature(head, in_index, feature):
    built = head(SPECS, 3, in_index=in_index)
    logits = built(FEATURES)
    assert (built.stride, built.in_channels) == (SPECS[feature].stride, SPECS[feature].channels)
    assert logits.shape == (2, 3, *FEATURES[feature].shape[2:])


@every_head
def test_the_deepest_is_the_default(head):
    assert head(SPECS, 3).stride == 8


@every_head
def test_in_index_must_name_a_feature(head):
    with pytest.raises(ValueError, match=r"in_index=2 names no feature; there are 2 \(0: 4 channels"):
        head(SPECS, 3, in_index=2)


@every_head
@pytest.mark.parametrize(("num_classes", "out_channels", "expected"), [(2, None, 2), (2, 1, 1), (2, 2, 2), (5, 5, 5)])
def test_channels_of_the_logits(head, num_classes, out_channels, expected):
    built = head(SPECS, num_classes, out_channels=out_channels)
    assert built.num_classes == num_classes
    assert built.out_channels == expected == built(FEATURES).shape[1]


@every_head
@pytest.mark.parametrize(("num_classes", "out_channels"), [(3, 1), (3, 2), (2, 3)])
def test_channels_must_fit_the_classes(head, num_classes, out_channels):
    with pytest.raises(ValueError, match=f"got out_channels={out_channels} with num_classes={num_classes}"):
        head(SPECS, num_classes, out_channels=out_channels)


@every_head
def test_one_class_is_refused(head):
    with pytest.raises(ValueError, match=r"at least 2, got 1; .* num_classes=2, with out_channels=1"):
        head(SPECS, 1)


@every_head
@pytest.mark.parametrize(("dropout_ratio", "share"), [(0.0, 0.0), (0.5, 0.5)])
def test_dropout_zeroes_whole_channels_in_training(head, dropout_ratio, share):
    torch.manual_seed(0)
    built = head(SPECS, 3, channels=400, dropout_ratio=dropout_ratio)
    built.classifier = nn.Identity()
    # So that ReLU leaves no channel empty.
    for name, parameter in built.named_parameters():
        if name.endswith("norm.bias"):
            nn.init.constant_(parameter, 9.0)
    dropped = (built(FEATURES) == 0).all(dim=(2, 3)).double().mean().item()
    assert_close(dropped, share, rtol=0, atol=0.07 if share else 0)
    assert_close(built.eval()(FEATURES), built.embed(FEATURES))


@every_head
def test_a_tenth_is_dropped_by_default(head):
    assert head(SPECS, 3).dropout.p == 0.1


@every_head
def test_the_classifier_begins_near_zero(head):
    torch.manual_seed(0)
    classifier = head(SPECS, 50, channels=200).classifier
    assert_close(classifier.weight.std().item(), 0.01, rtol=0.03, atol=0)
    assert not classifier.bias.any()


@every_head
@pytest.mark.parametrize("align_corners", [False, True])
def test_align_corners_is_published(head, align_corners):
    assert head(SPECS, 3, align_corners=align_corners).align_corners is align_corners


@every_head
def test_norm_is_used_throughout(head):
    built = head(SPECS, 3, norm=nn.InstanceNorm2d)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in built.modules())
    assert any(isinstance(part, nn.InstanceNorm2d) for part in built.modules())


@every_head
def test_logits_are_linear_in_what_embed_returns(head):
    built = head(SPECS, 3).eval().double()
    feature = FEATURES[-1].double()
    embedded = built.embed([feature])
    weight = built.classifier.weight[:, :, 0, 0]
    expected = torch.einsum("oc,bchw->bohw", weight, embedded) + built.classifier.bias[:, None, None]
    assert_close(built([feature]), expected)
