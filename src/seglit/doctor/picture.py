"""The numbers of a data set as a picture."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from seglit.doctor.numbers import Numbers, middle, shares_of, typical
from seglit.pictures import new_figure

COLOURS = {"train": "tab:blue", "val": "tab:orange", "test": "tab:green"}
QUANTILES = (0.1, 0.5, 0.9)


def numbers_figure(
    numbers: Numbers, palette: Sequence[tuple[int, int, int]] = (), crop: tuple[int, int] | None = None
) -> Figure:
    """Shares of classes by split, sizes of images against the crop, void, and sizes of objects by class.

    Args:
        numbers: Of the data set.
        palette: A colour for each class; empty: all are grey.
        crop: Height and width of crops, drawn if they are known.
    """
    rows = max(3.2, 0.24 * len(numbers.classes) * max(len(numbers.pixels), 1) * 0.5 + 1.0)
    rows = min(rows, 30.0)
    figure = new_figure(11, rows + 3.2, layout="constrained")
    axes = figure.subplots(2, 2, height_ratios=[rows, 3.2], squeeze=False)
    draw_shares(axes[0, 0], numbers)
    draw_objects(axes[0, 1], numbers, palette)
    draw_sizes(axes[1, 0], numbers, crop)
    draw_void(axes[1, 1], numbers)
    for one in axes.ravel():
        one.spines[["top", "right"]].set_visible(False)
    return figure


def draw_shares(axes: Axes, numbers: Numbers) -> None:
    """Bars of each class's share, on a logarithmic scale, as the rare ones matter."""
    height = 0.8 / max(len(numbers.pixels), 1)
    places = np.arange(len(numbers.classes))
    everything = [100 * np.nan_to_num(shares_of(pixels)) for pixels in numbers.pixels.values()]
    for order, (part, shares) in enumerate(zip(numbers.pixels, everything, strict=True)):
        axes.barh(places + order * height, shares, height, label=part, color=COLOURS[part], align="edge")
    least = min((shares[shares > 0].min() for shares in everything if (shares > 0).any()), default=None)
    if least is not None:
        axes.set_xscale("log")
        # A bar has no length of its own on such a scale: the axis begins at a power of ten below all.
        axes.set_xlim(10 ** np.floor(np.log10(least / 1.5)), 100)
    name_classes(axes, numbers.classes, places + 0.4)
    axes.set_xlabel("share of the pixels that are not void, %")
    axes.set_title("classes")
    axes.legend(fontsize=8, frameon=False)


def draw_objects(axes: Axes, numbers: Numbers, palette: Sequence[tuple[int, int, int]]) -> None:
    """In objects of which sizes the pixels of each class lie: a tenth in smaller ones, half, a tenth in larger ones."""
    for label, bins in enumerate(numbers.areas):
        if not bins:
            continue
        low, half, high = (typical(bins, share) for share in QUANTILES)
        colour = tuple(part / 255 for part in palette[label]) if palette else "0.6"
        axes.barh(label, 1.4 * high - low / 1.4, 0.6, left=low / 1.4, color=colour, edgecolor="0.4", linewidth=0.5)
        axes.plot([half, half], [label - 0.3, label + 0.3], color="black", linewidth=2.5)
        axes.plot([half, half], [label - 0.3, label + 0.3], color="white", linewidth=1)
    axes.set_xscale("log")
    largest = max((middle(max(bins)) for bins in numbers.areas if bins), default=1.0)
    axes.set_xlim(0.5, 2 * largest)
    name_classes(axes, numbers.classes, np.arange(len(numbers.classes)))
    axes.set_xlabel("pixels of the object that a pixel lies in; line: median")
    axes.set_title("objects")


def draw_sizes(axes: Axes, numbers: Numbers, crop: tuple[int, int] | None) -> None:
    """A point for each size, its area by the number of images."""
    for part, sizes in numbers.sizes.items():
        if not len(sizes):
            continue
        found, counts = np.unique(sizes, axis=0, return_counts=True)
        axes.scatter(
            found[:, 0], found[:, 1], s=20 + 200 * counts / counts.sum(), alpha=0.5, label=part, color=COLOURS[part]
        )
    if crop is not None:
        axes.add_patch(Rectangle((0, 0), crop[1], crop[0], fill=False, linestyle="--", edgecolor="0.3", label="crop"))
    largest = np.concatenate([*numbers.sizes.values(), np.array([crop[::-1] if crop else (1, 1)])]).max(0)
    axes.set_xlim(0, 1.15 * largest[0])
    axes.set_ylim(0, 1.15 * largest[1])
    axes.set_xlabel("width, pixels")
    axes.set_ylabel("height, pixels")
    axes.set_title("image sizes")
    axes.legend(fontsize=8, frameon=False, loc="lower right", markerscale=0.5)


def draw_void(axes: Axes, numbers: Numbers) -> None:
    """How many images have how much void."""
    shares = {part: 100 * values for part, values in numbers.void.items() if values.size}
    most = max((float(values.max()) for values in shares.values()), default=0.0)
    if most == 0:
        axes.text(0.5, 0.5, "no void", ha="center", va="center", transform=axes.transAxes)
        axes.set_xticks([])
        axes.set_yticks([])
    else:
        edges = np.linspace(0, most, 21)
        axes.hist(list(shares.values()), edges.tolist(), label=list(shares), color=[COLOURS[part] for part in shares])
        axes.set_xlabel("void in an image, %")
        axes.set_ylabel("images")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=8, frameon=False)
    axes.set_title("void")


def name_classes(axes: Axes, classes: Sequence[str], places: np.ndarray) -> None:
    """The names of the classes down the side, the first on top."""
    axes.set_yticks(places, classes, fontsize=9 if len(classes) <= 25 else 5)
    axes.set_ylim(len(classes), -0.5)
