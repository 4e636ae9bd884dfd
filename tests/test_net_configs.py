"""Every file of the groups under conf/model/net makes a part that works."""

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from seglit.backbones import UNet
from seglit.blocks import GroupNorm
from seglit.config import compose, conf_dir
from seglit.segmentor import Segmentor

CONF = conf_dir() / "model" / "net"


def configs(group: str) -> list[str]:
    found = sorted(path.stem for path in (CONF / group).glob("[!_]*.yaml"))
    assert found, f"no configs in {CONF / group}"
    return found


def part(group: str, name: str):
    """What Hydra makes of the file, given the data set of seven classes."""
    cfg = compose(["name=x", "output_dir=x", f"model/net/{group}={name}"])
    return instantiate(cfg.model.net[group], _convert_="all")


@pytest.mark.parametrize("name", configs("backbone"))
@torch.no_grad()
def test_backbone(name):
    backbone = part("backbone", name).eval()
    features = backbone(torch.zeros(1, 3, 33, 35))
    assert [feature.shape[1] for feature in features] == [spec.channels for spec in backbone.feature_specs]


BOUNDARIES = {"aux_2": 2, "boundary": 1}
"""Channels of the heads that learn boundaries."""


@pytest.mark.parametrize(
    ("decode", "auxiliary"),
    [
        *((decode, "none") for decode in configs("decode_head")),
        *(("fcn_unet_small", auxiliary) for auxiliary in configs("auxiliary_heads")),
    ],
)
def test_heads(decode, auxiliary):
    net = Segmentor(UNet(base_channels=2), part("decode_head", decode), part("auxiliary_heads", auxiliary))
    outputs = net(torch.zeros(2, 3, 32, 32))
    for name, logits in outputs.items():
        expected = BOUNDARIES.get(name, 7) if auxiliary.startswith(("stdc", "pidnet")) else 7
        assert logits.shape[1] == expected
    assert (set(outputs) == {"decode"}) == (auxiliary == "none")


@pytest.mark.parametrize("name", ["bisenetv2", "ddrnet_23-slim", "fast_scnn", "pidnet-s", "stdc1"])
def test_whole_models_train(name):
    """One step: criteria and heads belong together, and the loss is a number."""
    cfg = compose(["name=x", "output_dir=x", f"model={name}"])
    module = instantiate(cfg.model, _convert_="all")
    labels = torch.arange(7).repeat_interleave(10)[:64].expand(2, 64, 64).contiguous()
    outputs = module.net.train()(torch.randn(2, 3, 64, 64))
    terms = module.criterion(outputs, labels, module.align_corners)
    terms["loss"].backward()
    assert terms["loss"].isfinite()
    assert {term.split(".")[0] for term in terms} - {"loss"} == set(outputs)


def test_unet_small_has_less_than_a_million_parameters():
    assert 5e5 < sum(parameter.numel() for parameter in part("backbone", "unet_small").parameters()) < 1e6


def test_the_norm_of_a_part_can_be_configured():
    norm = {"_target_": "seglit.blocks.GroupNorm", "_partial_": True, "num_groups": 4}
    tree = OmegaConf.create({"data": {"num_classes": 7}, "head": {"channels": 8, "norm": norm}})
    tree.head = OmegaConf.merge(OmegaConf.load(CONF / "decode_head" / "psp.yaml"), tree.head)
    net = Segmentor(UNet(base_channels=2), instantiate(tree.head, _convert_="all"))
    groups = {part.num_groups for part in net.decode_head.modules() if isinstance(part, GroupNorm)}
    assert groups == {4}
