"""What the type of an argument allows: plain values, mappings of nodes, objects, callables."""

import enum
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


def members(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a union, else the type itself."""
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        return typing.get_args(hint)
    return (hint,)


def is_open(hint: Any) -> bool:
    """Whether every value is of the type."""
    return any(member in {Any, object} or isinstance(member, typing.TypeVar) for member in members(hint))


def is_call(hint: Any) -> bool:
    """Whether the type is a callable's."""
    return typing.get_origin(Callable[..., Any]) in (hint, typing.get_origin(hint))


def takes_callable(hint: Any) -> bool:
    """Whether a callable, as a partial is one, may be meant for the argument."""
    return any(is_call(member) for member in members(hint))


def is_plain(hint: Any) -> bool:
    """Whether the type is made of numbers, text, None, literals, and sequences or mappings of such."""
    if hint in {int, float, bool, str, type(None), Path, list, tuple, dict}:
        return True
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return True
    if origin in {typing.Union, types.UnionType} or (
        inspect.isclass(origin) and issubclass(origin, Sequence | Mapping)
    ):
        return all(part in {..., Any, object} or is_plain(part) for part in typing.get_args(hint))
    return False


def is_object(hint: Any) -> bool:
    """Whether no plain value is of the type: a callable, or a class of seglit or of a library of its."""
    if is_call(hint):
        return True
    if not inspect.isclass(hint) or issubclass(hint, enum.Enum):
        return False
    packages = ("seglit", "torch.Tensor", "torch.nn", "torch.optim", "albumentations", "lightning")
    return within(f"{hint.__module__}.{hint.__qualname__}", packages)


def needs_object(hint: Any) -> bool:
    """Whether only an object can be meant, or None."""
    return all(is_object(member) or member is type(None) for member in members(hint))


def within(path: str, packages: Sequence[str]) -> bool:
    """Whether a dotted path is one of the packages or lies in one."""
    return any(f"{path}.".startswith(f"{package}.") for package in packages)


def takes_mapping(hint: Any) -> bool:
    """Whether a plain mapping may be meant for the argument."""
    return is_open(hint) or any(
        inspect.isclass(base) and issubclass(base, Mapping)
        for base in (typing.get_origin(member) or member for member in members(hint))
    )


def mapping_types(hint: Any) -> tuple[Any, Any]:
    """The types of keys and values of a mapping, `Any` where they cannot be told."""
    for member in members(hint):
        origin = typing.get_origin(member)
        if inspect.isclass(origin) and issubclass(origin, Mapping) and len(typing.get_args(member)) == 2:
            key_hint, inner = typing.get_args(member)
            return key_hint, inner
    return Any, Any


def item_type(hint: Any) -> Any:
    """The type of a list's entries, `Any` where it cannot be told."""
    for member in members(hint):
        origin, arguments = typing.get_origin(member), [part for part in typing.get_args(member) if part is not ...]
        if inspect.isclass(origin) and issubclass(origin, Sequence) and len(arguments) == 1:
            return arguments[0]
    return Any


def mismatch(value: Any, hint: Any, key: str) -> list[str]:
    """Whether pydantic, with no conversion but from whole numbers to floats, refuses the value."""
    from pydantic import ValidationError

    try:
        adapter(hint).validate_python(value)
    except ValidationError as error:
        # A list stands for a tuple.
        try:
            adapter(hint).validate_python(as_tuple(value))
        except ValidationError:
            expected = dict.fromkeys(part["msg"].removeprefix("Input should be ") for part in error.errors())
            mend = f"; write the number {number}" if (number := as_number(value)) else ""
            return [f"{key}: {value!r} is not of its type; should be {' or '.join(expected)}{mend}"]
    return []


@functools.cache
def adapter(hint: Any) -> Any:
    """Pydantic's judge of a type."""
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(hint, config=ConfigDict(strict=True))


def as_tuple(value: Any) -> Any:
    """The value with tuples for lists, at every depth."""
    return tuple(map(as_tuple, value)) if isinstance(value, list) else value


def as_number(value: Any) -> str:
    """The number that a text reads as, `1e-3` say, as YAML wants it; empty if it reads as none."""
    for kind in (int, float):
        try:
            return repr(kind(value)) if isinstance(value, str) else ""
        except ValueError:
            continue
    return ""
