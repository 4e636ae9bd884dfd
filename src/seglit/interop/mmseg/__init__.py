"""The way over from MMSegmentation: its configurations and weights, without its packages."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seglit.segmentor import Segmentor


def load(config: str | Path, checkpoint: str | Path | None = None) -> "Segmentor":
    """The network of an MMSegmentation configuration, with the weights of one of its checkpoints.

    Args:
        config: A `.py` file of 0.x or 1.x; it is read, not run.
        checkpoint: A `.pth` file, which is read without executing anything; without it, the weights are as at the
            start of a training.

    Raises:
        ConfigFileError: Names the file and line that cannot be read.
        UnsupportedError: Names what has no equal here.
        ConfigError: If the checkpoint cannot be read, or names the weights that are missing, superfluous or of another
            shape.
    """
    from seglit.config import ConfigError
    from seglit.interop.mmseg import weights
    from seglit.interop.mmseg.config_file import ConfigFileError, read
    from seglit.interop.mmseg.network import network

    model = read(Path(config)).values.get("model")
    if not isinstance(model, dict):
        raise ConfigFileError(f"{config}: has no model")
    translated = network(model)
    segmentor = translated.build()
    if checkpoint is not None:
        found = weights.read(Path(checkpoint))
        taken, report = weights.translate(found, weights.renamings(translated), segmentor)
        if not report.complete:
            raise ConfigError("\n".join([f"{checkpoint}: does not fit {config}", *report.problems()]))
        segmentor.load_state_dict(taken)
    return segmentor
