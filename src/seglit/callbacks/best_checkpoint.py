"""The best checkpoint so far, which goes with a run into another folder, and the last one."""

import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only

from seglit.config import ConfigError
from seglit.files import write_whole


class BestCheckpoint(ModelCheckpoint):
    """Lightning's `ModelCheckpoint`, with the same arguments, whose best is still the best in another folder.

    A run that goes on in another folder begins there with a copy of the best checkpoint so far and its score. Lightning
    would forget both, and so end with another checkpoint than the run without the stop. Of the others that `save_top_k`
    keeps, none is copied.

    With `save_last`, the last checkpoint is that of the last evaluation; Lightning's is that of the last one that was
    among the best, from which a run would do over what came after.
    """

    evaluates = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Settle the folder."""
        super().setup(trainer, pl_module, stage)
        self.evaluates = stage != "fit"

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the best, and the last."""
        super().on_validation_end(trainer, pl_module)
        if self.save_last is True and not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the saved best.

        Raises:
            ConfigError: where the folder changed, and the saved best is gone or has been replaced.
        """
        if self.evaluates:
            return  # Lightning restores callbacks then too, and nothing is to be written
        score, known = state_dict["best_model_score"], state_dict["best_model_path"]
        if state_dict["dirpath"] == self.dirpath or score is None:
            super().load_state_dict(state_dict)
            return
        taken = str(Path(str(self.dirpath)) / Path(known).name)
        self._take(Path(known), Path(taken), float(score))
        best = {"best_model_path": taken, "best_k_models": {taken: score}}
        worst = {"kth_best_model_path": taken, "kth_value": score}
        super().load_state_dict(state_dict | best | worst | {"dirpath": self.dirpath, "last_model_path": ""})

    @rank_zero_only
    def _take(self, known: Path, taken: Path, score: float) -> None:
        """Copy the file, if it is the one with the score."""
        forget = "let lightning.pytorch.callbacks.ModelCheckpoint, as callbacks.checkpoint._target_, forget it"
        if not known.is_file():
            raise ConfigError(f"ckpt_path: {known}, the best checkpoint so far, is gone; put it back, or {forget}")
        states = torch.load(known, map_location="cpu", weights_only=True).get("callbacks", {})
        found = float(states.get(self.state_key, {}).get("current_score", score))
        if found != score:
            raise ConfigError(
                f"ckpt_path: {known}, the best checkpoint so far, has been replaced: its score is {found:g}, not "
                f"{score:g}; go on from a later checkpoint, or {forget}"
            )
        write_whole(taken, lambda temporary: shutil.copyfile(known, temporary))
