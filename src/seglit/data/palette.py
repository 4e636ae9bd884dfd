"""Colours of classes."""

from typing import Any

Colour = tuple[int, int, int]


def default_palette(num_classes: int) -> list[Colour]:
    """A colour for each class, all different: the bits of the class, spread over red, green and blue.

    The lowest three bits of the class become the highest bits of the channels, and so on, which is the
    colour map of the PASCAL VOC challenge. Class 0 is black.
    """
    return [_spread_bits(label) for label in range(num_classes)]


def checked_palette(colours: Any, origin: str) -> list[Colour]:
    """The colours as tuples. Takes anything, as it may come from a file.

    Raises:
        ValueError: Names `origin`, if they are no list of lists of three whole numbers from 0 to 255.
    """
    if not isinstance(colours, list | tuple):
        raise ValueError(f"{origin}: must be a list of colours, got {colours!r}")
    for colour in colours:
        values = colour if isinstance(colour, list | tuple) else ()
        if len(values) != 3 or not all(isinstance(value, int) and 0 <= value <= 255 for value in values):
            raise ValueError(f"{origin}: a colour is three whole numbers from 0 to 255, got {colour!r}")
    return [(red, green, blue) for red, green, blue in colours]


def _spread_bits(label: int) -> Colour:
    channels = [0, 0, 0]
    for bit in range(24):
        channels[bit % 3] |= (label >> bit & 1) << (7 - bit // 3)
    return channels[0], channels[1], channels[2]
