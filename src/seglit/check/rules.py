"""Rules that span several keys, each in words of its own."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from seglit.check import callback_rules, trainer_rules
from seglit.check.nodes import HYDRA_KEYS, MISSING, Node, default_of, mapping, resolve, signature, value_problems, walk
from seglit.config import ConfigError, nearest, similar


def head_rule(content: Node) -> Iterator[str]:
    """Each head of the net has its criterion, and no other has one."""
    net, criterion = mapping(content["model"].get("net")), mapping(content["model"].get("criterion"))
    if not net or not str(criterion.get("_target_")).endswith(".SegmentationCriterion"):
        return
    nodes = {"decode": net.get("decode_head"), **mapping(net.get("auxiliary_heads"))}
    heads = {output for name, node in nodes.items() for output in outputs(str(name), mapping(node))}
    others = {*HYDRA_KEYS, "tiled", "kernels"}
    criteria = {str(name) for name, value in criterion.items() if name not in others and value is not None}
    for name in sorted(criteria - heads):
        place = f"model.criterion.{name}"
        yield f"{place}: the net has no such head{similar(name, heads)}; take it out with ~{place}"
    for name in sorted(heads - criteria):
        if name not in nodes:
            yield f"model.criterion.{name}: is missing; a head of the net gives further logits of that name in training"
            continue
        yield (
            f"model.criterion.{name}: is missing; the net has a head of that name, "
            f"which ~model.net.auxiliary_heads.{name} takes out"
        )


def outputs(name: str, head: Node) -> list[str]:
    """The names of what a head gives in training, as `Segmentor.heads` has them."""
    from seglit.heads import Head
    from seglit.segmentor import output_name

    try:
        target = resolve(str(head.get("_target_")))
    except ConfigError:
        return [name]  # which has a line of its own
    further = target.further if isinstance(target, type) and issubclass(target, Head) else ()
    return [output_name(name, more) for more in ("", *further)]


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
        place = f"model.paramwise.custom_keys.{key}"
        if multipliers is None:
            yield f"{place}: is null; give it lr_mult or decay_mult, or take it out with ~{place}"
        for name, value in mapping(multipliers).items():
            if name not in {"lr_mult", "decay_mult"}:
                yield f"{place}.{name}: no such multiplier{nearest(str(name), ['lr_mult', 'decay_mult'])}"
            elif value is None:
                yield f"{place}.{name}: is null; give a number, or take it out with ~{place}.{name}"


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
        if name == "num_classes" and value != count and not (value == 2 and learns_boundaries(content, key)):
            yield f"{key}: {value}, but data.num_classes is {count}; set it there"
        if name == "class_weight" and isinstance(value, list) and len(value) != count:
            yield f"{key}: {len(value)} weights for data.num_classes={count}; give one for each class"


def learns_boundaries(content: Node, key: str) -> bool:
    """Whether a key is of an auxiliary head whose criterion has a target, so that its classes are not the data's."""
    path = key.split(".")
    criterion = mapping(content["model"].get("criterion"))
    return path[:3] == ["model", "net", "auxiliary_heads"] and bool(mapping(criterion.get(path[3])).get("target"))


def seed_rule(content: Node) -> Iterator[str]:
    """All randomness is drawn from the one seed."""
    seed, data = content.get("seed"), content["data"]
    seeds = {"data.seed": data.get("seed", default_of(data, "seed"))}
    seeds |= {
        f"callbacks.{name}.seed": mapping(node).get("seed") for name, node in mapping(content.get("callbacks")).items()
    }
    if isinstance(seed, int) and not 0 <= seed < 1 << 32:
        yield f"seed: must be from 0 to {(1 << 32) - 1}, got {seed}"
    for key, value in seeds.items():
        if value not in (MISSING, None) and value != seed:
            yield f"{key}: {value}, but seed is {seed}; seed={seed} alone sets both"


def sampler_rule(content: Node) -> Iterator[str]:
    """A sampler has something to choose from: it keeps fewer pixels than a crop has."""
    size = crop_size(content["data"].get("train_transforms"))
    for key, name, node in walk(content["model"].get("criterion"), "model.criterion"):
        if size is None or name != "sampler" or not isinstance(node, Mapping):
            continue
        kept = node.get("min_kept", default_of(node, "min_kept"))
        images, what = 1, "a crop has"
        if node.get("per_image", True) is False and isinstance(content["data"].get("batch_size"), int):
            images = content["data"]["batch_size"]
            what = f"{images} crops have"
        pixels = images * size[0] * size[1]
        if isinstance(kept, int) and kept >= pixels:
            yield (
                f"{key}.min_kept: {kept}, but {what} {size[0]} x {size[1]} pixels, so that all are kept; give "
                f"fewer, a sixteenth is {pixels // 16}"
            )


def crop_size(transforms: Any) -> tuple[int, int] | None:
    """Height and width of the crops that are trained on; None where they are not told."""
    for _, _, node in walk(transforms, "data.train_transforms"):
        if str(mapping(node).get("_target_")).endswith("Crop"):
            height, width = mapping(node).get("height"), mapping(node).get("width")
            return (height, width) if isinstance(height, int) and isinstance(width, int) else None
    return None


RULES: tuple[Callable[[Node], Iterator[str]], ...] = (
    head_rule,
    paramwise_rule,
    trainer_rules.schedule_rule,
    trainer_rules.steps_rule,
    trainer_rules.limits_rule,
    trainer_rules.elsewhere_rule,
    trainer_rules.device_rule,
    callback_rules.logger_rule,
    callback_rules.switched_off_rule,
    callback_rules.monitor_rule,
    class_rule,
    sampler_rule,
    seed_rule,
)
