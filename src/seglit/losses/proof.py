"""The kernel for a device, once it has shown there that it computes what operations of PyTorch do."""

import logging
from functools import lru_cache

import torch
from torch import Tensor

from seglit.losses.cross_entropy import CrossEntropyLoss
from seglit.losses.dice import DiceLoss
from seglit.losses.focal import FocalLoss
from seglit.losses.fused import FusedPixels, kernel_terms
from seglit.losses.kernel import Kernel
from seglit.losses.lean import LeanPixels
from seglit.losses.native import native
from seglit.losses.ohem import OHEMPixelSampler
from seglit.losses.pixel_sum import PixelSumLoss
from seglit.losses.ranks import ALONE
from seglit.losses.tiled import TiledPixels
from seglit.losses.triton_kernel import triton_kernel

log = logging.getLogger(__name__)
TOLERANCE = 1e-4
"""Of the gradient, by its norm: a hundred times what roundings of float32 make of it."""


@lru_cache
def kernel_for(device: torch.device) -> Kernel | None:
    """The kernel for a device; None, once with a line in the log, if there is none that can be trusted."""
    kernel: Kernel | None
    match device.type:
        case "cpu":
            kernel = native()
        case "cuda":
            kernel = triton_kernel()
        case _:
            kernel = None
    if kernel is None:
        return None
    try:
        with torch.inference_mode(False), torch.enable_grad():
            error = error_of(kernel, device)
    except Exception as failure:  # of a compiler, a driver, a device: none of them is a reason not to train
        log.warning("losses: the kernel for %s fails, so that they take longer: %s", device, failure)
        return None
    if error <= TOLERANCE:
        return kernel
    log.warning("losses: the kernel for %s is wrong by %.1e, so that they take longer", device, error)
    return None


def error_of(kernel: Kernel, device: torch.device) -> float:
    """By how much gradients of a small batch are others than those of tiles: of all terms that kernels know."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(2, 5, 6, 7, generator=generator)
    labels = torch.randint(0, 5, (2, 24, 28), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = 255
    weights = [1.0, 2.0, 0.5, 1.0, 3.0]
    one: dict[str, PixelSumLoss] = {"ce": CrossEntropyLoss(class_weight=weights)}
    several = one | {"focal": FocalLoss(use_sigmoid=False), "dice": DiceLoss(class_weight=weights)}
    # Without a sampler; with one that has enough below `thresh`, and with one that has not.
    cases = [(one, None), (several, OHEMPixelSampler(0.9, 1)), (one, OHEMPixelSampler(0.1, 300))]
    errors = []
    for losses, sampler in cases:
        found, expected = (
            gradient(logits.to(device), labels.to(device), losses, sampler, way) for way in (kernel, None)
        )
        errors.append((found - expected).norm() / expected.norm())
    return torch.stack(errors).nan_to_num(torch.inf).max().item()


def gradient(
    logits: Tensor,
    labels: Tensor,
    losses: dict[str, PixelSumLoss],
    sampler: OHEMPixelSampler | None,
    way: Kernel | None,
) -> Tensor:
    """That of the sum of the losses, by a kernel or by tiles."""
    logits = logits.requires_grad_()
    arguments = logits, labels, losses, set(losses), sampler
    pixels: LeanPixels
    if way is None:
        pixels = TiledPixels(*arguments, use_sigmoid=False, ignore_index=255, align_corners=False, ranks=ALONE)
    else:
        terms = kernel_terms(losses, logits.shape[1])
        assert terms is not None  # as these are what kernels were made for
        pixels = FusedPixels(*arguments, way, terms, ignore_index=255, align_corners=False, ranks=ALONE)
    totals = pixels.totals()
    values = [
        loss.finish({key: value for (term, key), value in totals.items() if term == name})
        for name, loss in losses.items()
    ]
    return torch.autograd.grad(torch.stack(values).sum(), logits)[0]
