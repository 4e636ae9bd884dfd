"""From a sampler's positions to batches."""

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, NotRequired, TypedDict

import numpy as np
import torch
from jaxtyping import Float32, Integer, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from seglit.data.device_color import drawn_colors
from seglit.data.folder import FolderDataset
from seglit.data.randomness import derived_seed
from seglit.data.sampling import SamplePosition
from seglit.data.transforms import Augmentation, PhotoMetricDistortion


class StoredBatch(TypedDict):
    """A batch as loaders give it; the labels are of a small integer type."""

    image: UInt8[Tensor, "batch 3 height width"]
    labels: Integer[Tensor, "batch height width"]
    name: list[str]
    colors: NotRequired[Float32[Tensor, "batch 5"]]
    """Of each sample, what is left to do to its colours on the device, see `seglit.data.device_color`."""
    step: NotRequired[list["StoredBatch"]]
    """With the first micro-batch of an optimizer step, all of them."""


class AugmentedSample(NamedTuple):
    """One image with its labels after augmentation.

    Attributes:
        image: Red, green, blue.
        labels: Class indices, or the label of void.
        name: The image's name in its split.
        colors: What is left to do to its colours on the device; None: nothing.
    """

    image: UInt8[np.ndarray, "height width 3"]
    labels: Integer[np.ndarray, "height width"]
    name: str
    colors: tuple[float, ...] | None


class AugmentedDataset(Dataset[AugmentedSample]):
    """The samples of a folder after augmentation, which is drawn from (seed, position) alone.

    Args:
        samples: The samples.
        augmentation: What happens to each.
        seed: The seed of the run.
        device_color: What happens to the colours of each on the device, of which the numbers are drawn here.
    """

    def __init__(
        self,
        samples: FolderDataset,
        augmentation: Augmentation,
        seed: int,
        device_color: PhotoMetricDistortion | None = None,
    ) -> None:
        self.samples = samples
        self.augmentation = augmentation
        self.seed = seed
        self.device_color = device_color

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, place: SamplePosition | int) -> AugmentedSample:
        """The sample for a position; a bare index, as of Lightning's `overfit_batches`, is its own."""
        position, sample = (place, place) if isinstance(place, int) else place
        image, labels, name = self.samples[sample]
        seed = derived_seed(self.seed, "augmentation", position)
        colors = None
        if self.device_color is not None:
            colors = drawn_colors(self.device_color, derived_seed(self.seed, "color", position))
        return AugmentedSample(*self.augmentation(image, labels, seed), name, colors)


def collate(samples: Sequence[AugmentedSample]) -> StoredBatch:
    """A batch of the samples, in their order. Channels come last in the memory of its image.

    Raises:
        ValueError: If the samples differ in size, which only a batch of one can do without.
    """
    first = samples[0]
    for sample in samples:
        if sample.labels.shape != first.labels.shape:
            raise ValueError(
                f"a batch needs images of one size, but {first.name!r} is {first.labels.shape} and "
                f"{sample.name!r} {sample.labels.shape} (height, width); crop and pad in train_transforms, "
                "or set eval_batch_size=1"
            )
    images = torch.stack([torch.from_numpy(sample.image) for sample in samples])
    batch: StoredBatch = {
        "image": images.permute(0, 3, 1, 2),
        "labels": torch.stack([torch.from_numpy(sample.labels) for sample in samples]),
        "name": [sample.name for sample in samples],
    }
    if first.colors is not None:
        batch["colors"] = torch.tensor([sample.colors for sample in samples], dtype=torch.float32)
    return batch


class TimedLoader(DataLoader[AugmentedSample]):
    """A loader that adds up the time for which it is waited for.

    Attributes:
        waited: Seconds so far, over all iterations.
    """

    waited = 0.0

    def __iter__(self) -> Iterator[StoredBatch]:  # type: ignore[override]  # torch promises a class of its own
        return self._timed(super().__iter__())

    def _timed(self, batches: Iterator[StoredBatch]) -> Iterator[StoredBatch]:
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - start
            if batch is None:
                return
            yield batch


class StepLoader:
    """A loader of micro-batches that gives with the first of each optimizer step all of them, under `step`.

    So that what a sum over the step is divided by is known before its first part is summed.

    Args:
        loader: gives micro-batches without end.
        count: micro-batches of a step.
    """

    def __init__(self, loader: Iterable[StoredBatch], count: int) -> None:
        self.loader = loader
        self.count = count

    def __iter__(self) -> Iterator[StoredBatch]:
        batches = iter(self.loader)
        while step := list(islice(batches, self.count)):
            first: StoredBatch = {**step[0], "step": step}
            yield from (first, *step[1:])
