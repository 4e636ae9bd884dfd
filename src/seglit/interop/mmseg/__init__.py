"""The way over from MMSegmentation: its configurations and weights, without its packages."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seglit.segmentor import Segmentor


def load(config: str | Path, checkpoint: str | Path | None = None) -> "Segmentor":
    """The network of an MMSegmentation configuration, with the weights of one of its checkpoints.

    Args:
        config: A `.py` file of 0.x or 1.x; it is read, not run.
        checkpoint: A `.pth` file; without it, the weights are as at the start of a training.

    Raises:
        ConfigFileError: Names the file and line that cannot be read.
        UnsupportedError: Names what has no equal here, or weights that belong nowhere.
    """
    from seglit.interop.mmseg.config_file import ConfigFileError, read
    from seglit.interop.mmseg.network import network

    model = read(Path(config)).values.get("model")
    if not isinstance(model, dict):
        raise ConfigFileError(f"{config}: has no model")
    translated = network({key: value for key, value in model.items() if key != "data_preprocessor"})
    segmentor = translated.build()
    if checkpoint is not None:
        weights = import_module("seglit.interop.mmseg.weights")
        segmentor.load_state_dict(translated.renamed(weights.read(Path(checkpoint))))
    return segmentor
