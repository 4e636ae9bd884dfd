"""The laws of a loss. Each is a function of the loss and a batch, which raises where the law does not hold."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from seglit.testing.under_test import (
    WHOLE,
    Batch,
    ClassWeight,
    Cut,
    LawBrokenError,
    LossUnderTest,
    NotClaimedError,
    random_batch,
    true_classes,
)

Law = Callable[[LossUnderTest, Batch], None]
HALF_ERROR = 8
"""Error allowed to half precision, in units of its epsilon: 2**-7 for bfloat16, 2**-10 for float16."""
LARGE = 256
"""Side of an image whose sum of losses is beyond the range of float16."""


def void_value(loss: LossUnderTest, batch: Batch) -> None:
    """Logits under void pixels change nothing."""
    needs_void(loss)
    noise = 50 * torch.randn(batch.logits.shape, dtype=batch.logits.dtype, generator=batch.generator)
    other = batch.with_logits(torch.where(batch.valid[:, None], batch.logits, noise))
    close(value(loss, other), value(loss, batch), loss.tolerance, "the loss, with other logits under void pixels")


def void_gradient(loss: LossUnderTest, batch: Batch) -> None:
    """Logits under void pixels get a gradient of exactly zero."""
    needs_void(loss)
    zero(gradient(loss, batch), ~batch.valid, "the gradient of void pixels")


def void_removal(loss: LossUnderTest, batch: Batch) -> None:
    """Removing void pixels changes nothing, or the number of pixels alone where all are the divisor."""
    needs_void(loss)
    removal(loss, batch.first_image(), batch.valid[0].flatten(), "void pixels")


def all_void(loss: LossUnderTest, batch: Batch) -> None:
    """Where no pixel has a label, value and gradient are finite."""
    needs_void(loss)
    finite(loss, batch.with_labels(torch.full_like(batch.labels, batch.ignore_index)))


def all_easy(loss: LossUnderTest, batch: Batch) -> None:
    """Where every pixel is right beyond doubt, value and gradient are finite."""
    finite(loss, batch.right(20.0))


def one_valid_pixel(loss: LossUnderTest, batch: Batch) -> None:
    """Where a single pixel of the batch has a label, value and gradient are finite."""
    needs_void(loss)
    labels = torch.full_like(batch.labels, batch.ignore_index)
    labels[0, 0, 0] = batch.labels[0, 0, 0]
    finite(loss, batch.with_labels(labels))


def one_class(loss: LossUnderTest, batch: Batch) -> None:
    """Where every label is the same class, value and gradient are finite."""
    for number in true_classes(loss, batch.ignore_index):
        finite(loss, batch.with_labels(batch.labels.masked_fill(batch.valid, number)))


def absent_classes(loss: LossUnderTest, batch: Batch) -> None:
    """Where some classes have no pixel, value and gradient are finite."""
    present = true_classes(loss, batch.ignore_index)[:2]
    labels = torch.where(batch.labels == present[0], present[0], present[-1])
    finite(loss, batch.with_labels(torch.where(batch.valid, labels, batch.labels)))


def batch_of_one(loss: LossUnderTest, batch: Batch) -> None:
    """For one image, and for one pixel, value and gradient are finite."""
    finite(loss, batch.first_image())
    finite(loss, batch.chosen(torch.tensor([0])))


def doubled_weights(loss: LossUnderTest, batch: Batch) -> None:
    """Doubling all weights doubles a mean over pixels, changes no mean by weight, and to a formula is all pixels twice.

    Where a formula has no constant beside its sums, that changes nothing either.
    """
    weigh = needs_class_weight(loss)
    weights = loss.class_weight or (1.0,) * loss.classes
    doubled = weigh(tuple(2 * weight for weight in weights))
    batch = batch.first_image()
    if loss.divisor != "formula":
        factor = 1 if loss.divisor == "class_weight" else 2
        close(value(doubled, batch), factor * value(weigh(weights), batch), loss.tolerance, "the loss, weights doubled")
        return
    needs_no_count(loss)
    places = torch.arange(batch.labels.numel())
    twice = value(weigh(weights), batch.chosen(places.repeat(2)))
    close(value(doubled, batch.chosen(places)), twice, loss.tolerance, "the loss, weights doubled instead of pixels")


def repeated_pixels(loss: LossUnderTest, batch: Batch) -> None:
    """Weight 2 on the pixels of a class is the same as these pixels twice."""
    weigh = needs_class_weight(loss)
    needs_no_count(loss)
    weights = loss.class_weight or (1.0,) * loss.classes
    number = int(batch.labels[0, 0, 0])
    places = torch.arange(batch.labels[0].numel())
    again = torch.cat([places, places[batch.labels[0].flatten() == number]])
    single, double = batch.chosen(places), batch.chosen(again)
    heavy = weigh(tuple(weight * (1 + (index == number)) for index, weight in enumerate(weights)))
    plain = weigh(weights)
    close(
        value(heavy, single) * count(heavy, single),
        value(plain, double) * count(plain, double),
        loss.tolerance,
        f"the loss with weight 2 on class {number}, instead of its pixels twice",
    )
    if loss.differentiable:
        apart = gradient(plain, double) * count(plain, double)
        together = torch.zeros_like(single.logits).index_add_(3, again, apart)
        near(gradient(heavy, single) * count(heavy, single), together, loss.tolerance, "its gradient")


def class_permutation(loss: LossUnderTest, batch: Batch) -> None:
    """Numbering the classes otherwise changes nothing, and permutes the gradient."""
    if loss.channels == 1 or not loss.classes_alike:
        raise NotClaimedError("some class is treated apart")
    classes = torch.tensor(true_classes(loss, batch.ignore_index))
    order = torch.arange(loss.channels)
    order[classes] = classes[torch.randperm(len(classes), generator=batch.generator)]
    renumbered = torch.where(batch.valid, order.argsort()[batch.labels.masked_fill(~batch.valid, 0)], batch.labels)
    other = loss
    if loss.class_weight is not None:
        weights = torch.tensor(loss.class_weight, dtype=torch.float64)[order]
        other = needs_class_weight(loss)(tuple(weights.tolist()))
    permuted = replace(batch, logits=batch.logits[:, order], labels=renumbered)
    same(other, permuted, loss, batch, lambda tensor: tensor[:, order], "with the classes numbered otherwise")


def image_permutation(loss: LossUnderTest, batch: Batch) -> None:
    """The order of the images changes nothing, and permutes the gradient."""
    moved = replace(batch, logits=batch.logits.roll(1, 0), labels=batch.labels.roll(1, 0))
    same(loss, moved, loss, batch, lambda tensor: tensor.roll(1, 0), "with the images in another order")


def flips(loss: LossUnderTest, batch: Batch) -> None:
    """Mirrored images have the same loss and the mirrored gradient."""
    for axis in (-1, -2):
        mirrored = replace(batch, logits=batch.logits.flip(axis), labels=batch.labels.flip(axis))
        same(loss, mirrored, loss, batch, lambda tensor, axis=axis: tensor.flip(axis), "of mirrored images")  # type: ignore[misc]


def saturation(loss: LossUnderTest, batch: Batch) -> None:
    """For logits of 1e4 and -1e4, value and gradient are finite."""
    finite(loss, batch.with_logits(batch.logits.sign() * 1e4))


def half_precision(loss: LossUnderTest, batch: Batch) -> None:
    """For logits in bfloat16 and float16 the loss is near that in float64.

    The error allowed is `HALF_ERROR` times the epsilon of the type; for a gradient, relative to its greatest entry.
    """
    for dtype in (torch.bfloat16, torch.float16):
        epsilon = torch.finfo(dtype).eps
        error = HALF_ERROR * epsilon
        rounded = batch.with_logits(batch.logits.to(dtype))
        exact = batch.with_logits(rounded.logits.double())
        close(value(loss, rounded), value(loss, exact), error, f"the loss in {dtype}", epsilon)
        if loss.differentiable:
            slopes = gradient(loss, rounded).double(), gradient(loss, exact)
            near(*slopes, error, f"the gradient in {dtype}", epsilon / batch.labels.numel())


def half_precision_of_many_pixels(loss: LossUnderTest, batch: Batch) -> None:
    """The same in float16 where the sum over the pixels is beyond the range of the type."""
    large = random_batch(loss, images=1, height=LARGE, width=LARGE, scale=8.0, ignore_index=batch.ignore_index)
    rounded = large.with_logits(large.logits.to(torch.float16))
    exact = large.with_logits(rounded.logits.double())
    error = HALF_ERROR * torch.finfo(torch.float16).eps
    close(value(loss, rounded), value(loss, exact), error, f"the loss in float16 of {LARGE} x {LARGE} pixels")


def sum_of_batches(loss: LossUnderTest, batch: Batch) -> None:
    """The loss and gradient of a batch follow from its parts seen alone, as by micro-batches or ranks."""
    if not loss.adds_up:
        raise NotClaimedError("the loss does not follow from parts")
    images = len(batch.labels)
    alone = [part(slice(image, image + 1)) for image in range(images)]
    cuts = [alone] if loss.combine is None or images < 3 else [alone, [part(slice(0, 1)), part(slice(1, images))]]
    for parts in cuts:
        logits = batch.logits.clone().requires_grad_(loss.differentiable)
        whole = batch.logits.clone().requires_grad_(loss.differentiable)
        combined = combine(loss, batch.with_logits(logits), parts)
        expected = loss.compute(whole, batch.labels, batch.ignore_index)
        close(combined.detach(), expected.detach(), loss.tolerance, f"the loss from {len(parts)} parts")
        if loss.differentiable:
            gradients = [torch.autograd.grad(*pair)[0] for pair in ((combined, logits), (expected, whole))]
            near(gradients[0], gradients[1], loss.tolerance, f"the gradient from {len(parts)} parts")


def sum_of_tiles(loss: LossUnderTest, batch: Batch) -> None:
    """The statistics of tiles add up to those of the whole, and so do their gradients."""
    if loss.statistics is None:
        raise NotClaimedError("there are no sums over pixels")
    height, width = batch.labels.shape[1:]
    rows = int(torch.randint(height + 1, (), generator=batch.generator))
    columns = int(torch.randint(width + 1, (), generator=batch.generator))
    tiles = [
        (slice(None), of_rows, of_columns)
        for of_rows in (slice(0, rows), slice(rows, height))
        for of_columns in (slice(0, columns), slice(columns, width))
    ]
    sums, gradients = zip(*(statistics(loss, batch, cut) for cut in [WHOLE, *tiles]), strict=True)
    for name, whole in sums[0].items():
        together = torch.stack([tile[name] for tile in sums[1:]]).sum(0)
        near(together, whole, loss.tolerance, f"the {name} of {len(tiles)} tiles, added")
    near(torch.stack(gradients[1:]).sum(0), gradients[0], loss.tolerance, "the gradient of tiles, added")


def unkept_pixels(loss: LossUnderTest, batch: Batch) -> None:
    """A pixel that the sampler left out gets no gradient; without it nothing changes, as the mean is over the rest."""
    if loss.keeps is None:
        raise NotClaimedError("there is no sampler")
    kept = loss.keeps(batch.logits, batch.labels, batch.ignore_index)
    zero(gradient(loss, batch), ~kept, "the gradient of pixels that the sampler left out")
    image = batch.first_image()
    kept = loss.keeps(image.logits, image.labels, image.ignore_index)[0].flatten()
    # One pixel alone is the matter of another law.
    if kept.sum() > 1:
        removal(loss, image, kept, "pixels that the sampler left out")


LAWS: tuple[Law, ...] = (
    void_value,
    void_gradient,
    void_removal,
    all_void,
    all_easy,
    one_valid_pixel,
    one_class,
    absent_classes,
    batch_of_one,
    doubled_weights,
    repeated_pixels,
    class_permutation,
    image_permutation,
    flips,
    saturation,
    half_precision,
    half_precision_of_many_pixels,
    sum_of_batches,
    sum_of_tiles,
    unkept_pixels,
)
"""All laws of a loss."""


def needs_void(loss: LossUnderTest) -> None:
    """Refuse a loss that ignores no label."""
    if not loss.ignored:
        raise NotClaimedError("no label is ignored")


def needs_class_weight(loss: LossUnderTest) -> Callable[[ClassWeight], LossUnderTest]:
    """The loss by its class weights, where it has such and says how they count."""
    if loss.with_class_weight is None or loss.divisor in {None, "mixed"}:
        raise NotClaimedError("pixels have no weight, or no divisor is named")
    return loss.with_class_weight


def needs_no_count(loss: LossUnderTest) -> None:
    """Refuse a loss whose sampler would choose otherwise among more pixels."""
    if loss.keeps_by_count:
        raise NotClaimedError("the sampler keeps a number of pixels")


def value(loss: LossUnderTest, batch: Batch) -> Tensor:
    """The loss, without gradient."""
    return loss.compute(batch.logits, batch.labels, batch.ignore_index).detach()


def gradient(loss: LossUnderTest, batch: Batch) -> Tensor:
    """The gradient of the loss in the logits; zeros for a score."""
    if not loss.differentiable:
        return torch.zeros_like(batch.logits)
    logits = batch.logits.detach().clone().requires_grad_()
    loss_value = loss.compute(logits, batch.labels, batch.ignore_index)
    if not loss_value.requires_grad:
        raise LawBrokenError("the loss is not connected to the logits: it has no gradient, and backward fails")
    (result,) = torch.autograd.grad(loss_value, logits)
    return result


def finite(loss: LossUnderTest, batch: Batch) -> None:
    """Demand a finite loss, and a finite gradient."""
    number = value(loss, batch)
    if not number.isfinite():
        raise LawBrokenError(f"the loss is {number.item()}")
    slope = gradient(loss, batch)
    if not slope.isfinite().all():
        raise LawBrokenError(
            f"the gradient of {int((~slope.isfinite()).sum())} of {slope.numel()} logits is not finite"
        )


def count(loss: LossUnderTest, batch: Batch) -> int:
    """By what to multiply the loss so that more pixels that do not count make no difference."""
    match loss.divisor:
        case "all":
            return batch.labels.numel()
        case "valid":
            return int(batch.valid.sum())
        case "kept" if loss.keeps is not None:
            return int(loss.keeps(batch.logits, batch.labels, batch.ignore_index).sum())
        case _:
            return 1


def removal(loss: LossUnderTest, image: Batch, stay: Tensor, what: str) -> None:
    """Demand that the loss of one image, but for its divisor, is that of the pixels that stay."""
    if loss.divisor is None:
        raise NotClaimedError("no divisor is named")
    places = torch.arange(len(stay))
    whole, rest = image.chosen(places), image.chosen(places[stay])
    # Of a mean over the pixels that stay, the loss itself stays; of one over more, the sum does.
    counts = [1 if loss.divisor == "kept" else count(loss, one) for one in (rest, whole)]
    close(value(loss, rest) * counts[0], value(loss, whole) * counts[1], loss.tolerance, f"the loss without {what}")
    if loss.differentiable:
        expected = (gradient(loss, whole) * counts[1])[..., stay]
        near(gradient(loss, rest) * counts[0], expected, loss.tolerance, f"the gradient without {what}")


def part(images: slice) -> Cut:
    """Some images, whole."""
    return (images, slice(None), slice(None))


def combine(loss: LossUnderTest, batch: Batch, parts: list[Cut]) -> Tensor:
    """The loss of the batch from its parts."""
    if loss.combine is not None:
        return loss.combine(batch.logits, batch.labels, batch.ignore_index, parts)
    losses = [loss.compute(batch.logits[cut[0]], batch.labels[cut[0]], batch.ignore_index) for cut in parts]
    return torch.stack(losses).mean()


def statistics(loss: LossUnderTest, batch: Batch, cut: Cut) -> tuple[dict[str, Tensor], Tensor]:
    """The statistics of a part, and the gradient of a combination of them in the logits of the whole."""
    if loss.statistics is None:
        raise NotClaimedError("there are no sums over pixels")
    logits = batch.logits.clone().requires_grad_()
    sums = loss.statistics(logits, batch.labels, batch.ignore_index, cut)
    factors = batch.generator
    combined = [
        (sums[name] * torch.rand(sums[name].shape, dtype=logits.dtype, generator=factors)).sum() for name in sums
    ]
    (slope,) = torch.autograd.grad(torch.stack(combined).sum(), logits)
    return {name: tensor.detach() for name, tensor in sums.items()}, slope


def same(
    loss: LossUnderTest,
    batch: Batch,
    original: LossUnderTest,
    before: Batch,
    moved: Callable[[Tensor], Tensor],
    what: str,
) -> None:
    """Demand the value of before, and its gradient moved."""
    close(value(loss, batch), value(original, before), original.tolerance, f"the loss {what}")
    if original.differentiable:
        near(gradient(loss, batch), moved(gradient(original, before)), original.tolerance, f"the gradient {what}")


def close(actual: Tensor, expected: Tensor, tolerance: float, what: str, floor: float = 1e-12) -> None:
    """Demand two equal numbers, of whatever types."""
    actual, expected = actual.double(), expected.double()
    if not torch.allclose(actual, expected, rtol=tolerance, atol=floor):
        ratio = f", {actual / expected:.4g} times as much" if expected != 0 else ""
        raise LawBrokenError(f"{what}: {actual.item():.6g}, not {expected.item():.6g}{ratio}")


def near(actual: Tensor, expected: Tensor, tolerance: float, what: str, floor: float = 1e-12) -> None:
    """Demand equal tensors, to a tolerance relative to the greatest entry."""
    greatest = expected.abs().max() if expected.numel() else expected.sum()
    # Written so that NaN is no equality.
    if not ((actual - expected).abs() <= tolerance * greatest + floor).all():
        difference = (actual - expected).abs().max().item()
        raise LawBrokenError(f"{what}: differs by {difference:.3g} where the greatest entry is {greatest.item():.3g}")


def zero(slope: Tensor, places: Tensor, what: str) -> None:
    """Demand a gradient of exactly zero at these pixels."""
    entries = slope.movedim(1, -1)[places]
    if entries.count_nonzero():
        raise LawBrokenError(f"{what}: up to {entries.abs().max().item():.3g}, not exactly zero")
