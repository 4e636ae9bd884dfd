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


@pytest.mark.parametrize("auxiliary", configs("auxiliary_heads"))
@pytest.mark.parametrize("decode", configs("decode_head"))
def test_heads(decode, auxiliary):
    with torch.device("meta"):
        auxiliary_heads = part("auxiliary_heads", auxiliary)
        net = Segmentor(UNet(base_channels=2), part("decode_head", decode), auxiliary_heads)
        outputs = net(torch.zeros(2, 3, 32, 32))
    assert {logits.shape[1] for logits in outputs.values()} == {7}
    assert set(outputs) == set(net.heads) >= {"decode", *auxiliary_heads}


ATTENTION = (
    *("ann", "apcnet", "ccnet", "danet", "dmnet", "dnl", "emanet", "encnet", "fastfcn", "gcnet"),
    *("isanet", "nonlocal", "psanet"),
)


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in CONF.parent.glob("*[!1]-d*.yaml") if path.name.startswith(ATTENTION))
)
def test_segmentors_with_attention(name):
    cfg = compose(["name=x", "output_dir=x", f"model={name}"])
    with torch.device("meta"):
        net = instantiate(cfg.model.net, _convert_="all")
        outputs = net(torch.zeros(2, 3, 64, 96))
    assert outputs["decode"].shape == (2, 7, 8, 12)
    assert set(outputs) == set(instantiate(cfg.model.criterion, _convert_="all").heads)


def test_unet_small_has_less_than_a_million_parameters():
    assert 5e5 < sum(parameter.numel() for parameter in part("backbone", "unet_small").parameters()) < 1e6


def test_the_norm_of_a_part_can_be_configured():
    norm = {"_target_": "seglit.blocks.GroupNorm", "_partial_": True, "num_groups": 4}
    tree = OmegaConf.create({"data": {"num_classes": 7}, "head": {"channels": 8, "norm": norm}})
    tree.head = OmegaConf.merge(OmegaConf.load(CONF / "decode_head" / "psp.yaml"), tree.head)
    net = Segmentor(UNet(base_channels=2), instantiate(tree.head, _convert_="all"))
    groups = {part.num_groups for part in net.decode_head.modules() if isinstance(part, GroupNorm)}
    assert groups == {4}
