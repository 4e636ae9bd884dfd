"""Data for Lightning: one data set with its splits, loaders and numbers."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule

from seglit.data.cache import CachedImages, CachedMasks, fill
from seglit.data.cache.readers import CachedReader
from seglit.data.description import checked_mean, checked_std, read_description
from seglit.data.device_color import distorted
from seglit.data.errors import DataError
from seglit.data.folder import FolderDataset
from seglit.data.images import read_image
from seglit.data.label_table import LabelTable
from seglit.data.loading import AugmentedDataset, StepLoader, StoredBatch, TimedLoader, collate
from seglit.data.masks import MaskReader
from seglit.data.normalise import normalise
from seglit.data.pairs import Layout
from seglit.data.roots import resolved_root
from seglit.data.sampling import EvaluationSampler, TrainingSampler
from seglit.data.statistics import LabelStatistics, cache_folder, label_statistics
from seglit.data.transforms import Augmentation, PhotoMetricDistortion, Transforms
from seglit.data.workers import prepare_worker

STAGES = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}
CACHED = ("train", "val")
"""What is read more than once."""


class SegmentationDataModule(LightningDataModule):
    """Images with a class for each pixel, from a folder.

    Training batches come from an endless walk over the training split. Which samples a batch holds, and
    how they are augmented, depends on `seed` and on the position in the run alone: not on the number of
    workers, nor on how a batch is shared out to ranks, and a run that is resumed goes on with the samples
    that it would have seen. Evaluation sees each image of a split once, whatever the number of ranks.

    Loaders give `{"image": uint8, "labels": a small integer type, "name": list[str]}`; on the device they
    become normalised float32 and int64.

    Args:
        root: The folder of the data set, or `seglit:<name>` for one that comes with the package.
        num_classes: The number of classes.
        ignore_index: The label of void.
        classes: The names of the classes. None: those of the folder's classes.json, or `class_0`, `class_1`
            ...
        palette: The colours of the classes. None: those of classes.json, unless `classes` is given, or a
            default.
        mean: The mean of the images, in units of 0 to 255. None: that of classes.json, or ImageNet's.
        std: Their standard deviation, likewise.
        images: Where the images are, see `seglit.data.pairs.Layout`.
        masks: Where the masks are, see there.
        split_file: Which images a split has, see there.
        train_split: The name of the training split.
        val_split: The name of the validation split.
        test_split: The name of the test split.
        mask_format: Whether masks hold class indices (`index`) or colours (`color`).
        mask_colors: The colours in the masks by raw value, with `mask_format="color"`. None: `palette`, or that of
            classes.json.
        label_map: From raw values in the masks to labels, see `seglit.data.label_table.LabelTable`.
        label_map_default: What becomes of raw values that `label_map` does not list, see there.
        reduce_zero_label: Whether label 0 is void and classes are counted from 1, see there.
        train_transforms: albumentations' transforms of training samples, in order: a list, or by names.
        eval_transforms: Likewise of validation and test samples.
        device_color: A distortion of the colours of training samples that is done to the whole batch on the device,
            after `train_transforms`, and so to padding as well; for a GPU. None: what `train_transforms` say.
        batch_size: Training samples of one batch on one rank.
        eval_batch_size: Validation and test samples of one batch on one rank; above 1 they must be of one
            size.
        num_workers: Processes that load samples beside each training process; 0 loads in that process.
        prefetch_factor: Batches that each of these processes holds ready, above the one that it is at. None: 4 in
            training, 2 in evaluation.
        pin_memory: Whether batches are put into page-locked memory. None: where there is a CUDA device.
        cache: What is decoded once, before the first training run, and kept on disk: `masks`, compressed, or `all`,
            which is images too, as raw pixels, three bytes each. Samples are the same with it and without. None: each
            file is decoded whenever it is read. Test samples are read once, and so not kept.
        cache_dir: The folder of what is kept, best on a fast disk of the machine. None: `seglit/decoded` in the user's
            cache, `$XDG_CACHE_HOME` or `~/.cache`. It may be deleted at any time.
        seed: What the order of samples and all augmentation is drawn from.

    Attributes:
        classes: The names of the classes.
        palette: Their colours.
        mean: What is subtracted from images.
        std: What they are then divided by.

    Raises:
        ValueError: If an argument is out of its range, has no effect beside the others, or contradicts
            classes.json, or if a transform would invent labels.
    """

    def __init__(
        self,
        root: str | Path,
        num_classes: int,
        ignore_index: int = 255,
        classes: Sequence[str] | None = None,
        palette: Sequence[Sequence[int]] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        images: str = "images/{split}",
        masks: str = "masks/{split}",
        split_file: str | None = None,
        train_split: str = "train",
        val_split: str = "val",
        test_split: str = "test",
        mask_format: Literal["index", "color"] = "index",
        mask_colors: Sequence[Sequence[int]] | None = None,
        label_map: Mapping[int, int] | None = None,
        label_map_default: Literal["error", "ignore", "keep"] = "error",
        reduce_zero_label: bool = False,
        train_transforms: Transforms = (),
        eval_transforms: Transforms = (),
        device_color: PhotoMetricDistortion | None = None,
        batch_size: int = 8,
        eval_batch_size: int = 1,
        num_workers: int = 2,
        prefetch_factor: int | None = None,
        pin_memory: bool | None = None,
        cache: Literal["masks", "all"] | None = None,
        cache_dir: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("eval_batch_size", eval_batch_size, 1),
            ("num_workers", num_workers, 0),
            ("seed", seed, 0),
        ):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if prefetch_factor is not None and (prefetch_factor < 1 or num_workers == 0):
            raise ValueError(
                f"prefetch_factor must be at least 1, and has no effect without workers; got "
                f"prefetch_factor={prefetch_factor} with num_workers={num_workers}"
            )
        if cache is None and cache_dir is not None:
            raise ValueError(
                f"cache_dir={str(cache_dir)!r} has no effect without a cache; set cache to 'masks' or 'all'"
            )
        if cache not in (None, "masks", "all"):
            raise ValueError(f"cache must be null, 'masks' or 'all', got {cache!r}")
        self.root = resolved_root(root)
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        description = read_description(self.root)
        description.check_ignore_index(ignore_index, label_map)
        self.classes, self.palette = description.classes_and_palette(num_classes, classes, palette)
        self.mean = description.mean if mean is None else checked_mean(mean, "mean")
        self.std = description.std if std is None else checked_std(std, "std")
        self.layout = Layout(images, masks, split_file)
        self.splits = {"train": train_split, "val": val_split, "test": test_split}
        if not self.layout.tells_splits_apart:
            raise ValueError(
                f"images={images!r} without split_file makes all splits the same images; "
                "write {split} where the name of the split stands, or give a split_file"
            )
        if mask_format == "color" and mask_colors is None:
            mask_colors = palette or description.palette
        table = LabelTable(num_classes, ignore_index, label_map, label_map_default, reduce_zero_label)
        self.read_mask = MaskReader(table, mask_format, mask_colors)
        self.train_augmentation = Augmentation(train_transforms, ignore_index)
        if device_color is not None and self.train_augmentation.distorts_colors:
            raise ValueError(
                "device_color: train_transforms have a PhotoMetricDistortion too, by which colours would be distorted "
                "twice; take one of them out, such as by ~data.train_transforms.color"
            )
        self.device_color = device_color
        self.eval_augmentation = Augmentation(eval_transforms, ignore_index)
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.pin_memory = torch.cuda.is_available() if pin_memory is None else pin_memory
        self.seed = seed
        self.cache = cache
        self.cache_dir = cache_folder() / "decoded" if cache_dir is None else Path(cache_dir).expanduser()
        self._read_mask: MaskReader | CachedMasks = self.read_mask
        self._read_image: Callable[[Path], np.ndarray] = read_image
        if cache is not None:
            self._read_mask = CachedMasks(self.cache_dir / "masks", self.read_mask)
        if cache == "all":
            self._read_image = CachedImages(self.cache_dir / "images")
        self._samples: dict[str, FolderDataset] = {}

    def setup(self, stage: str) -> None:
        """Finds the files that a stage needs, so that a missing one stops the run before it begins.

        Before training it fills the cache, if there is to be one.

        Args:
            stage: `fit`, `validate`, `test` or `predict`.

        Raises:
            DataError: See `seglit.data.pairs.find_pairs` and `seglit.data.cache.fill`.
        """
        for part in STAGES[stage]:
            self.samples(part)
        if stage == "fit":
            pairs = [pair for part in CACHED for pair in self.samples(part).pairs]
            files = [(self._read_image, pair.image) for pair in pairs] + [
                (self._read_mask, pair.mask) for pair in pairs
            ]
            cached = [(reader, path) for reader, path in files if isinstance(reader, CachedReader)]
            fill(cached, show=self.trainer is None or self.trainer.global_rank == 0)

    def samples(self, part: str) -> FolderDataset:
        """The samples of a part, `train`, `val` or `test`, as they are stored.

        Raises:
            DataError: See `seglit.data.pairs.find_pairs`.
        """
        if part not in self._samples:
            self._samples[part] = FolderDataset(
                self.root, self.splits[part], self._read_mask, self.layout, self._read_image
            )
        return self._samples[part]

    def train_dataloader(self) -> TimedLoader | StepLoader:
        """Endless batches of augmented training samples, from where the trainer's step says.

        Where gradients are accumulated, the first batch of each optimizer step holds all of them, see `StepLoader`.
        """
        rank, world_size = self._rank_and_world_size()
        samples = AugmentedDataset(self.samples("train"), self.train_augmentation, self.seed, self.device_color)
        sampler = TrainingSampler(len(samples), self.seed, self.batch_size, rank, world_size, self._position)
        loader = self._loader(samples, sampler, self.batch_size, prefetch=4)
        count = 1 if self.trainer is None else self.trainer.accumulate_grad_batches
        return loader if count == 1 else StepLoader(loader, count)

    def val_dataloader(self) -> TimedLoader:
        """This rank's share of the validation samples, each once.

        Raises:
            DataError: If there are fewer samples than ranks, as torch takes no loader without any.
        """
        return self._evaluation_loader("val")

    def test_dataloader(self) -> TimedLoader:
        """This rank's share of the test samples, each once.

        Raises:
            DataError: If there are fewer samples than ranks.
        """
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> TimedLoader:
        """What `test_dataloader` gives; for images without labels there is `seglit.predict`."""
        return self.test_dataloader()

    def transfer_batch_to_device(self, batch: StoredBatch, device: torch.device, dataloader_idx: int) -> StoredBatch:
        """The batch on the device, but for what `step` holds, which is fetched when it is needed."""
        step = batch.pop("step", None)
        moved: StoredBatch = super().transfer_batch_to_device(batch, device, dataloader_idx)
        return moved if step is None else {**moved, "step": step}

    def on_after_batch_transfer(self, batch: StoredBatch, dataloader_idx: int) -> dict[str, Any]:
        """The batch with its image normalised, float32, and its labels int64; colours distorted where that is left.

        `step` becomes a list of functions that give each micro-batch in that form, on the device.
        """
        image = distorted(batch["image"], batch["colors"]) if "colors" in batch else batch["image"]
        prepared = {
            "image": normalise(image, self.mean, self.std),
            "labels": batch["labels"].long(),
            "name": batch["name"],
        }
        if "step" in batch:
            prepared["step"] = [partial(self._prepared, part, batch["image"].device) for part in batch["step"]]
        return prepared

    def _prepared(self, batch: StoredBatch, device: torch.device) -> dict[str, Any]:
        return self.on_after_batch_transfer(self.transfer_batch_to_device(batch, device, 0), 0)

    def label_statistics(self) -> LabelStatistics:
        """How often each class occurs in the labels of the training split, see `seglit.data.statistics`.

        Counts labels as stored: augmentation does not enter.

        Raises:
            DataError: If a mask is not as it should be.
        """
        return label_statistics(self.samples("train").pairs, self.read_mask)

    def _evaluation_loader(self, part: str) -> TimedLoader:
        rank, world_size = self._rank_and_world_size()
        samples = AugmentedDataset(self.samples(part), self.eval_augmentation, self.seed)
        if len(samples) < world_size:
            raise DataError(
                f"{self.root}: split {self.splits[part]!r} has {len(samples)} images for {world_size} devices, each of "
                f"which needs one; set trainer.devices to {len(samples)} or less, or add images"
            )
        sampler = EvaluationSampler(len(samples), rank, world_size)
        return self._loader(samples, sampler, self.eval_batch_size, prefetch=2)

    def _loader(
        self, samples: AugmentedDataset, sampler: TrainingSampler | EvaluationSampler, batch_size: int, prefetch: int
    ) -> TimedLoader:
        return TimedLoader(
            samples,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            # More in training, as the time of a sample varies: a window may be drawn up to eleven times.
            prefetch_factor=(self.prefetch_factor or prefetch) if self.num_workers > 0 else None,
            collate_fn=collate,
            pin_memory=self.pin_memory,
            worker_init_fn=prepare_worker,
            persistent_workers=self.num_workers > 0,
            # Else each iteration takes a number from the global generator, which weights and dropout draw
            # from.
            generator=torch.Generator().manual_seed(self.seed),
        )

    def _rank_and_world_size(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        # Lightning keeps this argument nowhere else. Its sampler would take a share of this rank's share.
        if self.trainer.world_size > 1 and self.trainer._accelerator_connector.use_distributed_sampler:
            raise ValueError(
                "trainer: set use_distributed_sampler=False; the data module gives each rank its own samples"
            )
        return self.trainer.global_rank, self.trainer.world_size

    def _position(self) -> int:
        if self.trainer is None:
            return 0
        batches = self.trainer.global_step * self.trainer.accumulate_grad_batches
        return batches * self.batch_size * self.trainer.world_size
