"""What a finding is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Place:
    """Where something is wrong.

    Attributes:
        file: The file or folder.
        row: The row of the first such pixel, if it is one.
        column: Its column.
        value: What is there: a raw value, a colour, a size in words.
    """

    file: Path
    row: int | None = None
    column: int | None = None
    value: int | str | tuple[int, ...] | None = None

    def __str__(self) -> str:
        """As people read it."""
        pixel = "" if self.row is None else f", row {self.row}, column {self.column}"
        return f"{self.file}{pixel}" + ("" if self.value is None else f": {self.value}")


@dataclass(frozen=True)
class Finding:
    """Something about a data set that its owner should know.

    Attributes:
        kind: A word for this kind of finding, the same in every version.
        fault: Whether it spoils training or what is measured; else it is a remark, and may be meant.
        says: What is wrong.
        mend: What to do about it, with the override where there is one.
        places: The files concerned, and the first pixel in each.
    """

    kind: str
    fault: bool
    says: str
    mend: str
    places: tuple[Place, ...] = ()


def finding(kind: str, says: str, mend: str, places: Sequence[Place] = (), *, fault: bool = True) -> list[Finding]:
    """A finding in a list; an empty list where there is no place."""
    return [Finding(kind, fault, says, mend, tuple(places))] if places else []


def as_data(found: Finding) -> dict[str, Any]:
    """A finding for machines; paths are text."""
    places = [
        {
            name: value
            for name, value in {
                "file": str(place.file),
                "row": place.row,
                "column": place.column,
                "value": place.value,
            }.items()
            if value is not None
        }
        for place in found.places
    ]
    return {"kind": found.kind, "fault": found.fault, "says": found.says, "mend": found.mend, "places": places}
