"""Predictions as files."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from seglit.data.datamodule import SegmentationDataModule
from seglit.pictures import save_labels


class Predictions(Callback):
    """Writes what `Trainer.predict` predicts, a PNG of class indices for each image, by its name; see `save_labels`.

    Args:
        folder: where the files go.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the images of the batch."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, SegmentationDataModule)
        for name, labels in zip(batch["name"], outputs["predictions"], strict=True):
            save_labels(self.folder / f"{name}.png", labels.cpu().numpy(), data.palette)
