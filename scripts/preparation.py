"""What the scripts that prepare data sets share: folders that are whole or not there, archives, counts, errors."""

import argparse
import re
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from seglit.files import write_text

T = TypeVar("T")
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")
MARKER = "prepared.txt"
"""A file in every folder that a script made; a folder without it is somebody else's and never replaced."""


def arguments_of(description: str | None) -> argparse.ArgumentParser:
    """A parser with what every preparation takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--force", action="store_true", help="replace what an earlier call has written")
    parser.add_argument("--any-count", action="store_true", help="take what is there, whatever its number")
    return parser


@contextmanager
def readable_errors() -> Iterator[None]:
    """Put a mistake into one line on standard error, and end with status 2."""
    try:
        yield
    except (OSError, ValueError, zipfile.BadZipFile, tarfile.TarError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def write_folder(output: Path, force: bool, write: Callable[[Path], str], marker: str = MARKER) -> None:
    """Fill a folder through `write`, which sees a temporary one: `output` is there whole, or not at all.

    Args:
        output: the folder to make.
        force: whether to replace a folder that is there.
        write: writes the files into the folder it is given, and returns what to say of them.
        marker: the file that tells a folder of this script from others; made here where `write` has not made it.

    Raises:
        FileExistsError: if `output` is there, and `force` is False or it has no `marker`.
    """
    output = output.resolve()
    if output.exists() and not force:
        raise FileExistsError(f"{output}: exists already; give --force to replace it")
    if output.exists() and not (output / marker).is_file():
        raise FileExistsError(f"{output}: not replaced, as it holds no {marker} and so was not made by this script")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as temporary:
        new, old = Path(temporary) / "new", Path(temporary) / "old"
        new.mkdir()
        said = write(new)
        if not (new / marker).exists():
            write_text(new / marker, f"{said}\n")
        if output.exists():
            output.rename(old)
        new.rename(output)
    print(f"{output}: {said}")


@contextmanager
def unpacked(source: Path) -> Iterator[list[Path]]:
    """All files below a folder, and all files in the archives that lie in it or that it is.

    Raises:
        ValueError: where an archive would write outside of its folder.
        FileNotFoundError: where there is no such folder or archive.
    """
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such folder or archive")
    with tempfile.TemporaryDirectory(prefix="seglit.") as temporary:
        archives = [source] if source.is_file() else sorted(source.rglob("*"))
        for number, path in enumerate(path for path in archives if path.name.lower().endswith(ARCHIVES)):
            extract(path, Path(temporary) / f"{number}_{path.name.split('.')[0]}")
        folders = [Path(temporary), *([source] if source.is_dir() else [])]
        yield sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())


def extract(archive: Path, folder: Path) -> None:
    """Unpack an archive.

    Raises:
        ValueError: names a member that would lie outside of the folder.
    """
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            for name in packed.namelist():
                if not (folder / name).resolve().is_relative_to(folder.resolve()):
                    raise ValueError(f"{archive}: its member {name} leaves the folder; do not trust this archive")
            packed.extractall(folder)
        return
    with tarfile.open(archive) as packed:
        try:
            packed.extractall(folder, filter="data")
        except tarfile.FilterError as error:
            raise ValueError(f"{archive}: {error}; do not trust this archive") from error


def matching(files: Sequence[Path], pattern: str, what: str, source: Path) -> dict[str, Path]:
    """The files whose path ends as the pattern says, by the text of its group.

    Raises:
        ValueError: where there is none, or two have the same name.
    """
    expression = re.compile(rf"(?:.*/)?{pattern}", re.IGNORECASE)
    found: dict[str, Path] = {}
    for path in files:
        if match := expression.fullmatch(path.as_posix()):
            name = match.group(1)
            if name in found:
                raise ValueError(f"{path} and {found[name]}: two {what} of the name {name}; keep one")
            found[name] = path
    if not found:
        names = ", ".join(path.name for path in files[:5]) or "nothing"
        raise ValueError(f"{source}: holds no {what}, which are called as in {pattern}; there is {names}")
    return found


def check_pairs(images: dict[str, Path], masks: dict[str, Path]) -> None:
    """Refuse images without masks.

    Raises:
        ValueError: names the first.
    """
    if missing := [name for name in images if name not in masks]:
        raise ValueError(f"{images[missing[0]]}: has no mask (so have {len(missing)} of {len(images)} images)")


def check_count(found: int, expected: int, what: str, any_count: bool) -> None:
    """Refuse another number than the data set has.

    Raises:
        ValueError: says both.
    """
    if found != expected and not any_count:
        raise ValueError(f"{what}: found {found}, but the set has {expected}; give --any-count if that is as it should")


def track(items: Sequence[T], description: str) -> Iterator[T]:
    """The items, with a bar that says how long it will take."""
    from rich import progress

    yield from progress.track(items, description=description)


def save_mask(path: Path, mask: np.ndarray) -> None:
    """Write labels, uint8, as a grey PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8)).save(path)


def binary(values: np.ndarray, path: Path) -> np.ndarray:
    """0 and 1 from a mask of black and one other value.

    Raises:
        ValueError: names the file, where there are more values than these.
    """
    grey = values[..., :3].max(-1) if values.ndim == 3 else values
    levels = np.unique(grey)
    if len(levels) > 2 or (len(levels) == 2 and levels[0] != 0) or (len(levels) == 1 and levels[0] not in {0, 255}):
        raise ValueError(f"{path}: has the values {levels[:5].tolist()}, but a mask here is black and one other value")
    return (grey > 0).astype(np.uint8)
