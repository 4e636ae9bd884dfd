"""The table of logged numbers of a run that may be stopped and go on."""

import csv
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from seglit.files import whole_file

TABLE = ExperimentWriter.NAME_METRICS_FILE


class Curves(CSVLogger):
    """Lightning's `CSVLogger`, with the same arguments, that goes on with the table in its folder.

    Lightning's begins by deleting it, and a run that is resumed loses its past. `cut` takes away what the steps to come
    will log again.
    """

    @property
    def experiment(self) -> "Writer":
        """What writes the table."""
        if self._experiment is None:
            self._experiment = Writer(log_dir=self.log_dir)
        return self._experiment  # type: ignore[return-value]

    @rank_zero_only
    def log_hyperparams(self, params: Any = None) -> None:
        """Nothing: the folder of a run has its configuration."""

    @rank_zero_only
    def save(self) -> None:
        """Write what was logged since."""
        self.experiment.save()


class Writer(ExperimentWriter):
    """Appends to the table that is there.

    Args:
        log_dir: its folder.
    """

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir=log_dir)
        path = Path(self.metrics_file_path)
        self.metrics_keys = columns(path) if path.is_file() else []

    def _check_log_dir_exists(self) -> None:
        """Keep what is there."""


def columns(path: Path) -> list[str]:
    """The header of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file), [])


def cut(path: Path, steps: int) -> None:
    """Leave in a table what was logged in the first `steps` steps, and whole lines only."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        names = list(reader.fieldnames or [])
        rows = [row for row in reader if is_before(row, steps)]
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def is_before(row: dict[str, Any], steps: int) -> bool:
    """Whether a row is of one of the first steps; not if a run was killed while it wrote the row."""
    step = row.get("step") or ""
    return None not in row and None not in row.values() and step.isdigit() and int(step) < steps
