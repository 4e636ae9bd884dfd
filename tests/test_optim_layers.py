"""How deep a parameter is."""

import pytest
import torch
from torch import nn

from seglit.backbones import ResNet, UNet
from seglit.optim import layer_depths


def depths_of(backbone: nn.Module, blocks: int | None = None) -> dict[str, int]:
    """By names without `backbone.`, beside one neck and one head."""
    names = [f"backbone.{name}" for name, _ in backbone.named_parameters()]
    depths = layer_depths([*names, "neck.conv.weight", "decode_head.classifier.weight"], blocks)
    assert depths["neck.conv.weight"] == depths["decode_head.classifier.weight"]
    return {name.removeprefix("backbone."): depth for name, depth in depths.items()}


def test_resnet_has_a_stem_and_four_stages() -> None:
    with torch.device("meta"):
        depths = depths_of(ResNet(18))
    for name, depth in depths.items():
        word = name.split(".")[0]
        assert depth == {"stem": 0, "layer1": 1, "layer2": 2, "layer3": 3, "layer4": 4}.get(word, 5), name


def test_blocks_split_stages_but_do_not_reach_across() -> None:
    """ResNet-34 has stages of 3, 4, 6 and 3 blocks, hence with two blocks a layer 2, 2, 3 and 2 layers."""
    with torch.device("meta"):
        depths = depths_of(ResNet(34), blocks=2)
    assert depths["layer1.1.conv1.weight"] == 1
    assert depths["layer1.2.conv1.weight"] == 2
    assert depths["layer2.0.conv1.weight"] == 3
    assert depths["layer3.5.conv2.weight"] == 7
    assert depths["decode_head.classifier.weight"] == 1 + 2 + 2 + 3 + 2


def test_unet_goes_down_and_up_again() -> None:
    with torch.device("meta"):
        depths = depths_of(UNet(num_stages=3))
    order = ["encoder.0", "encoder.1", "encoder.2", "decoder.1", "decoder.0", "decode_head"]
    for name, depth in depths.items():
        assert name.startswith(order[depth]) or (name.startswith("neck") and depth == 5)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            "resnet18",
            {"conv1.weight": 0, "bn1.bias": 0, "layer1.0.conv1.weight": 1, "layer4.1.bn2.weight": 4},
        ),
        (
            "convnext_atto",
            {"stem_0.weight": 0, "stages_1.downsample.0.weight": 2, "stages_3.blocks.1.gamma": 4},
        ),
        ("regnety_002", {"stem.conv.weight": 0, "s1.b1.conv1.conv.weight": 1, "s4.b7.conv3.bn.bias": 4}),
        ("mobilenetv3_small_050", {"conv_stem.weight": 0, "bn1.weight": 0, "blocks.5.0.conv.weight": 6}),
        (
            "vit_tiny_patch16_224",
            {"cls_token": 0, "pos_embed": 0, "patch_embed.proj.bias": 0, "blocks.0.norm1.weight": 1}
            | {"blocks.11.mlp.fc2.bias": 12},
        ),
    ],
)
def test_timm_names(model: str, expected: dict[str, int]) -> None:
    pytest.importorskip("timm", reason="timm is optional")
    from seglit.backbones import TimmBackbone

    with torch.device("meta"):
        depths = depths_of(TimmBackbone(model))
    depths = {name.replace("model.", ""): depth for name, depth in depths.items()}
    assert {name: depths[name] for name in expected} == expected
    assert depths["decode_head.classifier.weight"] == max(expected.values()) + 1
    assert set(depths.values()) == set(range(max(expected.values()) + 2))


def test_norms_after_the_backbone_have_the_full_rate() -> None:
    depths = layer_depths(["backbone.blocks.0.a", "backbone.norm.weight", "backbone.norm3.bias", "decode_head.a"])
    assert list(depths.values()) == [0, 1, 1, 1]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the name 'backbone\.transition1\.0\.weight' does not tell how deep"):
        layer_depths(["backbone.conv1.weight", "backbone.transition1.0.weight"])
    with pytest.raises(ValueError, match=r"the name 'backbone\.layer\.weight'"):
        layer_depths(["backbone.layer.weight"])


def test_a_net_without_backbone_is_refused() -> None:
    with pytest.raises(ValueError, match=r"begin with 'backbone\.'"):
        layer_depths(["layer1.weight"])


def test_blocks_must_split_something() -> None:
    names = ["backbone.layer1.0.weight", "backbone.layer1.1.weight", "backbone.layer1.2.weight"]
    assert list(layer_depths(names, 2).values()) == [0, 0, 1]
    with pytest.raises(ValueError, match="layer_decay_blocks=3 has no effect"):
        layer_depths(names, 3)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        layer_depths(names, 0)


def test_the_stem_of_convnext_is_a_layer_before_the_first_stage() -> None:
    """By its original names, in which the stem is the first of the layers that stand before a stage."""
    names = [
        "backbone.downsample_layers.0.0.weight",
        "backbone.stages.0.0.gamma",
        "backbone.downsample_layers.1.0.weight",
        "backbone.stages.1.0.gamma",
        "decode_head.classifier.weight",
    ]
    assert list(layer_depths(names).values()) == [0, 1, 2, 2, 3]
