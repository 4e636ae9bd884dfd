"""Colours of classes."""

from collections.abc import Sequence

Colour = tuple[int, int, int]


def default_palette(num_classes: int) -> list[Colour]:
    """A colour for each class, all different: the bits of the class, spread over red, green and blue.

    The lowest three bits of the class become the highest bits of the channels, and so on, which is the
    colour map of the PASCAL VOC challenge. Class 0 is black.
    """
    return [_spread_bits(label) for label in range(num_classes)]


def checked_palette(colours: Sequence[Sequence[int]], origin: str) -> list[Colour]:
    """The colours as tuples.

    Raises:
        ValueError: Names `origin` where one is not three whole numbers from 0 to 255.
    """
    for colour in colours:
        if len(colour) != 3 or not all(isinstance(value, int) and 0 <= value <= 255 for value in colour):
            raise ValueError(f"{origin}: a colour is three whole numbers from 0 to 255, got {list(colour)}")
    return [(red, green, blue) for red, green, blue in colours]


def _spread_bits(label: int) -> Colour:
    channels = [0, 0, 0]
    for bit in range(24):
        channels[bit % 3] |= (label >> bit & 1) << (7 - bit // 3)
    return channels[0], channels[1], channels[2]
