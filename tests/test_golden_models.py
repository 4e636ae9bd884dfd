"""Our networks against the numbers of the real MMSegmentation: names, features, logits, gradients.

`golden/mmseg_models.json` holds a few of those numbers, for where the rest is absent.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from reference.mmseg_nets import (
    fcn,
    image,
    label_map,
    load_mmseg_fill,
    mmseg_key,
    narrowed_fcn,
    narrowed_pspnet,
    narrowed_unet,
    pspnet,
    running_statistics,
    unet,
)
from seglit.segmentor import Segmentor

SHARED = Path(__file__).resolve().parents[2] / "shared" / "golden"
STORED = json.loads((Path(__file__).parent / "golden" / "mmseg_models.json").read_text())

FLOAT32_ROUNDING = 2.0**-24
"""The narrowed models' features and logits are stored in float32, everything else in float64."""

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the golden numbers are not on this machine")

NARROWED = {
    "pspnet_r50": narrowed_pspnet,
    "fcn_r50": narrowed_fcn,
    "unet_s5_d16_fcn": partial(narrowed_unet, 2),
    "unet_s5_d16_fcn_cityscapes": partial(narrowed_unet, 19),
}
FULL = {
    "pspnet_r50": pspnet,
    "fcn_r50": fcn,
    "unet_s5_d16_fcn": partial(unet, 2),
    "unet_s5_d16_fcn_cityscapes": partial(unet, 19),
}


def golden(file: str) -> dict:
    return torch.load(SHARED / file, weights_only=True)


def highest_resolution_first(name: str, features: list) -> list:
    return features[::-1] if name.startswith("unet") else features


def assert_has_summary(ours: Tensor, summary: dict, relative: float = 1e-9) -> None:
    """Within `relative` of the largest value, as values near zero are differences of large ones."""
    assert list(ours.shape) == summary["shape"]
    samples = torch.as_tensor(summary["samples"], dtype=torch.float64)
    places = torch.linspace(0, ours.numel() - 1, len(samples)).long()
    tolerance = {"rtol": 0, "atol": relative * summary["absmax"]}
    assert_close(ours.flatten()[places], samples, **tolerance)
    for value, name in ((ours.mean(), "mean"), (ours.std(correction=0), "std"), (ours.abs().max(), "absmax")):
        assert_close(value.item(), summary[name], **tolerance)


@torch.no_grad()
def features_and_logits(build: Callable[[], Segmentor], model: dict) -> tuple[tuple[Tensor, ...], Tensor]:
    net = load_mmseg_fill(build().double()).eval()
    features = net.backbone(image(model["input_seed"], tuple(model["input_size"])))
    return features, net.decode_head(features)


def assert_trains_alike(name: str, case: dict, mode: str) -> Segmentor:
    """Losses, gradients and moved BN statistics of one step; `mode` says which statistics it uses."""
    net = load_mmseg_fill(NARROWED[name]().double())
    net = net.train() if mode == "train" else running_statistics(net)
    count, _, height, width = case["size"]
    labels = label_map(case["label_seed"], (count, height, width), case["label_classes"])
    outputs = net(image(case["image_seed"], tuple(case["size"])))
    losses = {}
    for head, weight in (("decode", 1.0), ("aux", 0.4)):
        logits = F.interpolate(outputs[head], (height, width), mode="bilinear", align_corners=False)
        total = F.cross_entropy(logits, labels, ignore_index=255, reduction="sum")
        losses[f"{head}.loss_ce"] = weight * total / labels.numel()
    sum(losses.values()).backward()

    for term, value in losses.items():
        assert_close(value.item(), float(case[mode]["raw"][term]), rtol=1e-9, atol=0)
    gradients = {mmseg_key(key): parameter.grad for key, parameter in net.named_parameters()}
    for key, (norm, signed_sum) in case[mode]["grads"].items():
        assert_close(gradients[key].norm().item(), norm, rtol=1e-9, atol=1e-12)
        assert_close(gradients[key].sum().item(), signed_sum, rtol=0, atol=1e-9 * norm)
    buffers = {mmseg_key(key): buffer for key, buffer in net.named_buffers()}
    for key, summary in case[mode]["bn_buffers_after"].items():
        assert_has_summary(buffers[key], summary)
    return net


@pytest.mark.parametrize("name", STORED["models"])
def test_logits_are_the_stored_ones(name: str) -> None:
    model = STORED["models"][name]
    _, logits = features_and_logits(NARROWED[name], model)
    assert_has_summary(logits, model["logits"], FLOAT32_ROUNDING)


@pytest.mark.parametrize("name", STORED["training"])
def test_training_is_as_stored(name: str) -> None:
    assert_trains_alike(name, STORED["training"][name], "train")


@needs_shared
@pytest.mark.parametrize("name", FULL)
def test_every_parameter_has_one_counterpart(name: str) -> None:
    theirs = json.loads((SHARED / "state_dict_keys.json").read_text())[name]
    with torch.device("meta"):
        net = FULL[name]()
    state = net.state_dict()
    assert {mmseg_key(key): list(value.shape) for key, value in state.items()} == theirs["state_dict"]
    assert len(state) == len(theirs["state_dict"])
    assert {mmseg_key(key) for key, _ in net.named_buffers()} == set(theirs["buffers"])


@needs_shared
@pytest.mark.parametrize("name", NARROWED)
def test_features_and_logits(name: str) -> None:
    model = golden("models_reduced_122.pt")["models"][name]
    features, logits = features_and_logits(NARROWED[name], model)
    theirs = [*highest_resolution_first(name, model["feats"]), *model["logits"]]
    for ours, expected in zip([*features, logits], theirs, strict=True):
        tolerance = FLOAT32_ROUNDING * float(expected.abs().max())
        assert_close(ours, expected.double(), rtol=0, atol=tolerance)


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_features_and_logits_at_full_width(name: str) -> None:
    model = golden("models_full_122.pt")["models"][name]
    features, logits = features_and_logits(FULL[name], model)
    theirs = [*highest_resolution_first(name, model["feats"]), *model["logits"]]
    for ours, expected in zip([*features, logits], theirs, strict=True):
        assert_has_summary(ours, expected)


@needs_shared
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", NARROWED)
def test_training(name: str, mode: str) -> None:
    case = golden("train_models_122.pt")["cases"][name]
    net = assert_trains_alike(name, case, mode)
    assert {mmseg_key(key) for key, _ in net.named_parameters()} == set(case[mode]["grads"])
