"""The check: a configuration that would not do what it says does not start.

Every node is compared with the signature that it names, and rules that span several keys are applied, before anything
is built or any data is read.
"""

import difflib
import importlib
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig

from seglit.config import ConfigError, nearest, plain

ROOT_KEYS = (
    "data",
    "model",
    "trainer",
    "callbacks",
    "logger",
    "name",
    "seed",
    "output_dir",
    "ckpt_path",
    "test_after_fit",
)
HYDRA_KEYS = frozenset({"_target_", "_partial_", "_args_", "_convert_", "_recursive_"})
TRUSTED = ("seglit", "torch.optim", "torch.nn", "albumentations", "lightning.pytorch", "timm")
"""Packages whose own classes a checkpoint's configuration may name."""

Node = Mapping[str, Any]


def check(cfg: DictConfig, *, trusted: bool = True) -> None:
    """Refuse a configuration that would not do what it says.

    Args:
        cfg: the composed configuration.
        trusted: False for a configuration from a file that others may have written: only classes defined in seglit and
            its libraries may be named then.

    Raises:
        ConfigError: one line for each mistake, with the key, the value and the mend.
    """
    content = plain(cfg)
    problems = [f"{key}: no such key{nearest(key, ROOT_KEYS)}" for key in content if key not in ROOT_KEYS]
    problems += [f"{key}: is missing" for key in ("data", "model", "trainer") if key not in content]
    if problems:
        raise ConfigError("\n".join(problems))
    for key in ("data", "model", "trainer"):
        problems += target_problems(content[key], key, trusted=trusted)
    for key in ("callbacks", "logger"):
        for name, node in (content.get(key) or {}).items():
            if node is not None:
                problems += target_problems(node, f"{key}.{name}", trusted=trusted)
    if not problems:
        problems += [problem for rule in RULES for problem in rule(content)]
    if problems:
        raise ConfigError("\n".join(problems))


def target_problems(node: Any, key: str, *, trusted: bool) -> list[str]:
    """What is wrong with a node that must name a class or function, and with all below it."""
    if not isinstance(node, Mapping) or "_target_" not in node:
        return [f"{key}: has no _target_"]
    try:
        target = resolve(str(node["_target_"]))
    except ConfigError as error:
        return [f"{key}._target_: {error}"]
    home = f"{getattr(target, '__module__', '')}."
    if not trusted and not home.startswith(tuple(f"{name}." for name in TRUSTED)):
        return [f"{key}._target_: {node['_target_']} is not of a package that a checkpoint may name"]
    parameters, hints = signature(target)
    names = [name for name, parameter in parameters.items() if parameter.kind is not parameter.VAR_KEYWORD]
    takes_any = len(names) < len(parameters)
    problems = []
    for name, value in node.items():
        place = f"{key}.{name}"
        if name in HYDRA_KEYS:
            continue
        # Where any name is taken, one that is nearly an argument's is a slip all the same.
        slip = difflib.get_close_matches(str(name), names, n=1, cutoff=0.8)
        if name not in names and (slip or not takes_any):
            problems.append(f"{place}: {node['_target_']} takes no such argument{nearest(name, names)}")
            continue
        keyword = next((part.name for part in parameters.values() if part.kind is part.VAR_KEYWORD), None)
        hint = hints.get(name) if name in names else hints.get(keyword or "")
        problems += value_problems(value, hint, place, trusted=trusted)
    if not node.get("_partial_"):
        problems += [
            f"{key}.{name}: is missing; {node['_target_']} needs it"
            for name, parameter in parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}
            and name not in node
        ]
    return problems


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
                close = nearest(part, choices)
                raise ConfigError(f"{path}: {module_name} has no '{part}'{close if 'mean' in close else ''}")
            found = getattr(found, part)
        if not callable(found):
            raise ConfigError(f"{path}: is no class or function")
        return found
    raise ConfigError(f"{path}: there is no package '{parts[0]}'")


def signature(target: Any) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """The arguments of a class or function, and their types where they can be had."""
    parameters = dict(inspect.signature(target).parameters)
    function = target.__init__ if inspect.isclass(target) else target
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError):
        # Types that only exist while type checking; the names are still checked.
        hints = {}
    return parameters, hints


def value_problems(value: Any, hint: Any, key: str, *, trusted: bool) -> list[str]:
    """What is wrong with a value for an argument of type `hint`, and with all nodes below it."""
    if isinstance(value, Mapping) and "_target_" in value:
        return target_problems(value, key, trusted=trusted)
    if isinstance(value, Mapping):
        inner = mapping_values(hint)
        if hint is not None and inner is None and not accepts_mapping(hint):
            return [f"{key}: has no _target_"]
        if isinstance(inner, tuple):
            inner = inner[0]
        return [
            problem
            for name, entry in value.items()
            for problem in value_problems(entry, inner, f"{key}.{name}", trusted=trusted)
        ]
    if isinstance(value, list):
        nodes = [
            problem
            for index, entry in enumerate(value)
            if isinstance(entry, Mapping)
            for problem in value_problems(entry, object_hint(hint), f"{key}[{index}]", trusted=trusted)
        ]
        if nodes or any(isinstance(entry, Mapping) for entry in value):
            return nodes
    return type_problems(value, hint, key)


def members(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a union, else the type itself."""
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        return typing.get_args(hint)
    return (hint,)


def mapping_values(hint: Any) -> tuple[Any] | None:
    """The type of the values, where the argument is a mapping of names to such; None otherwise."""
    for member in members(hint):
        origin = typing.get_origin(member)
        if inspect.isclass(origin) and issubclass(origin, Mapping):
            arguments = typing.get_args(member)
            return (arguments[1],) if len(arguments) == 2 else (None,)
    return None


def accepts_mapping(hint: Any) -> bool:
    """Whether a plain mapping may be meant for the argument."""
    return any(member in {Any, object, dict, Mapping} or isinstance(member, typing.TypeVar) for member in members(hint))


def object_hint(hint: Any) -> Any:
    """The type of a list's entries where it can be told, else None."""
    for member in members(hint):
        arguments = typing.get_args(member)
        if typing.get_origin(member) is not None and len(arguments) == 1:
            return arguments[0]
    return None


def type_problems(value: Any, hint: Any, key: str) -> list[str]:
    """Whether a plain value is of the argument's type, where that is a type of plain values."""
    options = members(hint)
    if hint is not None and not {Any, object} & {option for option in options if option in (Any, object)}:
        # A tensor, say, cannot stand in a configuration; what is left can be told.
        told = [option for option in options if describable(option)]
        hint = typing.Union[tuple(told)] if told and told != [type(None)] else hint  # noqa: UP007
    if hint is None or not describable(hint):
        if hint is not None and value is not None and needs_object(hint):
            return [f"{key}: {value!r} is no object; give a node with a _target_"]
        return []
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    try:
        TypeAdapter(hint, config=ConfigDict(strict=True, arbitrary_types_allowed=True)).validate_python(
            tuple(value) if isinstance(value, list) and wants_tuple(hint) else value
        )
    except ValidationError as error:
        mend = ""
        if isinstance(value, str) and is_number(value):
            mend = f"; write the number {float(value)}"
        expected = error.errors()[0]["msg"].removeprefix("Input should be ")
        return [f"{key}: {value!r} is not of its type; should be {expected}{mend}"]
    return []


def describable(hint: Any) -> bool:
    """Whether the type is made of numbers, text, None, literals, and sequences or mappings of such."""
    from pathlib import Path

    if hint in {int, float, bool, str, type(None), Path}:
        return True
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return True
    if origin in {typing.Union, types.UnionType, list, tuple} or (
        inspect.isclass(origin) and issubclass(origin, typing.get_origin(typing.Sequence[int]) or list)
    ):
        return all(describable(part) for part in typing.get_args(hint) if part is not ...)
    return inspect.isclass(origin) and issubclass(origin, Mapping) and all(map(describable, typing.get_args(hint)))


def needs_object(hint: Any) -> bool:
    """Whether only an object can be meant: every alternative is a module, a callable or a class of seglit."""
    options = [member for member in members(hint) if member is not type(None)]
    return all(
        typing.get_origin(member) is typing.get_origin(Callable[..., Any])
        or (inspect.isclass(member) and member.__module__.startswith(("seglit.", "torch.nn")))
        for member in options
    )


def wants_tuple(hint: Any) -> bool:
    """Whether a list of the configuration becomes a tuple in the argument."""
    return any(typing.get_origin(member) is tuple for member in members(hint))


def is_number(text: str) -> bool:
    """Whether the text reads as a number, as `1e-3` does, which YAML takes for text."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def walk(node: Any, key: str) -> Iterator[tuple[str, str, Any]]:
    """Every entry below a node: its full key, its own name, and its value."""
    entries = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for name, value in entries:
        place = f"{key}.{name}"
        yield place, str(name), value
        yield from walk(value, place)


def head_rule(content: Node) -> Iterator[str]:
    """Each head of the net has its criterion, and no other has one."""
    net, criterion = content["model"].get("net"), content["model"].get("criterion")
    if not isinstance(net, Mapping) or not isinstance(criterion, Mapping):
        return
    heads = {"decode", *(net.get("auxiliary_heads") or {})}
    criteria = {name for name in criterion if name not in HYDRA_KEYS}
    for name in sorted(criteria - heads):
        yield f"model.criterion.{name}: the net has no such head{nearest(name, heads)}"
    for name in sorted(heads - criteria):
        yield f"model.criterion.{name}: is missing; the net has a head of that name"


def paramwise_rule(content: Node) -> Iterator[str]:
    """`paramwise` has arguments of `parameter_groups`, and its custom keys multipliers."""
    from seglit.optim import parameter_groups

    paramwise = content["model"].get("paramwise") or {}
    names = [
        name for name in inspect.signature(parameter_groups).parameters if name not in {"net", "lr", "weight_decay"}
    ]
    for name in paramwise:
        if name not in names:
            yield f"model.paramwise.{name}: no such rule{nearest(name, names)}"
    for key, multipliers in (paramwise.get("custom_keys") or {}).items():
        for name in multipliers or {}:
            if name not in {"lr_mult", "decay_mult"}:
                yield (
                    f"model.paramwise.custom_keys.{key}.{name}: no such multiplier"
                    f"{nearest(name, ['lr_mult', 'decay_mult'])}"
                )


def schedule_rule(content: Node) -> Iterator[str]:
    """The schedule ends with the run, and the run is counted in steps."""
    trainer = content["trainer"]
    steps = trainer.get("max_steps")
    total = (content["model"].get("scheduler") or {}).get("total_steps")
    if total is not None and total != steps:
        yield f"model.scheduler.total_steps: the schedule ends at {total}, but the run at trainer.max_steps={steps}"
    if not isinstance(steps, int) or steps < 1:
        yield f"trainer.max_steps: must be 1 or more, as the training data never ends; got {steps}"
        return
    if trainer.get("max_epochs") != -1:
        yield f"trainer.max_epochs: must be -1, as max_steps ends the run; got {trainer.get('max_epochs')}"
    if trainer.get("check_val_every_n_epoch", 1) is not None:
        yield "trainer.check_val_every_n_epoch: must be null, as the training data has no epochs"
    interval, batches = trainer.get("val_check_interval"), steps * trainer.get("accumulate_grad_batches", 1)
    if isinstance(interval, int) and interval > batches:
        yield f"trainer.val_check_interval: {interval} batches, but the run has {batches}: nothing would be evaluated"
    if trainer.get("use_distributed_sampler") is not False:
        yield "trainer.use_distributed_sampler: must be false, as the data module gives each rank its own samples"


def class_rule(content: Node) -> Iterator[str]:
    """Classes and the ignored label are those of the data."""
    data = content["data"]
    for key, name, value in walk(content["model"], "model"):
        if name == "ignore_index" and value != data.get("ignore_index", 255):
            yield f"{key}: {value}, but data.ignore_index is {data.get('ignore_index', 255)}; set it there"
        if name == "num_classes" and value != data["num_classes"]:
            yield f"{key}: {value}, but data.num_classes is {data['num_classes']}; set it there"
        if name == "class_weight" and isinstance(value, list) and len(value) != data["num_classes"]:
            yield f"{key}: {len(value)} weights for data.num_classes={data['num_classes']}; give one for each class"


RULES: tuple[Callable[[Node], Iterator[str]], ...] = (head_rule, paramwise_rule, schedule_rule, class_rule)
