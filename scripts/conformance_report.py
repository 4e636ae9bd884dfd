"""Which losses keep which laws: seglit's and those of other libraries from PyPI; writes docs/conformance.md.

python scripts/conformance_report.py                                              # write the page
python scripts/conformance_report.py --show mmseg:DiceLoss void_gradient          # let one law fail in full
python scripts/conformance_report.py --environment FOLDER                         # keep the other libraries there

The other libraries are installed into a virtual environment of their own, which is made where it is missing; a library
that cannot be installed or imported is named on the page.
"""

import argparse
import inspect
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peers
from seglit.files import write_text
from seglit.testing import LAWS, SAMPLER_LAWS

TARGET = peers.ROOT / "docs" / "conformance.md"
PEERS = "conformance_peers.py"
ALONE = {"OMP_NUM_THREADS": "1"}
TITLES = {
    "seglit": "seglit",
    "torch": "PyTorch",
    "mmseg": "MMSegmentation",
    "smp": "segmentation-models-pytorch",
    "monai": "MONAI",
    "torchmetrics": "torchmetrics",
}
KNOWN = [
    ("class weights crash on label 255", "mmseg:CrossEntropyLoss+class_weight", "void_value", "IndexError"),
    ("OHEM with Dice fails an assertion", "mmseg:DiceLoss+OHEM", "unkept_pixels", "AssertionError"),
    ("Tversky does not hear OHEM", "mmseg:TverskyLoss+OHEM", "unkept_pixels", "gradient of pixels that the sampler"),
    ("Lovász does not hear OHEM", "mmseg:LovaszLoss+OHEM", "unkept_pixels", "gradient of pixels that the sampler"),
    ("OHEM divides by all pixels", "mmseg:CrossEntropyLoss+OHEM", "unkept_pixels", "times as much"),
    ("`OhemCrossEntropy` is NaN where all is easy", "mmseg:OhemCrossEntropy", "all_easy", "nan"),
    ("Dice keeps void in its sums", "mmseg:DiceLoss", "void_value", "under void pixels"),
    ("Dice sends gradient into void", "mmseg:DiceLoss", "void_gradient", "not exactly zero"),
    ("OHEM may keep nothing under ties", "mmseg:OHEMPixelSampler", "enough_kept_under_ties", "keeps 0 pixels"),
    (
        "`avg_non_ignore` is a mean of means over ranks and accumulated steps",
        "mmseg:CrossEntropyLoss+avg_non_ignore",
        "sum_of_batches",
        "parts",
    ),
]
"""Defects of MMSegmentation 1.2.2 that the kit must find: in words, the loss, the law, and a part of what it says."""
MARKS = {"keeps": "yes", "breaks": "**no**", "raises": "**fails**", "no claim": "-"}
BROKEN = ("breaks", "raises")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, default=peers.ENVIRONMENT)
    parser.add_argument("--show", nargs=2, metavar=("LIBRARY:LOSS", "LAW"))
    options = parser.parse_args()
    refused = peers.prepared(options.environment)
    if options.show:
        sys.exit(peers.run(options.environment, PEERS, "--show", *options.show, variables=ALONE).returncode)
    found = {library: judged(options.environment, library, refused) for library in TITLES}
    missed = [words for words, path, law, part in KNOWN if part not in told(found, path, law)]
    write_text(TARGET, page(found))
    broken = failures(found, "seglit")
    if missed or broken:
        sys.exit(f"not found: {missed}; broken by seglit: {broken}")


def judged(environment: Path, library: str, refused: Mapping[str, str]) -> dict[str, Any]:
    """The verdicts on a library."""
    if library in refused:
        return {"missing": f"it could not be installed: {refused[library]}"}
    print(f"{library} ...", flush=True)
    done = peers.run(environment, PEERS, "--library", library, variables=ALONE, capture_output=True)
    if done.returncode != 0:
        return {"missing": (done.stderr.strip().splitlines() or ["it failed without a word"])[-1]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def told(found: Mapping[str, Any], path: str, law: str) -> str:
    """What a broken law says of a loss; nothing where it is kept."""
    library, _, name = path.partition(":")
    state, words = found[library].get("verdicts", {}).get(name, {}).get(law, ("", ""))
    return words if state in BROKEN else ""


def failures(found: Mapping[str, Any], library: str) -> dict[tuple[str, str], list[str]]:
    """Loss and words of each failure, and the laws that are broken so; an error may break many."""
    laws: dict[tuple[str, str], list[str]] = {}
    for name, verdicts in found[library].get("verdicts", {}).items():
        for law, (state, words) in verdicts.items():
            if state in BROKEN:
                laws.setdefault((name, plain(words)), []).append(law)
    return laws


def page(found: Mapping[str, Any]) -> str:
    """The page."""
    return "\n".join([*introduction(found), *known(found), *tables(found), *broken_laws(found)]) + "\n"


def introduction(found: Mapping[str, Any]) -> list[str]:
    versions = [f"{TITLES[library]} {result['version']}" for library, result in found.items() if result.get("version")]
    lines = [
        "# Conformance",
        "",
        "Which losses keep which laws, in values and gradients, as `seglit.testing` finds out by itself. Written by",
        "`python scripts/conformance_report.py`; [Check your loss](how-to/check-your-loss.md) says how to ask it of",
        "another.",
        "",
        f"Looked at: seglit, {', '.join(versions)}.",
        "Each loss has its own defaults, but for what its name says, and is told to ignore label 255; seglit also 0,",
        "-100 and 254. OHEM has `thresh=0.7, min_kept=2`. MMSegmentation's losses are called through `loss_by_feat` of",
        "a decode head, on a CPU.",
        "",
        "- A law holds in float64 to a relative error of 1e-9; for the other libraries to 1e-5, and Lovász losses that",
        "  fail in float64 are given float32, and 1e-4.",
        "- Half precision is without autocast, which would call some of the losses in float32.",
        "- **fails** is an error; `-` is no claim: the loss has no such option, or says that it does not.",
        "- A loss that names no sums of its own is combined from parts by the mean, as data-parallel training and",
        "  accumulation do it. The parts are equally large.",
        "",
    ]
    for library, result in found.items():
        if "missing" in result:
            lines += [f"**{TITLES[library]} is missing here**: {plain(result['missing'])}", ""]
    return lines


def known(found: Mapping[str, Any]) -> list[str]:
    lines = ["## Found by itself", "", "| in MMSegmentation 1.2.2 | found in | by | what came |", "|" + " --- |" * 4]
    for words, path, law, part in KNOWN:
        came = told(found, path, law)
        by = f"`{law}`" if part in came else "**not found**"
        lines.append(f"| {words} | `{path}` | {by} | {plain(came)} |")
    return [*lines, ""]


def tables(found: Mapping[str, Any]) -> list[str]:
    laws = [law.__name__ for law in LAWS]
    lines = ["## The laws", ""]
    for number, law in enumerate([*LAWS, *SAMPLER_LAWS], 1):
        lines.append(f"{number}. `{law.__name__}`: {(inspect.getdoc(law) or '').splitlines()[0]}")
    of_samplers = [law.__name__ for law in SAMPLER_LAWS]
    lines += ["", "## Who keeps which", ""]
    lines += table(found, laws, 1)
    lines += ["", "Samplers:", ""]
    return [*lines, *table(found, of_samplers, len(laws) + 1), ""]


def table(found: Mapping[str, Any], laws: list[str], first: int) -> list[str]:
    """One row for each loss, or sampler, that has these laws."""
    lines = [
        f"| | {' | '.join(str(first + place) for place in range(len(laws)))} |",
        "| --- |" + " --- |" * len(laws),
    ]
    for library, result in found.items():
        for name, verdicts in result.get("verdicts", {}).items():
            if laws[0] in verdicts:
                marks = " | ".join(MARKS[verdicts[law][0]] for law in laws)
                lines.append(f"| `{library}:{name}` | {marks} |")
    return lines


def broken_laws(found: Mapping[str, Any]) -> list[str]:
    lines = ["## Each failure", "", "The command makes the environment where there is none, and lets the law fail.", ""]
    for library, result in found.items():
        if "missing" in result:
            continue
        lines += [f"### {TITLES[library]}", ""]
        broken = failures(found, library)
        if not broken:
            lines += ["None.", ""]
            continue
        lines += ["| what came | command |", "| --- | --- |"]
        for (name, words), laws in broken.items():
            others = f"; so in {len(laws)} laws" if len(laws) > 1 else ""
            command = f"python scripts/conformance_report.py --show {library}:{name} {laws[0]}"
            lines.append(f"| {words}{others} | `{command}` |")
        lines.append("")
    return lines[:-1]


def plain(words: str) -> str:
    """One line that fits a table."""
    first = words.splitlines()[0] if words else ""
    return first.replace("|", "\\|").replace("<", "&lt;").rstrip(": ")


if __name__ == "__main__":
    main()
