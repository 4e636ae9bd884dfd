"""The whole configuration: its root, its sections, and what a configuration from elsewhere may name."""

import inspect
import typing
from collections.abc import Iterator, Mapping, Sequence

from omegaconf import DictConfig

from seglit.check.hints import within
from seglit.check.nodes import Node, entry_problems, mapping, resolve, target_problems, value_problems, walk
from seglit.check.rules import RULES
from seglit.config import ConfigError, RootConfig, nearest, plain

SECTIONS = ("data", "model", "trainer")
"""What is built, and has to be there."""
OVERLAYS = ("experiment", "tricks", "debug", "sweep")
"""Groups whose files change the root; without the line that says so they land at a key of their own."""
LISTED = ("callbacks", "logger")
"""Names, each with what is built or null."""
TRUSTED = ("seglit", "torch.optim", "torch.nn", "albumentations", "lightning.pytorch", "timm")
"""Packages whose own classes a checkpoint's configuration may name."""
BUILDS_ANYTHING = ("lightning.pytorch.cli",)
"""Modules of these whose classes build whatever else they are told to."""


def check(cfg: DictConfig, *, trusted: bool = True, packages: Sequence[str] = ()) -> None:
    """Refuse a configuration that would not do what it says.

    Args:
        cfg: the composed configuration.
        trusted: False for a configuration from a file that others may have written: only classes defined in seglit and
            its libraries may be named then, and nothing else is imported to find out.
        packages: further packages whose classes an untrusted configuration may name.

    Raises:
        ConfigError: one line for each mistake, with the key, the value and the mend.
    """
    content = plain(cfg)
    if not trusted and (foreign := list(foreign_targets(content, (*TRUSTED, *packages)))):
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


def foreign_targets(content: Node, allowed: Sequence[str]) -> Iterator[str]:
    """Every `_target_` at any depth that is no class of a trusted package.

    A function is refused wherever it is from, as among those of the trusted packages are some that write files or load
    pickles.
    """
    for key, name, value in walk(content, ""):
        if name != "_target_":
            continue
        refusal = f"{key}: {value} is no class that a checkpoint may name"
        if not within(str(value), allowed):
            yield f"{refusal}; for a package of your own, --trust {str(value).split('.')[0]}"
            continue
        try:
            target = resolve(str(value))
        except ConfigError as error:
            yield f"{key}: {error}"
            continue
        home = target.__module__ if inspect.isclass(target) else ""
        if not within(home, allowed) or within(home, BUILDS_ANYTHING):
            yield refusal
