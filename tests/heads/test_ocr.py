from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from seglit.features import FeatureSpec
from seglit.heads import FCNHead, OCRHead
from seglit.heads.ocr import described
from seglit.segmentor import Segmentor

SPECS = (FeatureSpec(4, 4), FeatureSpec(8, 8))
DRAW = torch.Generator().manual_seed(0)
FEATURES = (torch.randn(2, 4, 8, 10, generator=DRAW), torch.randn(2, 8, 4, 5, generator=DRAW))
COARSE = torch.randn(2, 3, 4, 5, generator=DRAW)
AUXILIARY = partial(FCNHead, num_classes=3, channels=4, num_convs=1, concat_input=False)
narrow = partial(OCRHead, num_classes=3, channels=6)


class StubBackbone(nn.Module):
    feature_specs = SPECS

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, s.channels, s.stride, s.stride) for s in self.feature_specs)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(conv(image) for conv in self.convs)


def test_a_class_is_described_by_the_pixels_where_it_surely_lies():
    pixels = torch.randn(1, 6, 4, 5, dtype=torch.float64)
    logits = torch.zeros(1, 2, 4, 5, dtype=torch.float64)
    logits[0, 0, 1, 2] = 200.0
    classes = described(pixels, logits)
    assert classes.shape == (1, 6, 2, 1)
    assert_close(classes[0, :, 0, 0], pixels[0, :, 1, 2])
    assert_close(classes[0, :, 1, 0], pixels[0].mean(dim=(1, 2)))


@torch.no_grad()
def test_attention_is_that_of_loops():
    head = narrow(SPECS, attention_channels=4).double().eval()
    for norm in (part for part in head.modules() if isinstance(part, nn.BatchNorm2d)):
        nn.init.uniform_(norm.bias, 0.0, 1.0)
    features, coarse = [feature.double() for feature in FEATURES], COARSE.double()
    pixels = head.pixels(features[-1])
    classes = described(pixels, coarse)
    query, key, value = head.query(pixels), head.key(classes), head.value(classes)
    gathered = torch.zeros(2, 4, 4, 5, dtype=torch.float64)
    for image in range(2):
        for row in range(4):
            for column in range(5):
                scores = [query[image, :, row, column] @ key[image, :, k, 0] / 2.0 for k in range(3)]
                shares = torch.stack(scores).softmax(dim=0)
                gathered[image, :, row, column] = sum(shares[k] * value[image, :, k, 0] for k in range(3))
    fused = head.fusion(torch.cat([head.context(gathered), pixels], dim=1))
    assert_close(head(features, coarse), head.classifier(fused))


@pytest.mark.parametrize(("in_index", "size"), [(0, (8, 10)), (-1, (4, 5)), ([0, 1], (8, 10))])
def test_the_coarse_logits_may_have_another_size(in_index, size):
    head = narrow(SPECS, in_index=in_index)
    assert head(FEATURES, COARSE).shape == (2, 3, *size)
    assert head(FEATURES, COARSE[..., :3, :2]).shape == (2, 3, *size)


@torch.no_grad()
def test_align_corners_resizes_the_coarse_logits():
    head = narrow(SPECS, in_index=0).eval()
    before = head(FEATURES, COARSE)
    head.align_corners = True
    assert not torch.equal(before, head(FEATURES, COARSE))


def test_channels():
    head = OCRHead(SPECS, 3)
    assert (head.channels, head.query[0].conv.out_channels) == (2, 1)
    head = OCRHead(SPECS, 2, channels=6, attention_channels=5, out_channels=1, norm=nn.InstanceNorm2d)
    assert (head.classifier.weight.shape[:2], head.value.conv.out_channels) == ((1, 6), 5)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in head.modules())


def test_dropout_stands_before_the_classifier():
    head = narrow(SPECS, channels=64, dropout_ratio=0.5)
    assert head.dropout.p == 0.5
    assert not torch.equal(head(FEATURES, COARSE), head(FEATURES, COARSE))


def test_in_a_segmentor_it_refines_the_head_called_coarse():
    net = Segmentor(StubBackbone(), narrow, {"coarse": AUXILIARY, "aux": AUXILIARY})
    for name, parameter in net.named_parameters():
        # So that ReLU leaves no channel empty.
        if name.endswith("norm.bias"):
            nn.init.constant_(parameter, 2.0)
    image = torch.randn(2, 3, 32, 40)
    outputs = net.train()(image)
    assert set(outputs) == {"decode", "coarse", "aux"}
    outputs["decode"].square().mean().backward()
    reached = {name.split(".")[1] for name, p in net.auxiliary_heads.named_parameters() if p.grad is not None}
    assert reached == {"convs", "classifier"}
    assert all(p.grad is None for p in net.auxiliary_heads["aux"].parameters())
    assert all(p.grad.any() for name, p in net.decode_head.named_parameters() if "conv" in name)

    net.eval()
    with torch.no_grad():
        before = net(image)
        assert list(before) == ["decode"]
        net.auxiliary_heads["coarse"].classifier.weight.mul_(-100.0)
        assert not torch.allclose(net(image)["decode"], before["decode"])


def test_without_a_head_to_refine_it_is_refused():
    with pytest.raises(ValueError, match="OCRHead refines the logits of an auxiliary head called 'coarse'; there is"):
        Segmentor(StubBackbone(), narrow, {"aux": AUXILIARY})
