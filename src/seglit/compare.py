"""Whether one evaluation is better than another by more than noise: `python -m seglit.compare a b`."""

import argparse
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Group

    from seglit.bootstrap import Interval
    from seglit.metrics import ImageCounts, Scores


@dataclass(frozen=True)
class Card:
    """An evaluation as `seglit.card` wrote it.

    Attributes:
        path: of `evaluation.json`.
        content: what it holds.
        names: the names of the images.
        counts: the pixel counts of each.
    """

    path: Path
    content: Mapping[str, Any]
    names: list[str]
    counts: "ImageCounts"

    @property
    def classes(self) -> list[str]:
        """The names of the classes."""
        return list(self.content["protocol"]["classes"])


@dataclass(frozen=True)
class Comparison:
    """Two evaluations of one protocol, a and b. Scores are from 0 to 1.

    Attributes:
        classes: the names of the classes.
        images: the number of images.
        scores: of a and of b.
        intervals: of the mean IoU of a and of b.
        interval: of the difference in mean IoU, b less a, over resamples that are the same for both.
        better: the share of resamples in which b has the greater mean IoU; NaN with fewer than two images.
        remarks: what else differs, and may be meant to.
    """

    classes: list[str]
    images: int
    scores: tuple["Scores", "Scores"]
    intervals: tuple["Interval", "Interval"]
    interval: "Interval"
    better: float
    remarks: tuple[str, ...]

    @property
    def difference(self) -> float:
        """The mean IoU of b less that of a."""
        return self.scores[1].miou - self.scores[0].miou

    @property
    def verdict(self) -> str:
        """What the numbers say, in a sentence."""
        low, high = self.interval
        if low != low:
            return f"With {self.images} image(s) nothing can be said of noise over images."
        words = "not more than noise over images"
        if low > 0 or high < 0:
            words = f"more than noise over images: {'b' if low > 0 else 'a'} is better"
        return f"The difference is {words}. Of noise over seeds this says nothing: compare several runs of each."


def main(arguments: list[str] | None = None) -> None:
    """The command. A mistake of the user is one line on standard error and exit status 2."""
    parser = argparse.ArgumentParser(prog="seglit-compare", description="Compare two evaluations of one protocol.")
    for name in ("a", "b"):
        parser.add_argument(name, type=Path, help="an evaluation.json, or a folder with one")
    options = parser.parse_args(arguments)

    from rich.console import Console

    from seglit.config import readable_errors

    with readable_errors():
        Console().print(as_text(compare(options.a, options.b)))


def compare(a: Path, b: Path) -> Comparison:
    """Compare two evaluations, image by image.

    Args:
        a: an `evaluation.json`, or a folder with one.
        b: likewise.

    Raises:
        ConfigError: where a card cannot be read, or one line for each difference between their protocols.
    """
    from seglit.bootstrap import percentile_interval, resampled_miou
    from seglit.metrics import scores

    cards = read_card(a), read_card(b)
    refuse_other_protocol(*cards)
    size = len(cards[0].classes)
    first, second = (resampled_miou(card.counts, size) for card in cards)
    differences = second - first
    known = differences[~differences.isnan()]
    return Comparison(
        classes=cards[0].classes,
        images=cards[0].counts.images,
        scores=(scores(cards[0].counts.matrix(size)), scores(cards[1].counts.matrix(size))),
        intervals=(percentile_interval(first), percentile_interval(second)),
        interval=percentile_interval(differences),
        better=(known > 0).double().mean().item(),
        remarks=tuple(remarks(*cards)),
    )


def read_card(path: Path) -> Card:
    """The card at a path, or in a folder.

    Raises:
        ConfigError: names the file where it is missing, not a card, or not beside the images that it was written with.
    """
    from seglit.card import CARD, FORMAT, read_images
    from seglit.config import ConfigError

    path = path / CARD if path.is_dir() else path
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; seglit.evaluate writes one, and seglit.train after its test")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: is no JSON ({error})") from error
    if not isinstance(content, dict) or content.get("card") != FORMAT:
        raise ConfigError(f"{path}: is no card of this version of seglit; evaluate the checkpoint again")
    images = path.parent / content["images"]["file"]
    if not images.is_file():
        raise ConfigError(f"{images}: no such file; it belongs to {path}, keep both together")
    if hashlib.sha256(images.read_bytes()).hexdigest() != content["images"]["sha256"]:
        raise ConfigError(f"{images}: is not what {path} was written with; evaluate the checkpoint again")
    return Card(path, content, *read_images(images))


def refuse_other_protocol(a: Card, b: Card) -> None:
    """Refuse to compare what was not measured in the same way.

    Raises:
        ConfigError: one line for each difference, with both values.
    """
    from seglit.config import ConfigError

    ours, theirs = a.content["protocol"], b.content["protocol"]
    lines = [
        f"protocol.{key}: {ours.get(key)} in {a.path}, but {theirs.get(key)} in {b.path}"
        for key in dict.fromkeys([*ours, *theirs])
        if ours.get(key) != theirs.get(key)
    ]
    if lines:
        raise ConfigError("\n".join(lines))


def remarks(a: Card, b: Card) -> list[str]:
    """What else differs, and that the weights do not."""
    found = []
    if a.content["weights"]["sha256"] == b.content["weights"]["sha256"]:
        found.append("a and b are the same weights")
    pairs = [("averaged weights", *(str(card.content["weights"]["averaged"]) for card in (a, b)))]
    pairs += [(key, str(a.content["run"][key]), str(b.content["run"][key])) for key in a.content["run"]]
    return found + [f"{key}: {ours} in a, {theirs} in b" for key, ours, theirs in pairs if ours != theirs]


def as_text(found: Comparison) -> "Group":
    """The comparison for people, scores in percent."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from seglit.callbacks.score_tables import percent

    def row(name: str, a: float, b: float) -> tuple[Text, str, str, str]:
        return Text(name), percent(a), percent(b), signed(b - a)

    table = Table(title=f"IoU of a and b on {found.images} image(s)", title_justify="left")
    table.add_column("class")
    for column in ("a", "b", "b - a"):
        table.add_column(column, justify="right")
    first, second = found.scores
    for name, a, b in zip(found.classes, first.iou.tolist(), second.iou.tolist(), strict=True):
        table.add_row(*row(name, a, b))
    table.add_section()
    table.add_row(*row("mean", first.miou, second.miou), style="bold")
    bounds = [f"{percent(low)} to {percent(high)}" for low, high in found.intervals]
    difference = f"{signed(found.interval.low)} to {signed(found.interval.high)}"
    table.add_row("95 % interval", *bounds, difference)
    lines = [f"b is better in {percent(found.better)} % of the resamples."] if found.better == found.better else []
    return Group(table, *map(Text, [*lines, *found.remarks, found.verdict]))


def signed(value: float) -> str:
    """A difference in percent with its sign; `-` for NaN."""
    return "-" if value != value else f"{100 * value:+.2f}"


if __name__ == "__main__":
    main()
