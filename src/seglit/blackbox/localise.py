"""A step run again, and the first thing in it that is no number."""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seglit.blackbox.bundle import Bundle, Part
from seglit.blackbox.finding import Finding
from seglit.blackbox.growth import growths
from seglit.blackbox.layers import Culprit, Forward, is_finite
from seglit.blackbox.pixels import first_place, smallest_box
from seglit.losses.criterion import TRAINED, HeadCriterion
from seglit.losses.whole_step import set_random_state
from seglit.module import SegmentationModule
from seglit.segmentor import DECODE

AUTOCAST = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
TRUE = {"16-true": torch.float16, "bf16-true": torch.bfloat16, "64-true": torch.float64}
LOWER = "a lower learning rate, model.scheduler's warm-up or trainer.gradient_clip_val may keep it small"


@dataclass(frozen=True)
class Replay:
    """What running a step again showed.

    Attributes:
        findings: the cause; several only where several things are wrong from the start, as images. Empty: nothing was.
        terms: the terms of the loss, as far as it got.
        reproduced: whether a loss or gradient was no finite number again, or the same error came.
    """

    findings: list[Finding]
    terms: dict[str, float]
    reproduced: bool


def localise(module: SegmentationModule, bundle: Bundle, device: torch.device) -> Replay:
    """Run the step of a bundle again, forward and backward, and find the cause.

    The same each time on one device. What other ranks had of the step is not at hand: their pixels are in no divisor.

    Args:
        module: built as the bundle's configuration says.
        bundle: the step; its weights are loaded into the module.
        device: where it runs.
    """
    findings = [*criterion_findings(module), *batch_findings(module, bundle)]
    module.load_state_dict(bundle.weights)
    module.train().to(device, TRUE.get(bundle.report["precision"], module.dtype))
    run = Run(module, bundle, device)
    run.go()
    if not findings:
        # What a net that has diverged trips over at last is no cause.
        grown = [] if run.raised else group_findings(bundle)
        later = weight_findings(bundle) or run.findings
        findings = grown + [finding for finding in later if finding.kind != "group" or not grown]
    if bundle.report["kind"] == "error":
        return Replay(findings, run.terms, run.raised)
    return Replay(findings, run.terms, run.spoilt)


class Run:
    """The forward and the backward pass of a step.

    Attributes:
        findings: what is at fault, if it shows.
        terms: the terms of the loss.
        spoilt: whether a loss or a gradient is no finite number.
        raised: whether an error came.
    """

    def __init__(self, module: SegmentationModule, bundle: Bundle, device: torch.device) -> None:
        self.module = module
        self.bundle = bundle
        self.device = device
        self.findings: list[Finding] = []
        self.terms: dict[str, float] = {}
        self.spoilt = False
        self.raised = False

    def go(self) -> None:
        """Run it, as far as it goes."""
        net, parts = self.module.net, self.bundle.parts
        self.module.zero_grad()
        forward = Forward(net)
        outputs = []
        with forward.watching():
            for part in parts:
                # Of a run on the CPU there is no state of a device.
                set_random_state(self.device if len(part.random) > 1 else torch.device("cpu"), part.random)
                try:
                    with self._autocast():
                        outputs.append(self.module(part.image.to(self.device)))
                except (RuntimeError, ValueError, IndexError) as error:
                    self._note_error(forward, error)
                    return
                if forward.culprit is not None:
                    self.findings.append(layer_finding(forward.culprit, self.bundle, part))
                    break
        parts = parts[: len(outputs)]
        whole = self.module.is_global or len(parts) == 1
        steps = (
            [(outputs, parts)] if whole else [([output], [part]) for output, part in zip(outputs, parts, strict=True)]
        )
        total = torch.zeros((), device=self.device)
        for some_outputs, some_parts in steps:
            logits = {name: torch.cat([output[name] for output in some_outputs]) for name in some_outputs[0]}
            labels = torch.cat([part.labels for part in some_parts]).to(self.device)
            names = [name for part in some_parts for name in part.names]
            try:
                terms = self.module.criterion(logits, labels, self.module.align_corners)
            except (RuntimeError, ValueError, IndexError) as error:
                self.raised = True
                text = f"raised {type(error).__name__}: {error}"
                self.findings.append(Finding("error", "criterion", text, "the error says what to mend"))
                return
            self.terms |= {name: float(term.detach()) for name, term in terms.items() if not term.ndim}
            if not self.findings:
                self._judge_terms(terms, logits, labels, names)
            total = total + terms["loss"]
        self.spoilt = not math.isfinite(float(total.detach()))
        total.backward()  # type: ignore[no-untyped-call]
        gradients = {name: weight.grad for name, weight in self.module.named_parameters() if weight.grad is not None}
        bad = [name for name, gradient in gradients.items() if not is_finite([gradient])]
        self.spoilt = self.spoilt or bool(bad)
        if bad and not self.findings:
            self.findings.append(backward_finding(forward, bad))
        if not self.findings and gradients:
            self._judge_norms(gradients)

    def _autocast(self) -> AbstractContextManager[Any]:
        dtype = AUTOCAST.get(self.bundle.report["precision"])
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype, cache_enabled=False)

    def _note_error(self, forward: Forward, error: Exception) -> None:
        """An error in a module names it."""
        self.raised = True
        module, inputs = forward.open[-1]
        name = forward.names[module] or "net"
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
        detail = f"{type(module).__name__} raised {type(error).__name__}: {error}; its input has shape {shapes}"
        mend = "the error says what to mend"
        if "more than 1 value per channel" in str(error):
            mend = "give a batch of two images or more, larger crops, or a norm that needs no batch, as GroupNorm"
        self.findings.append(Finding("error", name, detail, mend))

    def _judge_terms(
        self, terms: Mapping[str, Tensor], logits: Mapping[str, Tensor], labels: Tensor, names: list[str]
    ) -> None:
        """A term that is no number, or whose gradient in the logits is none."""
        for full_name, value in terms.items():
            head_name, _, term = full_name.partition(".")
            if not term.startswith(TRAINED):
                continue
            head = self.module.criterion.head_criteria()[head_name]
            aligned = self.module.align_corners[head_name]
            own = logits[head_name]
            if not math.isfinite(float(value.detach())):
                self.findings.append(term_finding(full_name, head, term, own.detach(), labels, aligned, names))
                return
            if not own.requires_grad or not value.requires_grad:
                continue
            (gradient,) = torch.autograd.grad(value, own, retain_graph=True, allow_unused=True)
            if gradient is not None and not is_finite([gradient]):
                image, channel, row, column = first_place(~torch.isfinite(gradient))
                detail = (
                    f"the loss is {float(value.detach()):.4g}, but its gradient in the logits is "
                    f"{float(gradient[image, channel, row, column])}, first in {named(names, image)}, "
                    f"channel {channel}, row {row}, column {column} of the logits"
                )
                mend = "bound what is divided by, or is under a root or a logarithm, away from zero"
                self.findings.append(Finding("gradient", full_name, detail, mend))
                return

    def _judge_norms(self, gradients: Mapping[str, Tensor]) -> None:
        """Gradients that are finite, but whose norm is not."""
        norms = {name: float(torch.linalg.vector_norm(gradient.float())) for name, gradient in gradients.items()}
        endless = [name for name, norm in norms.items() if not math.isfinite(norm)]
        if not endless:
            return
        self.spoilt = True
        largest = max(gradients, key=lambda name: float(gradients[name].abs().max()))
        detail = (
            f"the gradients are finite, but the norms of {len(endless)} of them are not; the largest number is in "
            f"{largest}, {float(gradients[largest].abs().max()):.3g}"
        )
        self.findings.append(Finding("group", self.bundle.report["groups"].get(largest, largest), detail, LOWER))


def criterion_findings(module: SegmentationModule) -> list[Finding]:
    """Weights of terms and classes that are no finite numbers."""
    found = []
    for head_name, head in module.criterion.head_criteria().items():
        for name, loss in head.named_losses().items():
            place = f"{head_name}.{name}"
            if not math.isfinite(loss.loss_weight * head.weight):
                detail = f"its loss_weight is {loss.loss_weight} and the weight of its head {head.weight}"
                mend = f"set model.criterion.{head_name}.losses.{name}.loss_weight to a number"
                found.append(Finding("criterion", place, detail, mend))
            if loss.class_weight is not None and not all(map(math.isfinite, loss.class_weight)):
                detail = f"its class_weight is {list(loss.class_weight)}"
                mend = f"set model.criterion.{head_name}.losses.{name}.class_weight to numbers"
                found.append(Finding("criterion", place, detail, mend))
    return found


def weight_findings(bundle: Bundle) -> list[Finding]:
    """The first stored weight that is not finite."""
    spoilt = {name: value for name, value in bundle.weights.items() if not is_finite([value])}
    for name, value in spoilt.items():
        place = first_place(~torch.isfinite(value))
        count = int((~torch.isfinite(value)).sum())
        detail = f"{count} of its {value.numel()} numbers, first {float(value[place])} at {list(place)}"
        more = f", and {len(spoilt) - 1} more weights" if len(spoilt) > 1 else ""
        mend = (
            "go on from a checkpoint before it; what changes the weights beside the optimizer, as a callback, did this"
        )
        return [Finding("weight", name, detail + more, mend)]
    return []


def batch_findings(module: SegmentationModule, bundle: Bundle) -> list[Finding]:
    """Images with pixels that are not finite, labels that are no classes."""
    found = []
    head = module.criterion.head_criteria()[DECODE]
    classes = module.confusion.num_classes
    for part in bundle.parts:
        for number, (image, labels) in enumerate(zip(part.image, part.labels, strict=True)):
            name = named(part.names, number)
            image_file, mask_file = bundle.report["files"].get(name, (name, name))
            if not is_finite([image]):
                channel, row, column = first_place(~torch.isfinite(image))
                count = int((~torch.isfinite(image)).any(0).sum())
                detail = (
                    f"{count} pixels are not finite, first {float(image[channel, row, column])} in channel {channel}, "
                    f"row {row}, column {column} of the batch's image"
                )
                mend = "mend the file, or what reads and transforms it; data.std must not be 0"
                found.append(Finding("image", image_file, detail, mend))
            strange = (labels != head.ignore_index) & ((labels < 0) | (labels >= classes))
            if strange.any():
                row, column = first_place(strange)
                detail = (
                    f"{int(strange.sum())} pixels have labels that are none of {classes} classes, first "
                    f"{int(labels[row, column])} in row {row}, column {column} of the batch's labels"
                )
                mend = f"map it in data.label_map, or to void, {head.ignore_index}; or raise data.num_classes"
                found.append(Finding("label", mask_file, detail, mend))
    return found


def group_findings(bundle: Bundle) -> list[Finding]:
    """Which group grew most, where the loss had left its level before the step."""
    before = [row["mean"] for row in bundle.rows if row["step"] < bundle.report["step"] and math.isfinite(row["mean"])]
    diverged = bundle.report["kind"] == "divergence" or (len(before) > 1 and before[-1] > 10.0 * min(before))
    if not diverged or not (grown := growths(bundle.rows)):
        return []
    detail = f"the loss went from {min(before):.4g} to {before[-1]:.4g} in {len(before)} steps; {grown[0]}"
    return [Finding("group", grown[0].group, detail, LOWER)]


def layer_finding(culprit: Culprit, bundle: Bundle, part: Part) -> Finding:
    """A layer in words."""
    kind = type(culprit.module).__name__
    spoilt = ~torch.isfinite(culprit.output)
    place = first_place(spoilt)
    value = float(culprit.output[place])
    reach = max((float(tensor.abs().max()) for tensor in culprit.inputs if tensor.numel()), default=0.0)
    where = f"in {named(part.names, place[0])} at {list(place[1:])}" if len(place) > 1 else f"at {list(place)}"
    made = f"its own code, before {culprit.before}, makes" if culprit.before else f"{kind} makes"
    count = f"{int(spoilt.sum())} of {spoilt.numel()} numbers"
    detail = f"{made} {value} of finite input up to {reach:.4g}, {count}, first {where}"
    name = culprit.name or "net"
    if getattr(culprit.module, "eps", None) == 0:
        return Finding("layer", name, f"{detail}; its eps is 0, and its input is constant", "give it an eps, as 1e-5")
    if bundle.report["precision"].startswith("16-") and not culprit.within and (full := in_float32(culprit)):
        detail += f"; in float32 it would be {full:.4g}, above float16's 65504"
        return Finding("layer", name, detail, "train with trainer.precision=bf16-mixed, or bound what goes in")
    if reach > 1e15:
        return Finding("layer", name, detail, LOWER)
    own = "look there for a division by zero, a root or a logarithm of what is not above zero"
    return Finding("layer", name, detail, own)


def in_float32(culprit: Culprit) -> float | None:
    """The greatest number that a layer would make in float32; None where that is not finite either, or fits."""
    device = culprit.output.device.type
    with torch.no_grad(), torch.autocast(device, enabled=False):
        state = {name: value.float() for name, value in culprit.module.state_dict().items()}
        made = torch.func.functional_call(culprit.module, state, tuple(tensor.float() for tensor in culprit.inputs))
    reach = float(made.abs().max())
    return reach if math.isfinite(reach) and reach > torch.finfo(torch.float16).max else None


def term_finding(
    full_name: str, head: HeadCriterion, term: str, logits: Tensor, labels: Tensor, aligned: bool, names: list[str]
) -> Finding:
    """A term in words: the pixel at which it goes wrong, if it is one."""

    def value(some: Tensor) -> float:
        with torch.no_grad():
            return float(head(logits, some, aligned)[term])

    def is_wrong(some: Tensor) -> bool:
        return not math.isfinite(value(some))

    void = torch.full_like(labels, head.ignore_index)
    said = f"it is {value(labels)} of finite logits from {float(logits.min()):.4g} to {float(logits.max()):.4g}"
    kind = type(head.losses[term]).__name__
    if is_wrong(void):
        batch = (
            "every label of the batch is void" if bool((labels == head.ignore_index).all()) else "whatever the labels"
        )
        detail = f"{kind}: {said}; {batch}, and where no pixel counts it is {value(void)}"
        return Finding("term", full_name, detail, "divide by no less than one pixel: clamp the count at 1")
    box = smallest_box(labels, head.ignore_index, is_wrong)
    if box is None:
        return Finding("term", full_name, f"{kind}: {said}; no image alone shows it", "look at what the images share")
    image, top, bottom, left, right = box
    part = (
        f"row {top}, column {left}"
        if (bottom - top, right - left) == (1, 1)
        else f"rows {top} to {bottom - 1}, columns {left} to {right - 1}"
    )
    detail = f"{kind}: {said}; of {named(names, image)}, {part}, label {int(labels[image, top, left])}, is enough"
    return Finding("term", full_name, detail, "bound what a logarithm or a root is taken of, or what is divided by")


def backward_finding(forward: Forward, bad: list[str]) -> Finding:
    """A layer whose gradient is not finite."""
    said = f"so {len(bad)} gradients of weights are not finite, as that of {bad[0]}"
    look = "look there for a root, a norm or a quotient at zero, whose value is finite and whose slope is not"
    found = forward.backward_culprit()
    if found is not None:
        name, module, what = found
        detail = f"{type(module).__name__}: the gradient of its output is finite, that of {what} is not; {said}"
        return Finding("gradient", name or "net", detail, look)
    last = forward.last_backward()
    if last is None:
        return Finding("gradient", bad[0], said, look)
    name, module = last
    detail = f"the gradient of its output ({type(module).__name__}) is not finite: the code that uses it; {said}"
    return Finding("gradient", name, detail, look)


def named(names: list[str], number: int) -> str:
    """The name of an image of the batch, or its number where it has none."""
    return names[number] if number < len(names) else f"image {number}"
