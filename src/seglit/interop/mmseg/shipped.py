"""The configurations that seglit comes with, read without Hydra, to say only what differs from them."""

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

from omegaconf import OmegaConf

from seglit.config import conf_dir

Made = TypeVar("Made")


def names(group: str) -> list[str]:
    """The files of a group that can be chosen."""
    return sorted(path.stem for path in (conf_dir() / group).glob("[!_]*.yaml"))


@cache
def _read(group: str, name: str) -> dict[str, Any]:
    content = OmegaConf.to_container(OmegaConf.load(conf_dir() / group / f"{name}.yaml"), resolve=False)
    return {str(key): value for key, value in content.items()} if isinstance(content, dict) else {}


def own(name: str) -> dict[str, Any]:
    """What the file of a model says itself, beside its defaults."""
    return {key: value for key, value in _read("model", name).items() if key != "defaults"}


def over(part: str, name: str, model: str) -> dict[str, Any]:
    """What a file of `model/<part>` is when a model's file is over it."""
    return merged(resolved(f"model/{part}", name), own(model).get(part, {}))


@cache
def resolved(group: str, name: str) -> dict[str, Any]:
    """A file with those of its group that it builds on, and those of groups below."""
    content = _read(group, name)
    result: dict[str, Any] = {}
    for entry in content.get("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            result = merged(result, resolved(group, entry))
        elif isinstance(entry, Mapping):
            for choice, chosen in entry.items():
                inner: Any = resolved(f"{group}/{choice}", chosen)
                for key in reversed(choice.split("/")):
                    inner = {key: inner}
                result = merged(result, inner)
    return merged(result, {key: value for key, value in content.items() if key != "defaults"})


def merged(base: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `new`."""
    result = dict(base)
    for key, value in new.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def choices(model: str) -> dict[str, str]:
    """The files of a model's groups, as `criterion`."""
    found: dict[str, str] = {}
    for entry in _read("model", model).get("defaults", []):
        if isinstance(entry, str) and entry not in ("_self_", "_base"):
            found |= choices(entry)
        elif isinstance(entry, Mapping):
            found |= {key.removeprefix("override "): value for key, value in entry.items()}
    return found


def effective(node: Any) -> Any:
    """A node with the defaults of the signatures that it names."""
    if isinstance(node, list | tuple):
        return [effective(value) for value in node]
    if not isinstance(node, Mapping):
        return node
    result = {key: effective(value) for key, value in node.items()}
    if "_target_" in node:
        from seglit.check.nodes import resolve

        for name, parameter in inspect.signature(resolve(str(node["_target_"]))).parameters.items():
            if parameter.default is not inspect.Parameter.empty:
                default = parameter.default
                result.setdefault(name, list(default) if isinstance(default, tuple) else default)
    return result


def terse(node: Any) -> Any:
    """A node without what its signature says anyway."""
    if isinstance(node, list | tuple):
        return [terse(value) for value in node]
    if not isinstance(node, Mapping):
        return node
    defaults = effective({"_target_": node["_target_"]}) if "_target_" in node else {}
    kept = {key: terse(value) for key, value in node.items() if key == "_target_" or key not in defaults}
    kept |= {
        key: terse(value)
        for key, value in node.items()
        if key in defaults and key not in kept and value != defaults[key]
    }
    return {"_target_": kept["_target_"], **kept} if "_target_" in kept else kept


def difference(base: Any, wanted: Any) -> dict[str, Any] | None:
    """The keys to put over `base` to make `wanted` of it; None where that would take keys away."""
    return _difference(effective(base), effective(wanted))


def _difference(base: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    if base.get("_target_", wanted.get("_target_")) != wanted.get("_target_", base.get("_target_")):
        return None
    change: dict[str, Any] = {}
    for key in base:
        # What a criterion says of tiles and kernels is no part of the loss.
        if key not in wanted and base[key] is not None and key not in ("tiled", "kernels", "_target_"):
            return None
    for key, value in wanted.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping):
            inner = _difference(base[key], value)
            if inner is None:
                return None
            if inner:
                change[key] = inner
        elif key not in base or base[key] != value:
            change[key] = terse(value)
    return change


@cache
def _models() -> dict[str, Any]:
    return {name: resolved("model", name).get("net", {}) for name in names("model")}


MOST_CHANGES = 12
"""A network with more differing arguments than this is better written out."""


def nearest_model(net: Mapping[str, Any], fits: Callable[[str], bool]) -> tuple[str, dict[str, Any]] | None:
    """The model that fits whose network differs least from what a node describes, and the arguments that differ."""
    specs: tuple[Any, ...] | None = None
    best: tuple[int, str, dict[str, Any]] | None = None
    for name, other in _models().items():
        if other.get("backbone", {}).get("_target_") != net["backbone"]["_target_"] or not fits(name):
            continue
        specs = specs or features(net)
        change = _difference(_plain(effective(other), specs), _plain(effective(net), specs))
        if change is not None and (best is None or leaves(change) < best[0]):
            best = (leaves(change), name, change)
    return None if best is None or best[0] > MOST_CHANGES else best[1:]


def leaves(node: Any) -> int:
    """The number of values in a nested dictionary."""
    return sum(map(leaves, node.values())) if isinstance(node, Mapping) else 1


def features(net: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the heads of a network get: the specs of the maps of its neck or backbone."""
    from hydra.utils import instantiate

    def made() -> tuple[Any, ...]:
        backbone = instantiate(net["backbone"], _convert_="all")
        if "neck" not in net:
            return tuple(backbone.feature_specs)
        return tuple(instantiate(net["neck"], _convert_="all")(backbone.feature_specs).feature_specs)

    return without_memory(made)


def without_memory(make: Callable[[], Made]) -> Made:
    """What `make` makes, its parameters with shapes alone where that can be done."""
    import torch

    try:
        with torch.device("meta"):
            return make()
    except (RuntimeError, NotImplementedError):
        return make()


def _plain(net: Mapping[str, Any], specs: tuple[Any, ...]) -> dict[str, Any]:
    auxiliary = net.get("auxiliary_heads") or {}
    return {
        **{key: value for key, value in net.items() if key != "_target_" and value is not None},
        "decode_head": _plain_head(net["decode_head"], specs),
        "auxiliary_heads": {name: _plain_head(head, specs) for name, head in auxiliary.items()},
    }


def _plain_head(head: Mapping[str, Any], specs: tuple[Any, ...]) -> dict[str, Any]:
    """A head with the features counted from the front, and its default of channels spelt out."""
    plain = dict(head)
    index = plain.get("in_index")
    if isinstance(index, int):
        plain["in_index"] = index % len(specs)
        if "channels" in plain and plain["channels"] is None:
            plain["channels"] = specs[index].channels // 4
    elif isinstance(index, list):
        plain["in_index"] = [one % len(specs) for one in index]
    return plain
