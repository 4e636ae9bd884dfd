"""The whole report: for people a text and a picture, for machines a file."""

import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from seglit.doctor.advice import Advice
from seglit.doctor.findings import Finding, as_data
from seglit.doctor.numbers import Numbers, numbers_as_data, shares_of, typical
from seglit.doctor.picture import numbers_figure
from seglit.files import write_text
from seglit.pictures import save_figure

FORMAT = 1
"""Raised when the meaning of a key in `doctor.json` changes."""
SHOWN = 5
"""So many places of a finding are printed; all are in the file."""


@dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        root: The folder of the data set.
        findings: Faults first.
        advice: What may help.
        numbers: Of the data set; None if it could not be read at all.
        crop: Height and width of crops, if they are known.
        palette: A colour for each class.
    """

    root: Path
    findings: list[Finding]
    advice: list[Advice]
    numbers: Numbers | None
    crop: tuple[int, int] | None = None
    palette: tuple[tuple[int, int, int], ...] = ()

    @property
    def faults(self) -> list[Finding]:
        """The findings that spoil training."""
        return [one for one in self.findings if one.fault]

    def as_data(self) -> dict[str, Any]:
        """The report for machines, as in `doctor.json`."""
        return {
            "doctor": FORMAT,
            "root": str(self.root),
            "faults": len(self.faults),
            "findings": [as_data(one) for one in self.findings],
            "advice": [asdict(one) for one in self.advice],
            "numbers": None if self.numbers is None else numbers_as_data(self.numbers),
        }

    def write(self, folder: Path) -> list[Path]:
        """Write `doctor.json`, and `doctor.png` where there is something to draw; the files that were written."""
        written = [folder / "doctor.json"]
        write_text(written[0], json.dumps(self.as_data(), indent=2, ensure_ascii=False) + "\n")
        if self.numbers is not None and any(sizes.size for sizes in self.numbers.sizes.values()):
            written.append(folder / "doctor.png")
            save_figure(numbers_figure(self.numbers, self.palette, self.crop), written[1])
        return written

    def as_text(self) -> Group:
        """The report for people."""
        parts: list[RenderableType] = []
        if self.numbers is not None:
            parts += [class_table(self.numbers), split_table(self.numbers), Text()]
        parts += [finding_text(one) for one in self.findings]
        parts += [advice_text(one) for one in self.advice]
        remarks = len(self.findings) - len(self.faults)
        end = f"faults that spoil training: {len(self.faults)}; remarks: {remarks}; advice: {len(self.advice)}"
        return Group(*parts, Text(end, style="bold"))


def finding_text(one: Finding) -> Text:
    """A finding with its first places and its mend."""
    colour = "red" if one.fault else "yellow"
    text = Text.from_markup(
        f"[{colour}]{'fault' if one.fault else 'remark'}[/] [bold]{one.kind}[/]: {escape(one.says)}"
    )
    for place in one.places[:SHOWN]:
        text.append(f"\n  {place}")
    if len(one.places) > SHOWN:
        text.append(f"\n  and {len(one.places) - SHOWN} more")
    text.append(f"\n  mend: {one.mend}")
    return text


def advice_text(one: Advice) -> Text:
    """A piece of advice with its reason, to be typed as it stands."""
    words = shlex.join(one.overrides.split())
    return Text.from_markup(f"[green]try[/] [bold]{escape(words)}[/]\n  {escape(one.reason)}")


def class_table(numbers: Numbers) -> Table:
    """A row for each class: shares by split, images, objects and their size."""
    table = Table(
        title="classes: shares of what is not void; objects, and the pixels of a typical one",
        title_justify="left",
    )
    table.add_column("class", overflow="fold")
    for part in numbers.pixels:
        table.add_column(part, justify="right")
    for column in ("images", "objects", "size"):
        table.add_column(column, justify="right")
    shares = {part: shares_of(pixels) for part, pixels in numbers.pixels.items()}
    for label, name in enumerate(numbers.classes):
        images = sum(int(counts[label]) for counts in numbers.images.values())
        objects, area = sum(numbers.areas[label].values()), typical(numbers.areas[label])
        table.add_row(
            Text(name),
            *(percent(values[label]) for values in shares.values()),
            str(images),
            str(objects),
            about(area),
        )
    return table


def split_table(numbers: Numbers) -> Table:
    """A row for each split: images, sizes and void."""
    table = Table(title="splits", title_justify="left")
    for column in ("split", "images", "smallest", "median", "largest", "void", "most void"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for part, sizes in numbers.sizes.items():
        void = numbers.void[part]
        cells = ["-"] * 3
        if len(sizes):
            order = np.argsort(sizes.prod(1), kind="stable")
            cells = ["{} x {}".format(*sizes[order[place]]) for place in (0, len(order) // 2, -1)]
        voids = [percent(float(void.mean())), percent(float(void.max()))] if void.size else ["-", "-"]
        table.add_row(part, str(len(sizes)), *cells, *voids)
    return table


def about(size: float) -> str:
    """A size that is known to within a power of two, with one digit; `-` for NaN."""
    return "-" if size != size else f"~ {float(f'{size:.0e}'):.0f}"


def percent(share: float) -> str:
    """`0.1234` as `12.34 %`, with more digits for less; NaN and nothing as `-`."""
    if share != share or share == 0:
        return "-"
    return f"{100 * share:.2f} %" if share >= 1e-4 else f"{100 * share:.1g} %"
