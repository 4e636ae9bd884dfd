"""Lovász losses: the convex extension of the Jaccard loss."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from seglit.losses.loss import ClassWeight, Loss, image_count
from seglit.losses.pixels import Pixels


class LovaszLoss(Loss):
    """Lovász-Softmax, and for one channel the Lovász hinge (Berman et al., CVPR 2018, equations 9 and 11).

    The Jaccard loss is taken of the weighted pixels: a pixel of weight two counts as two equal pixels.

    Args:
        classes: the classes averaged over: those `present` among the counted pixels, `all`, or a list. One
            channel takes only `present`.
        per_image: average the loss of each image; otherwise one loss of the whole batch.
        class_weight: weight of each class's pixels; see `Loss`.
        loss_weight: factor of the term.
        avg_non_ignore: average over the images in which a pixel counts, instead of all; needs `per_image`.

    Ignored pixels are left out and get no gradient. A class whose number is `ignore_index` is no class.
    """

    def __init__(
        self,
        classes: Literal["present", "all"] | Sequence[int] = "present",
        per_image: bool = False,
        class_weight: ClassWeight = None,
        loss_weight: float = 1.0,
        avg_non_ignore: bool = False,
    ) -> None:
        super().__init__(class_weight, loss_weight)
        if avg_non_ignore and not per_image:
            raise ValueError("avg_non_ignore=True has no effect with per_image=False; leave one of them out")
        if isinstance(classes, str) and classes not in {"present", "all"}:
            raise ValueError(f"classes: 'present', 'all' or a list of class numbers; got {classes!r}")
        if not isinstance(classes, str) and (not classes or min(classes) < 0):
            raise ValueError(f"classes: a list of one or more class numbers from 0; got {list(classes)}")
        self.classes = classes if isinstance(classes, str) else tuple(classes)
        self.per_image = per_image
        self.avg_non_ignore = avg_non_ignore

    @property
    def adds_up(self) -> bool:
        """See `Loss.adds_up`: only where no pixel is sorted among those of another image."""
        return self.per_image

    @property
    def is_mean(self) -> bool:
        """See `Loss.is_mean`."""
        return self.per_image

    def totals(self, pixels: Pixels) -> dict[str, Tensor]:
        """See `Loss.totals`."""
        terms, present = self.class_terms(pixels, pixels.weight(self.class_weight))
        counted = self.counted_classes(present)
        if pixels.ignored_class is not None:
            counted[:, pixels.ignored_class] = False
        images = (terms * counted).sum(1) / counted.sum(1).clamp(min=1)
        return {"sum": images.sum(), "divisor": self.divisor_of(pixels)}

    def divisor_of(self, pixels: Pixels) -> Float[Tensor, ""]:
        """See `Loss.divisor_of`."""
        if not self.per_image:
            return pixels.logits.new_ones(())
        return image_count(pixels, self.class_weight, counted=self.avg_non_ignore)

    def class_terms(
        self, pixels: Pixels, weight: Float[Tensor, "batch height width"]
    ) -> tuple[Float[Tensor, "images channels"], Bool[Tensor, "images channels"]]:
        """The loss of each class, and whether a pixel of it counts; `images` is one unless `per_image`."""
        foreground = pixels.one_hot()
        if pixels.channels == 1:
            sign = (pixels.target * 2 - 1).to(weight.dtype)
            errors = (1 - pixels.logits[:, 0] * sign).relu()[:, None]
        else:
            errors = (foreground - pixels.logits.softmax(1)).abs()
        # Classes first, so that the pixels of all images can be laid end to end.
        by_class = [array.transpose(0, 1) for array in (errors, foreground, weight[:, None].expand_as(errors))]
        shape = (pixels.channels, len(weight) if self.per_image else 1, -1)
        errors, foreground, weights = (array.reshape(shape) for array in by_class)
        terms = lovasz_extension(errors, foreground, weights)
        return terms.T, ((weights * foreground).sum(2) > 0).T

    def counted_classes(self, present: Bool[Tensor, "images channels"]) -> Bool[Tensor, "images channels"]:
        """The classes that `classes` averages over; the one channel of a binary problem always."""
        if self.classes == "present" and present.shape[1] > 1:
            return present.clone()
        if isinstance(self.classes, str):
            return torch.ones_like(present)
        counted = torch.zeros_like(present)
        counted[:, list(self.classes)] = True
        return counted

    def divisor_name(self, *, sampled: bool) -> str:
        """See `Loss.divisor_name`."""
        if not self.per_image:
            return "formula of the batch"
        return "images with a counted pixel" if self.avg_non_ignore else "images"

    def check(self, num_classes: int, channels: int, *, sampled: bool) -> None:
        """See `Loss.check`."""
        super().check(num_classes, channels, sampled=sampled)
        if not isinstance(self.classes, str) and max(self.classes) >= num_classes:
            raise ValueError(f"classes: {list(self.classes)} names a class beyond the {num_classes} there are")
        if channels == 1 and self.classes != "present":
            raise ValueError("classes: without effect on logits of one channel; leave it out")


def lovasz_extension(
    errors: Float[Tensor, "classes images pixels"],
    foreground: Float[Tensor, "classes images pixels"],
    weights: Float[Tensor, "classes images pixels"],
) -> Float[Tensor, "classes images"]:
    """The Lovász extension of the weighted Jaccard loss at `errors` (Berman et al. 2018, equation 8, algorithm 1).

    Args:
        errors: how wrong each pixel is, not negative.
        foreground: one where the pixel belongs to the class.
        weights: weight of each pixel; one of weight zero adds nothing and gets no gradient.
    """
    errors, order = errors.sort(dim=2, descending=True)
    # Counts pass 2**24, where float32 loses units.
    weights = weights.gather(2, order).double()
    foreground = foreground.gather(2, order).double()
    positive = weights * foreground
    total = positive.sum(2, keepdim=True)
    intersection = total - positive.cumsum(2)
    union = total + (weights - positive).cumsum(2)
    jaccard = 1 - intersection / torch.where(union > 0, union, 1.0)
    jaccard = torch.where(union > 0, jaccard, 0.0)
    steps = torch.diff(jaccard, dim=2, prepend=torch.zeros_like(total))
    # A pixel of weight zero takes no step, but rounding may leave one.
    steps = torch.where(weights > 0, steps, 0.0)
    return (errors * steps.to(errors.dtype)).sum(2)
