"""What every loss is: a module from pixels to one number, with a weight and, optionally, a weight per class."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from seglit.losses.class_weight import checked_class_weight, measured_class_weight, read_class_weight
from seglit.losses.pixels import Pixels

ClassWeight = Sequence[float] | str | None


class Loss(nn.Module, ABC):
    """One named term of a head's criterion.

    Args:
        class_weight: a weight for each class, by which every pixel of that class counts: a list, the path of a file
            (see `read_class_weight`), or `"auto"`, measured from the training labels by ENet's rule;
            `"auto:inverse"`, `"auto:median_frequency"` and `"auto:effective_number"` choose another.
        loss_weight: factor of the whole term; not negative.
    """

    use_sigmoid: bool = False

    def __init__(self, class_weight: ClassWeight, loss_weight: float) -> None:
        super().__init__()
        if loss_weight < 0:
            raise ValueError(f"loss_weight: must not be negative, got {loss_weight}")
        self.loss_weight = loss_weight
        self.class_weight_origin = "none" if class_weight is None else "given"
        self.class_weight_rule: str | None = None
        self.class_weight: tuple[float, ...] | None = None
        if isinstance(class_weight, str):
            self.class_weight_origin = class_weight
            if class_weight == "auto" or class_weight.startswith("auto:"):
                self.class_weight_rule = class_weight.removeprefix("auto").removeprefix(":") or "enet"
            else:
                self.class_weight = checked_class_weight(read_class_weight(Path(class_weight)), class_weight)
        elif class_weight is not None:
            self.class_weight = checked_class_weight(class_weight, "class_weight")
        if self.class_weight_rule is not None:
            # A wrong rule is refused now, not when the labels have been counted.
            measured_class_weight(self.class_weight_rule, torch.ones(2).long(), torch.ones(2).long())

    @property
    def adds_up(self) -> bool:
        """Whether the `totals` of parts of a batch, such as those of ranks, add up to the totals of the batch."""
        return True

    @property
    def is_pixel_sum(self) -> bool:
        """Whether it is a formula of sums over pixels, which can be added up tile by tile; see `PixelSumLoss`."""
        return False

    @property
    @abstractmethod
    def is_mean(self) -> bool:
        """Whether the loss is a sum over pixels or images divided by their number: `finish` is `sum / divisor`."""

    @abstractmethod
    def totals(self, pixels: Pixels) -> dict[str, Tensor]:
        """What `finish` needs to know of a batch; sums over its images, differentiable in the logits."""

    def finish(self, totals: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """The loss before `loss_weight`, from the totals; zero, with zero gradient, where no pixel counts."""
        divisor = totals["divisor"]
        # A sum over nothing is zero, so any divisor but zero keeps value and gradient at zero.
        return totals["sum"] / torch.where(divisor > 0, divisor, 1.0)

    def divisor_of(self, pixels: Pixels) -> Float[Tensor, ""]:
        """Of a loss that is a mean, the `divisor` of its totals. Depends on labels and choice, not on logits."""
        raise NotImplementedError(f"{type(self).__name__} is no mean")

    def divisor_name(self, *, sampled: bool) -> str:
        """What the sum over pixels is divided by, for the receipt. `sampled`: the head has a sampler."""
        return "formula"

    def forward(self, pixels: Pixels) -> Float[Tensor, ""]:
        """`loss_weight` times the loss of the pixels."""
        return self.loss_weight * self.finish(self.counted_totals(pixels))

    def counted_totals(self, pixels: Pixels) -> dict[str, Tensor]:
        """The totals, once class weights are known.

        Raises:
            RuntimeError: where `class_weight="auto"` has not been measured.
        """
        self.refuse_unmeasured()
        return self.totals(pixels)

    def refuse_unmeasured(self) -> None:
        """Refuse to go on without class weights.

        Raises:
            RuntimeError: where `class_weight="auto"` has not been measured.
        """
        if self.class_weight_rule is not None and self.class_weight is None:
            raise RuntimeError(
                f"class_weight '{self.class_weight_origin}' is not measured yet; "
                "call measure_class_weight with the counts of the training labels"
            )

    def measure_class_weight(self, pixels: Int64[Tensor, " classes"], image_pixels: Int64[Tensor, " classes"]) -> None:
        """Settle `class_weight="auto"` from the counts of the training labels; see `measured_class_weight`."""
        if self.class_weight_rule is not None:
            self.class_weight = tuple(measured_class_weight(self.class_weight_rule, pixels, image_pixels).tolist())

    def check(self, num_classes: int, channels: int, *, sampled: bool) -> None:
        """Refuse what cannot be meant for these classes and channels of logits, in a head with or without a sampler.

        Raises:
            ValueError: names the argument, both values and the mend.
        """
        if self.class_weight is not None and len(self.class_weight) != num_classes:
            raise ValueError(
                f"class_weight: {len(self.class_weight)} weights for {num_classes} classes; give one per class"
            )


def image_count(pixels: Pixels, class_weight: tuple[float, ...] | None, *, counted: bool) -> Float[Tensor, ""]:
    """The number of images; `counted`: of those in which a pixel counts."""
    if not counted:
        return pixels.logits.new_full((), float(len(pixels.labels)))
    return (pixels.weight(class_weight).sum((1, 2)) > 0).sum().to(pixels.logits.dtype)
