"""Checkpoints that are whole or not there, whatever happens while they are written."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from seglit.files import whole_file


class CheckpointError(OSError):
    """A checkpoint could not be written; the message says what is there still."""


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary name, has the disk take it in, and renames.

    Lightning's renames too, but before the disk has all of it: after a power cut a file of the right name may be half
    empty.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint.

        Raises:
            CheckpointError: where it cannot be written, as on a full disk; what was at `path` is there still.
        """
        target = Path(path)
        try:
            with whole_file(target) as temporary, temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(target.parent)
        except (OSError, RuntimeError) as error:
            raise CheckpointError(f"{target}: cannot be written: {reason(error)}; {kept(target.parent)}") from error


def sync_folder(folder: Path) -> None:
    """Have the disk take in which files there are, where the system can be asked to."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def reason(error: BaseException) -> str:
    """Why a file cannot be written: the system's word for it, which torch may have wrapped in its own."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, OSError) and link.strerror:
            return link.strerror
        link = link.__cause__ or link.__context__
    return " ".join(str(error).split())[:200]


def kept(folder: Path) -> str:
    """What a run can go on from."""
    names = sorted(path.name for path in folder.glob("*.ckpt"))
    if not names:
        return "no checkpoint is there yet"
    return f"{' and '.join(names)} there are whole: make room, and go on by resume={folder.parent}"
