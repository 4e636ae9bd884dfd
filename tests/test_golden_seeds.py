"""The documented training tricks on whole narrowed models, against both releases of MMSegmentation.

Loss terms, accuracy, the total, and the norm and sum of each parameter's gradient, in float64, through the public
constructors and `compat`.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from reference.mmseg_nets import (
    image,
    load_mmseg_fill,
    mmseg_key,
    narrowed_pspnet,
    narrowed_unet,
    running_statistics,
)
from seglit.losses import CrossEntropyLoss, DiceLoss, HeadCriterion, OHEMPixelSampler, SegmentationCriterion
from seglit.losses.loss import Loss

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"

SEEDS = [
    "pspnet_plain",
    "pspnet_ohem_thresh0.7_keep500",
    "pspnet_ohem_threshNone_keep500",
    "pspnet_ohem_thresh0.9_keep4000",
    "pspnet_class_weight",
    "pspnet_class_weight_with255",
    "pspnet_class_weight_avg_non_ignore",
    "pspnet_avg_non_ignore",
    "unet_ce1_dice3",
    "unet_ce1_dice3_with255",
    "unet_ignore0_avg_non_ignore",
    "unet_ignore0",
]
FAILS_THERE = {("mmseg-1.2", "pspnet_class_weight_with255")}

pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden numbers are not on this machine")


def build_loss(config: dict[str, Any], compat: str) -> tuple[str, Loss]:
    options = dict(config)
    kind = options.pop("type")
    name = options.pop("loss_name", "loss_ce")
    if kind == "CrossEntropyLoss":
        return name, CrossEntropyLoss(**options)
    if compat == "mmseg-1.2":
        options = {"use_sigmoid": True, "smooth": 1e-3} | options
    return name, DiceLoss(**options)


def build_head(config: dict[str, Any], compat: str) -> HeadCriterion:
    configs = config["loss_decode"]
    losses = dict(build_loss(entry, compat) for entry in (configs if isinstance(configs, list) else [configs]))
    sampler = config.get("sampler")
    return HeadCriterion(
        losses,
        sampler and OHEMPixelSampler(sampler["thresh"], sampler["min_kept"]),
        ignore_index=config.get("ignore_index", 255),
        compat=compat,
    )


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("compat", ["mmseg-0.25", "mmseg-1.2"])
def test_seed(compat: str, seed: str, mode: str) -> None:
    newer = torch.load(GOLDEN / "train_seeds_122.pt", weights_only=True)["cases"][seed]
    older = torch.load(GOLDEN / "train_seeds_025.pt", weights_only=True)["cases"]
    theirs = older[seed][mode] if compat == "mmseg-0.25" else newer[mode]
    if (compat, seed) in FAILS_THERE:
        assert theirs["error"]["type"] == "IndexError"
        return
    config = json.loads(newer["cfg"])
    classes = config["decode_head"]["num_classes"]
    net = narrowed_pspnet() if seed.startswith("pspnet") else narrowed_unet(classes)
    net = net.double()
    load_mmseg_fill(net)
    net.train()
    criterion = SegmentationCriterion(
        decode=build_head(config["decode_head"], compat), aux=build_head(config["auxiliary_head"], compat)
    )
    # Dice 1.2 casts its targets to float32 inside.
    rtol = 2e-6 if compat == "mmseg-1.2" and "dice" in seed else 1e-9
    if mode == "eval":
        running_statistics(net)
    terms = criterion(net(image(newer["image_seed"], tuple(newer["size"]))), newer["label"].long())
    terms["loss"].backward()
    assert_close(terms["loss"].item(), float(theirs["total"]), rtol=rtol, atol=0)
    assert set(terms) - {"loss"} == set(theirs["raw"])
    for name, value in theirs["raw"].items():
        assert_close(terms[name].item(), value.item(), rtol=1e-6 if "acc" in name else rtol, atol=0)
    gradients = {mmseg_key(name): parameter.grad for name, parameter in net.named_parameters()}
    assert set(theirs["grads"]) == set(gradients)
    for name, (norm, total) in theirs["grads"].items():
        assert_close(gradients[name].norm().item(), norm, rtol=rtol * 5, atol=1e-12)
        assert_close(gradients[name].sum().item(), total, rtol=0, atol=5 * rtol * norm + 1e-12)
