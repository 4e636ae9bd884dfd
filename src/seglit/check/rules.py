"""Rules that span several keys, each in words of its own."""

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

from seglit.check.nodes import HYDRA_KEYS, Node, mapping, resolve, signature, value_problems, walk
from seglit.config import ConfigError, nearest, similar

MISSING = object()
"""What an argument is that is neither given nor has a default."""


def head_rule(content: Node) -> Iterator[str]:
    """Each head of the net has its criterion, and no other has one."""
    net, criterion = mapping(content["model"].get("net")), mapping(content["model"].get("criterion"))
    if not net or not str(criterion.get("_target_")).endswith(".SegmentationCriterion"):
        return
    heads = {"decode", *map(str, mapping(net.get("auxiliary_heads")))}
    criteria = {str(name) for name, value in criterion.items() if name not in HYDRA_KEYS and value is not None}
    for name in sorted(criteria - heads):
        place = f"model.criterion.{name}"
        yield f"{place}: the net has no such head{similar(name, heads)}; take it out with ~{place}"
    for name in sorted(heads - criteria):
        yield (
            f"model.criterion.{name}: is missing; the net has a head of that name, "
            f"which ~model.net.auxiliary_heads.{name} takes out"
        )


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


def device_rule(content: Node) -> Iterator[str]:
    """Devices that are given as text are a number or a list of numbers, or `auto`."""
    devices = content["trainer"].get("devices")
    if isinstance(devices, str) and not re.fullmatch(r"auto|-1|\d+(,\d+)*,?", devices.replace(" ", "")):
        yield f"trainer.devices: {devices!r}; must be a number of devices, a list of their indices, or auto"


RULES: tuple[Callable[[Node], Iterator[str]], ...] = (
    head_rule,
    paramwise_rule,
    schedule_rule,
    device_rule,
    class_rule,
)
