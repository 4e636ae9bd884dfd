"""What the scripts bench_*.py have in common: options, the header, interleaved times, peak memory, and rows.

A row is `{"measure", "shape", "ours", "peer", "unit", "ratio"}` and may have a `note`; a ratio above 1 says that seglit
is the better one. `--json FILE` writes a list of rows, `--short` takes under 90 seconds. What a script prints before
the first empty line is its header. It exits with `UNAVAILABLE` where the libraries that it compares with cannot be had.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import peers
from seglit.files import write_text

Row = dict[str, Any]
UNAVAILABLE = 69
"""Exit status of a script whose peers cannot be installed; the last line of its errors says why."""


def options_of(description: str | None, *more: Callable[[argparse.ArgumentParser], object]) -> argparse.Namespace:
    """The options that every such script has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--short", action="store_true", help="few rounds and shapes, under 90 seconds")
    parser.add_argument("--environment", type=Path, default=peers.ENVIRONMENT, help="where the other libraries are")
    parser.add_argument("--among-peers", action="store_true", help=argparse.SUPPRESS)
    for add in more:
        add(parser)
    return parser.parse_args()


def among_peers(options: argparse.Namespace, script: str) -> None:
    """Run the script again where the other libraries are, and exit as it does; nothing where that is done."""
    if options.among_peers:
        return
    try:
        refused = peers.prepared(options.environment)
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"the other libraries cannot be installed: {error}", file=sys.stderr)
        sys.exit(UNAVAILABLE)
    for library, reason in refused.items():
        print(f"left out, as it cannot be installed: {library}: {reason}", flush=True)
    arguments = [str(Path(word).absolute()) if before == "--json" else word for before, word in pairwise(sys.argv)]
    sys.exit(peers.run(options.environment, script, *arguments, "--among-peers").returncode)


def header(threads: int, packages: Sequence[str]) -> str:
    """Machine, threads, load and versions."""
    versions = {name: version(name) for name in packages}
    known = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    machine = f"{processor()}, {os.cpu_count()} cores, {threads} threads, load {load}"
    return f"{machine}\nPython {platform.python_version()}, {known}"


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """The name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def interleaved(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each in every round, in which all are called, in turn from the first and from the last.

    The caller has called each before, so that nothing is measured that is done once.
    """
    names = list(contenders)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            start = time.perf_counter()
            contenders[name]()
            times[name].append(1000 * (time.perf_counter() - start))
    return times


def time_row(measure: str, shape: str, ours: Sequence[float], peer: Sequence[float], *notes: str) -> Row:
    """A row of median times; the note tells the least ones too, which a busy machine spoils less."""
    least = f"least {min(ours):.3g} against {min(peer):.3g}"
    return row(measure, shape, statistics.median(ours), statistics.median(peer), "ms", "; ".join([*notes, least]))


def row(measure: str, shape: str, ours: float, peer: float, unit: str, note: str = "") -> Row:
    """A row of what is better the less there is of it."""
    numbers = {"ours": float(f"{ours:.4g}"), "peer": float(f"{peer:.4g}"), "ratio": float(f"{peer / ours:.3g}")}
    return {"measure": measure, "shape": shape, **numbers, "unit": unit, **({"note": note} if note else {})}


def shown(found: Row) -> str:
    """A row in one line."""
    note = f"  ({found['note']})" if found.get("note") else ""
    numbers = f"{found['ours']:g} against {found['peer']:g} {found['unit']}, ratio {found['ratio']:g}"
    return f"{found['measure']}, {found['shape']}: {numbers}{note}"


def written(rows: Sequence[Row], target: Path | None) -> None:
    """Write the rows as JSON, if asked to."""
    if target is not None:
        write_text(target, json.dumps(rows, indent=1) + "\n")


def peak_of(script: str, *arguments: str) -> float:
    """Peak memory in MiB of a call, in a process of its own that ends by `print_peak`."""
    variables = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, script, "--among-peers", *arguments]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return float(done.stdout.splitlines()[-1])


def print_peak(call: Callable[[], object]) -> None:
    """Print by how many MiB the memory of this process grew at most during a call.

    The mark of the greatest memory so far is reset before, so that what made the inputs does not hide the call.
    """
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = kibibytes("VmRSS")
    call()
    print(f"{(kibibytes('VmHWM') - before) / 1024:.2f}")


def kibibytes(field: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field + ":"))
