"""Run the benchmarks scripts/bench_*.py and write docs/performance.md, or check that nothing became much slower.

python scripts/performance.py                           # run all, write docs/performance.md and docs/performance.json
python scripts/performance.py --only bench_loss.py      # run one again, and keep what is recorded of the others
python scripts/performance.py --check                   # run their short forms; status 1 if a ratio fell below half

Only ratios are compared, as they depend the least on the machine; record them on one that does nothing else. A check
runs a script again before it says that a ratio fell, and takes the better of both; it says of each script that it
leaves out why it does.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benching import UNAVAILABLE, Row
from seglit.files import write_text

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"
PAGE = ROOT / "docs" / "performance.md"
RECORD = ROOT / "docs" / "performance.json"
SHARE = 0.5
"""A ratio may not fall below this part of the recorded one."""
LEFT_OUT = {
    "bench_data.py": "it takes minutes of decoding, and its ratios hang on the versions of OpenCV",
    "bench_inference.py": "its peer stalls on a busy machine, so that its ratios vary by more than two",
    "bench_startup.py": "what it times is imports, which the state of the disk decides about",
    "bench_step.py": "a step is mostly convolutions, which are not ours",
}
"""Scripts that a check does not run, and why."""
FIELDS = ("measure", "shape", "ours", "peer", "unit", "ratio")
Record = dict[str, dict[str, Any]]
"""By script: its `command`, `header`, `day` and `rows`."""
INTRODUCTION = """\
# Performance

What seglit takes, and what its peers take for the same, measured in one run on one machine. Written by `make bench`;
`make bench-check`, which CI runs, fails when a ratio falls below half of what stands here.

- A ratio above 1 says that seglit is the better one. Ratios are to be compared; milliseconds are those of the machine.
- The contenders of a row run in turn, in one process or in alternating ones; times are medians, peak memory is that of
  a process of its own.
- The peers are installed by the scripts into an environment of their own (`scripts/peers.py`).
- Each table stands under its command and under what the script said of machine, load and versions. A load well above 0
  before it began spoils the numbers, and not evenly: short operations of several threads suffer most.
"""


class NotAvailable(Exception):  # noqa: N818
    """A script's peers cannot be had here."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, compare the short forms with the record")
    parser.add_argument("--only", nargs="+", metavar="SCRIPT", help="these scripts alone")
    parser.add_argument("--short", action="store_true", help="record the short forms")
    parser.add_argument(
        "--budget", type=float, default=540.0, help="seconds after which a check starts no other script"
    )
    options = parser.parse_args(arguments)
    there = [path.name for path in sorted(SCRIPTS.glob("bench_*.py"))]
    unknown = set(options.only or []) - set(there)
    if unknown:
        sys.exit(f"--only: there is no {', '.join(sorted(unknown))}; there are {', '.join(there)}")
    record = read_record()
    if options.check:
        wanted = [script for script in record if not options.only or script in options.only]
        problems = checked({script: record[script] for script in wanted}, options.budget)
    else:
        problems = recorded(options.only or there, record, short=options.short)
    if problems:
        sys.exit("\n".join(problems))


def recorded(scripts: Sequence[str], record: Record, *, short: bool) -> list[str]:
    """Run scripts and write record and page after each; what failed."""
    problems = []
    for script in scripts:
        try:
            rows, header = run(script, short=short)
        except (NotAvailable, RuntimeError) as error:
            problems.append(f"{script}: {error}; what was recorded of it stays")
            continue
        command = f"python scripts/{script}{' --short' if short else ''}"
        record[script] = {"command": command, "day": f"{datetime.now(UTC):%Y-%m-%d}", "header": header, "rows": rows}
        write_text(RECORD, json.dumps(dict(sorted(record.items())), indent=1, ensure_ascii=False) + "\n")
        write_text(PAGE, page(record))
    return problems


def checked(record: Record, budget: float) -> list[str]:
    """What fell, by row."""
    if not record:
        return [f"{RECORD.name}: nothing is recorded; run scripts/performance.py"]
    start, problems = time.monotonic(), []
    for script, known in record.items():
        spent = time.monotonic() - start
        if script in LEFT_OUT or spent > budget:
            reason = LEFT_OUT.get(script, f"{spent:.0f} s are spent, and the budget is {budget:.0f} s")
            print(f"{script} is not checked: {reason}", flush=True)
            continue
        if not (SCRIPTS / script).is_file():
            problems.append(f"{script}: is recorded and is not there")
            continue
        try:
            rows, _ = run(script, short=True)
            if fallen(known["rows"], rows):
                print(f"{script}: a ratio fell; once more", flush=True)
                rows = better(rows, run(script, short=True)[0])
        except NotAvailable as error:
            print(f"{script} is not checked: {error}", flush=True)
            continue
        except RuntimeError as error:
            problems.append(f"{script}: {error}")
            continue
        if not {key(row) for row in rows} & {key(row) for row in known["rows"]}:
            problems.append(f"{script}: its short form has none of the rows that are recorded")
        problems += [f"{script}: {words}" for words in fallen(known["rows"], rows)]
    return problems


def run(script: str, *, short: bool) -> tuple[list[Row], list[str]]:
    """The rows of a script and the lines of its header; what it prints is printed.

    Raises:
        NotAvailable: if its peers cannot be had.
        RuntimeError: if it failed, or wrote something else than rows.
    """
    print(f"== {script}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "rows.json"
        command = [sys.executable, str(SCRIPTS / script), "--json", str(target), *(["--short"] if short else [])]
        errors = Path(folder) / "errors.txt"
        lines = []
        with errors.open("w", encoding="utf-8") as stream:
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stream, text=True) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    print(line, end="", flush=True)
                    lines.append(line.rstrip("\n"))
            status = process.returncode
        said = errors.read_text(encoding="utf-8").strip()
        if status != 0:
            words = (said.splitlines() or ["it failed without a word"])[-1]
            if status == UNAVAILABLE:
                raise NotAvailable(words)
            print(said, file=sys.stderr, flush=True)
            raise RuntimeError(f"exit status {status}: {words}")
        if not target.is_file():
            raise RuntimeError("wrote no rows")
        return rows_of(target.read_text(encoding="utf-8")), header_of(lines)


def rows_of(text: str) -> list[Row]:
    """The rows of a script.

    Raises:
        RuntimeError: names the first that is none.
    """
    rows: list[Row] = json.loads(text)
    for row in rows:
        if not set(FIELDS) <= set(row):
            raise RuntimeError(f"a row needs {', '.join(FIELDS)}, and is {row}")
    return rows


def header_of(lines: Sequence[str]) -> list[str]:
    """The lines before the first empty one; none where all that was printed has no empty line."""
    return list(lines[: lines.index("")]) if "" in lines else []


def read_record() -> Record:
    return dict(json.loads(RECORD.read_text(encoding="utf-8"))) if RECORD.is_file() else {}


def key(row: Row) -> tuple[str, str]:
    return row["measure"], row["shape"]


def better(one: Sequence[Row], other: Sequence[Row]) -> list[Row]:
    """Of each row of either, the one with the greater ratio."""
    best: dict[tuple[str, str], Row] = {}
    for row in [*one, *other]:
        if key(row) not in best or row["ratio"] > best[key(row)]["ratio"]:
            best[key(row)] = row
    return list(best.values())


def fallen(known: Sequence[Row], found: Sequence[Row]) -> list[str]:
    """In words, the rows whose ratio fell below its share of what is recorded."""
    ratios = {key(row): row["ratio"] for row in known}
    return [
        f"{row['measure']}, {row['shape']}: the ratio fell from {ratios[key(row)]:g} to {row['ratio']:g}"
        for row in found
        if key(row) in ratios and not row["ratio"] >= SHARE * ratios[key(row)]
    ]


def page(record: Mapping[str, Mapping[str, Any]]) -> str:
    """The page of what is recorded."""
    parts = [INTRODUCTION]
    for script, section in sorted(record.items()):
        parts.append(f"## {script.removeprefix('bench_').removesuffix('.py').capitalize()}\n")
        parts.append(f"`{section['command']}`, {section['day']}\n")
        parts += [f"{cell(' · '.join(section['header']))}\n"] if section["header"] else []
        parts += ["| measure | shape | seglit | peer | | ratio | |", "| --- | --- | ---: | ---: | --- | ---: | --- |"]
        for row in section["rows"]:
            numbers = f"{row['ours']:g} | {row['peer']:g} | {cell(row['unit'])} | **{row['ratio']:g}**"
            note = cell(row.get("note", ""))
            parts.append(f"| {cell(row['measure'])} | {cell(row['shape'])} | {numbers} | {note} |")
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def cell(text: str) -> str:
    """Text that ends no cell."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


if __name__ == "__main__":
    main()
