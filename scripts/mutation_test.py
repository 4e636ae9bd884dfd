"""Do the tests notice a fault? Plants single faults in seglit, one at a time, and sees whether the tests catch them.

python scripts/mutation_test.py                                # all of them; fails if fewer than 95 % are caught
python scripts/mutation_test.py --only "cosine sign"           # one of them
python scripts/mutation_test.py --write docs/mutations.md      # also write the page
python scripts/mutation_test.py --only "cosine sign" --update docs/mutations.md    # write one row, keep the others

The faults are in mutation_faults.py, each with the tests that ought to catch it. They are planted in a copy of the
files that git tracks, so this checkout stays as it is.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mutation_faults import FAULTS, Fault
from seglit.files import write_text

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "mutations.md"
SHARE = 95
"""Percent of the faults that the tests must catch."""
LIMIT = 300
"""Seconds after which a run of tests that a fault has sent astray is ended."""
SURVIVED = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAME", action="append", help="plant this fault alone; may be repeated")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="faults tried at the same time")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write the table of all faults to this file")
    parser.add_argument("--update", type=Path, metavar="PAGE", help="the same, but keep the rows of faults not tried")
    options = parser.parse_args()
    if options.write and options.only:
        parser.error("--write needs all faults; leave --only out, or use --update")
    faults = [fault for fault in FAULTS if not options.only or fault.name in options.only]
    unknown = set(options.only or ()) - {fault.name for fault in faults}
    if unknown:
        parser.error(f"there is no fault {', '.join(sorted(unknown))}")
    if options.jobs < 1:
        parser.error(f"--jobs must be 1 or more, got {options.jobs}")
    for fault in faults:
        planted(fault, (ROOT / "src" / "seglit" / fault.file).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        found = tried(faults, copies(Path(folder), options.jobs), options.jobs)
    if options.write:
        write_text(options.write, page(found))
    if options.update:
        write_text(options.update, page(updated(found, options.update.read_text(encoding="utf-8"))))
    print(summary(found))
    sys.exit(int(percent(found) < SHARE))


def planted(fault: Fault, text: str) -> str:
    """The text of the file with the fault in it.

    Raises:
        ValueError: where the old text does not occur exactly once.
    """
    count = text.count(fault.old)
    if count != 1:
        raise ValueError(f"{fault.name!r}: {fault.old!r} occurs {count} times in {fault.file}; it must occur once")
    return text.replace(fault.old, fault.new)


def copies(folder: Path, number: int) -> list[Path]:
    """So many copies of the tracked files, as they are now."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    trees = [folder / str(index) for index in range(number)]
    for name in filter(None, listed.split("\0")):
        for tree in trees:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    return trees


def tried(faults: Sequence[Fault], trees: Sequence[Path], jobs: int) -> dict[Fault, str]:
    """The first test that fails by each fault; `SURVIVED` where none does."""
    free: SimpleQueue[Path] = SimpleQueue()
    for tree in trees:
        free.put(tree)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn()) as progress, ThreadPoolExecutor(jobs) as pool:

        def unchanged(tests: tuple[str, ...]) -> str:
            with borrowed(free) as tree:
                return failure(tree, tests)

        def one(fault: Fault) -> str:
            with borrowed(free) as tree:
                caught = caught_by(fault, tree)
            words = f"caught by {caught}" if caught else "equivalent" if fault.equivalent else "SURVIVED"
            progress.console.print(
                f"{fault.file}: {fault.name}: {words}", markup=False, highlight=False, soft_wrap=True
            )
            return caught

        sets = list(dict.fromkeys(fault.tests for fault in faults))
        for tests, failed in zip(
            sets, progress.track(pool.map(unchanged, sets), len(sets), description="no fault"), strict=True
        ):
            if failed:
                sys.exit(f"{' '.join(tests)} fails without a fault: {failed}")
        results = progress.track(pool.map(one, faults), len(faults), description="faults")
        return dict(zip(faults, results, strict=True))


@contextmanager
def borrowed(free: "SimpleQueue[Path]") -> Iterator[Path]:
    """A copy that nobody else uses meanwhile."""
    tree = free.get()
    try:
        yield tree
    finally:
        free.put(tree)


def caught_by(fault: Fault, tree: Path) -> str:
    """Plant the fault in the copy, run its tests, and mend the copy; the first test that fails."""
    file = tree / "src" / "seglit" / fault.file
    text = file.read_text(encoding="utf-8")
    file.write_text(planted(fault, text), encoding="utf-8")
    try:
        return failure(tree, fault.tests)
    finally:
        file.write_text(text, encoding="utf-8")


def failure(tree: Path, tests: Sequence[str]) -> str:
    """The first test that fails in the copy, or what else went wrong; `SURVIVED` where all pass."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-cov", "-p", "no:cacheprovider", *tests]
    # No bytecode: it would be taken for that of a file changed within the same second.
    variables = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=tree, env=variables, capture_output=True, text=True, check=False, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return f"no end within {LIMIT} s"
    if done.returncode == 0:
        return SURVIVED
    first = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    return first[1] if first else (done.stderr.strip().splitlines() or ["pytest failed without a word"])[-1]


def percent(found: Mapping[Fault, str]) -> float:
    """How many of the faults that can be told are caught."""
    counted = [caught for fault, caught in found.items() if not fault.equivalent]
    return 100 * sum(map(bool, counted)) / max(len(counted), 1)


def summary(found: Mapping[Fault, str]) -> str:
    equivalent = sum(bool(fault.equivalent) for fault in found)
    counted = len(found) - equivalent
    caught = sum(bool(test) for fault, test in found.items() if not fault.equivalent)
    return (
        f"{caught} of {counted} faults are caught, {percent(found):.1f} %; {equivalent} more are none that can be told."
    )


def page(found: Mapping[Fault, str]) -> str:
    """The page."""
    lines = [
        "# Mutations",
        "",
        "Would the tests notice? `python scripts/mutation_test.py` plants single faults in a copy of the losses, the",
        "optimizer's rules and the scores, one at a time, and runs the tests that are named for it in",
        "`scripts/mutation_faults.py`. Written by `python scripts/mutation_test.py --write docs/mutations.md`.",
        "",
        f"**{summary(found)}**",
    ]
    for file in dict.fromkeys(fault.file for fault in found):
        lines += ["", f"## {file}", "", "| fault | was | is | the first test that fails |", "|" + " --- |" * 4]
        lines += [row(fault, caught) for fault, caught in found.items() if fault.file == file]
    return "\n".join(lines) + "\n"


def updated(found: Mapping[Fault, str], text: str) -> dict[Fault, str]:
    """What was found, and what the page's text says of the other faults; without those it does not have as they are."""
    said = {}
    for fault in FAULTS:
        start = row(fault, SURVIVED).removesuffix(f"{celled(outcome(fault, SURVIVED))} |")
        ends = [line.removeprefix(start) for line in text.splitlines() if line.startswith(start)]
        if fault in found:
            said[fault] = found[fault]
        elif ends:
            test = re.fullmatch(r"`(.*)` \|", ends[0])
            said[fault] = test[1].replace("\\|", "|") if test else SURVIVED
    return said


def row(fault: Fault, caught: str) -> str:
    cells = (fault.name, code(fault.old), code(fault.new), outcome(fault, caught))
    return "| " + " | ".join(map(celled, cells)) + " |"


def outcome(fault: Fault, caught: str) -> str:
    return f"`{caught}`" if caught else f"none: {fault.equivalent}" if fault.equivalent else "**survived**"


def code(text: str) -> str:
    words = " ".join(text.split())
    return f"`{words}`" if words else "nothing"


def celled(text: str) -> str:
    """Text that fits a cell of a table."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main()
