"""The first layer of a net whose output, or whose gradient, is no finite number."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Culprit:
    """A layer at fault.

    Attributes:
        name: of the module in the net; empty for the net itself.
        module: the module.
        within: whether it is the module's own code, around its parts, rather than one operation.
        before: the part of the module before which it happens; empty where it is not within, or after all parts.
        inputs: what went in.
        output: what came out, or what a part was given; the first tensor of it.
    """

    name: str
    module: nn.Module
    within: bool
    before: str
    inputs: tuple[Tensor, ...]
    output: Tensor


class Forward:
    """Watches a forward pass; hooks are in the order in which modules run.

    Attributes:
        culprit: the first module whose output is not finite though its inputs are; None if all are.
        open: the modules that run, the innermost last; after an error those in which it was raised.
        gradients: from the name of a module to the gradients that reached its inputs and its outputs.
        order: names of modules as they finished.
    """

    def __init__(self, net: nn.Module) -> None:
        self.names = {module: name for name, module in net.named_modules()}
        self.culprit: Culprit | None = None
        self.open: list[tuple[nn.Module, tuple[Tensor, ...]]] = []
        self.order: list[nn.Module] = []
        self.gradients: dict[nn.Module, dict[str, list[Tensor]]] = {}

    @contextmanager
    def watching(self) -> Iterator["Forward"]:
        """Watch all modules while it is open."""
        hooks = []
        for module in self.names:
            hooks += [module.register_forward_pre_hook(self._before), module.register_forward_hook(self._after)]
        try:
            yield self
        finally:
            for hook in hooks:
                hook.remove()

    def _before(self, module: nn.Module, inputs: Any) -> Any:
        given = tuple(tensors_in(inputs))
        if self.culprit is None and self.open and (spoilt := first_spoilt(given)) is not None:
            parent, parent_inputs = self.open[-1]
            name = self.names[parent]
            part = self.names[module].removeprefix(f"{name}.")
            self.culprit = Culprit(name, parent, True, part, *copied(parent_inputs, spoilt))
        self.open.append((module, given))
        if has_parts(module):
            return None
        # A view of its own, as the gradient of a tensor is the sum over all that use it.
        own = tuple(one.view_as(one) if isinstance(one, Tensor) and one.requires_grad else one for one in inputs)
        self._follow(module, "inputs", tuple(tensors_in(own)))
        return own

    def _after(self, module: nn.Module, inputs: Any, output: Any) -> None:
        _, given = self.open.pop()
        made = tuple(tensors_in(output))
        if self.culprit is None and (spoilt := first_spoilt(made)) is not None:
            self.culprit = Culprit(self.names[module], module, has_parts(module), "", *copied(given, spoilt))
        self.order.append(module)
        self._follow(module, "outputs", made)

    def _follow(self, module: nn.Module, side: str, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            if tensor.requires_grad:
                kept = self.gradients.setdefault(module, {"inputs": [], "outputs": []})[side]
                tensor.register_hook(kept.append)  # type: ignore[no-untyped-call]

    def backward_culprit(self) -> tuple[str, nn.Module, str] | None:
        """After a backward pass: name, module and what of it is not finite, though the gradient that came in is.

        Of layers without parts; None where there is none.
        """
        for module in reversed(self.order):
            known = self.gradients.get(module)
            if known is None or has_parts(module) or not known["outputs"] or not is_finite(known["outputs"]):
                continue
            if not is_finite(known["inputs"]):
                return self.names[module], module, "its input"
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.grad is not None and not is_finite([parameter.grad]):
                    return self.names[module], module, f"its {name}"
        return None

    def last_backward(self) -> tuple[str, nn.Module] | None:
        """The last layer in forward order whose output has a gradient that is not finite; None if there is none."""
        for module in reversed(self.order):
            known = self.gradients.get(module)
            if known is not None and not has_parts(module) and not is_finite(known["outputs"]):
                return self.names[module], module
        return None


def has_parts(module: nn.Module) -> bool:
    """Whether a module has modules of its own."""
    return next(module.children(), None) is not None


def copied(inputs: Sequence[Tensor], output: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
    """The tensors as they are now, as operations in place may come."""
    return tuple(tensor.detach().clone() for tensor in inputs), output.detach().clone()


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors of floating point in nested tuples, lists and mappings."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors_in(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors_in(part)


def is_finite(tensors: Sequence[Tensor]) -> bool:
    """Whether every number is."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def first_spoilt(tensors: Sequence[Tensor]) -> Tensor | None:
    """The first tensor with a number that is not finite."""
    return next((tensor for tensor in tensors if not is_finite([tensor])), None)
