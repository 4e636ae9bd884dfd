"""What the benchmarks of training share: the head of their output, rows as JSON, and a tiny data set."""

import argparse
import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Row = dict[str, Any]


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that each of them has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--short", action="store_true", help="a quick form, of less than a minute")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the rows there as well")
    return made


def print_header(packages: Sequence[str] = ("torch", "lightning")) -> None:
    """The machine, how many cores and threads, how busy it is, and the versions."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("seglit", *packages))
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    print(f"{processor()}, {os.cpu_count()} cores, OMP_NUM_THREADS {threads}, load {load}")
    print(f"Python {platform.python_version()}, {versions}")


def processor() -> str:
    """The name of the processor, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def row(measure: str, ours: float, peer: float | None, unit: str) -> Row:
    """A result; `ratio` is ours over the peer's, so that less is better."""
    ratio = None if peer is None else round(ours / peer, 4)
    return {
        "measure": measure,
        "ours": round(ours, 4),
        "peer": None if peer is None else round(peer, 4),
        "unit": unit,
        "ratio": ratio,
    }


def finish(rows: Sequence[Row], file: Path | None) -> None:
    """Print the rows, and write them where asked."""
    for entry in rows:
        against = "" if entry["peer"] is None else f", peer {entry['peer']:g} {entry['unit']}, ratio {entry['ratio']:g}"
        print(f"{entry['measure']}: {entry['ours']:g} {entry['unit']}{against}")
    if file is not None:
        file.write_text(json.dumps(list(rows), indent=2) + "\n", encoding="utf-8")


def write_squares(root: Path, *, size: int = 64, counts: tuple[int, int, int] = (8, 2, 2)) -> None:
    """A data set of squares of two colours on a dark ground, 3 classes: `images/<split>`, `masks/<split>`."""
    random = np.random.default_rng(0)
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        for index in range(count):
            image = random.integers(0, 60, (size, size, 3), dtype=np.uint8)
            mask = np.zeros((size, size), np.uint8)
            for label, colour in ((1, (220, 60, 60)), (2, (60, 60, 220))):
                top, left = random.integers(0, size // 2, 2)
                place = np.s_[top : top + size // 3, left : left + size // 3]
                image[place], mask[place] = colour, label
            for folder, pixels in (("images", image), ("masks", mask)):
                path = root / folder / split / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
