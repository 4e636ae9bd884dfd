"""Time of `ConfusionMatrix.update` against torchmetrics' `MulticlassJaccardIndex`: interleaved, medians, ratio.

python scripts/bench_metrics.py
"""

import statistics
import time

import torch
from torchmetrics import Metric
from torchmetrics.classification import MulticlassJaccardIndex

from seglit.metrics import ConfusionMatrix

ROUNDS = 15


def milliseconds(metric: Metric, predictions: torch.Tensor, labels: torch.Tensor) -> float:
    start = time.perf_counter()
    metric.update(predictions, labels)
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    print(f"2 x 512 x 1024 pixels, {torch.get_num_threads()} threads, median of {ROUNDS}")
    for classes in (19, 150):
        labels = torch.randint(0, classes, (2, 512, 1024))
        predictions = torch.randint(0, classes, (2, 512, 1024))
        labels[torch.rand(labels.shape) < 0.1] = 255
        ours = ConfusionMatrix(classes, 255)
        theirs = MulticlassJaccardIndex(classes, ignore_index=255)
        times: dict[str, list[float]] = {"seglit": [], "torchmetrics": []}
        for _ in range(ROUNDS):
            times["seglit"].append(milliseconds(ours, predictions, labels))
            times["torchmetrics"].append(milliseconds(theirs, predictions, labels))
        own, peer = (statistics.median(times[name]) for name in ("seglit", "torchmetrics"))
        print(f"{classes:4d} classes: seglit {own:.1f} ms, torchmetrics {peer:.1f} ms, ratio {peer / own:.1f}")


if __name__ == "__main__":
    main()
