"""The C++ in this package, compiled for this machine when it is first wanted."""

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from threading import Lock

log = logging.getLogger(__name__)
OPTIONS = ("-std=c++17", "-O3", "-march=native", "-fPIC", "-shared")
SECONDS = 120
"""After which a compiler is given up."""
_LOCK = Lock()


def compiled(source: Path) -> ctypes.CDLL | None:
    """The functions of a file, or None, once with a line in the log, where it cannot be compiled."""
    with _LOCK:
        return _compiled(source)


@lru_cache
def _compiled(source: Path) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(str(library(source, cache())))
    except (OSError, subprocess.SubprocessError) as error:
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        log.warning("%s cannot be compiled, so what it does takes longer: %s", source.name, said.strip())
        return None


def cache() -> Path:
    """The folder in which what was compiled is kept."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "seglit"


def library(source: Path, folder: Path) -> Path:
    """A file of C++ as a library for this machine, compiled if it is not in the folder yet.

    The compiler is that of the variable `CXX`, or `c++`.

    Raises:
        OSError: without a compiler, or where the folder cannot be written to.
        subprocess.SubprocessError: if it refuses.
    """
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    if not compiler or shutil.which(compiler[0]) is None:
        raise FileNotFoundError(f"no compiler {' '.join(compiler)}; install one, or name it by the variable CXX")
    version = _run([*compiler, "--version"])
    known = (source.read_text(encoding="utf-8"), *compiler, *OPTIONS, version, platform.platform(), processor())
    target = folder / f"{source.stem}-{hashlib.sha256(repr(known).encode()).hexdigest()[:20]}.so"
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        log.info("compiling %s for this machine, once", source.name)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            # Another process may be at it too: whoever is last wins, and both are right.
            made = Path(scratch) / target.name
            _run([*compiler, *OPTIONS, "-o", str(made), str(source)])
            made.replace(target)
    return target


def processor() -> str:
    """What this processor can do, in words: a folder may be common to many."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def _run(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS).stdout
