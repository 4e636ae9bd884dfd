"""The check: a configuration that would not do what it says does not start.

Every node is compared with the signature that it names, and rules that span several keys are applied, before anything
is built or any data is read.
"""

import difflib
import enum
import functools
import importlib
import inspect
import itertools
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seglit.config import ConfigError, RootConfig, conf_dir, nearest, plain, similar

SECTIONS = ("data", "model", "trainer")
"""What is built, and has to be there."""
LISTED = ("callbacks", "logger")
"""Names, each with what is built or null."""
HYDRA_KEYS = frozenset({"_target_", "_partial_", "_convert_", "_recursive_"})
TRUSTED = ("seglit", "torch.optim", "torch.nn", "albumentations", "lightning.pytorch", "timm")
"""Packages whose own classes a checkpoint's configuration may name."""
BUILDS_ANYTHING = ("lightning.pytorch.cli",)
"""Modules of these whose classes build whatever else they are told to."""

MISSING = object()
"""What an argument is that is neither given nor has a default."""

Node = Mapping[Any, Any]


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
            yield f"{key}: no such key{nearest(key, hints)}"
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
        refusal = f"{key}: {value} is no class of a package that a checkpoint may name"
        if not within(str(value), allowed):
            yield refusal
            continue
        try:
            target = resolve(str(value))
        except ConfigError as error:
            yield f"{key}: {error}"
            continue
        home = target.__module__ if inspect.isclass(target) else ""
        if not within(home, allowed) or within(home, BUILDS_ANYTHING):
            yield refusal


def within(path: str, packages: Sequence[str]) -> bool:
    """Whether a dotted path is one of the packages or lies in one."""
    return any(f"{path}.".startswith(f"{package}.") for package in packages)


def mapping(value: Any) -> Node:
    """The value if it is a mapping, else an empty one: the rules pass over what the signatures refuse."""
    return value if isinstance(value, Mapping) else {}


def entry_problems(entries: Node, key: str, judge: Callable[[Any, str, list[str]], list[str]]) -> list[str]:
    """What `judge(entry, key, names of the others)` says of every entry that is not null."""
    nodes = [str(name) for name, entry in entries.items() if "_target_" in mapping(entry)]
    return [
        problem
        for name, entry in entries.items()
        if entry is not None
        for problem in judge(entry, f"{key}.{name}", [node for node in nodes if node != name])
    ]


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
        # Where any name is taken, one that is nearly an argument's is a slip all the same.
        if name not in names and (catch_all is None or difflib.get_close_matches(str(name), names, cutoff=0.8)):
            problems.append(f"{place}: {node['_target_']} takes no such argument{nearest(str(name), names)}")
            continue
        wanted = hints.get(str(name) if name in names else str(catch_all), Any)
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


def is_call(hint: Any) -> bool:
    """Whether the type is a callable's."""
    return typing.get_origin(Callable[..., Any]) in (hint, typing.get_origin(hint))


def takes_callable(hint: Any) -> bool:
    """Whether a callable, as a partial is one, may be meant for the argument."""
    return any(is_call(member) for member in members(hint))


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


def members(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a union, else the type itself."""
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        return typing.get_args(hint)
    return (hint,)


def is_open(hint: Any) -> bool:
    """Whether every value is of the type."""
    return any(member in {Any, object} or isinstance(member, typing.TypeVar) for member in members(hint))


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


def walk(node: Any, key: str) -> Iterator[tuple[str, str, Any]]:
    """Every entry below a node: its full key, its own name, and its value."""
    entries = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for name, value in entries:
        place = f"{key}[{name}]" if isinstance(node, list) else f"{key}.{name}" if key else str(name)
        yield place, str(name), value
        yield from walk(value, place)


def head_rule(content: Node) -> Iterator[str]:
    """Each head of the net has its criterion, and no other has one."""
    net, criterion = mapping(content["model"].get("net")), mapping(content["model"].get("criterion"))
    if not net or not str(criterion.get("_target_")).endswith(".SegmentationCriterion"):
        return
    heads = {"decode", *map(str, mapping(net.get("auxiliary_heads")))}
    criteria = {str(name) for name in criterion if name not in HYDRA_KEYS}
    for name in sorted(criteria - heads):
        yield f"model.criterion.{name}: the net has no such head{nearest(name, heads)}"
    for name in sorted(heads - criteria):
        yield f"model.criterion.{name}: is missing; the net has a head of that name"


def paramwise_rule(content: Node) -> Iterator[str]:
    """`paramwise` has arguments of `parameter_groups`, and its custom keys multipliers."""
    from seglit.optim import parameter_groups

    paramwise = mapping(content["model"].get("paramwise"))
    parameters, hints = signature(parameter_groups)
    names = [name for name in parameters if name not in {"net", "lr", "weight_decay"}]
    for name, value in paramwise.items():
        place = f"model.paramwise.{name}"
        if name in names:
            yield from value_problems(value, hints[name], place)
        else:
            yield f"{place}: no such rule{nearest(str(name), names)}"
    for key, multipliers in mapping(paramwise.get("custom_keys")).items():
        for name in mapping(multipliers):
            if name not in {"lr_mult", "decay_mult"}:
                place = f"model.paramwise.custom_keys.{key}.{name}"
                yield f"{place}: no such multiplier{nearest(str(name), ['lr_mult', 'decay_mult'])}"


def schedule_rule(content: Node) -> Iterator[str]:
    """The schedule ends with the run, and the run is counted in steps."""
    trainer = content["trainer"]
    steps = trainer.get("max_steps")
    total = mapping(content["model"].get("scheduler")).get("total_steps")
    if total is not None and total != steps:
        yield f"model.scheduler.total_steps: the schedule ends at {total}, but the run at trainer.max_steps={steps}"
    if not isinstance(steps, int) or steps < 1:
        yield f"trainer.max_steps: must be 1 or more, as the training data never ends; got {steps}"
        return
    if trainer.get("max_epochs") != -1:
        yield f"trainer.max_epochs: must be -1, as max_steps ends the run; got {trainer.get('max_epochs')}"
    if trainer.get("check_val_every_n_epoch", 1) is not None:
        yield "trainer.check_val_every_n_epoch: must be null, as the training data has no epochs"
    interval, accumulated = trainer.get("val_check_interval"), trainer.get("accumulate_grad_batches", 1)
    if interval is None or isinstance(interval, float) or (isinstance(interval, int) and interval < 1):
        yield f"trainer.val_check_interval: must be a number of batches, as there are no epochs; got {interval}"
    if isinstance(interval, int) and isinstance(accumulated, int) and interval > steps * accumulated:
        yield (
            f"trainer.val_check_interval: {interval} batches, but the run has {steps * accumulated}: "
            "nothing would be evaluated"
        )
    if trainer.get("use_distributed_sampler") is not False:
        yield "trainer.use_distributed_sampler: must be false, as the data module gives each rank its own samples"


def class_rule(content: Node) -> Iterator[str]:
    """Classes and the ignored label are those of the data."""
    data = content["data"]
    if "num_classes" not in data:
        return
    count, void = data["num_classes"], data.get("ignore_index", default_of(data, "ignore_index"))
    transforms = walk(data.get("train_transforms"), "data.train_transforms")
    for key, name, value in itertools.chain(walk(content["model"], "model"), transforms):
        if void is MISSING:
            pass  # the data has no such notion, or its target has a line of its own
        elif name == "ignore_index" and value != void:
            yield f"{key}: {value}, but data.ignore_index is {void}; set it there"
        # A criterion that says nothing would go by its own default; a partial may be told later.
        elif "_target_" in mapping(value) and "ignore_index" not in value and not value.get("_partial_"):
            default = default_of(value, "ignore_index")
            if default is not MISSING and default != void:
                yield (
                    f"{key}.ignore_index: is left out and so {default}, but data.ignore_index is {void}; "
                    "write ${data.ignore_index}"
                )
        if name == "num_classes" and value != count:
            yield f"{key}: {value}, but data.num_classes is {count}; set it there"
        if name == "class_weight" and isinstance(value, list) and len(value) != count:
            yield f"{key}: {len(value)} weights for data.num_classes={count}; give one for each class"


def default_of(node: Node, name: str) -> Any:
    """What an argument of the node's target is when it is left out; MISSING where there is no such."""
    try:
        parameter = signature(resolve(str(node.get("_target_"))))[0].get(name)
    except ConfigError:
        return MISSING
    return MISSING if parameter is None or parameter.default is parameter.empty else parameter.default


RULES: tuple[Callable[[Node], Iterator[str]], ...] = (head_rule, paramwise_rule, schedule_rule, class_rule)
