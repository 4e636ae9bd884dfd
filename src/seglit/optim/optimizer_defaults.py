"""The learning rate and weight decay that an optimizer would use, read before there is a net."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer


def optimizer_defaults(factory: Callable[[Iterable[Any]], Optimizer]) -> tuple[float, float | None]:
    """Learning rate and weight decay of the optimizers that `factory` makes.

    Found by making one for a throw-away parameter, as a partial does not tell what it leaves to defaults.

    Args:
        factory: Makes an optimizer from parameters or parameter groups, such as a partial of a class.

    Returns:
        The learning rate, and the weight decay, which is None if the optimizer knows none.

    Raises:
        ValueError: If what it makes has no learning rate.
    """
    # Two dimensions, because there are optimizers for matrices alone.
    optimizer = factory([torch.nn.Parameter(torch.zeros(1, 1))])
    if optimizer.defaults.get("lr") is None:
        raise ValueError(
            f"optimizer: {type(optimizer).__name__} has no learning rate (lr) for groups and schedules "
            f"to scale; give it one, or choose another optimizer"
        )
    weight_decay = optimizer.defaults.get("weight_decay")
    return float(optimizer.defaults["lr"]), None if weight_decay is None else float(weight_decay)
