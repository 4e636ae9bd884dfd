"""Slow, obvious versions of what `seglit.optim` does, one parameter and one step at a time."""

from collections.abc import Mapping

from torch import nn


def multipliers(
    net: nn.Module, custom_keys: Mapping[str, Mapping[str, float]], rules: Mapping[str, float], old: bool
) -> dict[str, tuple[float, float, str]]:
    """For each trainable parameter: multipliers of learning rate and decay, and the custom key it went by.

    The rules of MMEngine 0.10, or with `old` those of mmcv 1.6, where a missing rule is one of factor 1.
    """
    result = {}
    seen = set()
    for path, module in net.named_modules():
        for leaf, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            if not parameter.requires_grad:
                continue
            name = f"{path}.{leaf}" if path else leaf

            best = ""
            for key in custom_keys:
                longer = len(key) > len(best)
                earlier = len(key) == len(best) and key < best
                if key in name and (longer or earlier):
                    best = key
            if best:
                items = custom_keys[best]
                result[name] = (items.get("lr_mult", 1.0), items.get("decay_mult", 1.0), best)
                continue

            norm = isinstance(module, nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm | nn.InstanceNorm2d)
            bias = leaf == "bias"
            depthwise = isinstance(module, nn.Conv2d) and module.groups == module.in_channels
            lr_mult = rules.get("bias_lr_mult", 1.0) if bias and not norm else 1.0
            decay_mult = 1.0
            if old:
                if norm:
                    decay_mult = rules.get("norm_decay_mult", 1.0)
                elif depthwise:
                    decay_mult = rules.get("dwconv_decay_mult", 1.0)
                elif bias:
                    decay_mult = rules.get("bias_decay_mult", 1.0)
            else:
                if norm and "norm_decay_mult" in rules:
                    decay_mult = rules["norm_decay_mult"]
                elif bias and "bias_decay_mult" in rules:
                    decay_mult = rules["bias_decay_mult"]
                elif depthwise and "dwconv_decay_mult" in rules:
                    decay_mult = rules["dwconv_decay_mult"]
                elif parameter.ndim == 1 and "flat_decay_mult" in rules:
                    decay_mult = rules["flat_decay_mult"]
            result[name] = (lr_mult, decay_mult, "")
    return result


def mmengine_poly(
    base: float, total: int, power: float, floor: float, warmup: int, ratio: float, begin: int, end: int
) -> list[float]:
    """The rates of MMEngine's `LinearLR` and `PolyLR` in turn, each changing what the last left."""
    rates = [base * ratio if warmup else base]
    for step in range(1, total):
        rate = rates[-1]
        if warmup and step < warmup:
            steps = warmup - 1
            rate *= 1 + (1 - ratio) / (steps * ratio + (step - 1) * (1 - ratio))
        if begin < step < end:
            steps = end - begin - 1
            rate = (rate - floor) * (1 - 1 / (steps - (step - begin) + 1)) ** power + floor
        rates.append(rate)
    return rates


def mmcv_poly(base: float, total: int, power: float, floor: float, warmup: int, ratio: float, kind: str) -> list[float]:
    """The rates of mmcv 1.x's `PolyLrUpdaterHook`, whose warm-up scales what the decay gives."""
    rates = []
    for step in range(total):
        rate = (base - floor) * (1 - step / total) ** power + floor
        if step < warmup:
            if kind == "constant":
                rate *= ratio
            elif kind == "linear":
                rate *= 1 - (1 - step / warmup) * (1 - ratio)
            else:
                rate *= ratio ** (1 - step / warmup)
        rates.append(rate)
    return rates
