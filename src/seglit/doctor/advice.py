"""Which tricks the numbers speak for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from seglit.check.nodes import mapping, walk
from seglit.check.rules import crop_size
from seglit.doctor.numbers import Numbers, typical

UNEVEN = 5.0
"""The commonest class has so many times the pixels of the rarest."""
SMALL = 0.2
"""The share below which the lesser of two classes is small."""
THIN = 0.06
"""Where fewer pixels than that lie along a border, most are easy."""
MUCH = 0.03
"""A mean share of void that is much, and a difference between images that is."""
WEB = 0.75
"""Objects that are longer than this share of the image's shorter side are none that a crop should show whole."""
ROUND = 32
"""Crops are multiples of this, as deep nets like them."""


@dataclass(frozen=True)
class Advice:
    """What may help.

    Attributes:
        overrides: For the command line, as they are typed.
        reason: The numbers that speak for it, and what to mind.
    """

    overrides: str
    reason: str


def advice(
    numbers: Numbers,
    model: Mapping[str, Any] | None = None,
    train_transforms: Any = None,
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
) -> list[Advice]:
    """What the numbers speak for, and the configuration does not have yet.

    Args:
        numbers: Of the data set.
        model: That section of the configuration. None: nothing is on yet.
        train_transforms: That of the data section. None: crops are not known.
        normalisation: Mean and deviation that images are normalised by. None: nothing is said of them.
    """
    on = tricks_on(model or {})
    crop = crop_size(train_transforms)
    given = [
        class_weight_advice(numbers),
        dice_advice(numbers),
        ohem_advice(numbers, crop),
        void_advice(numbers),
    ]
    found = [
        one
        for name, one in zip(("class_weight", "dice", "ohem", "avg_non_ignore"), given, strict=True)
        if one is not None and name not in on
    ]
    if crop is not None and (one := crop_advice(numbers, crop)) is not None:
        found.append(one)
    if normalisation is not None and (one := colour_advice(numbers, *normalisation)) is not None:
        found.append(one)
    return found


def tricks_on(model: Mapping[str, Any]) -> set[str]:
    """Which tricks a model has already."""
    on = set()
    for _, name, value in walk(model.get("criterion"), "criterion"):
        target = str(mapping(value).get("_target_", "")).rpartition(".")[2]
        if name in ("class_weight", "avg_non_ignore") and value:
            on.add(name)
        elif target in ("DiceLoss", "TverskyLoss", "LovaszLoss"):
            on.add("dice")
        elif name == "sampler" and value is not None:
            on.add("ohem")
    return on


def class_weight_advice(numbers: Numbers) -> Advice | None:
    """Class weights, where shares are uneven and there are more than two classes."""
    shares = numbers.shares
    present = np.flatnonzero(np.nan_to_num(shares) > 0)
    if len(present) < 3:
        return None
    low, high = (present[place(shares[present])] for place in (np.argmin, np.argmax))
    ratio = shares[high] / shares[low]
    if ratio < UNEVEN:
        return None
    return Advice(
        "+tricks=[class_weight]",
        f"{numbers.classes[high]} has {shares[high]:.1%} of the training pixels, {numbers.classes[low]} "
        f"{shares[low]:.2%}, {ratio:.0f} times fewer; weights raise the recall of rare ones and lower pixel accuracy",
    )


def dice_advice(numbers: Numbers) -> Advice | None:
    """Dice beside the cross-entropy, where the lesser of two classes is small."""
    shares = numbers.shares
    present = np.flatnonzero(np.nan_to_num(shares) > 0)
    if len(present) != 2:
        return None
    least = present[np.argmin(shares[present])]
    if shares[least] >= SMALL:
        return None
    return Advice(
        "+tricks=[ce_dice]",
        f"two classes, of which {numbers.classes[least]} has {shares[least]:.1%} of the pixels; Dice does not let the "
        "large class decide",
    )


def ohem_advice(numbers: Numbers, crop: tuple[int, int] | None) -> Advice | None:
    """OHEM, where borders are few and classes several."""
    present = int((np.nan_to_num(numbers.shares) > 0).sum())
    if present < 3 or numbers.borders >= THIN or numbers.borders == 0:
        return None
    kept = ""
    if crop is not None and crop[0] * crop[1] <= 2 * 2000:
        kept = f" model.criterion.decode.sampler.min_kept={max(crop[0] * crop[1] // 16, 1)}"
    return Advice(
        f"+tricks=[ohem]{kept}",
        f"{numbers.borders:.1%} of the pixels lie along a border between {present} classes, and most others are soon "
        "easy; OHEM leaves these out. Mind that wrong labels are the hardest pixels",
    )


def void_advice(numbers: Numbers) -> Advice | None:
    """The mean over labelled pixels, where void is much."""
    shares = numbers.void.get("train", np.zeros(0))
    if not shares.size or shares.mean() < MUCH:
        return None
    varies = shares.max() - shares.min() > MUCH
    return Advice(
        "+tricks=[avg_non_ignore]",
        f"{shares.mean():.1%} of the training pixels are void, from {shares.min():.1%} to {shares.max():.1%} an image; "
        + ("divided by all pixels, a batch with much void" if varies else "divided by all pixels, every batch")
        + " would count less",
    )


def crop_advice(numbers: Numbers, crop: tuple[int, int]) -> Advice | None:
    """Another size of crops, where images or objects do not fit it."""
    sizes = numbers.sizes.get("train", np.zeros((0, 2)))
    if not len(sizes):
        return None
    width, height = np.median(sizes, axis=0)
    covered = min(width / crop[1], 1.0) * min(height / crop[0], 1.0)
    side = multiple(min(width, height))
    if covered < 0.6 and side < min(crop):
        return Advice(
            f"data.train_transforms.crop.height={side}",
            f"half of the images are no larger than {width:.0f} x {height:.0f}, which fills {covered:.0%} of a crop of "
            f"{crop[1]} x {crop[0]}; the rest would be padded with void",
        )
    counted: dict[int, int] = {}
    present = np.flatnonzero(np.nan_to_num(numbers.shares) > 0)
    # The ground is everywhere, and no object.
    for label in present[present != (np.argmax(np.nan_to_num(numbers.shares)) if len(present) else -1)]:
        for power, count in numbers.sides[label].items():
            counted[power] = counted.get(power, 0) + count
    long = typical(counted, 0.9)
    wanted = min(multiple(1.5 * long), side) if long == long else 0
    # What reaches through most of an image is no object but a web, as vessels are, of which any part will do.
    if min(crop) < long <= WEB * min(width, height) and wanted > min(crop):
        return Advice(
            f"data.train_transforms.crop.height={wanted}",
            f"many objects are about {long:.0f} pixels long, and a crop of {crop[1]} x {crop[0]} never shows one; "
            "mind the memory",
        )
    return None


def multiple(size: float) -> int:
    """The largest multiple of `ROUND` that is no larger, at least one."""
    return max(int(size) // ROUND, 1) * ROUND


def colour_advice(numbers: Numbers, mean: tuple[float, ...], std: tuple[float, ...]) -> Advice | None:
    """The data set's own mean and deviation, where those that are used are far away."""
    if np.isnan(numbers.mean).any() or (numbers.std == 0).any():
        return None
    shift = np.abs((numbers.mean - mean) / np.array(std)).max()
    scale = np.abs(np.log(numbers.std / np.array(std))).max()
    if shift < 1.0 and scale < np.log(2.0):
        return None
    own = (",".join(f"{value:.1f}" for value in values) for values in (numbers.mean, numbers.std))
    return Advice(
        "data.mean=[{}] data.std=[{}]".format(*own),
        "the images are far from the mean and deviation that they are normalised by; keep those of ImageNet where the "
        "backbone is pretrained and stays frozen",
    )
