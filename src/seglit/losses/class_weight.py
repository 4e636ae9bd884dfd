"""A weight per class: given as numbers, read from a file, or measured from the training labels."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

RULES = ("enet", "inverse", "median_frequency", "effective_number")


def measured_class_weight(
    rule: str, pixels: Int64[Tensor, " classes"], image_pixels: Int64[Tensor, " classes"]
) -> Float[Tensor, " classes"]:
    """Weights measured from label counts, float64, scaled so that the mean over all counted pixels is one.

    By that scale the weighted loss has the size of the plain one, so a learning rate carries over.
    A class without a pixel gets the weight one: no training pixel uses it.

    Args:
        rule: how a class's share `p` of all labelled pixels becomes its weight.
            `enet`: `1 / ln(1.02 + p)`, which stays bounded for rare classes (Paszke et al. 2016, section 5.1).
            `inverse`: `1 / p`.
            `median_frequency`: `median(f) / f`, with `f` the share of the class within the images that show it
            (Eigen and Fergus 2015, section 6.3.2).
            `effective_number`: `1 / (1 - b**n)` with `n` pixels of the class among `N` and `b = (N - 1) / N`
            (Cui et al. 2019, equation 2 and its section 3.3).
        pixels: pixels of each class in the training labels.
        image_pixels: labelled pixels, of any class, in the images in which the class occurs.

    Raises:
        ValueError: on an unknown rule, or where no pixel is labelled.
    """
    if rule not in RULES:
        raise ValueError(f"class_weight 'auto:{rule}': no such rule; choose one of {', '.join(RULES)}")
    count = pixels.double()
    total = count.sum()
    if total == 0:
        raise ValueError("class_weight 'auto': the training labels have no labelled pixel to measure")
    present = count > 0
    share = (count / total)[present]
    if rule == "enet":
        weight = 1 / torch.log(1.02 + share)
    elif rule == "inverse":
        weight = 1 / share
    elif rule == "median_frequency":
        frequency = count[present] / image_pixels.double()[present]
        weight = frequency.quantile(0.5) / frequency
    else:
        # b**n in logarithms: b is too near one to be raised to a power of millions.
        weight = -1 / torch.expm1(count[present] * torch.log1p(-1 / total))
    result = torch.ones_like(count)
    result[present] = weight / (share * weight).sum()
    return result


def read_class_weight(path: Path) -> tuple[float, ...]:
    """The weights in a file: a JSON list, or numbers separated by white space or commas.

    Raises:
        ValueError: names the file where it is missing or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"class_weight: cannot read {path} ({error}); give a list, a text file of numbers, or 'auto'"
        ) from error
    try:
        numbers = json.loads(text) if text.startswith("[") else text.replace(",", " ").split()
        return tuple(float(number) for number in numbers)
    except (TypeError, ValueError) as error:
        raise ValueError(f"class_weight: {path} holds no list of numbers ({error})") from error


def checked_class_weight(weights: Sequence[float], origin: str) -> tuple[float, ...]:
    """The weights as floats.

    Raises:
        ValueError: names `origin` where a weight is negative or not finite, or where none is positive.
    """
    numbers = tuple(float(weight) for weight in weights)
    if not all(math.isfinite(number) and number >= 0 for number in numbers) or not any(numbers):
        raise ValueError(f"{origin}: weights are finite, not negative, and not all zero; got {list(numbers)}")
    return numbers
