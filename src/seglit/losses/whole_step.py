"""The loss of an optimizer step whose batch comes in micro-batches, so that it is that of the batch in one piece."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from seglit.losses.criterion import SegmentationCriterion
from seglit.losses.ranks import Ranks

Forward = Callable[[Tensor], Mapping[str, Tensor]]
"""From an image to the logits of each head."""


class WholeStep(ABC):
    """An optimizer step, cut into micro-batches and, possibly, shared out to ranks.

    Attributes:
        terms: what the criterion says of the whole step, on each rank; complete when all parts have been asked for.
    """

    terms: dict[str, Tensor]

    @abstractmethod
    def part(self, image: Tensor, labels: Tensor) -> Tensor:
        """A number whose gradients, added over the micro-batches and ranks, are those of the step's loss.

        To be asked for once for each micro-batch, in order. It is no loss by itself.
        """


class SharedDivisors(WholeStep):
    """A step whose losses are means: sums over pixels or images, divided by a number that labels alone tell.

    Each micro-batch is divided by what the whole step is divided by, so that nothing is computed twice.

    Args:
        forward: from an image to logits.
        criterion: of all heads.
        align_corners: how each head upsamples.
        ranks: who shares the step.
        channels: channels of the logits of each head.
        labels: those of each micro-batch of this rank.
    """

    def __init__(
        self,
        forward: Forward,
        criterion: SegmentationCriterion,
        align_corners: Mapping[str, bool],
        ranks: Ranks,
        channels: Mapping[str, int],
        labels: Sequence[Tensor],
        dtype: torch.dtype,
    ) -> None:
        self.forward = forward
        self.criterion = criterion
        self.align_corners = align_corners
        self.ranks = ranks
        own: dict[tuple[str, str, str], Tensor] = {}
        for part in labels:
            for key, value in criterion.divisors(part, channels, dtype).items():
                own[key] = own[key] + value if key in own else value
        self.divisors = dict(zip(own, ranks.summed(list(own.values())), strict=True))
        self._left = len(labels)
        self.terms = {}

    def part(self, image: Tensor, labels: Tensor) -> Tensor:
        """See `WholeStep.part`."""
        outputs = self.forward(image)
        with torch.autocast(labels.device.type, enabled=False):
            pixels = self.criterion.pixels(outputs, labels, self.align_corners)
            terms = self.criterion.terms(pixels, self.criterion.totals(pixels) | self.divisors)
        for name, value in terms.items():
            self.terms[name] = self.terms.get(name, torch.zeros_like(value)) + value.detach()
        self._left -= 1
        if self._left == 0:
            self.terms = dict(zip(self.terms, self.ranks.summed(list(self.terms.values())), strict=True))
        return terms["loss"]


class CachedGradients(WholeStep):
    """A step whose loss needs the logits of all its micro-batches at once: a sampler, or a formula of the whole batch.

    First all logits are computed without a graph, and from them the loss and its gradient in the logits; then each
    micro-batch runs again and is given its share of that gradient (Gao et al., RepL4NLP 2021, section 3). It costs a
    second forward pass. Random numbers, as of dropout, are the same in both; running statistics are updated once.

    Args:
        net: whose buffers the first pass must not change.
        forward: from an image to logits.
        criterion: of all heads.
        align_corners: how each head upsamples.
        ranks: who shares the step.
        batches: each gives image and labels of a micro-batch of this rank, on the device.
    """

    def __init__(
        self,
        net: nn.Module,
        forward: Forward,
        criterion: SegmentationCriterion,
        align_corners: Mapping[str, bool],
        ranks: Ranks,
        batches: Sequence[Callable[[], tuple[Tensor, Tensor]]],
    ) -> None:
        self.forward = forward
        buffers = [buffer.clone() for buffer in net.buffers()]
        outputs, labels = [], []
        self._random: list[list[Tensor]] = []
        with torch.no_grad():
            for batch in batches:
                image, label = batch()
                self._random.append(random_state(image.device))
                outputs.append(forward(image))
                labels.append(label)
            for buffer, kept in zip(net.buffers(), buffers, strict=True):
                buffer.copy_(kept)
        # Weights that autocast has converted have no graph; they must not serve the second pass.
        torch.clear_autocast_cache()
        leaves = {}
        for name in outputs[0]:
            logits = torch.cat([output[name] for output in outputs])
            # A gradient of half precision would be rounded before it is used.
            leaves[name] = logits.to(torch.promote_types(logits.dtype, torch.float32)).requires_grad_()
        with torch.enable_grad():
            terms = criterion(leaves, torch.cat(labels), align_corners, ranks)
            gradients = torch.autograd.grad(terms["loss"], list(leaves.values()), allow_unused=True)
        sizes = [len(label) for label in labels]
        self._gradients = {
            name: None if gradient is None else torch.split(gradient, sizes)
            for name, gradient in zip(leaves, gradients, strict=True)
        }
        self.terms = {name: term.detach() for name, term in terms.items()}
        self._next = 0

    def part(self, image: Tensor, labels: Tensor) -> Tensor:
        """See `WholeStep.part`."""
        set_random_state(image.device, self._random[self._next])
        outputs = self.forward(image)
        products = [
            (outputs[name].to(share[self._next].dtype) * share[self._next]).sum()
            for name, share in self._gradients.items()
            if share is not None
        ]
        self._next += 1
        return torch.stack(products).sum()


def random_state(device: torch.device) -> list[Tensor]:
    """The state of the generators that a forward pass on the device draws from."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def set_random_state(device: torch.device, states: Sequence[Tensor]) -> None:
    """Put the generators back to what `random_state` gave."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
