"""Parameter groups by name: which learning rate and weight decay each parameter gets, and why."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from seglit.optim.layer_depths import layer_depths

COMPAT = (None, "mmseg-0.25", "mmseg-1.2")
MULTIPLIERS = ("lr_mult", "decay_mult")
NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


@dataclass(frozen=True)
class Parameter:
    """A trainable parameter, and what rules may ask of it."""

    name: str
    tensor: nn.Parameter
    is_norm: bool
    is_bias: bool
    kinds: tuple[str, ...]
    """The kinds whose `<kind>_decay_mult` may apply, the first that is given winning."""


@dataclass(frozen=True)
class Rules:
    """The given options: multipliers by `custom_keys`, the longest first, and by the names of the rules."""

    custom_keys: dict[str, Mapping[str, float | int]]
    kinds: dict[str, float | int]

    def without(self, option: str) -> "Rules":
        """The same, less one custom key or one rule."""
        return Rules(
            {key: value for key, value in self.custom_keys.items() if f"custom_keys.{key}" != option},
            {rule: value for rule, value in self.kinds.items() if rule != option},
        )


@dataclass(frozen=True)
class Decision:
    """The multipliers of one parameter, the options that gave them, and a short label of these."""

    lr_mult: float
    decay_mult: float
    options: tuple[str, ...]
    label: str


def parameter_groups(
    net: nn.Module,
    lr: float,
    weight_decay: float | None,
    custom_keys: Mapping[str, Mapping[str, float | int]] | None = None,
    norm_decay_mult: float | int | None = None,
    bias_lr_mult: float | int | None = None,
    bias_decay_mult: float | int | None = None,
    dwconv_decay_mult: float | int | None = None,
    flat_decay_mult: float | int | None = None,
    layer_decay: float | None = None,
    layer_decay_blocks: int | None = None,
    compat: str | None = None,
) -> list[dict[str, Any]]:
    """Groups for an optimizer, each trainable parameter in exactly one.

    A custom key is a substring of the parameter's name. The longest key wins, of equally long ones the first
    in the alphabet, and it alone decides: its parameters are exempt from all rules below. Without a key,
    `bias_lr_mult` scales the learning rate of what is named `bias` outside norms, and weight decay goes by
    the first given rule that applies, in the order norm, bias, dwconv, flat. So far this is MMEngine 0.10.

    Where it differs: parameters of equal rule, learning rate and decay share a group, as one group per
    parameter makes the optimizer slower; a key may hold `lr_mult` and `decay_mult` and nothing else; an
    option without effect is an error; a depthwise convolution has more than one channel.

    A parameter that several modules share goes by its first name. Frozen parameters are in no group.

    Args:
        net: Whose parameters; names are those of `net.named_parameters()`.
        lr: Base learning rate, which multipliers scale. With a multiplier of zero parameters stay as they
            are, but still cost a gradient; freezing them is cheaper.
        weight_decay: Base weight decay; None if the optimizer has no such option.
        custom_keys: `{substring: {"lr_mult": ..., "decay_mult": ...}}`; what is left out is 1.
        norm_decay_mult: For weights and biases of batch, instance, group, layer and RMS norms.
        bias_lr_mult: For biases outside norms.
        bias_decay_mult: For biases, those of norms included unless `norm_decay_mult` is given.
        dwconv_decay_mult: For depthwise 2-d convolutions, biases included unless `bias_decay_mult` is given.
        flat_decay_mult: For parameters of one dimension that no other given rule takes.
        layer_decay: Factor in (0, 1) per layer between a parameter and the heads, which have the full rate
            (Clark et al., ELECTRA, ICLR 2020). It multiplies with `lr_mult`. `layer_depths` tells the layers.
        layer_decay_blocks: Number of blocks that make a layer, instead of whole stages.
        compat: "mmseg-1.2" takes a convolution of a single input channel for depthwise too. "mmseg-0.25" has
            in addition mmcv 1.x's rules: biases of norms go by `norm_decay_mult` alone, those of depthwise
            convolutions by `dwconv_decay_mult` alone, and there is no `flat_decay_mult`.

    Returns:
        Groups with `params`, `name`, `rule` (why, for people), `lr` and, unless it is None, `weight_decay`.

    Raises:
        ValueError: If an option is unknown, negative, or without effect: a key or rule that no trainable
            parameter goes by, a multiplier of 1 that shields from nothing, decay multipliers of no decay.
    """
    kinds = {
        "norm_decay_mult": norm_decay_mult,
        "bias_lr_mult": bias_lr_mult,
        "bias_decay_mult": bias_decay_mult,
        "dwconv_decay_mult": dwconv_decay_mult,
        "flat_decay_mult": flat_decay_mult,
    }
    custom_keys = custom_keys or {}
    rules = Rules(
        {key: custom_keys[key] for key in sorted(custom_keys, key=lambda key: (-len(key), key))},
        {rule: value for rule, value in kinds.items() if value is not None},
    )
    _check_values(lr, weight_decay, rules, layer_decay, layer_decay_blocks, compat)
    parameters = _trainable(net, compat)
    decisions = [_decide(parameter, rules) for parameter in parameters]
    _check_effects(net, parameters, rules, decisions)

    depths = {}
    if layer_decay is not None:
        depths = layer_depths([name for name, _ in net.named_parameters()], layer_decay_blocks)
    last = max(depths.values(), default=0)

    groups: dict[str, dict[str, Any]] = {}
    for parameter, decision in zip(parameters, decisions, strict=True):
        depth = depths.get(parameter.name, last)
        scale = 1.0 if layer_decay is None else layer_decay ** (last - depth)
        # No name of a parameter has a hyphen, so no custom key that took one can be equal to these.
        name = decision.label if depth == last else f"{decision.label}-layer{depth}"
        if name not in groups:
            rule = ", ".join(decision.options) or "no rule"
            if layer_decay is not None:
                rule += f"; layer {depth} of {last}: lr x {scale:.6g}"
            groups[name] = {"params": [], "name": name, "rule": rule, "lr": lr * decision.lr_mult * scale}
            if weight_decay is not None:
                groups[name]["weight_decay"] = weight_decay * decision.decay_mult
        groups[name]["params"].append(parameter.tensor)
    return list(groups.values())


def _check_values(
    lr: float,
    weight_decay: float | None,
    rules: Rules,
    layer_decay: float | None,
    layer_decay_blocks: int | None,
    compat: str | None,
) -> None:
    """All that can be told without the net."""
    if compat not in COMPAT:
        raise ValueError(f"compat must be one of {', '.join(map(str, COMPAT))}, got {compat!r}")
    if compat == "mmseg-0.25" and "flat_decay_mult" in rules.kinds:
        raise ValueError("flat_decay_mult has no effect with compat='mmseg-0.25', which does not know it")
    given = {"lr": lr, **rules.kinds}
    if weight_decay is not None:
        given["weight_decay"] = weight_decay
    for key, items in rules.custom_keys.items():
        if not key:
            raise ValueError("custom_keys: an empty key would match everything; change lr or weight_decay")
        for item, value in items.items():
            if item not in MULTIPLIERS:
                near = get_close_matches(item, MULTIPLIERS, n=1, cutoff=0.8)
                hint = f"did you mean {near[0]}?" if near else f"there are {' and '.join(MULTIPLIERS)}"
                raise ValueError(f"custom_keys.{key}.{item}: there is no such multiplier; {hint}")
            given[f"custom_keys.{key}.{item}"] = value
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ValueError(f"{name} must be a number, zero or more, got {value!r}")
        if name.endswith("decay_mult") and not weight_decay:
            raise ValueError(
                f"{name}={value} has no effect, as the optimizer's weight_decay is {weight_decay}; "
                f"leave it out, or give the optimizer a weight_decay"
            )
    if layer_decay is not None and not 0 < layer_decay < 1:
        raise ValueError(f"layer_decay must be between 0 and 1, both excluded, got {layer_decay}")
    if layer_decay is None and layer_decay_blocks is not None:
        raise ValueError(f"layer_decay_blocks={layer_decay_blocks} has no effect without layer_decay")


def _trainable(net: nn.Module, compat: str | None) -> list[Parameter]:
    """The parameters that are trained, each once, by its first name."""
    parameters = []
    for name, tensor in net.named_parameters():
        if not tensor.requires_grad:
            continue
        path, _, leaf = name.rpartition(".")
        module = net.get_submodule(path)
        is_norm, is_bias = isinstance(module, NORMS), leaf == "bias"
        is_depthwise = (
            isinstance(module, nn.Conv2d)
            and module.in_channels == module.groups
            and (module.groups > 1 or compat is not None)
        )
        applies = {"norm": is_norm, "bias": is_bias, "dwconv": is_depthwise, "flat": tensor.ndim == 1}
        if compat == "mmseg-0.25":
            order = [kind for kind in ("norm", "dwconv", "bias") if applies[kind]][:1]
        else:
            order = [kind for kind, is_kind in applies.items() if is_kind]
        parameters.append(Parameter(name, tensor, is_norm, is_bias, tuple(order)))
    if not parameters:
        raise ValueError("the net has no trainable parameter; unfreeze some, or do not train it")
    return parameters


def _decide(parameter: Parameter, rules: Rules) -> Decision:
    for key, items in rules.custom_keys.items():
        if key in parameter.name:
            return Decision(
                lr_mult=float(items.get("lr_mult", 1.0)),
                decay_mult=float(items.get("decay_mult", 1.0)),
                options=(f"custom_keys.{key}",),
                label=key,
            )
    scales_lr = parameter.is_bias and not parameter.is_norm and "bias_lr_mult" in rules.kinds
    decays = [option for kind in parameter.kinds if (option := f"{kind}_decay_mult") in rules.kinds]
    options = ("bias_lr_mult",) * scales_lr + tuple(decays[:1])
    return Decision(
        lr_mult=float(rules.kinds["bias_lr_mult"]) if scales_lr else 1.0,
        decay_mult=float(rules.kinds[decays[0]]) if decays else 1.0,
        options=options,
        label=_label(options, rules),
    )


def _label(options: tuple[str, ...], rules: Rules) -> str:
    """The kinds of the rules, as `norm` or `bias-flat`; `base` without a rule."""
    of_biases = {"bias_lr_mult", "bias_decay_mult"}
    if of_biases <= rules.kinds.keys() and len(of_biases & set(options)) == 1:
        # Some biases go by one of these rules and some by both, so the kind alone would not tell.
        words = [option.removesuffix("_mult") for option in options]
    else:
        words = [option.split("_")[0] for option in options]
    label = "-".join(dict.fromkeys(words)) or "base"
    return f"{label}-rule" if label in rules.custom_keys else label


def _check_effects(
    net: nn.Module, parameters: Sequence[Parameter], rules: Rules, decisions: Sequence[Decision]
) -> None:
    """Each option decides about some parameter, and differently from what would be without it."""
    deciding = {option for decision in decisions for option in decision.options}
    for key in rules.custom_keys:
        if f"custom_keys.{key}" not in deciding:
            raise ValueError(_why_idle(key, net, parameters, rules))
    for rule in rules.kinds:
        if rule not in deciding:
            raise ValueError(
                f"{rule} has no effect: no trainable parameter goes by it, as there is none of that kind or "
                f"custom keys and earlier rules take them all; leave it out"
            )
    neutral = [f"custom_keys.{key}" for key, items in rules.custom_keys.items() if set(items.values()) <= {1}]
    neutral += [rule for rule, value in rules.kinds.items() if value == 1]
    multipliers = [(decision.lr_mult, decision.decay_mult) for decision in decisions]
    for option in neutral:
        others = (_decide(parameter, rules.without(option)) for parameter in parameters)
        if multipliers == [(other.lr_mult, other.decay_mult) for other in others]:
            raise ValueError(
                f"{option} has no effect: its multipliers are 1, and it shields from no other; leave it out"
            )


def _why_idle(key: str, net: nn.Module, parameters: Sequence[Parameter], rules: Rules) -> str:
    message = f"custom_keys.{key} has no effect: "
    winners = {
        winner: None
        for parameter in parameters
        if key in parameter.name
        for winner in [next(other for other in rules.custom_keys if other in parameter.name)]
    }
    if winners:
        return message + f"the keys {', '.join(winners)} take all its parameters; leave it out"
    if any(key in name for name, _ in net.named_parameters(remove_duplicate=False)):
        return message + "all its parameters are frozen, or shared and known by an earlier name; leave it out"
    modules = [name for name, _ in net.named_modules() if name]
    words = dict.fromkeys([*modules, *(word for name in modules for word in name.split("."))])
    near = get_close_matches(key, words, n=3, cutoff=0.5) or [name for name, _ in net.named_children()]
    return message + f"no parameter's name contains {key!r}; nearest: {', '.join(near)}"
