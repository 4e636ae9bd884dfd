import re
from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from seglit.backbones import HRNet, MobileNetV2, MobileNetV3, ResNet, TimmBackbone, UNet
from seglit.features import FeatureSpec
from seglit.heads import ASPPHead, DAHead, DepthwiseSeparableASPPHead, FCNHead, LRASPPHead, OCRHead, PSPHead
from seglit.segmentor import Segmentor

BACKBONES = {
    "hrnet": partial(HRNet, width=4, num_modules=(1, 1, 1), num_blocks=1),
    "mobilenet_v2": partial(MobileNetV2, widen_factor=0.1),
    "resnet18": partial(ResNet, 18, base_channels=8, stem_channels=8),
    "resnet18-v1d-d16": partial(ResNet, 18, variant="v1d", output_stride=16, base_channels=8, stem_channels=8),
    "resnet50-v1b-d32": partial(ResNet, 50, variant="v1b", output_stride=32, base_channels=4, stem_channels=4),
    "resnest50-d32": partial(ResNet, 50, variant="resnest", output_stride=32, base_channels=4, stem_channels=4),
    "unet": partial(UNet, base_channels=2),
    "unet-shallow": partial(UNet, base_channels=4, num_stages=3, encoder_convs=1, decoder_convs=1),
    "timm-resnet18": partial(TimmBackbone, "resnet18", output_stride=8, out_indices=(1, 2, 3, 4)),
    "timm-mobilenetv3": partial(TimmBackbone, "mobilenetv3_small_050"),
}
HEADS = {
    "fcn": partial(FCNHead, num_classes=3, channels=8),
    "fcn-plain": partial(FCNHead, num_classes=3, channels=8, num_convs=1, concat_input=False),
    "psp": partial(PSPHead, num_classes=3, channels=8),
    "aspp": partial(ASPPHead, num_classes=3, channels=8, dilations=(1, 2, 3)),
    "aspp-separable": partial(DepthwiseSeparableASPPHead, num_classes=3, channels=8, dilations=(1, 2), skip_channels=4),
}
AUXILIARY = partial(FCNHead, num_classes=3, channels=4, num_convs=1, concat_input=False)


def reading(backbone: str, head: partial) -> partial:
    """The head at the maps that depend on the whole backbone: a U-Net's first, all of an HRNet's, others' last."""
    return partial(head, in_index={"unet": 0, "hrnet": (0, 1, 2, 3)}.get(backbone.split("-")[0], -1))


@pytest.mark.parametrize("size", [(64, 64), (65, 97)])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_with_every_head(backbone, head, size):
    net = Segmentor(BACKBONES[backbone](), reading(backbone, HEADS[head]), {"aux": partial(AUXILIARY, in_index=-2)})
    # Else nets that begin with blocks switched off would hide which parameters matter.
    for parameter in net.parameters():
        if parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
    image = torch.randn(2, 3, *size)

    outputs = net.train()(image)
    assert list(outputs) == ["decode", "aux"]
    for name, logits in outputs.items():
        assert logits.shape[:2] == (2, net.heads[name].out_channels)
        for steps, side in zip(logits.shape[2:], size, strict=True):
            assert steps == -(-side // net.heads[name].stride)
    sum(logits.square().mean() for logits in outputs.values()).backward()
    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []

    with torch.no_grad():
        predictions = net.eval()(image)
        assert list(predictions) == ["decode"]
        assert predictions["decode"].shape == outputs["decode"].shape
        alone, together = net(image[:1])["decode"], predictions["decode"][:1]
        assert_close(alone, together, rtol=0, atol=1e-4 * float(together.abs().max()))


@pytest.mark.parametrize("backbone", ["resnet18", "unet"])
@pytest.mark.parametrize("head", HEADS)
def test_every_parameter_has_an_influence(backbone, head):
    torch.manual_seed(0)
    net = Segmentor(
        BACKBONES[backbone](), reading(backbone, HEADS[head]), {"aux": partial(AUXILIARY, in_index=-2)}
    ).double()
    for parameter in net.parameters():
        if parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
    outputs = net(torch.randn(2, 3, 64, 64, dtype=torch.float64))
    sum(logits.square().mean() for logits in outputs.values()).backward()
    assert [name for name, parameter in net.named_parameters() if not parameter.grad.any()] == []


class StubBackbone(nn.Module):
    feature_specs = (FeatureSpec(4, 2), FeatureSpec(8, 4))

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, s.channels, s.stride, s.stride) for s in self.feature_specs)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(conv(image) for conv in self.convs)


class StubNeck(nn.Module):
    """The features' sum over channels, under one name."""

    def __init__(self, feature_specs: tuple[FeatureSpec, ...]) -> None:
        super().__init__()
        self.feature_specs = tuple(FeatureSpec(1, spec.stride) for spec in feature_specs)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, features: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return tuple(self.scale * feature.sum(dim=1, keepdim=True) for feature in features)


def test_auxiliary_heads_cost_nothing_in_eval_mode():
    net = Segmentor(StubBackbone(), AUXILIARY, {"aux": AUXILIARY})
    calls = []
    net.heads["aux"].register_forward_hook(lambda *_: calls.append(1))
    net.eval()(torch.zeros(1, 3, 8, 8))
    assert calls == []
    net.train()(torch.zeros(1, 3, 8, 8))
    assert calls == [1]


def test_heads_go_by_the_names_of_their_outputs():
    auxiliary = {"aux": AUXILIARY, "aux_1": partial(AUXILIARY, in_index=0)}
    net = Segmentor(StubBackbone(), AUXILIARY, auxiliary)
    assert list(net.heads) == ["decode", "aux", "aux_1"] == list(net(torch.zeros(1, 3, 8, 8)))
    assert net.heads["decode"] is net.decode_head
    assert [head.stride for head in net.heads.values()] == [4, 4, 2]


def test_a_head_may_give_further_logits_in_training():
    head = partial(DAHead, num_classes=3, channels=8)
    net = Segmentor(StubBackbone(), head, {"aux": partial(head, in_index=0)})
    image = torch.randn(2, 3, 8, 8)
    names = ["decode", "decode_pam", "decode_cam", "aux", "aux_pam", "aux_cam"]
    assert list(net.heads) == names
    assert sorted(net.train()(image)) == sorted(names)
    assert net.heads["decode_cam"] is net.decode_head
    assert list(net.eval()(image)) == ["decode"]


def test_an_auxiliary_head_has_not_the_name_of_further_logits():
    with pytest.raises(ValueError, match="cannot be called 'decode_pam', as DAHead gives further logits of that name"):
        Segmentor(StubBackbone(), partial(DAHead, num_classes=3), {"decode_pam": AUXILIARY})


def test_without_auxiliary_heads_training_gives_the_decode_head_alone():
    for none in (None, {}):
        assert list(Segmentor(StubBackbone(), AUXILIARY, none).train()(torch.zeros(1, 3, 8, 8))) == ["decode"]


def test_the_neck_stands_between_backbone_and_heads():
    net = Segmentor(StubBackbone(), AUXILIARY, {"aux": AUXILIARY}, neck=StubNeck)
    assert [head.in_channels for head in net.heads.values()] == [1, 1]
    assert "neck.scale" in net.state_dict()
    net.eval()
    image = torch.randn(1, 3, 8, 8)
    assert_close(net(image)["decode"], net.decode_head(net.neck(net.backbone(image))))


NAMES = {
    "resnet": (
        lambda: Segmentor(BACKBONES["resnet50-v1b-d32"](), HEADS["fcn"], {"aux": AUXILIARY}),
        """
        backbone.stem.N.conv backbone.stem.N.norm
        backbone.layerN.N.convN backbone.layerN.N.normN
        backbone.layerN.N.downsample.conv backbone.layerN.N.downsample.norm
        decode_head.convs.N.conv decode_head.convs.N.norm decode_head.fusion.conv decode_head.fusion.norm
        decode_head.classifier
        auxiliary_heads.aux.convs.N.conv auxiliary_heads.aux.convs.N.norm auxiliary_heads.aux.classifier
        """,
    ),
    "unet": (
        lambda: Segmentor(BACKBONES["unet"](), HEADS["psp"]),
        """
        backbone.encoder.N.N.conv backbone.encoder.N.N.norm
        backbone.decoder.N.upsample.conv backbone.decoder.N.upsample.norm
        backbone.decoder.N.convs.N.conv backbone.decoder.N.convs.N.norm
        decode_head.pools.N.conv decode_head.pools.N.norm
        decode_head.bottleneck.conv decode_head.bottleneck.norm decode_head.classifier
        """,
    ),
    "hrnet": (
        lambda: Segmentor(BACKBONES["hrnet"](), partial(OCRHead, num_classes=3), {"coarse": AUXILIARY}),
        """
        backbone.stem.N.conv backbone.stem.N.norm
        backbone.layerN.N.convN backbone.layerN.N.normN
        backbone.layerN.N.downsample.conv backbone.layerN.N.downsample.norm
        backbone.narrow.conv backbone.narrow.norm backbone.deepen.N.conv backbone.deepen.N.norm
        backbone.stages.N.N.branches.N.N.convN backbone.stages.N.N.branches.N.N.normN
        backbone.stages.N.N.fusions.N.paths.N.conv backbone.stages.N.N.fusions.N.paths.N.norm
        backbone.stages.N.N.fusions.N.paths.N.N.conv backbone.stages.N.N.fusions.N.paths.N.N.norm
        decode_head.pixels.conv decode_head.pixels.norm
        decode_head.query.N.conv decode_head.query.N.norm decode_head.key.N.conv decode_head.key.N.norm
        decode_head.value.conv decode_head.value.norm decode_head.context.conv decode_head.context.norm
        decode_head.fusion.conv decode_head.fusion.norm decode_head.classifier
        auxiliary_heads.coarse.convs.N.conv auxiliary_heads.coarse.convs.N.norm auxiliary_heads.coarse.classifier
        """,
    ),
    "mobilenet_v2": (
        lambda: Segmentor(BACKBONES["mobilenet_v2"](), HEADS["aspp-separable"]),
        """
        backbone.stem.conv backbone.stem.norm
        backbone.layerN.N.expand.conv backbone.layerN.N.expand.norm
        backbone.layerN.N.depthwise.conv backbone.layerN.N.depthwise.norm
        backbone.layerN.N.project.conv backbone.layerN.N.project.norm
        decode_head.pyramid.average.conv decode_head.pyramid.average.norm
        decode_head.pyramid.branches.N.conv decode_head.pyramid.branches.N.norm
        decode_head.pyramid.branches.N.depthwise.conv decode_head.pyramid.branches.N.depthwise.norm
        decode_head.pyramid.branches.N.pointwise.conv decode_head.pyramid.branches.N.pointwise.norm
        decode_head.pyramid.bottleneck.conv decode_head.pyramid.bottleneck.norm
        decode_head.skip.conv decode_head.skip.norm
        decode_head.decoder.N.depthwise.conv decode_head.decoder.N.depthwise.norm
        decode_head.decoder.N.pointwise.conv decode_head.decoder.N.pointwise.norm decode_head.classifier
        """,
    ),
    "mobilenet_v3": (
        lambda: Segmentor(MobileNetV3(arch="small"), partial(LRASPPHead, num_classes=3, channels=8)),
        """
        backbone.layers.N.conv backbone.layers.N.norm
        backbone.layers.N.expand.conv backbone.layers.N.expand.norm
        backbone.layers.N.depthwise.conv backbone.layers.N.depthwise.norm
        backbone.layers.N.attention.squeeze backbone.layers.N.attention.excite
        backbone.layers.N.project.conv backbone.layers.N.project.norm
        decode_head.deep.conv decode_head.deep.norm decode_head.gate decode_head.mix
        decode_head.branches.N decode_head.ups.N.conv decode_head.ups.N.norm decode_head.classifier
        """,
    ),
    "resnest": (
        lambda: Segmentor(BACKBONES["resnest50-d32"](), HEADS["aspp"]),
        """
        backbone.stem.N.conv backbone.stem.N.norm
        backbone.layerN.N.convN backbone.layerN.N.normN backbone.layerN.N.convN.conv backbone.layerN.N.convN.norm
        backbone.layerN.N.convN.squeeze backbone.layerN.N.convN.squeeze_norm backbone.layerN.N.convN.scores
        backbone.layerN.N.downsample.conv backbone.layerN.N.downsample.norm
        decode_head.pyramid.average.conv decode_head.pyramid.average.norm
        decode_head.pyramid.branches.N.conv decode_head.pyramid.branches.N.norm
        decode_head.pyramid.bottleneck.conv decode_head.pyramid.bottleneck.norm decode_head.classifier
        """,
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_parameters_are_those_that_checkpoints_rely_on(name):
    build, expected = NAMES[name]
    modules = {parameter.rpartition(".")[0] for parameter, _ in build().named_parameters()}
    assert {re.sub(r"\d+", "N", module) for module in modules} == set(expected.split())


def test_a_backbone_must_describe_its_features():
    with pytest.raises(ValueError, match="Conv2d must have an attribute feature_specs"):
        Segmentor(nn.Conv2d(3, 4, 1), AUXILIARY)


def test_a_neck_must_describe_its_features():
    with pytest.raises(ValueError, match="Identity must have an attribute feature_specs"):
        Segmentor(StubBackbone(), AUXILIARY, neck=nn.Identity)


@pytest.mark.parametrize("name", ["decode", "a.b", ""])
def test_names_of_auxiliary_heads(name):
    with pytest.raises(ValueError, match=f"name must be letters.* not 'decode', got '{name}'"):
        Segmentor(StubBackbone(), AUXILIARY, {name: AUXILIARY})


def test_heads_must_agree_on_the_classes():
    with pytest.raises(ValueError, match=r"same num_classes, got \{'decode': 3, 'aux': 4\}"):
        Segmentor(StubBackbone(), AUXILIARY, {"aux": partial(AUXILIARY, num_classes=4)})


def test_a_heads_error_names_the_head():
    with pytest.raises(ValueError, match=r"head 'aux': in_index=2 names no feature; there are 2 \(0: 4 channels"):
        Segmentor(StubBackbone(), AUXILIARY, {"aux": partial(AUXILIARY, in_index=2)})
