"""Every key of every shipped file, misspelt one at a time in a copy of the tree: each is refused."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import make_recipes
from seglit.check import check
from seglit.config import ConfigError, compose, conf_dir

RECIPES = [f"experiment/{recipe.name}.yaml" for recipe in make_recipes.recipes()]
"""All of one form, so that a few stand for all."""
FILES = sorted(
    {path.relative_to(conf_dir()).as_posix() for path in conf_dir().rglob("*.yaml")} - {*RECIPES} | {*RECIPES[::30]}
)
BASE = ["name=x", "output_dir=x"]
OVERLAYS = ("experiment", "tricks", "debug", "sweep")
ADDED = (*OVERLAYS, "model/net/neck")
"""Groups that the default configuration chooses nothing from."""
NAMED_BY_THE_USER = ("callbacks", "logger", "data/train_transforms")
"""Groups whose files hold names of the user's choice at their top."""
NAMES_BELOW = ("losses", "custom_keys", "params")
"""Keys below which names are the user's choice: `loss_cee` is as good a name as `loss_ce`."""
FILLED_IN = {
    "data/folder.yaml": ["data.root=x", "data.num_classes=7"],
    "model/scheduler/step.yaml": ["model.scheduler.milestones=[0.5]"],
    # What an overlay of these adds to is there in the model of the default.
    "model/net/auxiliary_heads/none.yaml": ["~model.criterion.aux"],
    "model/criterion/ce_coarse.yaml": ["model=ocrnet_hr18s"],
    "model/criterion/ce_danet.yaml": ["model/net/decode_head=da"],
    "model/criterion/ce_decode.yaml": ["model/net/auxiliary_heads=none"],
    "model/net/auxiliary_heads/coarse.yaml": ["model/criterion=ce_coarse"],
    "model/net/auxiliary_heads/coarse_hr.yaml": ["model/criterion=ce_coarse"],
    "model/net/decode_head/da.yaml": ["model/criterion=ce_danet"],
}
for criterion, heads in {
    "bisenetv1": ["bisenetv1"],
    "bisenetv2": ["bisenetv2"],
    "ddrnet": ["ddrnet_23", "ddrnet_23-slim"],
    "fast_scnn": ["fast_scnn"],
    "pidnet": ["pidnet-l", "pidnet-m", "pidnet-s"],
    "stdc": ["stdc"],
}.items():
    FILLED_IN[f"model/criterion/{criterion}.yaml"] = [f"model/net/auxiliary_heads={heads[0]}"]
    for name in heads:
        FILLED_IN[f"model/net/auxiliary_heads/{name}.yaml"] = [f"model/criterion={criterion}"]


def chosen(file: str) -> list[str]:
    """The overrides that put the file into a run."""
    group, _, stem = file.removesuffix(".yaml").rpartition("/")
    more = FILLED_IN.get(file, [])
    if not group or stem.startswith("_"):
        return [*BASE, *more]
    return [*BASE, f"+{group}={stem}" if group in ADDED else f"{group}={stem}", *more]


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each key below a node."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield (*path, name)
            yield from places(value, (*path, name))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from places(value, (*path, index))


def is_free(file: str, place: tuple[Any, ...]) -> bool:
    """Whether the last name of the place is the user's to choose."""
    group = file.rpartition("/")[0]
    if group in NAMED_BY_THE_USER and len(place) == 1 and place != ("defaults",):
        return True
    return len(place) > 1 and (
        place[-2] in NAMES_BELOW or place[:-1] in {("callbacks",), ("logger",), ("data", "train_transforms")}
    )


def misspelt(content: Any, place: tuple[Any, ...]) -> Any:
    """The content with an x behind the key at the place, and the order kept."""
    name, *rest = place
    if isinstance(content, list):
        return [misspelt(value, tuple(rest)) if index == name else value for index, value in enumerate(content)]
    if rest:
        return {key: misspelt(value, tuple(rest)) if key == name else value for key, value in content.items()}
    return {f"{key}x" if key == name else key: value for key, value in content.items()}


def write(path: Path, header: str, content: Any) -> None:
    path.write_text(header + yaml.safe_dump(content, sort_keys=False))


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped tree, in the place of it."""
    copied = Path(shutil.copytree(conf_dir(), tmp_path / "conf"))
    monkeypatch.setattr("seglit.config.conf_dir", lambda: copied)
    return copied


def refused(file: str) -> bool:
    try:
        check(compose(chosen(file)))
    except ConfigError:
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_every_key_of_the_file(file: str, tree: Path) -> None:
    text = (tree / file).read_text()
    header = "# @package _global_\n" if text.startswith("# @package _global_") else ""
    content = yaml.safe_load(text)
    write(tree / file, header, content)
    check(compose(chosen(file)))
    accepted = []
    for place in places(content):
        if is_free(file, place):
            continue
        write(tree / file, header, misspelt(content, place))
        if not refused(file):
            accepted.append(place)
    assert accepted == []


def test_there_are_keys_to_misspell() -> None:
    keys = [
        place
        for file in FILES
        for place in places(yaml.safe_load((conf_dir() / file).read_text()))
        if not is_free(file, place)
    ]
    assert len(FILES) >= 88
    assert len(keys) >= 1000
