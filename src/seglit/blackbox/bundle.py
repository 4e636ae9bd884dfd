"""A bundle: the folder from which a step that went wrong can be run again. Nothing in it is pickled."""

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from seglit.config import ConfigError

CONFIG, REPORT, RING, WEIGHTS, BATCH = (
    "config.yaml",
    "report.json",
    "ring.csv",
    "weights.safetensors",
    "batch.safetensors",
)

Row = dict[str, Any]
"""A step in the ring: `step`, `names` of its images, `note`, which is `fault`, `overflow` or empty; and numbers:
`mean`, the loss over all ranks, `loss` and each term, `gradient/<group>` before clipping, `lr/<group>`."""


@dataclass(frozen=True)
class Part:
    """A micro-batch.

    Attributes:
        image: as the net was given it, `batch 3 height width`.
        labels: int64, `batch height width`.
        names: of the images.
        random: states of torch's generators before it ran: the CPU's and, where it ran there, the device's.
    """

    image: Tensor
    labels: Tensor
    names: list[str]
    random: list[Tensor]


@dataclass(frozen=True)
class Bundle:
    """What one rank knows of a step.

    Attributes:
        report: what happened, in plain values.
        weights: the module's state dict before the step.
        parts: the micro-batches.
        rows: the ring, the oldest step first; the last is the step itself where it got so far.
        config: the resolved configuration as YAML; empty where the run had none.
    """

    report: dict[str, Any]
    weights: dict[str, Tensor]
    parts: list[Part]
    rows: list[Row] = field(default_factory=list)
    config: str = ""

    def write(self, folder: Path) -> None:
        """Write the folder under a temporary name and rename it; one that is there already is replaced."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = folder.with_name(f".{folder.name}.{uuid4().hex}.tmp")
        temporary.mkdir()
        try:
            self._write_into(temporary)
            if folder.exists():
                shutil.rmtree(folder)
            temporary.rename(folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    def _write_into(self, folder: Path) -> None:
        names = [part.names for part in self.parts]
        report = json.dumps(self.report | {"names": names}, indent=2, ensure_ascii=False)
        (folder / REPORT).write_text(report + "\n", encoding="utf-8")
        if self.config:
            (folder / CONFIG).write_text(self.config, encoding="utf-8")
        save_file(stored(self.weights), folder / WEIGHTS)
        tensors: dict[str, Tensor] = {}
        for number, part in enumerate(self.parts):
            tensors |= {f"image.{number}": part.image, f"labels.{number}": part.labels}
            tensors |= {f"random.{number}.{place}": state for place, state in enumerate(part.random)}
        save_file(stored(tensors), folder / BATCH)
        with (folder / RING).open("w", encoding="utf-8", newline="") as file:
            columns = list(dict.fromkeys(name for row in self.rows for name in row))
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows({**row, "names": json.dumps(row["names"], ensure_ascii=False)} for row in self.rows)


def stored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as safetensors takes them: on the host, in one piece each, no two of one memory."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}


def read_bundle(folder: Path) -> Bundle:
    """The bundle in a folder.

    Raises:
        ConfigError: names the file that is missing or damaged.
    """
    path = folder / REPORT
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        path = folder / WEIGHTS
        weights = load_file(path)
        path = folder / BATCH
        tensors = load_file(path)
        parts = [part_of(tensors, number, names) for number, names in enumerate(report["names"])]
        path = folder / RING
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row_of(row) for row in csv.DictReader(file)]
        path = folder / CONFIG
        config = path.read_text(encoding="utf-8") if path.is_file() else ""
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({type(error).__name__}: {error}); give a folder that seglit's black box wrote"
        ) from error
    return Bundle(report, weights, parts, rows, config)


def part_of(tensors: Mapping[str, Tensor], number: int, names: Sequence[str]) -> Part:
    """A micro-batch among the stored tensors."""
    random = [tensors[name] for name in sorted(tensors) if name.startswith(f"random.{number}.")]
    return Part(tensors[f"image.{number}"], tensors[f"labels.{number}"], list(names), random)


def row_of(row: Mapping[str, str]) -> Row:
    """A row with its numbers; what the step did not have is left out."""
    numbers = {name: float(value) for name, value in row.items() if value != "" and name not in {"names", "note"}}
    return {**numbers, "step": int(row["step"]), "names": json.loads(row["names"]), "note": row["note"]}


def bundles_in(folder: Path) -> list[Path]:
    """The folder, if it is a bundle, or those of the ranks in it.

    Raises:
        ConfigError: where there is none.
    """
    found = [folder] if (folder / REPORT).is_file() else sorted(path.parent for path in folder.glob(f"rank_*/{REPORT}"))
    if not found:
        raise ConfigError(f"{folder}: holds no bundle; give a folder that seglit's black box wrote, black_box/step_...")
    return found
