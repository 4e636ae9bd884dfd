"""Every loss against the numbers of the real MMSegmentation, values and gradients, through the public constructors."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor

from seglit.losses import CrossEntropyLoss, DiceLoss, FocalLoss, HeadCriterion, LovaszLoss, TverskyLoss
from seglit.losses.loss import Loss

ALL = Path(__file__).resolve().parents[3] / "shared" / "golden"
GOLDEN = ALL if ALL.is_dir() else Path(__file__).resolve().parents[1] / "golden"
"""All cases, or the copy of those that our constructors can express."""


def build(case: dict, compat: str) -> Loss | str:
    """The loss that our constructor makes of their arguments, or why it cannot."""
    init, options = dict(case["init"]), dict(case["kw"])
    ignore_index = options.pop("ignore_index", None)
    if init.pop("reduction", "mean") != "mean" and not unreduced_equals_mean(case):
        return "reduction"
    if options:
        return next(iter(options))
    if "weight" in case["args"]:
        return "a caller's own pixel weight"
    if case["pred"] == "logits_flat":
        return "logits without height and width"
    if "onehot" in case["args"].values():
        return "one-hot target"
    match case["loss"]:
        case "CrossEntropyLoss":
            if init.pop("use_mask", False):
                return "use_mask"
            if ignore_index is None and "255" in case["args"]["label"]:
                return "a label beyond the classes that is not the ignored one"
            return CrossEntropyLoss(**init)
        case "FocalLoss":
            return FocalLoss(**init)
        case "LovaszLoss":
            init.pop("loss_type", None)
            return LovaszLoss(**init)
        case "TverskyLoss":
            init.pop("ignore_index", None)
            return TverskyLoss(**init)
        case "DiceLoss" if compat == "mmseg-1.2":
            init.pop("ignore_index", None)
            if init.pop("activate", True) is False:
                return "activate"
            return DiceLoss(
                use_sigmoid=init.pop("use_sigmoid", True),
                exponent=1 if init.pop("naive_dice", False) else 2,
                smooth=init.pop("eps", 1e-3),
                **init,
            )
        case "DiceLoss":
            init.pop("ignore_index", None)
            return DiceLoss(**init)
    return case["loss"]


def unreduced_equals_mean(case: dict) -> bool:
    """Lovász over the batch and the old Dice are one number before any reduction."""
    reduction = case["init"].get("reduction")
    if case["loss"] == "LovaszLoss":
        return reduction == "none" and not case["init"].get("per_image", False)
    return False


def ignore_index_of(case: dict) -> int:
    """The label that their loss takes for void."""
    if case["loss"] in {"DiceLoss", "TverskyLoss"}:
        chosen = case["init"].get("ignore_index", 255)
        return 255 if chosen is None else chosen
    return case["kw"].get("ignore_index", -100)


def tolerance(case: dict, compat: str) -> float:
    """Relative tolerance in float64; theirs casts to float32 inside BCE, the newer Dice and Lovász."""
    if case["loss"] == "CrossEntropyLoss" and case["init"].get("use_sigmoid"):
        return 2e-6
    if (case["loss"] == "DiceLoss" and compat == "mmseg-1.2") or case["loss"] == "LovaszLoss":
        return 2e-6
    # A number of 1.2 that stands for 0.25's too, where only an epsilon in the divisor differs.
    return 2e-9 if case.get("vs_122") == "same" else 1e-9


def compare(case: dict, tensors: dict[str, Tensor], compat: str) -> str | None:
    """None where values and gradients agree; otherwise why the case is left out."""
    loss = build(case, compat)
    if isinstance(loss, str):
        return loss
    if "error32" in case:
        return "fails there"
    labels = tensors[next(value for key, value in case["args"].items() if key in {"label", "target"})]
    try:
        criterion = HeadCriterion({"loss_x": loss}, ignore_index=ignore_index_of(case), compat=compat)
    except ValueError as error:
        return f"refused: {error}"
    for dtype, suffix in ((torch.float64, "64"), (torch.float32, "32")):
        if f"out{suffix}" not in case:
            continue
        expected = torch.as_tensor(case[f"out{suffix}"]).reshape(-1)
        if expected.isnan().any():
            return "NaN there"
        logits = tensors[case["pred"]].detach().to(dtype).clone().requires_grad_()
        value = criterion(logits, labels)["loss_x"]
        rtol = tolerance(case, compat) if dtype == torch.float64 else 1e-5
        torch.testing.assert_close(
            value.double().reshape(-1),
            expected.double(),
            rtol=rtol,
            atol=1e-12,
            msg=lambda text: f"{case['id']}: {text}",
        )
        if f"grad{suffix}" in case:
            value.backward()
            torch.testing.assert_close(
                logits.grad.double(),
                case[f"grad{suffix}"].double(),
                rtol=rtol,
                atol=rtol * case[f"grad{suffix}"].abs().max().item(),
                msg=lambda text: f"{case['id']}: {text}",
            )
    return None


def full_cases(version: str) -> tuple[dict[str, Tensor], list[dict]]:
    """Cases of one release; those of 0.25 that are the same as 1.2's take 1.2's numbers."""
    newer = torch.load(GOLDEN / "losses_122.pt", weights_only=True)
    if version == "mmseg-1.2":
        return newer["tensors"], newer["cases"]
    by_id = {case["id"]: case for case in newer["cases"]}
    merged = []
    for case in torch.load(GOLDEN / "losses_025.pt", weights_only=True)["cases"]:
        shared = by_id.get(case["id"], {}) if case.get("vs_122") == "same" else {}
        merged.append(shared | case | {"loss": case["loss"].removesuffix("025")})
    return newer["tensors"], merged


LEFT_OUT = {
    "reduction",
    "reduction_override",
    "avg_factor",
    "a caller's own pixel weight",
    "logits without height and width",
    "one-hot target",
    "activate",
    "fails there",
    "NaN there",
    "BoundaryLoss",
    "OhemCrossEntropy",
}
"""What our constructors do not express; each has its line in docs/differences.md."""


@pytest.mark.parametrize(("version", "expected"), [("mmseg-0.25", 60), ("mmseg-1.2", 83)])
def test_losses(version: str, expected: int) -> None:
    tensors, cases = full_cases(version)
    reasons = Counter(compare(case, tensors, version) for case in cases)
    assert reasons.pop(None) == expected
    assert set(reasons) <= LEFT_OUT
