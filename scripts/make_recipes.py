"""The published recipes as experiments: one table, written to conf/experiment.

python scripts/make_recipes.py            # write them
python scripts/make_recipes.py --check    # fail where a file is not what the table says

A recipe is a model on a data set for a number of steps; recipe_table.py says which there are.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from recipe_table import FAMILIES, MANY, SETS, Family, merged

FOLDER = Path(__file__).resolve().parents[1] / "conf" / "experiment"
MARK = "# Written by scripts/make_recipes.py."


@dataclass(frozen=True)
class Recipe:
    """One experiment."""

    model: str
    words: str
    set: str
    steps: int
    family: Family

    @property
    def crop(self) -> tuple[int, int]:
        """Height and width."""
        return self.family.crop or SETS[self.set].crop

    @property
    def batch(self) -> int:
        """Images a step."""
        return self.family.batch or SETS[self.set].batch

    @property
    def name(self) -> str:
        """That of the file."""
        return f"{self.model}_{self.crop[0]}x{self.crop[1]}_{self.steps}k_{self.set}"

    def text(self) -> str:
        """The file."""
        of_set = SETS[self.set]
        height, width = self.crop
        sentence = (
            f"{self.words} on {of_set.words}: {self.batch} images a step, crops of {height} x {width}, "
            f"{self.steps}k steps. {MANY if self.batch >= 8 else ''} {self.family.note}"
        )
        settings: dict[str, Any] = {}
        data: dict[str, Any] = {"batch_size": self.batch, "num_workers": 4}
        if self.crop != of_set.crop:
            data["train_transforms"] = {"crop": {"height": height, "width": width}}
        trainer = {
            "max_steps": 1000 * self.steps,
            "val_check_interval": 100 * self.steps,
            "log_every_n_steps": 50,
            "sync_batchnorm": True,
        }
        for more in (of_set.settings, self.family.settings, {"data": data, "trainer": trainer}):
            settings = merged(settings, more)
        ordered = {key: settings[key] for key in ("model", "data", "trainer", "callbacks") if key in settings}
        body = {
            "defaults": [
                {"override /data": of_set.data},
                {"override /model": self.model},
                *(dict([line.split(": ")]) for line in self.family.defaults),
            ],
            **ordered,
        }
        dumped = yaml.dump(body, Dumper=Flat, sort_keys=False, width=110)
        return "\n".join(["# @package _global_", *wrapped(f"{sentence} {MARK[2:]}"), dumped])


class Flat(yaml.SafeDumper):
    """Lists of numbers in one line; lists of mappings, as the defaults, indented."""

    def ignore_aliases(self, data: Any) -> bool:
        """Each place says what it holds."""
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Never without an indent."""
        super().increase_indent(flow, False)

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> Any:
        """In one line, unless something nested is in it."""
        flat = all(not isinstance(item, (dict, list)) for item in sequence)
        return super().represent_sequence(tag, sequence, flow_style=flat)


def wrapped(sentence: str) -> Iterator[str]:
    """A comment in lines of at most 120 characters."""
    line = "#"
    for word in sentence.split():
        if len(line) + 1 + len(word) > 120:
            yield line
            line = "#"
        line += f" {word}"
    yield line


def recipes() -> Iterator[Recipe]:
    """All of the table."""
    for family in FAMILIES:
        for model, words in family.models.items():
            for name, several in family.steps.items():
                for steps in several:
                    yield Recipe(model, words, name, steps, family)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    options = parser.parse_args()
    texts = {recipe.name: recipe.text() for recipe in recipes()}
    written = {path.stem: path for path in FOLDER.glob("*.yaml") if MARK[2:] in path.read_text(encoding="utf-8")}
    stale = sorted(set(written) - set(texts))
    other = sorted(name for name, text in texts.items() if not is_written(name, text))
    if options.check:
        sys.exit(f"python scripts/make_recipes.py would change {', '.join(stale + other)}" if stale or other else 0)
    for name in stale:
        written[name].unlink()
    for name in other:
        (FOLDER / f"{name}.yaml").write_text(texts[name], encoding="utf-8")
    print(f"{len(texts)} recipes, {len(other)} written, {len(stale)} removed")


def is_written(name: str, text: str) -> bool:
    path = FOLDER / f"{name}.yaml"
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    main()
