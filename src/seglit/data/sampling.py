"""Which sample comes at which place of a run."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from torch.utils.data import Sampler

from seglit.data.randomness import epoch_order


class SamplePosition(NamedTuple):
    """One sample of a run.

    Attributes:
        position: Its place in the run, from 0, over all ranks; what its augmentation is drawn from.
        sample: Its place in the data set.
    """

    position: int
    sample: int


class TrainingSampler(Sampler[SamplePosition]):
    """An endless walk over the data set, a fresh permutation each epoch, shared out to the ranks.

    The sample at a position is a function of (seed, position): epoch `position // length` in the order of
    `epoch_order`. Micro-batch `m` takes the `world_size * batch_size` positions that follow those of `m -
    1`, and rank `r` the `r`-th `batch_size` of them. So a step consumes the same positions on 1 rank with
    batch 8, on 2 with 4, on 4 with 2, and with accumulated micro-batches in their place; epochs run on
    without a seam, and no sample is dropped or repeated at their ends.

    Args:
        length: Samples in the data set, at least 1.
        seed: The seed of the run.
        batch_size: Samples of a micro-batch on one rank.
        rank: This process, from 0.
        world_size: The number of processes.
        start: Gives the position at which an iteration begins, a multiple of `batch_size * world_size`;
            asked each time that one begins, so that a resumed run, or a further epoch of Lightning's, goes
            on where it was.
    """

    def __init__(
        self,
        length: int,
        seed: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        start: Callable[[], int] = int,
    ) -> None:
        self.length = length
        self.seed = seed
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.start = start

    def __iter__(self) -> Iterator[SamplePosition]:
        block = self.start() + self.rank * self.batch_size
        epoch = -1
        while True:
            for position in range(block, block + self.batch_size):
                if position // self.length != epoch:
                    epoch = position // self.length
                    order = epoch_order(self.seed, epoch, self.length)
                yield SamplePosition(position, int(order[position % self.length]))
            block += self.batch_size * self.world_size


class EvaluationSampler(Sampler[SamplePosition]):
    """Every `world_size`-th sample, from `rank` on: the ranks together see each sample exactly once.

    Nothing is repeated to make the shards equal, so they may differ by one sample and a score over all
    ranks is the score of one process.
    """

    def __init__(self, length: int, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, length, world_size)

    def __iter__(self) -> Iterator[SamplePosition]:
        return (SamplePosition(index, index) for index in self.indices)

    def __len__(self) -> int:
        return len(self.indices)
