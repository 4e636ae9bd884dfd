"""The configurations that seglit comes with, read without Hydra, to say only what differs from them."""

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

from omegaconf import OmegaConf

from seglit.config import conf_dir


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


def difference(base: Any, wanted: Any) -> dict[str, Any] | None:
    """The keys to put over `base` to make `wanted` of it; None where that would take keys away."""
    base, full = effective(base), effective(wanted)
    return _difference(base, full)


def _difference(base: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    change: dict[str, Any] = {}
    for key in base:
        # What a criterion says of tiles and kernels is no part of the loss.
        if key not in wanted and key not in ("tiled", "kernels", "_target_"):
            return None
    for key, value in wanted.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping):
            inner = _difference(base[key], value)
            if inner is None:
                return None
            if inner:
                change[key] = inner
        elif key not in base or base[key] != value:
            change[key] = value
    return change


@cache
def _models() -> dict[str, Any]:
    return {name: resolved("model", name).get("net", {}) for name in names("model")}


def model_of(net: Mapping[str, Any]) -> str | None:
    """The model whose network equals the one that a node describes, whatever the number of classes."""
    from hydra.utils import instantiate

    wanted = effective(net)
    specs: tuple[Any, ...] | None = None
    for name, other in _models().items():
        if other.get("backbone", {}).get("_target_") != net["backbone"]["_target_"]:
            continue
        found = effective(other)
        if found["backbone"] != wanted["backbone"] or found.get("neck") != wanted.get("neck"):
            continue
        if specs is None:
            import torch

            with torch.device("meta"):
                segmentor = instantiate(
                    {key: value for key, value in net.items() if key in ("backbone", "neck")}, _convert_="all"
                )
            source = segmentor["backbone"]
            specs = tuple(source.feature_specs)
            if "neck" in net:
                specs = tuple(segmentor["neck"](specs).feature_specs)
        if _plain_heads(found, specs) == _plain_heads(wanted, specs):
            return name
    return None


def _plain_heads(net: Mapping[str, Any], specs: tuple[Any, ...]) -> dict[str, Any]:
    heads = {"decode": net["decode_head"], **(net.get("auxiliary_heads") or {})}
    return {name: _plain_head(head, specs) for name, head in heads.items()}


def _plain_head(head: Mapping[str, Any], specs: tuple[Any, ...]) -> dict[str, Any]:
    """A head with the features counted from the front, and its default of channels spelt out."""
    plain = dict(head)
    count = len(specs)
    index = plain.get("in_index")
    if isinstance(index, int):
        plain["in_index"] = index % count
        if "channels" in plain and plain["channels"] is None:
            plain["channels"] = specs[index].channels // 4
    elif isinstance(index, list):
        plain["in_index"] = [one % count for one in index]
    return plain
