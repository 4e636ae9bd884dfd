"""A whole training step of STDC1 with the criteria of its configuration, against the real MMSegmentation."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from reference.mmseg_nets import fill, image, label_map
from seglit.interop.mmseg.network import network
from seglit.losses import (
    CrossEntropyLoss,
    DetailTarget,
    DiceLoss,
    HeadCriterion,
    OHEMPixelSampler,
    SegmentationCriterion,
)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "golden"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the golden numbers are not on this machine")


def criterion() -> SegmentationCriterion:
    head = partial(HeadCriterion, compat="mmseg-1.2")
    classes = partial(head, {"loss_ce": CrossEntropyLoss()}, OHEMPixelSampler(0.7, 10000))
    details = {"loss_ce": CrossEntropyLoss(use_sigmoid=True), "loss_dice": DiceLoss(use_sigmoid=True, smooth=1e-3)}
    # The numbers are of a net in float64, where 0.1 made from float32 exceeds the threshold of 0.1, so that what every
    # fourth pixel shows alone is a boundary; in float32, as anyone trains, it is none.
    return SegmentationCriterion(
        classes(), aux_0=classes(), aux_1=classes(), aux_2=head(details, target=DetailTarget(0.0999))
    )


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_step_of_stdc1(mode: str) -> None:
    case = torch.load(SHARED / "train_models_122.pt", weights_only=True)["cases"]["stdc1"]
    translated = network(json.loads((SHARED / "reduced_cfgs.json").read_text())["stdc1"])
    shapes = json.loads((Path(__file__).parent / "golden" / "mmseg_fast_nets.json").read_text())["models"]["stdc1"]
    net = translated.build().double()
    theirs = {key: fill(key, tuple(shape)) for key, shape in case_shapes(net, shapes["weights"], translated).items()}
    net.load_state_dict(translated.renamed(theirs))
    net.train()
    if mode == "eval":
        for part in net.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.eval()
    count, _, height, width = case["size"]
    for head in net.heads.values():
        head.dropout.p = 0.0
    labels = label_map(case["label_seed"], (count, height, width), case["label_classes"])
    outputs = net(image(case["image_seed"], tuple(case["size"])))
    aligned = {name: head.align_corners for name, head in net.heads.items()}
    terms = criterion()(outputs, labels, aligned)
    terms["loss"].backward()
    for name, value in case[mode]["raw"].items():
        if "loss" in name:
            # Theirs casts targets and epsilons of BCE and Dice to float32.
            assert_close(terms[name].item(), float(value), rtol=2e-6, atol=0)
    gradients = dict(net.named_parameters())
    for key, found in case[mode]["grads"].items():
        if found is not None:  # as of the weights with which `STDCHead` makes its labels
            (name,) = translated.renamed({key: torch.zeros(())})
            assert_close(gradients[name].grad.norm().item(), found[0], rtol=1e-5, atol=1e-10)


def case_shapes(net: torch.nn.Module, names: dict, translated) -> dict[str, tuple[int, ...]]:
    """Their names with the shapes of this net, which is narrower than that whose names they are."""
    state = net.state_dict()
    shapes = {}
    for key in names:
        ours = translated.renamed({key: torch.zeros(())})
        if ours:
            shapes[key] = tuple(state[next(iter(ours))].shape)
    return shapes
