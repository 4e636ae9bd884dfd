"""Scores and inference against the numbers of the real MMSegmentation."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from reference.mmseg_nets import image, load_mmseg_fill, narrowed_pspnet
from seglit.inference import Inference
from seglit.metrics import ConfusionMatrix, scores

SHARED = Path(__file__).resolve().parents[2] / "shared" / "golden"

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the golden numbers are not on this machine")

PER_CLASS = {"IoU": "iou", "Acc": "recall", "Recall": "recall", "Dice": "dice", "Precision": "precision"}
MEANS = {"mIoU": "miou", "mAcc": "macc", "mRecall": "macc", "mDice": "mdice", "aAcc": "aacc"}


def golden(file: str) -> dict:
    return torch.load(SHARED / file, weights_only=True)


def counted(case: dict) -> Tensor:
    metric = ConfusionMatrix(case["num_classes"], case["ignore_index"])
    metric.update(case["preds"], case["labels"])
    return metric.compute()


def test_areas_scores_and_summaries() -> None:
    """Their F-score is no score of ours: it is Dice, but NaN, and so out of the mean, where Dice is 0.

    `nan_to_num` puts zeros into the means, which we do not offer: of that case the summary stays out.
    """
    cases = golden("metrics_122.pt")["cases"]
    older = {case["tag"]: case for case in golden("metrics_025.pt")["cases"]}
    compared = {"areas": 0, "per class": 0, "summary": 0}
    for case in cases:
        matrix = counted(case)
        areas = {
            "intersect": matrix.diagonal(),
            "pred": matrix.sum(0),
            "label": matrix.sum(1),
            "union": matrix.sum(0) + matrix.sum(1) - matrix.diagonal(),
        }
        for name, area in areas.items():
            assert torch.equal(area, case["areas"][name].long()), (case["tag"], name)
            compared["areas"] += 1
        ours = scores(matrix)
        for theirs in (case, older[case["tag"]]):
            for name, attribute in PER_CLASS.items():
                expected = torch.as_tensor(theirs["per_class"][name]).double()
                actual = getattr(ours, attribute)
                if case["nan_to_num"] is not None:
                    actual = actual.nan_to_num(case["nan_to_num"])
                # Theirs are quotients in float32.
                assert_close(actual, expected, rtol=0, atol=1e-7, equal_nan=True, msg=f"{case['tag']} {name}")
                compared["per class"] += 1
        if case["nan_to_num"] is None:
            for name, attribute in MEANS.items():
                assert round(100 * getattr(ours, attribute), 2) == pytest.approx(case["summary"][name], abs=1e-5)
                compared["summary"] += 1
            precision = ours.precision.nanmean().item()
            assert round(100 * precision, 2) == pytest.approx(case["summary"]["mPrecision"], abs=1e-5)
    assert compared == {"areas": 5 * 4, "per class": 5 * 2 * 5, "summary": 4 * 5}


def test_whole_image_and_sliding_window_logits() -> None:
    cases = golden("infer_122.pt")["cases"]
    net = load_mmseg_fill(narrowed_pspnet()).double().eval()
    for name, case in cases.items():
        config = json.loads(case["test_cfg"])
        inference = Inference(window=config.get("crop_size"), stride=config.get("stride"))
        picture = image(case["input_seed"], tuple(case["size"]))
        assert net.decode_head.align_corners is case["align_corners"]
        logits = inference(net, picture, (70, 101))
        expected = case["logits"]
        assert list(logits.shape) == expected["shape"]
        places = torch.linspace(0, logits.numel() - 1, len(expected["samples"])).long()
        assert_close(logits.flatten()[places], expected["samples"], rtol=1e-6, atol=1e-6, msg=name)
        assert logits.mean().item() == pytest.approx(expected["mean"], rel=1e-6)
        assert logits.std(correction=0).item() == pytest.approx(expected["std"], rel=1e-6)
        assert logits.abs().max().item() == pytest.approx(expected["absmax"], rel=1e-6)
        assert torch.equal(inference.predict(net, picture, (70, 101)), case["argmax"].long())
    assert len(cases) == 3
