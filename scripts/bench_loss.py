"""Time and memory of a head's loss, forward and backward: seglit against plain PyTorch and other libraries.

python scripts/bench_loss.py
python scripts/bench_loss.py --short --json rows.json
python scripts/bench_loss.py --shape city ade --no-peak

From the head's logits, at their own stride, to the gradient of the same; float32, in one process, in turn.
MMSegmentation is called through `loss_by_feat` of a decode head, which upsamples, samples, and computes its accuracy,
as seglit does.

Labels are wavy regions of about 32 pixels, every class among them, and 10 % of the image is void, in blocks of 16
pixels. Logits are noise, to which the logarithm of the number of classes and 1 (`unsure`) or 8 (`sure`) is added at the
true class of the pixel in the middle of each cell: under `sure` few pixels are hard, so that OHEM's `min_kept` binds.
Peak memory is that of a process of its own: the greatest resident memory in one call less that before it, with
MALLOC_MMAP_THRESHOLD_=65536.
"""

import argparse
import importlib
import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import benching
import peers
from benching import Row
from seglit.losses import CrossEntropyLoss, DiceLoss, FocalLoss, HeadCriterion, OHEMPixelSampler

VOID = 255
THRESH, MIN_KEPT = 0.7, 100_000


class Shape(NamedTuple):
    """Logits and the size of their labels."""

    images: int
    classes: int
    low: tuple[int, int]
    high: tuple[int, int]

    def __str__(self) -> str:
        low, high = ("x".join(map(str, size)) for size in (self.low, self.high))
        return f"{self.images}x{self.classes}x{low} -> {high}"


SHAPES = {
    "city": Shape(2, 19, (64, 128), (512, 1024)),
    "ade": Shape(2, 150, (64, 64), (512, 512)),
    "unet": Shape(1, 19, (512, 1024), (512, 1024)),
}
SURE = {"unsure": 1.0, "sure": 8.0}
Call = Callable[[Tensor, Tensor], dict[str, Tensor]]
"""From logits and labels to named terms; those whose name begins with `loss_` are trained."""


def labels_of(shape: Shape) -> Tensor:
    """Wavy regions, every class among them, and void blocks."""
    generator = torch.Generator().manual_seed(0)
    height, width = shape.high
    cells = shape.images, height // 32, width // 32
    number = cells[0] * cells[1] * cells[2]
    coarse = (torch.randperm(number, generator=generator) % shape.classes).view(cells)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    wavy_rows = (rows + (8 * torch.sin(columns / 9)).round().long()).remainder(height) // 32
    wavy_columns = (columns + (8 * torch.sin(rows / 7)).round().long()).remainder(width) // 32
    labels = coarse[:, wavy_rows, wavy_columns]
    blocks = torch.rand(shape.images, height // 16, width // 16, generator=generator) < 0.1
    return labels.masked_fill(blocks.repeat_interleave(16, 1).repeat_interleave(16, 2), VOID)


def logits_of(shape: Shape, labels: Tensor, sure: str) -> Tensor:
    """Noise, and more or less of the truth."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(shape.images, shape.classes, *shape.low, generator=generator)
    step = [high // low for high, low in zip(shape.high, shape.low, strict=True)]
    middle = labels[:, step[0] // 2 :: step[0], step[1] // 2 :: step[1]]
    truth = F.one_hot(middle.clamp(max=shape.classes), shape.classes + 1)[..., :-1].permute(0, 3, 1, 2)
    return logits + (math.log(shape.classes) + SURE[sure]) * truth


def seglit_call(losses: dict[str, Any], sampler: OHEMPixelSampler | None = None, kernels: bool = True) -> Call:
    criterion = HeadCriterion(losses=losses, sampler=sampler, ignore_index=VOID)
    return lambda logits, labels: criterion(logits, labels, kernels=kernels)


def upsampled(loss: Callable[[Tensor, Tensor], Tensor]) -> Call:
    """A loss that takes logits at the size of the labels."""

    def call(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        if logits.shape[-2:] != labels.shape[-2:]:
            logits = F.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
        return {"loss_": loss(logits, labels)}

    return call


def mmseg_call(classes: int, losses: list[dict[str, Any]], sampler: dict[str, Any] | None = None) -> Call:
    """The losses of a decode head without layers to speak of."""
    peers.stand_in_for_mmcv_operations()
    fcn = importlib.import_module("mmseg.models.decode_heads").FCNHead
    pixel_data = importlib.import_module("mmengine.structures").PixelData
    sample_type = importlib.import_module("mmseg.structures").SegDataSample
    head = fcn(
        in_channels=classes,
        channels=classes,
        num_convs=0,
        concat_input=False,
        num_classes=classes,
        loss_decode=losses,
        sampler=sampler,
        ignore_index=VOID,
        align_corners=False,
    )

    def call(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        samples = [sample_type(gt_sem_seg=pixel_data(data=image[None])) for image in labels]
        terms: dict[str, Tensor] = head.loss_by_feat(logits, samples)
        return terms

    return call


def smp_loss(name: str, **options: Any) -> Callable[[Tensor, Tensor], Tensor]:
    loss: nn.Module = getattr(importlib.import_module("segmentation_models_pytorch.losses"), name)(
        mode="multiclass", ignore_index=VOID, **options
    )
    return loss


MMSEG_OHEM = {"type": "OHEMPixelSampler", "thresh": THRESH, "min_kept": MIN_KEPT}
MMSEG_CE = {"type": "CrossEntropyLoss"}
MMSEG_DICE = {"type": "DiceLoss", "use_sigmoid": False}
DIVIDES_BY_VALID = {"avg_non_ignore": True}
CALLS: dict[str, Callable[[int], Call]] = {
    "seglit CE": lambda _: seglit_call({"loss_ce": CrossEntropyLoss(**DIVIDES_BY_VALID)}),
    "seglit CE by tiles": lambda _: seglit_call({"loss_ce": CrossEntropyLoss(**DIVIDES_BY_VALID)}, kernels=False),
    "seglit CE, all": lambda _: seglit_call({"loss_ce": CrossEntropyLoss()}),
    "seglit OHEM": lambda _: seglit_call({"loss_ce": CrossEntropyLoss()}, OHEMPixelSampler(THRESH, MIN_KEPT)),
    "seglit CE + Dice": lambda _: seglit_call({"loss_ce": CrossEntropyLoss(), "loss_dice": DiceLoss()}),
    "seglit Dice as smp's": lambda _: seglit_call({"loss_dice": DiceLoss(smooth=1e-6, exponent=1, per_image=False)}),
    "seglit focal as smp's": lambda _: seglit_call({"loss_focal": FocalLoss(alpha=None, **DIVIDES_BY_VALID)}),
    "plain CE": lambda _: upsampled(partial(F.cross_entropy, ignore_index=VOID)),
    "mmseg CE": lambda classes: mmseg_call(classes, [MMSEG_CE]),
    "mmseg OHEM": lambda classes: mmseg_call(classes, [MMSEG_CE], MMSEG_OHEM),
    "mmseg CE + Dice": lambda classes: mmseg_call(classes, [MMSEG_CE, MMSEG_DICE]),
    "smp Dice": lambda _: upsampled(smp_loss("DiceLoss")),
    "smp focal": lambda _: upsampled(smp_loss("FocalLoss")),
}
PLAIN = "F.interpolate + F.cross_entropy"
MEASURES = [
    ("CE", f"CE against {PLAIN}", "seglit CE", "plain CE", "unsure"),
    ("tiles", f"CE by tiles, without a kernel, against {PLAIN}", "seglit CE by tiles", "plain CE", "unsure"),
    ("CE", "CE against MMSegmentation's head", "seglit CE, all", "mmseg CE", "unsure"),
    ("OHEM", "OHEM, min_kept not binding, against MMSegmentation's head", "seglit OHEM", "mmseg OHEM", "unsure"),
    ("OHEM", "OHEM, min_kept binding, against MMSegmentation's head", "seglit OHEM", "mmseg OHEM", "sure"),
    ("OHEM", "OHEM, min_kept not binding, against seglit's CE", "seglit OHEM", "seglit CE, all", "unsure"),
    ("OHEM", "OHEM, min_kept binding, against seglit's CE", "seglit OHEM", "seglit CE, all", "sure"),
    ("Dice", "CE + Dice against MMSegmentation's head", "seglit CE + Dice", "mmseg CE + Dice", "unsure"),
    ("smp", "Dice against segmentation-models-pytorch's", "seglit Dice as smp's", "smp Dice", "unsure"),
    ("smp", "focal loss against segmentation-models-pytorch's", "seglit focal as smp's", "smp focal", "unsure"),
]
"""Kind, words, ours, the peer, and the logits."""
PEAKS = [
    ("CE", f"peak memory of CE against {PLAIN}", "seglit CE", "plain CE"),
    ("CE", "peak memory of CE against MMSegmentation's head", "seglit CE, all", "mmseg CE"),
    ("Dice", "peak memory of CE + Dice against MMSegmentation's head", "seglit CE + Dice", "mmseg CE + Dice"),
]
KINDS = ("CE", "tiles", "OHEM", "Dice", "smp")
SHORT = {"city": ("CE", "OHEM", "Dice"), "ade": ("CE",), "unet": ("CE",)}
"""What the short form measures of each shape; of the memory, CE of city."""


def stepped(call: Call, logits: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """The terms, and the gradient of the logits."""
    leaf = logits.detach().requires_grad_()
    terms = call(leaf, labels)
    torch.stack([term for name, term in terms.items() if name.startswith("loss_")]).sum().backward()
    assert leaf.grad is not None
    return {name: term.detach() for name, term in terms.items()}, leaf.grad


def agreement(ours: str, peer: str, results: dict[str, tuple[dict[str, Tensor], Tensor]], labels: Tensor) -> str:
    """Whether both computed the same, in words."""
    (mine, my_gradient), (theirs, their_gradient) = results[ours], results[peer]
    first = next(term for name, term in mine.items() if name.startswith("loss_"))
    other = next(term for name, term in theirs.items() if name.startswith("loss_"))
    if ours == "seglit OHEM":
        share = mine["kept_share"]
        kept = f"keeps {100 * share:.0f} % of the valid pixels"
        if peer == "seglit CE, all":
            return kept
        # Theirs divides by all pixels, ours by those kept.
        scale = share * (labels != VOID).float().mean()
        first, my_gradient = first * scale, my_gradient * scale
        # They drop the pixels that tie with the last: a dozen of a hundred thousand.
        same = differences(first, other, my_gradient, their_gradient, tolerance=1e-2)
        return f"{kept}; {same}, but for the divisor and ties"
    if "+ Dice" in ours:
        return f"CE agrees to {relative(first, other):.0e}; their Dice is one for all classes, void in its sums"
    return differences(first, other, my_gradient, their_gradient)


def differences(
    ours: Tensor, theirs: Tensor, our_gradient: Tensor, their_gradient: Tensor, tolerance: float = 1e-3
) -> str:
    """How much the terms and the gradients differ, in words."""
    term, gradient = relative(ours, theirs), relative(our_gradient, their_gradient)
    agree = "agree" if max(term, gradient) < tolerance else "DIFFER"
    return f"terms {agree} to {term:.0e}, gradients to {gradient:.0e}"


def relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())


def timed(name: str, kinds: tuple[str, ...], rounds: int, missing: set[str]) -> list[Row]:
    """The rows of one shape."""
    shape = SHAPES[name]
    labels = labels_of(shape)
    rows = []
    measures = [row for row in MEASURES if row[0] in kinds and not library(row[3]) & missing]
    for sure in SURE:
        logits = logits_of(shape, labels, sure)
        of_logits = [row for row in measures if row[4] == sure]
        wanted = dict.fromkeys(call for row in of_logits for call in row[2:4])
        calls = {call: CALLS[call](shape.classes) for call in wanted}
        results = {call: stepped(function, logits, labels) for call, function in calls.items()}
        notes = [agreement(ours, peer, results, labels) for _, _, ours, peer, _ in of_logits]
        times = benching.interleaved(
            {call: partial(stepped, function, logits, labels) for call, function in calls.items()}, rounds
        )
        for (_, words, ours, peer, _), note in zip(of_logits, notes, strict=True):
            rows.append(benching.time_row(words, f"{name} {shape}", times[ours], times[peer], note))
            print(benching.shown(rows[-1]), flush=True)
    return rows


def peaks(name: str, kinds: tuple[str, ...], missing: set[str]) -> list[Row]:
    """The rows of one shape's memory."""
    rows: list[Row] = []
    found: dict[str, float] = {}
    for kind, words, *calls in PEAKS:
        if kind not in kinds or library(calls[1]) & missing:
            continue
        for call in calls:
            if call not in found:
                found[call] = benching.peak_of(__file__, "--peak", call, name)
        rows.append(benching.row(words, f"{name} {SHAPES[name]}", found[calls[0]], found[calls[1]], "MiB"))
        print(benching.shown(rows[-1]), flush=True)
    return rows


def print_peak(call: str, name: str) -> None:
    """In a process of its own."""
    shape = SHAPES[name]
    labels = labels_of(shape)
    logits = logits_of(shape, labels, "unsure")
    function = CALLS[call](shape.classes)
    # What is imported or started at the first call is not the memory of a call.
    stepped(function, logits[:1, :, :4, :4].clone(), labels[:1, :8, :8].clone())
    benching.print_peak(lambda: stepped(function, logits, labels))


def library(call: str) -> set[str]:
    return {call.split(" ", 1)[0]}


def absent() -> set[str]:
    """The libraries that cannot be imported; says so."""
    peers.stand_in_for_mmcv_operations()
    missing = set()
    for name, module in (("mmseg", "mmseg.models"), ("smp", "segmentation_models_pytorch.losses")):
        try:
            importlib.import_module(module)
        except ImportError as error:
            print(f"left out: {name}: {error}")
            missing.add(name)
    return missing


def added(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--rounds", type=int, help="of each row; 7, or 3 in the short form")
    parser.add_argument("--no-peak", action="store_true", help="times alone")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)


def main() -> None:
    warnings.simplefilter("ignore")
    options = benching.options_of(__doc__, added)
    benching.among_peers(options, __file__)
    if options.peak:
        print_peak(*options.peak)
        return
    packages = ("torch", "mmsegmentation", "segmentation-models-pytorch")
    print(benching.header(torch.get_num_threads(), packages))
    rounds = options.rounds or (3 if options.short else 7)
    print(f"median of {rounds} rounds, float32, forward and backward")
    missing = absent()
    print(flush=True)
    rows: list[Row] = []
    for name in options.shape:
        rows += timed(name, SHORT[name] if options.short else KINDS, rounds, missing)
    for name in [] if options.no_peak else options.shape:
        if not options.short or name == "city":
            rows += peaks(name, ("CE",) if options.short else KINDS, missing)
    benching.written(rows, options.json)


if __name__ == "__main__":
    main()
