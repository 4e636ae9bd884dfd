"""SegmentationModule: the one place where training meets Lightning."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float64, Int64
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from seglit import __version__
from seglit.bootstrap import Interval, miou_interval
from seglit.boundary import BoundaryCounts
from seglit.inference import Inference
from seglit.losses import SegmentationCriterion
from seglit.losses.ranks import ALONE, Ranks
from seglit.losses.whole_step import CachedGradients, SharedDivisors, WholeStep
from seglit.metrics import ConfusionByImage, ImageCounts, Scores, scores
from seglit.optim import optimizer_defaults, parameter_groups
from seglit.segmentor import DECODE, Segmentor

OptimizerCallable = Callable[..., Optimizer]
SchedulerCallable = Callable[[Optimizer], LRScheduler]


@runtime_checkable
class LabelCounter(Protocol):
    """A data module that can say how often each class occurs in its training labels."""

    def label_statistics(self) -> Any:
        """An object with int64 tensors `pixels` and `image_pixels`, one entry per class."""


@runtime_checkable
class NamedClasses(Protocol):
    """A data module that has names for its classes."""

    classes: list[str]


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        scores: the scores.
        matrix: the confusion matrix they came from.
        images: the pixel counts of each image, which the matrix is the sum of.
        interval: how far the mean IoU varies over images, see `seglit.bootstrap`.
        boundary: the boundary IoU of each class, see `seglit.boundary`; None if it was not measured.
    """

    scores: Scores
    matrix: Int64[Tensor, "classes classes"]
    images: ImageCounts
    interval: Interval
    boundary: Float64[Tensor, " classes"] | None


class SegmentationModule(LightningModule):
    """Trains and evaluates a segmentor.

    Logs `train/loss` and each term as `train/<head>.<term>` every `trainer.log_every_n_steps` steps, what a sampler
    kept of each class as `train/<head>.kept_share_by_class/<class>`, and of each evaluation `<stage>/miou`, `macc`,
    `aacc` and `mdice`, from one confusion matrix over the whole split, and `boundary_miou` if asked for.

    Args:
        net: the segmentor.
        criterion: one criterion for each of its heads.
        optimizer: makes the optimizer from parameter groups.
        scheduler: makes the schedule from the optimizer; stepped once per optimizer step. None: constant rates.
        paramwise: learning rates and decays by parameter, arguments of `seglit.optim.parameter_groups`.
        inference: how an image is predicted in evaluation. None: the whole image at once.
        compile: compile the net with `torch.compile`.
        channels_last: lay images and weights out with channels last, which convolutions often prefer.
        normalize: over what a loss is normalised. `global`: the whole optimizer step, all its micro-batches and ranks,
            so that it does not matter how the batch is cut up; accumulated losses that need all logits at once, as
            those of a sampler, cost a second forward pass. `local`: each micro-batch of each rank for itself, and the
            mean of these, as in MMSegmentation. None: `local` with a criterion's `compat`, else `global`.
        boundary_iou: the share of an image's diagonal, 0.02 in the paper, within which pixels count as near a
            boundary, see `seglit.boundary.BoundaryCounts`. None: boundary IoU, which costs time, is not measured.

    Attributes:
        config: the resolved configuration of the run as YAML text, kept in each checkpoint; empty if there is none.
        images_per_step: over all devices, kept there too; 0 if it is not known.
        evaluations: what the newest evaluation of each stage, `val` or `test`, found.
        newest_terms: the terms of the newest training step, on the device; of the whole step once its last micro-batch
            has run, where they are added up over it.

    Raises:
        ValueError: if criterion and net do not fit, or `normalize="global"` is given with a criterion's `compat`.
    """

    def __init__(
        self,
        net: Segmentor,
        criterion: SegmentationCriterion,
        optimizer: OptimizerCallable,
        scheduler: SchedulerCallable | None = None,
        paramwise: Mapping[str, Any] | None = None,
        inference: Inference | None = None,
        compile: bool = False,
        channels_last: bool = False,
        normalize: Literal["global", "local"] | None = None,
        boundary_iou: float | None = None,
    ) -> None:
        super().__init__()
        heads = net.heads
        num_classes = heads[DECODE].num_classes
        criterion.check(num_classes, {name: head.out_channels for name, head in heads.items()})
        if normalize == "global" and criterion.has_compat:
            raise ValueError("normalize: 'global' does not go with compat, as MMSegmentation has no such thing")
        self.net = net
        self.criterion = criterion
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.paramwise = dict(paramwise or {})
        self.inference = inference or Inference()
        self.align_corners = {name: head.align_corners for name, head in heads.items()}
        ignore_index = criterion.head_criteria()[DECODE].ignore_index
        self.confusion = ConfusionByImage(num_classes, ignore_index)
        self.boundary = None if boundary_iou is None else BoundaryCounts(num_classes, ignore_index, boundary_iou)
        self.normalize = normalize or ("local" if criterion.has_compat else "global")
        self.config = ""
        self.images_per_step = 0
        self.evaluations: dict[str, Evaluation] = {}
        self._images_seen = 0
        self._to_log: dict[str, Tensor] = {}
        self.newest_terms: dict[str, Tensor] = {}
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.net.to(memory_format=self.memory_format)
        if compile:
            self.net.compile()

    def setup(self, stage: str) -> None:
        """Measure class weights that are `"auto"`, from the training labels of the trainer's data module.

        Raises:
            ValueError: where several ranks would share a loss that has to sort the pixels of all.
        """
        if stage == "fit":
            if self.ranks.size > 1:
                self.criterion.check_shared()
            self.measure_class_weight(getattr(self.trainer, "datamodule", None))

    def measure_class_weight(self, datamodule: LabelCounter | None) -> None:
        """Settle every `class_weight="auto"` of the criterion, if there is any.

        Raises:
            ValueError: where there is one, and no data module to count the labels of.
        """
        if not self.criterion.needs_label_counts():
            return
        if datamodule is None:
            raise ValueError(
                "class_weight='auto' is measured from a data module's training labels, and there is none; "
                "give numbers, or call criterion.measure_class_weight before fit"
            )
        counts = datamodule.label_statistics()
        self.criterion.measure_class_weight(counts.pixels, counts.image_pixels)

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """A number whose gradients Lightning averages over micro-batches and ranks to those of the step's loss."""
        trainer = self.trainer
        count: int = trainer.accumulate_grad_batches
        # Each logged value costs time, and only these steps reach a logger.
        logged = (self.global_step + 1) % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]
        if count == 1 or not self.is_global:
            terms = self.criterion(self(batch["image"]), batch["labels"], self.align_corners, self.ranks)
            loss: Tensor = terms["loss"] * self.ranks.size
        else:
            if batch_index % count == 0:
                self._step = self._begun(batch)
            loss = self._step.part(batch["image"], batch["labels"]) * (self.ranks.size * count)
            terms = self._step.terms
            logged = logged and (batch_index + 1) % count == 0
        self.newest_terms = {name: term.detach() for name, term in terms.items()}
        self._to_log = self.newest_terms if logged else {}
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Hand the terms of the step over, if it is one that is logged.

        Here, as the backward pass is under way by now, and callbacks that look at the terms come later. Not by
        `self.log`, which takes a third of a millisecond for each value and moves each on its own.
        """
        if self._to_log:
            names, values = zip(*self._named_terms(self._to_log), strict=True)
            numbers = torch.cat(values)
            # The one time that the host waits for the device.
            self._hand_over(names, numbers.tolist(), numbers.dtype, optimizer.param_groups[0]["lr"])
            self._to_log = {}

    def _named_terms(self, terms: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """The name of each number, and that number as a tensor of one entry."""
        data = getattr(self.trainer, "datamodule", None)
        for name, term in terms.items():
            if not term.ndim:
                yield f"train/{name}", term[None]
                continue
            labels = data.classes if isinstance(data, NamedClasses) else range(len(term))
            yield from zip((f"train/{name}/{label}" for label in labels), term.unsqueeze(1), strict=True)

    def _hand_over(
        self, names: Sequence[str], numbers: Sequence[float], dtype: torch.dtype, learning_rate: float
    ) -> None:
        """To the loggers, the progress bar and the callbacks, as `self.log` would."""
        trainer = self.trainer
        terms = dict(zip(names, numbers, strict=True))
        tensors = dict(zip(names, torch.tensor(numbers, dtype=dtype).unbind(), strict=True))
        trainer.callback_metrics.update(tensors | {"lr": torch.tensor(learning_rate)})
        trainer.progress_bar_metrics.update({"train/loss": terms["train/loss"], "lr": learning_rate})
        if trainer.loggers:
            trainer.logged_metrics.update(tensors)
        for logger in trainer.loggers:
            logger.log_metrics(terms | {"epoch": trainer.current_epoch}, step=self.global_step)
            logger.save()

    @property
    def is_global(self) -> bool:
        """Whether sums and divisors are those of the whole optimizer step; see `normalize`."""
        return self.normalize == "global"

    @property
    def ranks(self) -> Ranks:
        """Who shares the sums of a step."""
        return Ranks(self.trainer.world_size) if self.is_global else ALONE

    def forward_passes(self, accumulated: int) -> int:
        """How often an image runs forward in training: twice where accumulated losses need all logits at once."""
        return 1 if accumulated == 1 or not self.is_global or self.criterion.divisors_are_known else 2

    def _begun(self, batch: dict[str, Any]) -> WholeStep:
        """What knows the whole step that begins with this micro-batch."""
        if "step" not in batch:
            raise ValueError(
                "normalize: 'global' with accumulate_grad_batches needs batches with a 'step', as those of seglit's "
                "data module; give normalize='local' to average over micro-batches"
            )
        shared = (self.criterion, self.align_corners, self.ranks)
        if self.forward_passes(len(batch["step"])) == 2:
            batches = [partial(image_and_labels, part) for part in batch["step"]]
            return CachedGradients(self.net, self, *shared, batches)
        channels = {name: head.out_channels for name, head in self.net.heads.items()}
        dtype = torch.float64 if self.dtype == torch.float64 else torch.float32
        return SharedDivisors(self, *shared, channels, [part()["labels"] for part in batch["step"]], dtype)

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> dict[str, Tensor]:
        """The predictions of one batch, `{"predictions": int64 batch height width}`."""
        return self._evaluate(batch)

    def test_step(self, batch: dict[str, Any], batch_index: int) -> dict[str, Tensor]:
        """The predictions of one batch, `{"predictions": int64 batch height width}`."""
        return self._evaluate(batch)

    def _evaluate(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        result = self.predict_step(batch, 0)
        predictions, labels = result["predictions"], batch["labels"]
        self.confusion.update(predictions, labels, self._numbers(len(labels)))
        if self.boundary is not None:
            self.boundary.update(predictions, labels)
        return result

    def _numbers(self, count: int) -> Tensor:
        """The places in the data set of the next images of this rank, which sees every `world_size`-th of them."""
        first, self._images_seen = self._images_seen, self._images_seen + count
        return self.trainer.global_rank + self.trainer.world_size * torch.arange(first, first + count)

    def predict_step(self, batch: dict[str, Any], batch_index: int) -> dict[str, Tensor]:
        """The predictions of one batch, `{"predictions": int64 batch height width}`."""
        size: tuple[int, int] = batch["image"].shape[-2:]
        return {"predictions": self.inference.predict(self.net, self._laid_out(batch["image"]), size)}

    def on_validation_epoch_end(self) -> None:
        """Score the validation split."""
        self._score("val")

    def on_test_epoch_end(self) -> None:
        """Score the test split."""
        self._score("test")

    def _score(self, stage: str) -> None:
        images = self.confusion.compute()
        matrix = images.matrix(self.confusion.num_classes)
        boundary = None if self.boundary is None else self.boundary.compute()
        for metric in (self.confusion, self.boundary):
            if metric is not None:
                metric.reset()
        self._images_seen = 0
        result = scores(matrix)
        interval = miou_interval(images, self.confusion.num_classes)
        self.evaluations[stage] = Evaluation(result, matrix, images, interval, boundary)
        self.log(f"{stage}/miou", result.miou, prog_bar=True)
        self.log_dict({f"{stage}/{name}": getattr(result, name) for name in ("macc", "aacc", "mdice")})
        if boundary is not None:
            self.log(f"{stage}/boundary_miou", boundary.nanmean().item())

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over named parameter groups, and its schedule."""
        optimizer = self.build_optimizer()
        if self.make_scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.make_scheduler(optimizer), "interval": "step"},
        }

    def build_optimizer(self) -> Optimizer:
        """The optimizer, with `paramwise` applied to its own learning rate and weight decay.

        Raises:
            ValueError: see `seglit.optim.parameter_groups`.
        """
        learning_rate, weight_decay = optimizer_defaults(self.make_optimizer)
        return self.make_optimizer(parameter_groups(self.net, learning_rate, weight_decay, **self.paramwise))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the configuration into the checkpoint, as text, so that the file alone is enough to predict.

        What was logged before is written first: a run that goes on from the checkpoint will not log it again.
        """
        for logger in self.trainer.loggers:
            logger.save()
        checkpoint["seglit"] = {"version": __version__, "config": self.config} | self.stored_values()

    def stored_values(self) -> dict[str, Any]:
        """What decides about the weights beside the configuration: the images of a step, and measured class weights."""
        weights = {
            head: {"losses": {name: {"class_weight": loss.class_weight} for name, loss in part.named_losses().items()}}
            for head, part in self.criterion.head_criteria().items()
        }
        return {"images_per_step": self.images_per_step, "criterion": weights}

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """The logits of the net's heads."""
        outputs: dict[str, Tensor] = self.net(self._laid_out(image))
        return outputs

    def _laid_out(self, image: Tensor) -> Tensor:
        """The image in the type and the memory format of the net's weights."""
        return image.to(self.dtype, memory_format=self.memory_format)


def image_and_labels(part: Callable[[], Mapping[str, Any]]) -> tuple[Tensor, Tensor]:
    """Image and labels of a micro-batch."""
    batch = part()
    return batch["image"], batch["labels"]
