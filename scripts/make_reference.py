"""docs/reference.md, made from conf and the docstrings of what it names.

python scripts/make_reference.py           # write it
python scripts/make_reference.py --check   # say whether it is what would be written
"""

import argparse
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from docstring_parser import parse

from seglit.check.nodes import resolve, signature
from seglit.config import conf_dir
from seglit.files import write_text
from seglit.optim import parameter_groups

TARGET = Path(__file__).resolve().parents[1] / "docs" / "reference.md"
GROUPS = {
    "experiment": "Complete runs: `+experiment=NAME`.",
    "tricks": "Overlays of one trick each, which combine: `'+tricks=[ohem,ce_dice]'`.",
    "data": "Data sets: `data=NAME`, keys below `data`.",
    "data/train_transforms": "Augmentation: `data/train_transforms=NAME`.",
    "model": "Whole models: `model=NAME`.",
    "model/net/backbone": "`model/net/backbone=NAME`.",
    "model/net/decode_head": "`model/net/decode_head=NAME`.",
    "model/net/auxiliary_heads": "`model/net/auxiliary_heads=NAME`.",
    "model/net/neck": "`model/net/neck=NAME` where the model has a neck, else with + before it.",
    "model/criterion": "Losses of the heads: `model/criterion=NAME`.",
    "model/optimizer": "`model/optimizer=NAME`.",
    "model/scheduler": "`model/scheduler=NAME`.",
    "trainer": "Lightning's Trainer: keys below `trainer`.",
    "callbacks": "`callbacks=NAME`; `callbacks.pictures=null` switches one off.",
    "logger": "`logger=NAME`.",
    "sweep": "Sweeps and where they run: `+sweep=NAME`.",
    "debug": "`+debug=NAME`.",
}
ELSEWHERE = ("torch.", "lightning.", "albumentations.")
"""Packages whose classes have a reference of their own."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if the file is not up to date")
    options = parser.parse_args(arguments)
    text = reference()
    if not options.check:
        write_text(TARGET, text)
    elif not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != text:
        sys.exit(f"{TARGET}: is not up to date; run scripts/make_reference.py")


def reference() -> str:
    """The page."""
    found = {path.parent.relative_to(conf_dir()).as_posix() for path in conf_dir().glob("*/**/*.yaml")}
    if found != set(GROUPS):
        raise ValueError(f"GROUPS: is not of the folders in conf: {sorted(found.symmetric_difference(GROUPS))}")
    seen: set[str] = set()
    parts = [
        "# Reference",
        "Every group of configurations, its files, and the arguments of what they name. Made by "
        "`scripts/make_reference.py`.",
        "## The root",
        files_table([conf_dir() / "train.yaml"]),
    ]
    for group, words in GROUPS.items():
        paths = sorted((conf_dir() / group).glob("[!_]*.yaml"))
        parts += [f"## `{group}`", words, files_table(paths)]
        for path in sorted((conf_dir() / group).glob("*.yaml")):
            for target in targets(yaml.safe_load(path.read_text(encoding="utf-8"))):
                if target not in seen and not target.startswith(ELSEWHERE):
                    seen.add(target)
                    parts += arguments_of(target, resolve(target))
    parts += ["## `model.paramwise`", *arguments_of("seglit.optim.parameter_groups", parameter_groups)[1:]]
    return "\n\n".join(parts) + "\n"


def files_table(paths: list[Path]) -> str:
    """A row for each file: its name, and the comment at its head."""
    rows = ["| file | |", "| --- | --- |"]
    for path in paths:
        lines = path.read_text(encoding="utf-8").splitlines()
        head = [line for line in lines if not line.startswith("# @package")]
        comment = []
        for line in head:
            if not line.startswith("#"):
                break
            comment.append(line.lstrip("# "))
        rows.append(f"| `{path.stem}` | {cell(' '.join(comment))} |")
    return "\n".join(rows)


def targets(node: Any) -> Iterator[str]:
    """Every `_target_`, in the order of the file."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)


def arguments_of(name: str, target: Any) -> list[str]:
    """A heading, what the docstring says first, and a row for each argument."""
    described = parse(inspect.getdoc(target) or "")
    meanings = {part.arg_name.lstrip("*"): part.description or "" for part in described.params}
    rows = ["| argument | default | |", "| --- | --- | --- |"]
    for parameter in signature(target)[0].values():
        needed = parameter.default is parameter.empty
        default = "" if needed else f"`{plain(parameter.default)}`"
        rows.append(f"| `{parameter.name}` | {default} | {cell(meanings.get(parameter.name, ''))} |")
    about = [described.short_description or ""]
    return [f"### `{name}`", *about, *(["\n".join(rows)] if len(rows) > 2 else [])]


def plain(value: Any) -> str:
    """A default as it is written."""
    return value.__name__ if inspect.isclass(value) else repr(value)


def cell(text: str) -> str:
    """Text in one line, which cannot end its cell."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


if __name__ == "__main__":
    main()
