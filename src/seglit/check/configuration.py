"""The whole configuration: its root, its sections, and what a configuration from elsewhere may name."""

import inspect
import typing
from collections.abc import Iterator, Mapping, Sequence

from omegaconf import DictConfig

from seglit.check.hints import within
from seglit.check.nodes import Node, entry_problems, mapping, resolve, target_problems, value_problems, walk
from seglit.check.rules import RULES
from seglit.config import ConfigError, RootConfig, nearest, plain

SECTIONS = {
    "data": "seglit.data.datamodule.SegmentationDataModule",
    "model": "seglit.module.SegmentationModule",
    "trainer": "lightning.pytorch.Trainer",
}
"""What is built, and has to be there, with the class that each is."""
OVERLAYS = ("experiment", "tricks", "debug", "sweep")
"""Groups whose files change the root; without the line that says so they land at a key of their own."""
LISTED = ("callbacks", "logger")
"""Names, each with what is built or null."""
IMPORTED = ("seglit", "torch.optim", "torch.nn", "albumentations", "lightning.pytorch")
"""Packages that are imported to see what a checkpoint's configuration names in them."""
TRUSTED = (
    *(
        "seglit.backbones",
        "seglit.blocks",
        "seglit.callbacks",
        "seglit.curves",
        "seglit.data",
        "seglit.features",
        "seglit.heads",
    ),
    *("seglit.inference", "seglit.losses", "seglit.module", "seglit.necks", "seglit.optim", "seglit.segmentor"),
    *("lightning.pytorch.callbacks", "lightning.pytorch.loggers", "lightning.pytorch.plugins"),
    *("lightning.pytorch.profilers", "lightning.pytorch.strategies", "lightning.pytorch.trainer.trainer"),
    *("torch.optim", "torch.nn", "albumentations"),
)
"""Modules whose own classes it may name: parts of a run, not the commands, which would read further files."""


def check(cfg: DictConfig, *, trusted: bool = True, packages: Sequence[str] = ()) -> None:
    """Refuse a configuration that would not do what it says.

    Args:
        cfg: the composed configuration.
        trusted: False for a configuration from a file that others may have written: only parts of a run that are
            defined in seglit and its libraries may be named then, and nothing else is imported to find out.
        packages: further packages whose classes an untrusted configuration may name.

    Raises:
        ConfigError: one line for each mistake, with the key, the value and the mend.
    """
    content = plain(cfg)
    if not trusted and (foreign := list(foreign_targets(content, packages)) or list(misplaced_targets(content))):
        raise ConfigError("\n".join(foreign))
    problems = list(root_problems(content))
    for key in SECTIONS:
        problems += target_problems(content[key], key, hint=object) if key in content else []
    for key in LISTED:
        entries = content.get(key) or {}
        if isinstance(entries, Mapping):
            problems += entry_problems(
                entries, key, lambda value, place, names: target_problems(value, place, names, object)
            )
        else:
            problems.append(f"{key}: {entries!r}, but it maps names to nodes with a _target_, or to null")
    sections = {**content, **{key: mapping(content.get(key)) for key in SECTIONS}}
    problems += [problem for rule in RULES for problem in rule(sections)]
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))


def root_problems(content: Node) -> Iterator[str]:
    """What is wrong with the keys of the root, and with its plain values."""
    hints = typing.get_type_hints(RootConfig)
    for key in content:
        if key not in hints:
            header = f"; does the file of +{key}=... begin with '# @package _global_'?"
            yield f"{key}: no such key{header if key in OVERLAYS else nearest(key, hints)}"
    for key, hint in hints.items():
        if key not in content:
            yield f"{key}: is missing"
        elif key not in (*SECTIONS, *LISTED):
            yield from value_problems(content[key], hint, key)


def foreign_targets(content: Node, packages: Sequence[str]) -> Iterator[str]:
    """Every `_target_` at any depth that is no class defined in a trusted module or in one of the packages.

    A function is refused wherever it is from, as among those of the trusted modules are some that write files or load
    pickles.
    """
    for key, name, value in walk(content, ""):
        if name != "_target_":
            continue
        refusal = f"{key}: {value} is no class that a checkpoint may name"
        if not within(str(value), (*IMPORTED, *packages)):
            yield f"{refusal}; for a package of your own, --trust {str(value).split('.')[0]}"
            continue
        try:
            target = resolve(str(value))
        except ConfigError as error:
            yield f"{key}: {error}"
            continue
        if not inspect.isclass(target) or not within(target.__module__, (*TRUSTED, *packages)):
            yield refusal


def misplaced_targets(content: Node) -> Iterator[str]:
    """Every section whose `_target_` is a class of another kind; all of them have to be trusted."""
    for key, base in SECTIONS.items():
        path = mapping(content.get(key)).get("_target_")
        if path is not None and not issubclass(resolve(str(path)), resolve(base)):
            yield f"{key}._target_: {path} is no class that a checkpoint may name here; it has to be a {base}"
