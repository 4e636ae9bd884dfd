"""A run that goes on in its own folder: `python -m seglit.train resume=RUN_FOLDER`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seglit.config import ConfigError, from_text

KEY = "resume="
TENSORBOARD = "TensorBoardLogger"


def is_resumed(words: Sequence[str]) -> bool:
    """Whether a command line asks for it."""
    return any(word.startswith(KEY) for word in words)


def going_on(words: Sequence[str]) -> DictConfig:
    """The configuration of the run in the folder, with changes, from the newest of its checkpoints that is whole.

    The folder may have been moved: what the run wrote into the old one, it goes on to write into the new one.

    Args:
        words: the command line: `resume=FOLDER` and `key=value` of keys that the configuration has.

    Raises:
        ConfigError: where the folder holds no run or no checkpoint, or a word is something else.
    """
    from seglit.checkpoint import with_changes

    folders = [word.removeprefix(KEY) for word in words if word.startswith(KEY)]
    changes = [word for word in words if not word.startswith(KEY)]
    if len(folders) > 1:
        raise ConfigError(f"resume: one run at a time goes on, not {' and '.join(folders)}")
    for word in changes:
        if word.startswith(("-", "+", "~")):
            raise ConfigError(
                f"{word}: a run goes on with its own configuration; of other words, only key=value changes it"
            )
    folder = Path(folders[0])
    text = folder / "config.yaml"
    if not text.is_file():
        raise ConfigError(
            f"resume: {folder} holds no run, as there is no {text}; give the folder that a run has written"
        )
    known = from_text(text.read_text(encoding="utf-8"))
    cfg = with_changes(
        OmegaConf.create(moved(OmegaConf.to_container(known), str(known.output_dir), str(folder))), changes
    )
    cfg.ckpt_path = str(newest(folder / "checkpoints"))
    return cfg


def newest(folder: Path) -> Path:
    """The checkpoint of the latest step that is whole; others are named on standard error.

    Raises:
        ConfigError: if there is none.
    """
    steps: dict[Path, int] = {}
    for path in sorted(folder.glob("*.ckpt")):
        try:
            steps[path] = steps_of(path)
        except ConfigError as error:
            print(f"left out: {error}", file=sys.stderr)
    if not steps:
        raise ConfigError(f"resume: no whole checkpoint in {folder}; start the run anew, in another folder")
    return max(steps, key=lambda path: (steps[path], path.stat().st_mtime))


def steps_of(checkpoint: Path) -> int:
    """How many optimizer steps it has behind it.

    Raises:
        ConfigError: names the file where it is no checkpoint of seglit.
    """
    from seglit.checkpoint import stored

    return int(stored(checkpoint)[1]["global_step"])


def moved(content: Any, old: str, new: str) -> Any:
    """The same content with the new folder in place of the old one, at the beginning of texts."""
    if isinstance(content, dict):
        return {key: moved(value, old, new) for key, value in content.items()}
    if isinstance(content, list):
        return [moved(value, old, new) for value in content]
    is_within = isinstance(content, str) and (content == old or content.startswith(f"{old}/"))
    return new + content[len(old) :] if is_within else content


def hide_later_curves(cfg: DictConfig, steps: int) -> None:
    """Tell TensorBoard to hide what was logged after the checkpoint, as it will be logged again."""
    for node in cfg.logger.values():
        if node is not None and str(node.get("_target_")).endswith(TENSORBOARD):
            OmegaConf.update(node, "purge_step", steps, force_add=True)
