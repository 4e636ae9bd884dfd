"""OHEM with each loss, and the heads' terms, against the numbers of the real MMSegmentation."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor

from seglit.losses import CrossEntropyLoss, DiceLoss, FocalLoss, HeadCriterion, LovaszLoss, OHEMPixelSampler
from seglit.losses.loss import Loss

ALL = Path(__file__).resolve().parents[3] / "shared" / "golden"
GOLDEN = ALL if ALL.is_dir() else Path(__file__).resolve().parents[1] / "golden"
"""All cases, or the copy of those that our constructors can express."""


def build(configs: dict | list, compat: str) -> dict[str, Loss]:
    """The head's losses by name; raises KeyError where two share a name, which a mapping cannot express."""
    losses: dict[str, Loss] = {}
    for config in configs if isinstance(configs, list) else [configs]:
        options = dict(config)
        kind = options.pop("type")
        options.pop("reduction", None)
        default = {"CrossEntropyLoss": "ce", "LovaszLoss": "lovasz", "DiceLoss": "dice", "FocalLoss": "focal"}[kind]
        name = options.pop("loss_name", f"loss_{default}")
        if name in losses:
            raise KeyError(name)
        if kind == "DiceLoss" and compat == "mmseg-1.2":
            options = {"use_sigmoid": True, "smooth": 1e-3} | options
        losses[name] = {
            "CrossEntropyLoss": CrossEntropyLoss,
            "LovaszLoss": LovaszLoss,
            "DiceLoss": DiceLoss,
            "FocalLoss": FocalLoss,
        }[kind](**options)
    return losses


def compare(case: dict, golden: dict, tensors: dict[str, Tensor], compat: str) -> str | None:
    try:
        losses = build(golden["losses"][case["loss"]], compat)
    except KeyError:
        return "two losses of one name"
    if not any(key.startswith(("losses", "total")) for key in case):
        return "fails there"
    sampler = case["sampler"] and OHEMPixelSampler(case["sampler"]["thresh"], case["sampler"]["min_kept"])
    try:
        criterion = HeadCriterion(losses, sampler, ignore_index=case["ignore_index"], compat=compat)
    except ValueError:
        return "refused"
    # A number of 1.2 that stands for 0.25's too, where only an epsilon in the divisor differs.
    epsilon = 2e-9 if case.get("vs_122") == "same" else 0.0
    compared = False
    for dtype, suffix, rtol in ((torch.float64, "64", 1e-9), (torch.float32, "32", 1e-5)):
        if f"losses{suffix}" not in case:
            continue
        expected = case[f"losses{suffix}"]
        if any(torch.as_tensor(value).isnan().any() for value in expected.values()):
            return "NaN there"
        if case["loss"] in {"bce", "ce_dice", "dice"}:
            # Theirs casts to float32 inside.
            rtol = max(rtol, 2e-6)
        rtol = max(rtol, epsilon)
        logits = tensors[case["logits"]].detach().to(dtype).clone().requires_grad_()
        terms = criterion(logits, tensors[case["label"]], case["align_corners"])
        assert set(terms) == set(expected), case["id"]
        for name, value in expected.items():
            torch.testing.assert_close(
                terms[name].double().reshape(-1),
                torch.as_tensor(value).double().reshape(-1),
                rtol=rtol,
                atol=1e-12,
                msg=lambda text, name=name: f"{case['id']} {name}: {text}",
            )
        if f"grad{suffix}" in case:
            sum(term for name, term in terms.items() if name.startswith("loss_")).backward()
            scale = case[f"grad{suffix}"].abs().max().item()
            torch.testing.assert_close(
                logits.grad.double(),
                case[f"grad{suffix}"].double(),
                rtol=rtol,
                atol=rtol * scale,
                msg=lambda text: f"{case['id']}: {text}",
            )
        compared = True
    return None if compared else "fails there"


@pytest.mark.parametrize(
    ("compat", "name", "expected"), [("mmseg-0.25", "ohem_025.pt", 111), ("mmseg-1.2", "ohem_122.pt", 86)]
)
def test_ohem(compat: str, name: str, expected: int) -> None:
    newer = torch.load(GOLDEN / "ohem_122.pt", weights_only=True)
    golden = torch.load(GOLDEN / name, weights_only=True)
    by_id = {case["id"]: case for case in newer["cases"]}
    reasons = Counter()
    for case in golden["cases"]:
        same = by_id.get(case["id"], {}) if case.get("vs_122", "").startswith("same") else {}
        reasons[compare(same | case, newer | golden, newer["tensors"], compat)] += 1
    assert reasons.pop(None) == expected
