"""Every file of the groups under conf/model/net makes a part that works."""

import re

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from seglit.backbones import ResNet, UNet, VisionTransformer
from seglit.blocks import GroupNorm
from seglit.config import compose, conf_dir
from seglit.optim import parameter_groups
from seglit.segmentor import Segmentor

CONF = conf_dir() / "model" / "net"


def configs(group: str) -> list[str]:
    found = sorted(path.stem for path in (CONF / group).glob("[!_]*.yaml"))
    assert found, f"no configs in {CONF / group}"
    return found


def part(group: str, name: str):
    """What Hydra makes of the file, given the data set of seven classes."""
    plus = "+" if group == "neck" else ""
    cfg = compose(["name=x", "output_dir=x", f"{plus}model/net/{group}={name}"])
    return instantiate(cfg.model.net[group], _convert_="all")


@pytest.mark.parametrize("name", configs("backbone"))
@torch.no_grad()
def test_backbone(name):
    with torch.device("meta"):
        backbone = part("backbone", name).eval()
        features = backbone(torch.zeros(1, 3, 33, 35))
    assert [feature.shape[1] for feature in features] == [spec.channels for spec in backbone.feature_specs]


BOUNDARIES = {"aux_2": 2, "boundary": 1}
"""Channels of the heads that learn boundaries."""


def tried(decode: str, auxiliary: str) -> None:
    others = part("auxiliary_heads", auxiliary)
    with torch.device("meta"):
        net = Segmentor(UNet(base_channels=2), part("decode_head", decode), others)
        outputs = net(torch.zeros(2, 3, 32, 32))
    for name, logits in outputs.items():
        expected = BOUNDARIES.get(name, 7) if auxiliary.startswith(("stdc", "pidnet")) else 7
        assert logits.shape[1] == expected
    assert set(outputs) == set(net.heads) >= {"decode", *others}


@pytest.mark.parametrize("name", configs("decode_head"))
def test_decode_head(name):
    refined = part("decode_head", name).func.refines
    tried(name, refined or "fcn")


@pytest.mark.parametrize("name", configs("auxiliary_heads"))
def test_auxiliary_heads(name):
    tried("fcn", name)


@pytest.mark.parametrize("name", configs("neck"))
@torch.no_grad()
def test_neck(name):
    with torch.device("meta"):
        backbone = ResNet(18) if name == "fpn" else VisionTransformer(num_layers=4, embed_dims=24, out_indices=range(4))
        neck = part("neck", name)(backbone.feature_specs)
        maps = neck(backbone(torch.zeros(1, 3, 64, 96)))
    for feature, spec in zip(maps, neck.feature_specs, strict=True):
        assert feature.shape == (1, spec.channels, 64 // spec.stride, 96 // spec.stride)


SMALLEST = ["segformer_mit-b0", "segnext_mscan-t", "upernet_swin-t", "upernet_vit-b16", "upernet_convnext-tiny"]
SMALLEST += ["upernet_r50", "fpn_r50"]
WHOLE = sorted(path.stem for path in (conf_dir() / "model").glob("[!_]*.yaml"))


def but_larger_ones(name: str):
    """Of what differs in size alone, one is enough among the default tests."""
    is_larger = re.search(r"_r101|mit-b[1-5]|mscan-[sbl]|swin-[sb]$|convnext-(small|base)|hr48|pidnet-[ml]", name)
    return pytest.param(name, marks=pytest.mark.slow) if is_larger else name


@pytest.mark.parametrize("name", [but_larger_ones(name) for name in WHOLE])
def test_whole_segmentors(name):
    """Each is made, its criterion has the heads of its net, and its rules of parameters match."""
    cfg = compose(["name=x", "output_dir=x", f"model={name}", "trainer.max_steps=10"])
    with torch.device("meta"):
        net = instantiate(cfg.model.net, _convert_="all")
        outputs = net(torch.zeros(2, 3, 64, 64)) if name in SMALLEST else net.heads
        groups = parameter_groups(net, lr=1.0, weight_decay=1.0, **OmegaConf.to_container(cfg.model.paramwise))
    assert set(outputs) == set(instantiate(cfg.model.criterion, _convert_="all").heads)
    assert sum(len(group["params"]) for group in groups) == sum(
        parameter.requires_grad for parameter in net.parameters()
    )


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
