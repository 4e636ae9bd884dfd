"""Files that are whole or not there at all."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to write, which takes its place in the end; if anything fails, `path` stays.

    The folder is made if needed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a temporary file, see `whole_file`, which then is the one at `path`."""
    with whole_file(path) as temporary:
        write(temporary)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text; the file at `path` is whole at any time, the old one or the new one."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
