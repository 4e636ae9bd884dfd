"""Nodes against the signatures that they name: names, types, what is missing, and all that lies below."""

import difflib
import functools
import importlib
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from seglit.check.hints import (
    is_call,
    is_object,
    is_open,
    is_plain,
    item_type,
    mapping_types,
    members,
    mismatch,
    needs_object,
    takes_callable,
    takes_mapping,
)
from seglit.config import ConfigError, conf_dir, nearest, similar

HYDRA_KEYS = frozenset({"_target_", "_partial_", "_convert_", "_recursive_"})

Node = Mapping[Any, Any]
MISSING = object()
"""What an argument is that is neither given nor has a default."""


def target_problems(node: Any, key: str, neighbours: Sequence[str] = (), hint: Any = Any) -> list[str]:
    """What is wrong with a node that must name a class or function, and with all below it.

    Args:
        node: the node.
        key: its full key.
        neighbours: names beside its own, one of which may have been meant.
        hint: the type of the argument that it is for; `object` where what is built is used as it is.
    """
    if not isinstance(node, Mapping) or "_target_" not in node:
        return [f"{key}: has no _target_{similar(key.rsplit('.', 1)[-1], neighbours)}"]
    try:
        target = resolve(str(node["_target_"]))
    except ConfigError as error:
        return [f"{key}._target_: {error}"]
    parameters, hints = signature(target)
    named = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    names = [name for name, parameter in parameters.items() if parameter.kind in named]
    catch_all = next((name for name, part in parameters.items() if part.kind is part.VAR_KEYWORD), None)
    rest_hint = hints.get(str(catch_all), Any)
    takes_kind = not is_open(rest_hint) and needs_object(rest_hint)
    nodes = [str(name) for name, value in node.items() if "_target_" in mapping(value)]
    problems = partial_problems(node, key, hint)
    for name, value in node.items():
        place = f"{key}.{name}"
        if name in HYDRA_KEYS:
            continue
        if str(name).startswith("_") and name != "_args_":
            problems.append(f"{place}: {node['_target_']} takes no such argument{nearest(str(name), HYDRA_KEYS)}")
            continue
        if name == "_args_":
            problems.append(f"{place}: positions are not checked; give the arguments of {node['_target_']} by name")
            continue
        # Where any name is taken, one that is nearly an argument's is a slip all the same; not where the others are
        # objects of a kind, as heads named aux and aux2 are, whose names a rule compares.
        takes_any = catch_all is not None and (
            takes_kind or not difflib.get_close_matches(str(name), names, cutoff=0.8)
        )
        if name not in names and not takes_any:
            problems.append(f"{place}: {node['_target_']} takes no such argument{nearest(str(name), names)}")
            continue
        wanted = hints.get(str(name), Any) if name in names else rest_hint
        if value is None and name in names and parameters[name].default is None:
            continue  # right whatever the type says
        problems += value_problems(value, wanted, place, [other for other in nodes if other != name])
    absent = missing(node, parameters, names, hint)
    if absent and not node.get("_partial_") and takes_callable(hint):
        return [
            *problems,
            f"{key}: needs _partial_: true, as {node['_target_']} gets {' and '.join(absent)} only later",
        ]
    return problems + [f"{key}.{name}: is missing; {node['_target_']} needs it" for name in absent]


def partial_problems(node: Node, key: str, hint: Any) -> list[str]:
    """What is wrong with the node's `_partial_`."""
    partial = node.get("_partial_", False)
    if not isinstance(partial, bool):
        return [f"{key}._partial_: {partial!r}; must be true or false"]
    object_wanted = hint is object or (not is_open(hint) and needs_object(hint) and not takes_callable(hint))
    return [f"{key}._partial_: must be false, as the object itself is needed here"] if partial and object_wanted else []


def missing(node: Node, parameters: Mapping[str, inspect.Parameter], names: Sequence[str], hint: Any) -> list[str]:
    """The required arguments that neither the node gives nor whoever calls the partial, as far as that is known."""
    absent = [name for name in names if name not in node]
    if node.get("_partial_"):
        calls = [typing.get_args(member)[0] for member in members(hint) if typing.get_args(member) and is_call(member)]
        if len(calls) != 1 or not isinstance(calls[0], list):
            return []  # what else it is called with is not said
        by_position = [name for name in absent if parameters[name].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        absent = [name for name in absent if name not in by_position[: len(calls[0])]]
    return [name for name in absent if parameters[name].default is inspect.Parameter.empty]


def value_problems(value: Any, hint: Any, key: str, neighbours: Sequence[str] = ()) -> list[str]:
    """What is wrong with a value for an argument of type `hint`, and with all nodes below it.

    Args:
        value: the value.
        hint: the type; `Any` where it is not known.
        key: the full key of the value.
        neighbours: names beside its own, one of which may have been meant.
    """
    if isinstance(value, Mapping):
        if "_target_" in value or not takes_mapping(hint):
            return target_problems(value, key, neighbours, hint)
        key_hint, inner = mapping_types(hint)
        problems = [problem for name in value for problem in type_problems(name, key_hint, f"{key}.{name}")]
        if needs_object(inner):
            problems += [
                f"{key}.{name}: is null, but has to have a _target_; take it out with ~{key}.{name}"
                for name, entry in value.items()
                if entry is None and type(None) not in members(inner)
            ]
        return problems + entry_problems(
            value, key, lambda entry, place, names: value_problems(entry, inner, place, names)
        )
    if isinstance(value, list) and any(isinstance(entry, Mapping) for _, _, entry in walk(value, key)):
        return [
            problem
            for index, entry in enumerate(value)
            for problem in value_problems(entry, item_type(hint), f"{key}[{index}]")
        ]
    return type_problems(value, hint, key)


def type_problems(value: Any, hint: Any, key: str) -> list[str]:
    """Whether a plain value is of the argument's type, where that is a type of plain values."""
    if is_open(hint):
        return []
    told = [member for member in members(hint) if is_plain(member)]
    others = [member for member in members(hint) if not is_plain(member)]
    if value is None and type(None) in told:
        return []
    if not all(is_object(member) or (typing.get_origin(member) and not isinstance(value, list)) for member in others):
        return []  # a list of who knows what, an enumeration
    if set(told) <= {type(None)}:
        return [f"{key}: {value!r} is no object; give a node with a _target_{file_named(value, key)}"]
    # What is left cannot stand in a configuration but as a node.
    return mismatch(value, typing.Union[tuple(told)], key)  # noqa: UP007


def file_named(value: Any, key: str) -> str:
    """How a file is chosen, where its name was given as a value: `model.optimizer=sgd`."""
    group = key.replace(".", "/")
    is_file = isinstance(value, str) and (conf_dir() / group / f"{value}.yaml").is_file()
    return f", or choose the file by {group}={value}" if is_file else ""


def entry_problems(entries: Node, key: str, judge: Callable[[Any, str, list[str]], list[str]]) -> list[str]:
    """What `judge(entry, key, names of the others)` says of every entry that is not null."""
    nodes = [str(name) for name, entry in entries.items() if "_target_" in mapping(entry)]
    return [
        problem
        for name, entry in entries.items()
        if entry is not None
        for problem in judge(entry, f"{key}.{name}", [node for node in nodes if node != name])
    ]


def mapping(value: Any) -> Node:
    """The value if it is a mapping, else an empty one: the rules pass over what the signatures refuse."""
    return value if isinstance(value, Mapping) else {}


def walk(node: Any, key: str) -> Iterator[tuple[str, str, Any]]:
    """Every entry below a node: its full key, its own name, and its value."""
    entries = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for name, value in entries:
        place = f"{key}[{name}]" if isinstance(node, list) else f"{key}.{name}" if key else str(name)
        yield place, str(name), value
        yield from walk(value, place)


def resolve(path: str) -> Any:
    """The class or function at an import path.

    Raises:
        ConfigError: names the part that is not there, and the nearest that is.
    """
    parts = path.split(".")
    for count in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:count])
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is not None and not f"{module_name}.".startswith(f"{error.name}."):
                raise ConfigError(f"{path} needs the package {error.name}, which is not installed") from error
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                choices = [name for name in dir(found) if not name.startswith("_")]
                raise ConfigError(f"{path}: {found.__name__} has no '{part}'{similar(part, choices)}")
            found = getattr(found, part)
        if not callable(found):
            raise ConfigError(f"{path}: is no class or function")
        return found
    raise ConfigError(f"{path}: there is no package '{parts[0]}'")


@functools.cache
def signature(target: Any) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """The arguments of a class or function, and their types where they can be had."""
    try:
        parameters = dict(inspect.signature(target).parameters)
    except ValueError:
        # Written in C and silent about its arguments: any is taken.
        parameters = {"arguments": inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)}
    try:
        hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError, AttributeError):
        # Types that only exist while type checking; the names are still checked.
        hints = {}
    return parameters, hints


def default_of(node: Node, name: str) -> Any:
    """What an argument of the node's target is when it is left out; MISSING where there is no such."""
    try:
        parameter = signature(resolve(str(node.get("_target_"))))[0].get(name)
    except ConfigError:
        return MISSING
    return MISSING if parameter is None or parameter.default is parameter.empty else parameter.default
