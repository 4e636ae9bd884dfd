"""What a loss is given: the pixels of one head, and which of them count."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, Integer
from torch import Tensor


@dataclass(frozen=True)
class Pixels:
    """The logits and labels of one head at one resolution, and which pixels count.

    Attributes:
        logits: scores before the activation, `batch channels height width`, float32 or float64. One channel means a
            binary problem: its sigmoid is the probability of class 1.
        labels: int64, `batch height width`; `ignore_index` where nobody knows.
        ignore_index: the label of a void pixel; any integer.
        kept: bool, `batch height width`, true where the sampler chose the pixel; None without a sampler.
        limit: the least surprise of a pixel that the sampler chooses, in nats; None without a sampler.
    """

    logits: Float[Tensor, "batch channels height width"]
    labels: Int64[Tensor, "batch height width"]
    ignore_index: int
    kept: Bool[Tensor, "batch height width"] | None = None
    limit: Float[Tensor, ""] | None = None

    @property
    def channels(self) -> int:
        """Channels of the logits."""
        return self.logits.shape[1]

    @property
    def num_classes(self) -> int:
        """Number of classes; two for one channel."""
        return max(self.channels, 2)

    @property
    def ignored_class(self) -> int | None:
        """The channel that is no class because its number is the ignored label; None where there is none."""
        return self.ignore_index if 0 <= self.ignore_index < self.channels > 1 else None

    @cached_property
    def valid(self) -> Bool[Tensor, "batch height width"]:
        """Where the label is known."""
        return self.labels != self.ignore_index

    @cached_property
    def counted(self) -> Bool[Tensor, "batch height width"]:
        """Where the label is known and the sampler, if any, chose the pixel."""
        return self.valid if self.kept is None else self.valid & self.kept

    @cached_property
    def target(self) -> Int64[Tensor, "batch height width"]:
        """The labels, with class 0 put in at void pixels so that they can index. Weigh such pixels by zero."""
        return torch.where(self.valid, self.labels, 0)

    def weight(self, class_weight: tuple[float, ...] | None) -> Float[Tensor, "batch height width"]:
        """Void × sampler × the weight of the pixel's true class; zero where a pixel does not count."""
        weight = self.counted.to(self.logits.dtype)
        if class_weight is None:
            return weight
        return weight * table(class_weight, self.logits.dtype, self.logits.device)[self.target]

    def one_hot(self) -> Float[Tensor, "batch channels height width"]:
        """One at the true class; all zero at void pixels. One channel: one where the label is 1."""
        if self.channels == 1:
            return (self.valid & (self.labels == 1)).to(self.logits.dtype)[:, None]
        classes = torch.arange(self.channels, device=self.labels.device)[:, None, None]
        return ((self.labels[:, None] == classes) & self.valid[:, None]).to(self.logits.dtype)

    def probabilities(self, *, use_sigmoid: bool) -> Float[Tensor, "batch channels height width"]:
        """Softmax over the classes, or the sigmoid of each channel. One channel always takes the sigmoid."""
        return self.logits.sigmoid() if use_sigmoid or self.channels == 1 else self.logits.softmax(1)

    def surprise(self, *, use_sigmoid: bool) -> Float[Tensor, "batch height width"]:
        """-log of the probability of the true class, in nats; zero where the label is void.

        Args:
            use_sigmoid: the probability is the sigmoid of the true class's channel, not the softmax over the channels.
                One channel always takes the sigmoid, whose complement is the probability of class 0.
        """
        if self.channels == 1:
            sign = self.target * 2 - 1
            surprise = self.surprise_of(-self.logits[:, 0] * sign)
        elif use_sigmoid:
            surprise = self.surprise_of(-self.at_label(self.logits))
        else:
            return F.cross_entropy(self.logits, self.labels, ignore_index=self.ignore_index, reduction="none")
        return torch.where(self.valid, surprise, 0.0)

    def at_label(self, maps: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch height width"]:
        """Of maps for each channel, that of the true class, and of channel 0 at void pixels. One channel: that one."""
        return maps[:, 0] if self.channels == 1 else maps.gather(1, self.target[:, None])[:, 0]

    def add_at_label(
        self, maps: Float[Tensor, "batch channels height width"], values: Float[Tensor, "batch height width"]
    ) -> None:
        """Add values, zero at void pixels, to the channel of the true class in place. One channel: where it is 1."""
        if self.channels == 1:
            maps[:, 0].add_(torch.where(self.labels == 1, values, 0.0))
        else:
            maps.scatter_add_(1, self.target[:, None], values[:, None])

    def sums_by_label(self, values: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch channels"]:
        """Values, zero at void pixels, summed over the pixels of each true class. One channel: of class 1."""
        if values.device.type != "cpu":
            # To add at an index is in no order there, and so not the same twice.
            return torch.einsum("nchw,nhw->nc", self.one_hot(), values)
        places = (self.labels == 0).long() if self.channels == 1 else self.target
        # One after the other, so many numbers need more digits than they have.
        sums = values.new_zeros(len(values), max(self.channels, 2), dtype=torch.float64)
        sums = sums.scatter_add(1, places.flatten(1), values.flatten(1).double())
        return sums[:, : self.channels].to(values.dtype)

    def doubts(self) -> Float[Tensor, "batch channels height width"]:
        """The logit of each channel against what is true of it: its own, and less its own for the true class.

        Its sigmoid is the probability of the contrary of the truth.
        """
        doubts = self.logits.clone()
        self.add_at_label(doubts, torch.where(self.valid, -2 * self.at_label(self.logits), 0.0))
        return doubts

    def surprise_of(self, doubts: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """-log of the probability of what is doubted so, `log(1 + exp(doubts))`; never negative."""
        # Above the threshold it is the number itself, to the last digit of float64.
        return F.softplus(doubts, threshold=40.0)

    def correct(self) -> Bool[Tensor, "batch height width"]:
        """Where the label is known and no other class has a higher score."""
        logits = self.logits.detach()
        if self.channels == 1:
            return self.valid & ((logits[:, 0] > 0) == (self.labels == 1))
        return self.valid & (self.at_label(logits) >= logits.amax(1))

    def counts(self) -> dict[str, Float[Tensor, "..."]]:
        """What is watched: how many pixels are valid and right, and with a sampler, of each class, kept and valid.

        Numbers, and of each class for one batch: `1 classes`.
        """
        counts = {"valid": self.valid.sum(), "correct": self.correct().sum()}
        if self.kept is not None:
            places = torch.where(self.valid, 2 * self.target + self.counted, 2 * self.num_classes)
            by_class = histogram(places.flatten(), 2 * self.num_classes + 1)[:-1].view(1, -1, 2)
            counts |= {"kept_by_class": by_class[:, :, 1], "valid_by_class": by_class.sum(2)}
        return {name: count.to(self.logits.dtype) for name, count in counts.items()}


@lru_cache(maxsize=64)
def table(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Float[Tensor, " values"]:
    """The values on the device, sent there once."""
    return torch.tensor(values, dtype=dtype, device=device)


def can_look_at(tensor: Tensor) -> bool:
    """Whether the host sees the numbers of a tensor without waiting for a device."""
    return tensor.device.type == "cpu"


def histogram(indices: Integer[Tensor, " number"], length: int) -> Int64[Tensor, " length"]:
    """How often each index occurs."""
    if can_look_at(indices):
        return torch.bincount(indices, minlength=length)
    # Elsewhere bincount waits for the greatest index.
    indices = indices.long()
    return indices.new_zeros(length).scatter_add_(0, indices, torch.ones_like(indices))
