"""From a sampler's positions to batches."""

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NotRequired, TypedDict

import torch
from jaxtyping import Integer, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from seglit.data.folder import FolderDataset, Sample
from seglit.data.randomness import derived_seed
from seglit.data.sampling import SamplePosition
from seglit.data.transforms import Augmentation


class StoredBatch(TypedDict):
    """A batch as loaders give it; the labels are of a small integer type."""

    image: UInt8[Tensor, "batch 3 height width"]
    labels: Integer[Tensor, "batch height width"]
    name: list[str]
    step: NotRequired[list["StoredBatch"]]
    """With the first micro-batch of an optimizer step, all of them."""


class AugmentedDataset(Dataset[Sample]):
    """The samples of a folder after augmentation, which is drawn from (seed, position) alone.

    Args:
        samples: The samples.
        augmentation: What happens to each.
        seed: The seed of the run.
    """

    def __init__(self, samples: FolderDataset, augmentation: Augmentation, seed: int) -> None:
        self.samples = samples
        self.augmentation = augmentation
        self.seed = seed

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, place: SamplePosition | int) -> Sample:
        """The sample for a position; a bare index, as of Lightning's `overfit_batches`, is its own."""
        position, sample = (place, place) if isinstance(place, int) else place
        image, labels, name = self.samples[sample]
        seed = derived_seed(self.seed, "augmentation", position)
        return Sample(*self.augmentation(image, labels, seed), name)


def collate(samples: Sequence[Sample]) -> StoredBatch:
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
    return {
        "image": images.permute(0, 3, 1, 2),
        "labels": torch.stack([torch.from_numpy(sample.labels) for sample in samples]),
        "name": [sample.name for sample in samples],
    }


class TimedLoader(DataLoader[Sample]):
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
