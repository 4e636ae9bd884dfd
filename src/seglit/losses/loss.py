"""What every loss is: a module from pixels to one number, with a weight and, optionally, a weight per class."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
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

    @abstractmethod
    def value(self, pixels: Pixels) -> Float[Tensor, ""]:
        """The loss before `loss_weight`; zero, with zero gradient, where no pixel counts."""

    def divisor_name(self, *, sampled: bool) -> str:
        """What the sum over pixels is divided by, for the receipt. `sampled`: the head has a sampler."""
        return "formula"

    def forward(self, pixels: Pixels) -> Float[Tensor, ""]:
        """`loss_weight` times the loss of the pixels."""
        if self.class_weight_rule is not None and self.class_weight is None:
            raise RuntimeError(
                f"class_weight '{self.class_weight_origin}' is not measured yet; "
                "call measure_class_weight with the counts of the training labels"
            )
        return self.loss_weight * self.value(pixels)

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
