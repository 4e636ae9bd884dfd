"""Time to count a confusion matrix: seglit against torchmetrics and MMSegmentation.

python scripts/bench_metrics.py
python scripts/bench_metrics.py --short --json rows.json

Two maps of 512 x 1024, as uint8, which is how the loaders give labels, and as int64. `blocks`: labels and void, 10 %,
in blocks of 32 pixels, and predictions that are right at four fifths of the pixels. `noise`: labels, void and
predictions each drawn by pixel. All contenders get the same maps, in one process, in turn.
"""

import importlib
from itertools import product

import torch
from torch import Tensor

import benching
import peers
from benching import Row
from seglit.metrics import ConfusionByImage, ConfusionMatrix

SHAPE = (2, 512, 1024)
BLOCK = 32
VOID = 255


def maps(classes: int, dtype: torch.dtype, kind: str) -> tuple[Tensor, Tensor]:
    """Predictions and labels."""
    generator = torch.Generator().manual_seed(0)
    images, height, width = SHAPE
    block = BLOCK if kind == "blocks" else 1

    def blocks(values: Tensor) -> Tensor:
        return values.repeat_interleave(block, 1).repeat_interleave(block, 2)

    coarse = (images, height // block, width // block)
    truth = blocks(torch.randint(0, classes, coarse, generator=generator))
    guess = torch.randint(0, classes, SHAPE, generator=generator)
    right = torch.rand(SHAPE, generator=generator) < (0.8 if kind == "blocks" else 0.0)
    void = blocks(torch.rand(coarse, generator=generator) < 0.1)
    return torch.where(right, truth, guess).to(dtype), truth.masked_fill(void, VOID).to(dtype)


def measured(classes: int, dtype: torch.dtype, kind: str, rounds: int) -> list[Row]:
    """All rows of one kind of maps."""
    classification = importlib.import_module("torchmetrics.classification")
    predictions, labels = maps(classes, dtype, kind)
    shape = f"{'x'.join(map(str, SHAPE))}, {classes} classes, {str(dtype).removeprefix('torch.')}, {kind}"
    ours, by_image = ConfusionMatrix(classes, VOID), ConfusionByImage(classes, VOID)
    theirs = classification.MulticlassJaccardIndex(classes, ignore_index=VOID)
    contenders = {
        "ours": lambda: ours.update(predictions, labels),
        "by_image": lambda: by_image.update(predictions, labels, torch.arange(len(labels))),
        "torchmetrics": lambda: theirs.update(predictions, labels),
    }
    mmseg = mmseg_areas()
    if mmseg is not None:
        contenders["mmseg"] = lambda: [
            mmseg(prediction, label, classes, VOID) for prediction, label in zip(predictions, labels, strict=True)
        ]
    found = ours_once(predictions, labels, classes)
    theirs.update(predictions, labels)
    same = {"torchmetrics": torch.equal(theirs.confmat.long(), found)}
    theirs.reset()
    if mmseg is not None:
        areas = [torch.stack(mmseg(*pair, classes, VOID)) for pair in zip(predictions, labels, strict=True)]
        right, _, predicted, labelled = torch.stack(areas).sum(0).long()
        same["mmseg"] = all(
            torch.equal(*pair)
            for pair in ((right, found.diagonal()), (predicted, found.sum(0)), (labelled, found.sum(1)))
        )
    for call in contenders.values():
        call()
    times = benching.interleaved(contenders, rounds)
    names = {"torchmetrics": "torchmetrics' MulticlassJaccardIndex", "mmseg": "MMSegmentation's intersect_and_union"}
    rows = []
    for peer, words in names.items():
        for name, mine in (("ConfusionMatrix", "ours"), ("ConfusionByImage", "by_image")):
            if peer in times:
                note = "equal counts" if same[peer] else "OTHER COUNTS"
                rows.append(benching.time_row(f"{name} against {words}", shape, times[mine], times[peer], note))
    return rows


def ours_once(predictions: Tensor, labels: Tensor, classes: int) -> Tensor:
    metric = ConfusionMatrix(classes, VOID)
    metric.update(predictions, labels)
    return metric.compute()


def mmseg_areas():  # type: ignore[no-untyped-def]
    """Their function, or None where they are not installed."""
    peers.stand_in_for_mmcv_operations()
    try:
        return importlib.import_module("mmseg.evaluation.metrics").IoUMetric.intersect_and_union
    except ImportError as error:
        print(f"left out: MMSegmentation: {error}")
        return None


def main() -> None:
    options = benching.options_of(__doc__)
    benching.among_peers(options, __file__)
    print(benching.header(torch.get_num_threads(), ("torch", "torchmetrics", "mmsegmentation")))
    rounds = 9 if options.short else 41
    print(f"median of {rounds} rounds\n", flush=True)
    rows = []
    for classes, dtype, kind in product((19, 150), (torch.uint8, torch.int64), ("blocks", "noise")):
        for found in measured(classes, dtype, kind, rounds):
            print(benching.shown(found), flush=True)
            rows.append(found)
    benching.written(rows, options.json)


if __name__ == "__main__":
    main()
