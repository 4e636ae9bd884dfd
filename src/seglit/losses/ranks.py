"""The processes that share an optimizer step, as losses see them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Ranks:
    """How many processes share an optimizer step; each has its part of the batch.

    Attributes:
        size: their number; 1 looks at this process alone, whatever others there are.
    """

    size: int = 1

    def summed(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Each tensor summed over the ranks, without gradient; one exchange for all, which are of one type."""
        if self.size == 1 or not tensors:
            return [tensor.detach() for tensor in tensors]
        packed = torch.cat([tensor.detach().flatten() for tensor in tensors])
        distributed.all_reduce(packed)
        parts = torch.split(packed, [tensor.numel() for tensor in tensors])
        return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


ALONE = Ranks()
