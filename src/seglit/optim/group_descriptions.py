"""What a receipt says of parameter groups: their rates, the rules that made them, the modules in them."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from torch import nn

LONG_LIST = 6
"""With more entries than this, the numbers in names of modules are written as `*`."""


class GroupDescription(TypedDict):
    """What a receipt says of one parameter group."""

    name: str
    rule: str
    lr: float
    weight_decay: float | None
    tensors: int
    parameters: int
    modules: list[str]


def describe_groups(net: nn.Module, groups: Iterable[Mapping[str, Any]]) -> list[GroupDescription]:
    """What a receipt says of each group of `parameter_groups`, or of the optimizer made of them.

    The learning rate is the base rate, whatever a schedule has made of it. `modules` are the largest modules
    all of whose trainable parameters are in the group, and names of single parameters; where these are many,
    numbers are written as `*`.
    """
    names = {parameter: name for name, parameter in net.named_parameters()}
    trainable = [name for parameter, name in names.items() if parameter.requires_grad]
    descriptions: list[GroupDescription] = []
    for group in groups:
        params: list[nn.Parameter] = group["params"]
        descriptions.append(
            {
                "name": group["name"],
                "rule": group["rule"],
                "lr": float(group.get("initial_lr", group["lr"])),
                "weight_decay": group.get("weight_decay"),
                "tensors": len(params),
                "parameters": sum(parameter.numel() for parameter in params),
                "modules": modules_of([names[parameter] for parameter in params], trainable),
            }
        )
    return descriptions


def modules_of(taken: Sequence[str], trainable: Sequence[str]) -> list[str]:
    """The largest modules whose trainable parameters are all taken, and the rest by their own names."""
    totals = Counter(path for name in trainable for path in _ancestors(name))
    counts = Counter(path for name in taken for path in _ancestors(name))
    whole = (next((path for path in _ancestors(name) if counts[path] == totals[path]), name) for name in taken)
    modules = list(dict.fromkeys(whole))
    if len(modules) > LONG_LIST:
        modules = list(dict.fromkeys(re.sub(r"\d+", "*", module) for module in modules))
    return modules


def _ancestors(name: str) -> list[str]:
    """The modules around a parameter, the largest first."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]
