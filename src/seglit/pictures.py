"""Pictures of labels, predictions and training runs; arrays and figures, without a display."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int64, Integer, UInt8, UInt16
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image
from torch import Tensor

from seglit.files import write_whole

Palette = Sequence[Sequence[int]]
"""A colour for each class: red, green and blue from 0 to 255."""

SEPARATE_VALUES = 12
"""Up to so many classes, the cells of a confusion figure carry their numbers."""


def colourise(
    labels: Integer[np.ndarray, "height width"], palette: Palette, ignore_index: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Each pixel in the colour of its class; black where it is `ignore_index`, even if that is a class's number.

    Raises:
        ValueError: If a label is neither a class of the palette nor `ignore_index`.
    """
    void = labels == ignore_index
    indices = np.where(void, 0, labels)
    wrong = (indices < 0) | (indices >= len(palette))
    if wrong.any():
        raise ValueError(
            f"found the label {indices[wrong][0]}, which is no class from 0 to {len(palette) - 1} of the palette "
            f"or the ignore_index {ignore_index}"
        )
    colours = np.asarray(palette, dtype=np.uint8)[indices]
    colours[void] = 0
    return colours


def overlay(
    image: UInt8[np.ndarray, "height width 3"],
    labels: Integer[np.ndarray, "height width"],
    palette: Palette,
    ignore_index: int,
    alpha: float = 0.5,
) -> UInt8[np.ndarray, "height width 3"]:
    """The image with its labels laid over it; ignored pixels show the image alone.

    Args:
        image: RGB.
        labels: Class numbers at the size of the image.
        palette: A colour for each class.
        ignore_index: Label of the pixels without a class.
        alpha: Share of the label's colour, from 0 (image alone) to 1.

    Raises:
        ValueError: If alpha is out of range, the sizes differ or a label has no colour.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be from 0 to 1, got {alpha}")
    if image.shape[:2] != labels.shape:
        raise ValueError(f"image and labels must have one size, got {image.shape[:2]} and {labels.shape}")
    colours = colourise(labels, palette, ignore_index)
    share = np.where(labels == ignore_index, 0.0, alpha).astype(np.float32)[:, :, None]
    return np.rint(image * (1 - share) + colours * share).astype(np.uint8)


def panel(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]], titles: Sequence[str], classes: Sequence[str], palette: Palette
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Pictures side by side, each below its title, and under them the colours of the classes.

    Args:
        images: RGB, shown at one height.
        titles: One per image.
        classes: Their names, for the legend.
        palette: A colour for each class.

    Raises:
        ValueError: If there is no image, or not a title for each image and a colour for each class.
    """
    if len(images) == 0 or len(images) != len(titles):
        raise ValueError(f"one or more images and as many titles are needed, got {len(images)} and {len(titles)}")
    if len(classes) != len(palette):
        raise ValueError(f"classes and palette must be equally many, got {len(classes)} and {len(palette)}")
    height = 3.2
    widths = [height * image.shape[1] / image.shape[0] for image in images]
    margin, gap, title = 0.1, 0.1, 0.35
    total_width = max(sum(widths) + gap * (len(images) - 1) + 2 * margin, 4.0)
    longest = max((len(name) for name in classes), default=0)
    columns = min(max(int((total_width - 2 * margin) / (0.5 + 0.07 * longest)), 1), max(len(classes), 1))
    legend_height = 0.22 * -(-len(classes) // columns) + 0.05
    total_height = title + height + legend_height + margin

    figure = new_figure(total_width, total_height)
    left = (total_width - sum(widths) - gap * (len(images) - 1)) / 2
    for image, width, name in zip(images, widths, titles, strict=True):
        axes = figure.add_axes(
            (left / total_width, (legend_height + margin) / total_height, width / total_width, height / total_height)
        )
        # Enlarged pixels stay sharp, so that no colour appears that is no class's.
        axes.imshow(image, interpolation="nearest", aspect="auto")
        axes.set_title(name, fontsize=10, pad=5)
        axes.set_axis_off()
        left += width + gap
    figure.legend(
        handles=[
            Patch(
                facecolor=(colour[0] / 255, colour[1] / 255, colour[2] / 255),
                edgecolor="0.4",
                linewidth=0.5,
                label=name,
            )
            for name, colour in zip(classes, palette, strict=True)
        ],
        loc="lower center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=columns,
        fontsize=8,
        frameon=False,
        handlelength=1.2,
        columnspacing=1.2,
        borderaxespad=0.2,
    )
    return rendered(figure)


def save_labels(path: str | Path, labels: Integer[np.ndarray, "height width"], palette: Palette) -> None:
    """Write class numbers as a palette PNG; as a grey one of 16 bits if there are more than 256 classes.

    Args:
        path: Of the file, see `save_png`.
        labels: Class numbers.
        palette: A colour for each class.
    """
    if len(palette) <= 256:
        save_png(path, labels.astype(np.uint8), palette)
    else:
        save_png(path, labels.astype(np.uint16))


def save_png(
    path: str | Path,
    array: UInt8[np.ndarray, "height width *channels"] | UInt16[np.ndarray, "height width"],
    palette: Palette | None = None,
) -> None:
    """Write a picture as PNG; the file at `path` is whole at any time, the old one or the new one.

    Args:
        path: Of the file; its folder is made if needed.
        array: Grey (height, width) or RGB (height, width, 3); with `palette`, class numbers (height, width).
        palette: Makes an 8-bit palette file: its pixels are the class numbers, which a viewer shows in colour. A
            number without a colour, such as 255 for ignored pixels, shows black.

    Raises:
        ValueError: If a palette is given for an RGB picture or has more than 256 colours.
    """
    if palette is None:
        picture = Image.fromarray(array)
    else:
        if array.ndim != 2 or len(palette) > 256:
            raise ValueError(
                f"a palette takes (height, width) class numbers and has at most 256 colours, "
                f"got an array of shape {array.shape} and {len(palette)} colours"
            )
        picture = Image.fromarray(array, mode="L")
        # All 256 entries, as Pillow would else store a grey level for each number without a colour.
        colours = np.zeros((256, 3), dtype=np.uint8)
        colours[: len(palette)] = palette
        picture.putpalette(colours.tobytes())
    write_whole(Path(path), lambda temporary: picture.save(temporary, format="PNG"))


def curves_figure(history: Mapping[str, tuple[Sequence[int], Sequence[float]]]) -> Figure:
    """What a run logged, over its steps: loss terms, learning rates and scores, each kind in a panel of its own.

    Args:
        history: By logged name, such as `train/decode.loss_ce`, `lr-SGD` or `val/miou`: steps and values. A name
            with "loss" in its last part is a loss, one that begins with "lr" a learning rate, all others are scores.

    Raises:
        ValueError: If the history is empty, or steps and values of a name are not equally many.
    """
    if not history:
        raise ValueError("the history is empty: nothing to draw")
    for name, (steps, values) in history.items():
        if len(steps) != len(values):
            raise ValueError(f"{name}: {len(steps)} steps but {len(values)} values")
    kinds = {
        kind: [name for name in history if curve_kind(name) == kind] for kind in ("loss", "learning rate", "score")
    }
    kinds = {kind: names for kind, names in kinds.items() if names}
    figure = new_figure(7.5, 2.8 * len(kinds) + 0.4, layout="constrained")
    all_axes = figure.subplots(len(kinds), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (kind, names) in zip(all_axes, kinds.items(), strict=True):
        for name in names:
            steps, values = history[name]
            # A curve of few points, such as one score per epoch, would else be a bare line or nothing at all.
            axes.plot(steps, values, label=name, linewidth=1.2, marker="o" if len(steps) <= 30 else None, markersize=3)
        axes.set_ylabel(kind)
        axes.grid(alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=7, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[-1].set_xlabel("step")
    return figure


def curve_kind(name: str) -> str:
    """Which panel of `curves_figure` a logged name belongs to."""
    if name.startswith("lr"):
        return "learning rate"
    return "loss" if "loss" in name.rsplit("/", 1)[-1] else "score"


def confusion_figure(
    matrix: Int64[np.ndarray, "classes classes"] | Int64[Tensor, "classes classes"], classes: Sequence[str]
) -> Figure:
    """Pixel counts as shares of their row: where the pixels of each true class went. Rows without pixels stay grey.

    Args:
        matrix: Rows are the truth, columns the prediction.
        classes: Their names.

    Raises:
        ValueError: If there is not a name for each class.
    """
    counts = np.asarray(matrix.cpu() if isinstance(matrix, Tensor) else matrix, dtype=np.float64)
    if len(classes) != len(counts):
        raise ValueError(f"the matrix has {len(counts)} classes, but there are {len(classes)} names")
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)

    side = max(3.0, min(0.45 * len(classes), 12.0))
    figure = new_figure(side + 2.2, side + 1.4, layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("0.85")
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    fontsize = 9 if len(classes) <= 25 else 6
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", rotation_mode="anchor", fontsize=fontsize)
    axes.set_yticks(range(len(classes)), classes, fontsize=fontsize)
    axes.set_xlabel("prediction")
    axes.set_ylabel("truth")
    if len(classes) <= SEPARATE_VALUES:
        for (row, column), share in np.ndenumerate(shares):
            if np.isfinite(share):
                colour = "white" if share > 0.5 else "black"
                axes.text(column, row, f"{share:.2f}", ha="center", va="center", fontsize=8, color=colour)
    figure.colorbar(picture, ax=axes, label="share of the true class", shrink=0.8)
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure in the format of the file's suffix; the file is whole at any time, the old one or the new one."""
    path = Path(path)
    if not path.suffix:
        raise ValueError(f"the file needs a suffix that tells its format, such as .png or .pdf, got {path}")
    write_whole(path, lambda temporary: figure.savefig(temporary, format=path.suffix[1:], dpi=120))


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = None) -> Figure:
    """A figure of that size in inches that draws without a display and that pyplot, which keeps figures, never sees."""
    figure = Figure(figsize=(width, height), dpi=100, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def rendered(figure: Figure) -> UInt8[np.ndarray, "_ _ 3"]:
    """The figure's pixels."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return np.array(Image.open(file).convert("RGB"))
