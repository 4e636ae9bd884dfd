"""Parts of a run with a fault planted in each, as a configuration names them."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from seglit.data.datamodule import SegmentationDataModule
from seglit.features import FeatureSpec
from seglit.heads import FCNHead
from seglit.losses.loss import Loss
from seglit.losses.pixels import Pixels


class Data(SegmentationDataModule):
    """A fault in the samples of image 3."""

    def __init__(self, fault: str, **more: Any) -> None:
        super().__init__(**more)
        self.fault = fault

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> dict[str, Any]:
        prepared = super().on_after_batch_transfer(batch, dataloader_idx)
        for place, name in enumerate(prepared["name"]):
            if name == "3" and self.fault == "label":
                prepared["labels"][place, 4, 6] = 9
            elif name == "3" and self.fault.startswith("pixel_"):
                prepared["image"][place, 1, 5, 7] = float(self.fault.removeprefix("pixel_"))
        if self.fault == "void":
            prepared["labels"] = torch.full_like(prepared["labels"], 255)
        return prepared


class Head(FCNHead):
    """A fault in `embed`, at images of some brightness."""

    def __init__(self, specs: list[FeatureSpec], num_classes: int, fault: str, **more: Any) -> None:
        super().__init__(specs, num_classes, **more)
        self.fault = fault
        self.flat = nn.GroupNorm(1, self.channels, eps=0.0) if fault == "flat" else nn.Identity()

    def embed(self, features: Any) -> Tensor:
        x = super().embed(features)
        if self.fault == "pixels":
            spoilt = torch.zeros_like(x)
            spoilt[-1, :, 3, 5] = math.nan
            return x + spoilt
        if self.fault == "flat":
            return self.flat(x * 0.0)
        if self.fault == "root":
            return x + (x * 0.0).sqrt() * 0.0
        if self.fault == "steep":
            return Steep.apply(x)
        return x


class Steep(torch.autograd.Function):
    """The same number, with a slope of 1e38."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient * 1e30 * 1e8


class MeanOfLogs(Loss):
    """-log of a probability that is 0 at one pixel, or a mean over no pixel, or a root at 0."""

    def __init__(self, fault: str, loss_weight: float = 1.0) -> None:
        super().__init__(None, loss_weight)
        self.fault = fault

    @property
    def is_mean(self) -> bool:
        return True

    def totals(self, pixels: Pixels) -> dict[str, Tensor]:
        truth = pixels.at_label(pixels.probabilities(use_sigmoid=False))
        if self.fault == "log":
            hole = torch.ones_like(truth)
            hole[-1, 6, 9] = 0.0
            truth = truth * hole
        surprise = -torch.log(truth)
        if self.fault == "root":
            surprise = surprise + (truth * 0.0).sqrt()
        return {"sum": torch.where(pixels.valid, surprise, 0.0).sum(), "divisor": self.divisor_of(pixels)}

    def divisor_of(self, pixels: Pixels) -> Tensor:
        return pixels.valid.sum().to(pixels.logits.dtype)

    def finish(self, totals: Mapping[str, Tensor]) -> Tensor:
        return totals["sum"] / totals["divisor"] if self.fault == "count" else super().finish(totals)


class Spoil(Callback):
    """Spoils a weight, or a class weight, before a step."""

    def __init__(self, fault: str, step: int = 2) -> None:
        self.fault = fault
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step != self.step:
            return
        if self.fault == "weight":
            pl_module.net.decode_head.classifier.weight.data[1, 2] = math.inf
        elif self.fault == "class_weight":
            pl_module.criterion.heads["decode"].losses["loss_ce"].class_weight = (1.0, math.nan, 1.0)
        elif self.fault == "rate":
            trainer.optimizers[0].param_groups[0]["initial_lr"] = 30.0
            trainer.lr_scheduler_configs[0].scheduler.base_lrs[0] = 30.0
        elif self.fault == "large":
            pl_module.net.decode_head.convs[0].conv.weight.data.fill_(3e4)
