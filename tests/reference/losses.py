"""Slow, obvious NumPy references for the losses, the hard-pixel sampler and the head criterion.

Everything is float64 and loops over pixels. Written from the definitions, not from `seglit.losses`, so that
an error in one is no error in the other. Notation throughout:

- `logits` (N, C, H, W); `labels` (N, H, W) integers; a pixel of label `ignore_index` is void, else valid.
- `keep` (N, H, W), 1 where a sampler kept the pixel and 0 where it dropped it; None without a sampler.
- `class_weight`: one number per class, or None for 1; it multiplies a pixel by the weight of its true class.
- The weight w of a pixel is valid * keep * class_weight[label].
- One channel means a binary problem: labels 0 and 1, two class weights, sigmoid, and channel 0 is class 1.

Values only; `numeric_gradient` gives gradients.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np

Array = np.ndarray
Divisor = Literal["all", "valid", "kept", "class_weight"]
# (logits at label size, labels, keep) -> value
Loss = Callable[[Array, Array, Array | None], float]
# (logits at label size, labels) -> keep
Sampler = Callable[[Array, Array], Array]


# Pixels -----------------------------------------------------------------------------------------------------


def valid_pixels(labels: Array, ignore_index: int) -> Array:
    """Boolean (N, H, W): the pixels that are not void."""
    return labels != ignore_index


def pixel_weight(
    labels: Array, ignore_index: int, keep: Array | None = None, class_weight: Sequence[float] | None = None
) -> Array:
    """The weight w of each pixel, float64 (N, H, W)."""
    weight = np.zeros(labels.shape)
    for pixel in np.ndindex(labels.shape):
        if labels[pixel] == ignore_index:
            continue
        weight[pixel] = 1.0 if keep is None else float(keep[pixel])
        if class_weight is not None:
            weight[pixel] *= class_weight[labels[pixel]]
    return weight


def divide_by(
    labels: Array,
    ignore_index: int,
    keep: Array | None,
    class_weight: Sequence[float] | None,
    divisor: Divisor | None,
    avg_non_ignore: bool,
) -> float:
    """The number that the sum over pixels is divided by.

    "all": N * H * W. "valid": the pixels that are not void. "kept": the valid pixels that the sampler kept.
    "class_weight": the sum of w. None: "kept" with a sampler, else "valid" if `avg_non_ignore`, else "all".
    """
    if divisor is None:
        divisor = "kept" if keep is not None else "valid" if avg_non_ignore else "all"
    if divisor == "all":
        return float(labels.size)
    if divisor == "valid":
        return float(sum(1 for label in labels.flat if label != ignore_index))
    if divisor == "kept":
        return float((pixel_weight(labels, ignore_index, keep) == 1.0).sum())
    if divisor == "class_weight":
        return float(pixel_weight(labels, ignore_index, keep, class_weight).sum())
    raise ValueError(f"no such divisor: {divisor!r}")


def quotient(total: float, divisor: float) -> float:
    """`total / divisor`, and 0 where the divisor is 0."""
    return 0.0 if divisor == 0 else float(total / divisor)


def one_hot(labels: Array, channels: int, ignore_index: int) -> Array:
    """Targets (N, C, H, W): 1 in the channel of the true class, all 0 at a void pixel."""
    target = np.zeros((labels.shape[0], channels, *labels.shape[1:]))
    for n, i, j in np.ndindex(labels.shape):
        label = int(labels[n, i, j])
        if label == ignore_index:
            continue
        if not 0 <= label < max(channels, 2):
            raise ValueError(f"label {label} at {(n, i, j)} is no class of {channels} channels")
        if channels == 1:
            target[n, 0, i, j] = label
        else:
            target[n, label, i, j] = 1.0
    return target


# Probabilities ----------------------------------------------------------------------------------------------


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), without overflow."""
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def binary_cross_entropy(x: float, target: float) -> float:
    """-target * log(sigmoid(x)) - (1 - target) * log(1 - sigmoid(x)), without overflow."""
    log_of_sigmoid = min(x, 0.0) - math.log1p(math.exp(-abs(x)))
    log_of_complement = min(-x, 0.0) - math.log1p(math.exp(-abs(x)))
    return -target * log_of_sigmoid - (1.0 - target) * log_of_complement


def log_softmax(scores: Array) -> Array:
    """Logarithm of the softmax of one pixel's scores (C,), C > 1."""
    if len(scores) == 1:
        raise ValueError("one channel has no softmax: use_sigmoid=True")
    shifted = scores - scores.max()
    return shifted - math.log(np.exp(shifted).sum())


def probabilities(logits: Array, use_sigmoid: bool) -> Array:
    """Class probabilities (N, C, H, W): softmax, or a sigmoid of each channel (as of a lone one)."""
    logits = np.asarray(logits, dtype=np.float64)
    result = np.empty(logits.shape)
    batch, channels, height, width = logits.shape
    for n, i, j in np.ndindex(batch, height, width):
        if use_sigmoid or channels == 1:
            result[n, :, i, j] = [sigmoid(x) for x in logits[n, :, i, j]]
        else:
            result[n, :, i, j] = np.exp(log_softmax(logits[n, :, i, j]))
    return result


# Losses that are a sum over pixels --------------------------------------------------------------------------


def cross_entropy(
    logits: Array,
    labels: Array,
    *,
    ignore_index: int = 255,
    keep: Array | None = None,
    class_weight: Sequence[float] | None = None,
    use_sigmoid: bool = False,
    avg_non_ignore: bool = False,
    divisor: Divisor | None = None,
) -> float:
    """Softmax: sum of w * -log p[label], over `divisor`; sigmoid: of w * BCEs, over `divisor * C`."""
    logits = np.asarray(logits, dtype=np.float64)
    channels = logits.shape[1]
    weight = pixel_weight(labels, ignore_index, keep, class_weight)
    target = one_hot(labels, channels, ignore_index)
    total = 0.0
    for n, i, j in np.ndindex(labels.shape):
        if labels[n, i, j] == ignore_index:
            continue
        if use_sigmoid:
            for c in range(channels):
                total += weight[n, i, j] * binary_cross_entropy(logits[n, c, i, j], target[n, c, i, j])
        else:
            total += weight[n, i, j] * -log_softmax(logits[n, :, i, j])[labels[n, i, j]]
    number = divide_by(labels, ignore_index, keep, class_weight, divisor, avg_non_ignore)
    return quotient(total, number * channels if use_sigmoid else number)


def focal(
    logits: Array,
    labels: Array,
    *,
    ignore_index: int = 255,
    keep: Array | None = None,
    class_weight: Sequence[float] | None = None,
    gamma: float = 2.0,
    alpha: float | Sequence[float] | None = 0.5,
    use_sigmoid: bool = True,
    avg_non_ignore: bool = False,
    divisor: Divisor | None = None,
) -> float:
    """Focal loss (Lin et al., ICCV 2017).

    Sigmoid, per channel with target t: (alpha if t else 1 - alpha) * (1 - probability of t) ** gamma * BCE;
    over `divisor * C`. Softmax: alpha[label] * (1 - p[label]) ** gamma * -log p[label]; over `divisor`.
    `alpha` is one number, one per channel, or None for a weight of 1.
    """
    logits = np.asarray(logits, dtype=np.float64)
    channels = logits.shape[1]
    weight = pixel_weight(labels, ignore_index, keep, class_weight)
    target = one_hot(labels, channels, ignore_index)
    alphas = None if alpha is None else [float(a) for a in np.broadcast_to(np.asarray(alpha), (channels,))]
    total = 0.0
    for n, i, j in np.ndindex(labels.shape):
        label = labels[n, i, j]
        if label == ignore_index:
            continue
        if use_sigmoid:
            for c in range(channels):
                x, t = logits[n, c, i, j], target[n, c, i, j]
                p = sigmoid(x)
                wrong = p * (1 - t) + (1 - p) * t
                balance = 1.0 if alphas is None else alphas[c] * t + (1 - alphas[c]) * (1 - t)
                total += weight[n, i, j] * balance * wrong**gamma * binary_cross_entropy(x, t)
        else:
            log_p = log_softmax(logits[n, :, i, j])[label]
            balance = 1.0 if alphas is None else alphas[label]
            total += weight[n, i, j] * balance * (1 - math.exp(log_p)) ** gamma * -log_p
    number = divide_by(labels, ignore_index, keep, class_weight, divisor, avg_non_ignore)
    return quotient(total, number * channels if use_sigmoid else number)


# Losses of regions ------------------------------------------------------------------------------------------


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean, and 0 of nothing."""
    values = list(values)
    return quotient(sum(values), len(values))


def regions(weight: Array, per_image: bool, avg_non_ignore: bool) -> list[list[int]]:
    """The groups of images whose losses are averaged: each image alone, or the batch as one.

    With `avg_non_ignore` only groups with a pixel of positive weight.
    """
    images = list(range(len(weight)))
    groups = [[n] for n in images] if per_image else [images]
    return [group for group in groups if not avg_non_ignore or any((weight[n] > 0).any() for n in group)]


def counted_channels(channels: int, ignore_index: int) -> list[int]:
    """The channels whose loss counts: all but the class of number `ignore_index`; a lone channel always."""
    return [0] if channels == 1 else [c for c in range(channels) if c != ignore_index]


def dice(
    logits: Array,
    labels: Array,
    *,
    ignore_index: int = 255,
    keep: Array | None = None,
    class_weight: Sequence[float] | None = None,
    smooth: float = 1.0,
    exponent: float = 2.0,
    use_sigmoid: bool = False,
    per_image: bool = True,
    avg_non_ignore: bool = False,
) -> float:
    """1 - (2 sum w p t + smooth) / (sum w (p ** exponent + t) + smooth), mean over classes, then over images.

    Milletari et al., 3DV 2016. With `smooth` = 0 a counted image without a pixel of positive weight
    is 0 / 0, an error.
    """
    p = probabilities(logits, use_sigmoid)
    weight = pixel_weight(labels, ignore_index, keep, class_weight)
    t = one_hot(labels, p.shape[1], ignore_index)

    def of_class(images: list[int], c: int) -> float:
        overlap = size = 0.0
        for n in images:
            for i, j in np.ndindex(labels.shape[1:]):
                overlap += weight[n, i, j] * p[n, c, i, j] * t[n, c, i, j]
                size += weight[n, i, j] * (p[n, c, i, j] ** exponent + t[n, c, i, j])
        return 1.0 - float(2 * overlap + smooth) / float(size + smooth)

    channels = counted_channels(p.shape[1], ignore_index)
    groups = regions(weight, per_image, avg_non_ignore)
    return mean(mean(of_class(images, c) for c in channels) for images in groups)


def tversky(
    logits: Array,
    labels: Array,
    *,
    ignore_index: int = 255,
    keep: Array | None = None,
    class_weight: Sequence[float] | None = None,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 1.0,
    use_sigmoid: bool = False,
    per_image: bool = True,
    avg_non_ignore: bool = False,
) -> float:
    """1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth), mean over classes, then over images.

    Salehi et al., MLMI 2017. TP = sum w p t, FP = sum w p (1 - t), FN = sum w (1 - p) t.
    """
    p = probabilities(logits, use_sigmoid)
    weight = pixel_weight(labels, ignore_index, keep, class_weight)
    t = one_hot(labels, p.shape[1], ignore_index)

    def of_class(images: list[int], c: int) -> float:
        true_positive = false_positive = false_negative = 0.0
        for n in images:
            for i, j in np.ndindex(labels.shape[1:]):
                true_positive += weight[n, i, j] * p[n, c, i, j] * t[n, c, i, j]
                false_positive += weight[n, i, j] * p[n, c, i, j] * (1 - t[n, c, i, j])
                false_negative += weight[n, i, j] * (1 - p[n, c, i, j]) * t[n, c, i, j]
        below = true_positive + alpha * false_positive + beta * false_negative + smooth
        return 1.0 - float(true_positive + smooth) / float(below)

    channels = counted_channels(p.shape[1], ignore_index)
    groups = regions(weight, per_image, avg_non_ignore)
    return mean(mean(of_class(images, c) for c in channels) for images in groups)


def jaccard_steps(weight: Sequence[float], foreground: Sequence[float]) -> list[float]:
    """J_k - J_(k-1) for k = 1, 2, ...: what each further wrong pixel, in the order given, adds to 1 - IoU.

    J_k = 1 - (G - wrong foreground) / (G + wrong background), in weights, G being the foreground;
    J of an empty union is 0.
    """
    size = sum(w * f for w, f in zip(weight, foreground, strict=True))
    wrong_foreground = wrong_background = before = 0.0
    steps = []
    for w, f in zip(weight, foreground, strict=True):
        wrong_foreground += w * f
        wrong_background += w * (1 - f)
        union = size + wrong_background
        now = 1.0 - (size - wrong_foreground) / union if union > 0 else 0.0
        steps.append(now - before)
        before = now
    return steps


def lovasz(
    logits: Array,
    labels: Array,
    *,
    ignore_index: int = 255,
    keep: Array | None = None,
    class_weight: Sequence[float] | None = None,
    classes: Literal["present", "all"] | Sequence[int] = "present",
    per_image: bool = False,
    avg_non_ignore: bool = False,
) -> float:
    """Lovász-softmax, or the binary Lovász hinge with one channel (Berman et al., CVPR 2018).

    Mean over the classes with a pixel of positive weight, all, or those listed, without the class of number
    `ignore_index`; then over images. One channel: `classes` has no say.
    """
    logits = np.asarray(logits, dtype=np.float64)
    channels = logits.shape[1]
    p = probabilities(logits, use_sigmoid=False)
    weight = pixel_weight(labels, ignore_index, keep, class_weight)
    t = one_hot(labels, channels, ignore_index)

    def of_class(images: list[int], c: int) -> float:
        pixels = []
        for n in images:
            for i, j in np.ndindex(labels.shape[1:]):
                # A pixel of weight 0 adds steps of 0, void ones among them.
                if channels == 1:
                    sign = 2 * t[n, 0, i, j] - 1
                    error = 1 - logits[n, 0, i, j] * sign
                else:
                    error = abs(t[n, c, i, j] - p[n, c, i, j])
                pixels.append((error, weight[n, i, j], t[n, c, i, j]))
        pixels.sort(key=lambda pixel: -pixel[0])
        steps = jaccard_steps([w for _, w, _ in pixels], [f for _, _, f in pixels])
        return sum(max(error, 0.0) * step for (error, _, _), step in zip(pixels, steps, strict=True))

    def is_present(images: list[int], c: int) -> bool:
        return any((weight[n] * t[n, c] > 0).any() for n in images)

    def of_images(images: list[int]) -> float:
        if channels == 1:
            return of_class(images, 0)
        if classes == "present":
            chosen = [c for c in range(channels) if is_present(images, c)]
        else:
            chosen = list(range(channels)) if classes == "all" else list(classes)
        return mean(of_class(images, c) for c in chosen if c != ignore_index)

    return mean(of_images(images) for images in regions(weight, per_image, avg_non_ignore))


# Sampler, accuracy, head ------------------------------------------------------------------------------------


def true_class_probability(
    logits: Array, labels: Array, *, ignore_index: int = 255, use_sigmoid: bool = False
) -> Array:
    """Probability of the true class, (N, H, W); nan at a void pixel."""
    p = probabilities(logits, use_sigmoid)
    result = np.full(labels.shape, np.nan)
    for n, i, j in np.ndindex(labels.shape):
        label = labels[n, i, j]
        if label == ignore_index:
            continue
        if p.shape[1] == 1:
            result[n, i, j] = p[n, 0, i, j] if label == 1 else 1 - p[n, 0, i, j]
        else:
            result[n, i, j] = p[n, label, i, j]
    return result


def hard_pixels(
    logits: Array,
    labels: Array,
    *,
    thresh: float | None,
    min_kept: int,
    ignore_index: int = 255,
    use_sigmoid: bool = False,
) -> Array:
    """Boolean (N, H, W): the pixels that OHEM keeps (Shrivastava et al., CVPR 2016).

    Valid pixels whose true class has a probability below `thresh` (None: not asked); and the `min_kept * N`
    valid pixels of the batch with the lowest probability, with every tie of the last of them.
    """
    p = true_class_probability(logits, labels, ignore_index=ignore_index, use_sigmoid=use_sigmoid)
    hardest_first = sorted(p[valid_pixels(labels, ignore_index)].tolist())
    count = min(min_kept * labels.shape[0], len(hardest_first))
    keep = np.zeros(labels.shape, dtype=bool)
    for pixel in np.ndindex(labels.shape):
        if labels[pixel] == ignore_index:
            continue
        below = thresh is not None and p[pixel] < thresh
        among_hardest = count > 0 and p[pixel] <= hardest_first[count - 1]
        keep[pixel] = below or among_hardest
    return keep


def accuracy(logits: Array, labels: Array, *, ignore_index: int = 255) -> float:
    """Percent of valid pixels whose highest score is the true class (one channel: > 0 is 1); 0 of none."""
    right = []
    for n, i, j in np.ndindex(labels.shape):
        if labels[n, i, j] == ignore_index:
            continue
        scores = logits[n, :, i, j]
        prediction = int(scores[0] > 0) if len(scores) == 1 else int(np.argmax(scores))
        right.append(float(prediction == labels[n, i, j]))
    return 100.0 * mean(right)


def resize_bilinear(logits: Array, size: tuple[int, int], *, align_corners: bool = False) -> Array:
    """`logits` (N, C, h, w) resized bilinearly to `size` (H, W), without antialiasing."""
    logits = np.asarray(logits, dtype=np.float64)

    def source(index: int, old: int, new: int) -> tuple[int, int, float]:
        if align_corners:
            position = index * (old - 1) / (new - 1) if new > 1 else 0.0
        else:
            position = max((index + 0.5) * old / new - 0.5, 0.0)
        first = min(int(position), old - 1)
        return first, min(first + 1, old - 1), position - first

    result = np.empty((*logits.shape[:2], *size))
    for i, j in np.ndindex(*size):
        top, bottom, down = source(i, logits.shape[2], size[0])
        left, right, across = source(j, logits.shape[3], size[1])
        upper = logits[:, :, top, left] * (1 - across) + logits[:, :, top, right] * across
        lower = logits[:, :, bottom, left] * (1 - across) + logits[:, :, bottom, right] * across
        result[:, :, i, j] = upper * (1 - down) + lower * down
    return result


def head_criterion(
    logits: Array,
    labels: Array,
    losses: Sequence[tuple[str, Loss, float]],
    *,
    ignore_index: int = 255,
    sampler: Sampler | None = None,
    head_weight: float = 1.0,
    align_corners: bool = False,
) -> dict[str, float]:
    """Terms of one head: each (name, loss, loss weight), and "acc_seg" in percent.

    The logits are resized to the labels, then the sampler picks pixels, then each loss sees both. Terms of
    one name add.
    """
    resized = resize_bilinear(logits, labels.shape[1:], align_corners=align_corners)
    keep = None if sampler is None else sampler(resized, labels)
    terms: dict[str, float] = {}
    for name, loss, loss_weight in losses:
        terms[name] = terms.get(name, 0.0) + head_weight * loss_weight * loss(resized, labels, keep)
    terms["acc_seg"] = accuracy(resized, labels, ignore_index=ignore_index)
    return terms


def total_loss(terms: dict[str, float]) -> float:
    """Sum of the terms whose name, after any "head." before it, begins with "loss_"."""
    return sum(value for name, value in terms.items() if name.split(".")[-1].startswith("loss_"))


def numeric_gradient(function: Callable[[Array], float], logits: Array, epsilon: float = 1e-6) -> Array:
    """Central differences of `function` at `logits`, entry by entry, in float64."""
    gradient = np.empty(logits.shape)
    for entry in np.ndindex(logits.shape):
        above = np.array(logits, dtype=np.float64)
        below = np.array(logits, dtype=np.float64)
        above[entry] += epsilon
        below[entry] -= epsilon
        gradient[entry] = (function(above) - function(below)) / (2 * epsilon)
    return gradient
