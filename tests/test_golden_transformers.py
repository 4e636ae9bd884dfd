"""Transformers, their necks and heads against the numbers of the real MMSegmentation, by way of its configurations.

`golden/mmseg_transformers.json` is made by `scripts/golden_transformers.py`.
"""

import json
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from reference import mmpretrain_convnext
from reference.mmseg_nets import fill, image
from seglit.interop.mmseg.network import network
from seglit.interop.mmseg.parts.convnext import PARTS
from seglit.interop.mmseg.settings import Settings, UnsupportedError

STORED = json.loads((Path(__file__).parent / "golden" / "mmseg_transformers.json").read_text())["models"]


@pytest.mark.parametrize("name", STORED)
@torch.no_grad()
def test_logits_are_the_stored_ones(name: str) -> None:
    stored = STORED[name]
    translated = network(stored["model"])
    assert not translated.settings.untaken()
    dtype = getattr(torch, stored["dtype"])
    net = translated.build().to(dtype).eval()
    weights = {key: fill(key, tuple(shape)) for key, shape in stored["weights"].items()}
    net.load_state_dict(translated.renamed(weights))
    logits = net(image(name, tuple(stored["input_size"])).to(dtype))["decode"]
    assert list(logits.shape) == stored["logits"]["shape"]
    samples = torch.tensor(stored["logits"]["samples"], dtype=dtype)
    tolerance = 1e-11 if dtype == torch.float64 else 1e-5
    places = torch.linspace(0, logits.numel() - 1, len(samples)).long()
    assert_close(logits.flatten()[places], samples, rtol=0, atol=tolerance * stored["logits"]["absmax"])


@torch.no_grad()
def test_convnext_is_the_papers() -> None:
    depths, channels = (1, 2, 1, 1), (4, 6, 8, 10)
    settings = {
        "type": "mmpretrain.ConvNeXt",
        "arch": {"depths": list(depths), "channels": list(channels)},
        "out_indices": [0, 1, 2, 3],
        "gap_before_final_norm": False,
    }
    head = {"type": "FCNHead", "num_classes": 2, "channels": 4}
    model = {"type": "EncoderDecoder", "backbone": settings, "decode_head": head}
    backbone = network(model).build().backbone.double().eval()
    weights = {key: fill(key, shape) for key, shape in mmpretrain_convnext.shapes(depths, channels).items()}
    backbone.load_state_dict(PARTS[0].renamed(weights))
    picture = image("convnext", (2, 3, 71, 98))
    for ours, expected in zip(backbone(picture), mmpretrain_convnext.outputs(weights, picture, depths), strict=True):
        assert_close(ours, expected, rtol=1e-10, atol=1e-10)


HEAD = {"num_classes": 2, "channels": 4}


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"type": "SwinTransformer", "use_abs_pos_embed": True}, "use_abs_pos_embed=True: there is only False"),
        ({"type": "SwinTransformer", "in_channels": 6}, "in_channels=6: there is only 3"),
        ({"type": "SwinTransformer", "norm_cfg": {"type": "BN"}}, "there is only LN"),
        ({"type": "SwinTransformer", "act_cfg": {"type": "ReLU"}}, "there is only GELU"),
        (
            {"type": "MixVisionTransformer", "norm_cfg": {"type": "LN", "affine": False}},
            "norm_cfg.affine: has no equal",
        ),
        ({"type": "VisionTransformer", "out_origin": True}, "out_origin=True: there is only False"),
        ({"type": "MSCAN", "drop_rate": 0.1}, "drop_rate=0.1: there is only 0.0"),
        ({"type": "ConvNeXt", "out_indices": [0, 1, 2, 3]}, "gap_before_final_norm=None: there is only False"),
        ({"type": "ConvNeXt"}, "there are only all four stages"),
        (
            {"type": "ConvNeXt", "arch": "atto", "out_indices": [0, 1, 2, 3], "gap_before_final_norm": False},
            "arch='atto': there are only tiny",
        ),
    ],
    ids=str,
)
def test_what_has_no_equal_is_refused(part: dict, words: str) -> None:
    model = {"type": "EncoderDecoder", "backbone": part, "decode_head": {"type": "FCNHead", **HEAD}}
    with pytest.raises(UnsupportedError) as caught:
        network(model)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("neck", "words"),
    [
        ({"type": "MultiLevelNeck", "out_channels": 4}, "the largest comes first here"),
        ({"type": "FPN", "in_channels": [4, 8], "out_channels": 4, "num_outs": 3}, "as many maps as in_channels"),
        ({"type": "FPN", "in_channels": [4], "out_channels": 4, "num_outs": 1, "start_level": 1}, "there is only 0"),
    ],
    ids=str,
)
def test_necks_without_equal_are_refused(neck: dict, words: str) -> None:
    backbone = {"type": "ResNet", "depth": 18}
    head = {"type": "FCNHead", **HEAD}
    with pytest.raises(UnsupportedError) as caught:
        network({"type": "EncoderDecoder", "backbone": backbone, "neck": neck, "decode_head": head})
    assert words in str(caught.value)


def test_weights_of_another_kind_of_feature2pyramid_find_their_level() -> None:
    from seglit.interop.mmseg.parts.feature2pyramid import PARTS

    renamed = PARTS[0].renamed({"upsample_2x.0.weight": torch.zeros(1)})
    assert list(renamed) == ["levels.0.last.weight"]
    node = PARTS[0].node(Settings({"type": "Feature2Pyramid", "rescales": [2, 1, 0.5, 0.25]}, "model.neck"))
    assert node["rescales"] == [2, 1, 0.5, 0.25]
