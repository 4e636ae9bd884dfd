import torch
from torch.testing import assert_close

from seglit.features import FeatureSpec
from seglit.heads import DDRHead, FCNHead

SPECS = (FeatureSpec(8, 8),)


@torch.no_grad()
def test_what_is_read_passes_a_norm_and_a_relu_first():
    head = DDRHead(SPECS, 3, channels=4).eval()
    feature = torch.randn(1, 8, 5, 6)
    before = feature.clone()
    assert_close(head([feature.clamp(max=0.0)]), head([torch.zeros_like(feature)]))
    assert not torch.allclose(head([feature.clamp(min=0.0)]), head([torch.zeros_like(feature)]))
    assert_close(feature, before)


def test_a_gradient_reaches_every_parameter():
    head = DDRHead(SPECS, 2, out_channels=1)
    logits = head([torch.randn(2, 8, 5, 6)])
    logits.pow(2).sum().backward()
    assert logits.shape == (2, 1, 5, 6)
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_the_classifier_begins_as_he_says():
    torch.manual_seed(0)
    assert_close(DDRHead(SPECS, 50, channels=200).classifier.weight.std().item(), (2 / 50) ** 0.5, rtol=0.03, atol=0)


def test_separable_convolutions_have_few_weights_and_no_relu_in_between():
    head = FCNHead(SPECS, 3, channels=4, separable=True)
    assert [tuple(part.depthwise.conv.weight.shape) for part in (*head.convs, head.fusion)] == [
        (8, 1, 3, 3), (4, 1, 3, 3), (12, 1, 3, 3),
    ]  # fmt: skip
    assert not any(hasattr(part.depthwise, "relu") for part in (*head.convs, head.fusion))
    assert head([torch.randn(2, 8, 5, 6)]).shape == (2, 3, 5, 6)
