"""One table of a sweep's runs: `python -m seglit.sweep runs/..._sweep`."""

import argparse
import csv
import io
import json
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

TRICKS = {
    "component_learning_rates": "lr_mult",
    "ohem": "ohem",
    "class_weight": "class_weight",
    "several_losses": "losses",
    "avg_non_ignore": "avg_non_ignore",
}
"""The tricks by their names in a receipt, and what the table calls them."""


@dataclass(frozen=True)
class Row:
    """The runs of a sweep that differ in nothing but their seed.

    Attributes:
        overrides: what they were told that not all runs of the sweep were.
        tricks: which of the five tricks are on, by what the table calls them.
        seeds: the seeds of the runs with a score.
        scores: their scores, in 0 to 1, in the same order.
        unfinished: the folders of those without.
    """

    overrides: tuple[str, ...]
    tricks: tuple[str, ...]
    seeds: tuple[int, ...]
    scores: tuple[float, ...]
    unfinished: tuple[str, ...]

    @property
    def mean(self) -> float:
        """The mean score; NaN without one."""
        return statistics.fmean(self.scores) if self.scores else float("nan")

    @property
    def spread(self) -> float:
        """The standard deviation over seeds, by n - 1; NaN for fewer than two."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else float("nan")

    @property
    def name(self) -> str:
        """What tells the row from the others."""
        return " ".join(self.overrides) or "as configured"


def main(arguments: list[str] | None = None) -> None:
    """The command. A mistake of the user is one line on standard error and exit status 2."""
    parser = argparse.ArgumentParser(prog="seglit-sweep", description="One table of a sweep's runs.")
    parser.add_argument("folder", type=Path, help="the folder of the sweep, which has a folder for each run")
    parser.add_argument("--score", default=None, help="a name in metrics.json; test/miou, or val/miou without a test")
    options = parser.parse_args(arguments)

    from rich.console import Console

    from seglit.config import readable_errors
    from seglit.files import write_text
    from seglit.pictures import save_figure

    with readable_errors():
        score, rows = summarise(options.folder, options.score)
        Console().print(table(rows, score))
        write_text(options.folder / "sweep.csv", as_csv(rows, score))
        save_figure(figure(rows, score), options.folder / "sweep.png")
        print(f"written: {options.folder}/sweep.csv and sweep.png")


def summarise(folder: Path, score: str | None = None) -> tuple[str, list[Row]]:
    """The runs below a folder, those that differ in their seed alone as one row, the best row first.

    Args:
        folder: of the sweep.
        score: a name in `metrics.json`; None: `test/miou` where a run has it, else `val/miou`.

    Returns:
        The name of the score, and the rows.

    Raises:
        ConfigError: where there is no run, or none with that score.
    """
    from seglit.config import ConfigError, nearest

    runs = {path.parent: read_json(path) for path in sorted(folder.glob("*/receipt.json"))}
    refused = [path.name for path in sorted(folder.glob("*/")) if path not in runs and path.name.isdecimal()]
    if not runs:
        raise ConfigError(f"{folder}: no run below it; give the folder of a sweep, as runs/<date>_sweep")
    if strangers := [path for path, receipt in runs.items() if "overrides" not in receipt]:
        raise ConfigError(f"{strangers[0]}/receipt.json: does not say what the run was told; it is of another seglit")
    metrics = {path: read_json(path / "metrics.json") if (path / "metrics.json").is_file() else {} for path in runs}
    named = {name for found in metrics.values() for name in found}
    score = score or ("test/miou" if "test/miou" in named else "val/miou")
    if score not in named:
        raise ConfigError(f"{folder}: no run has the score {score}{nearest(score, named)}")
    told = {path: tuple(receipt["overrides"]) for path, receipt in runs.items()}
    common = set.intersection(*(set(overrides) for overrides in told.values()))
    rows: dict[tuple[str, ...], list[Path]] = {}
    for path, overrides in told.items():
        own = tuple(word for word in overrides if word not in common and word.partition("=")[0] != "seed")
        rows.setdefault(own, []).append(path)
    summary = []
    for own, paths in rows.items():
        done = [path for path in paths if metrics[path].get(score) is not None]
        on = runs[paths[0]]["tricks"]
        summary.append(
            Row(
                overrides=own,
                tricks=tuple(word for name, word in TRICKS.items() if on[name]),
                seeds=tuple(int(runs[path]["run"]["seed"]) for path in done),
                scores=tuple(float(metrics[path][score]) for path in done),
                unfinished=tuple(path.name for path in paths if path not in done),
            )
        )
    if refused:
        # A run that was refused has left no receipt to tell what it was.
        summary.append(Row(("not started",), (), (), (), tuple(refused)))
    return score, sorted(summary, key=lambda row: -row.mean if row.scores else float("inf"))


def read_json(path: Path) -> Mapping[str, Any]:
    """The content of a JSON file.

    Raises:
        ConfigError: names the file where it is none.
    """
    from seglit.config import ConfigError

    try:
        content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: is no JSON ({error})") from error
    return content


def table(rows: Sequence[Row], score: str) -> "Table":
    """A row for each, scores in percent."""
    from rich.table import Table
    from rich.text import Text

    from seglit.callbacks.score_tables import percent

    result = Table(title=f"{score}, mean and standard deviation over seeds", title_justify="left")
    for name in ("run", "tricks", "seeds", score, "spread", "unfinished"):
        result.add_column(name, justify="left" if name in {"run", "tricks", "unfinished"} else "right", overflow="fold")
    for row in rows:
        numbers = (str(len(row.seeds)), percent(row.mean), percent(row.spread))
        # Brackets in a plain string would be markup.
        result.add_row(Text(row.name), " ".join(row.tricks) or "none", *numbers, " ".join(row.unfinished))
    return result


def as_csv(rows: Sequence[Row], score: str) -> str:
    """The table for machines, scores in 0 to 1."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "tricks", "seeds", score, "spread", "scores", "unfinished"])
    for row in rows:
        scores = " ".join(f"{seed}:{value:.6f}" for seed, value in zip(row.seeds, row.scores, strict=True))
        numbers = (len(row.seeds), f"{row.mean:.6f}", f"{row.spread:.6f}")
        writer.writerow([row.name, " ".join(row.tricks), *numbers, scores, " ".join(row.unfinished)])
    return text.getvalue()


def figure(rows: Sequence[Row], score: str) -> "Figure":
    """A point for each run, and the mean of each row with its spread."""
    from seglit.pictures import new_figure

    picture = new_figure(8.0, 1.4 + 0.5 * len(rows), layout="constrained")
    axes = picture.subplots()
    for place, row in enumerate(rows):
        if not row.scores:
            continue
        spread = 100 * row.spread if len(row.scores) > 1 else None
        axes.errorbar(100 * row.mean, place, xerr=spread, fmt="o", color="C0", markersize=7, capsize=4)
        axes.plot([100 * value for value in row.scores], [place] * len(row.scores), "|", color="black", markersize=12)
    # Overrides have no spaces, so that a long list of them is cut at any letter.
    names = ["\n".join(textwrap.wrap(row.name, 40)) for row in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    picture.supxlabel(f"{score} in percent: each run, mean, standard deviation", fontsize=10)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    return picture


if __name__ == "__main__":
    main()
