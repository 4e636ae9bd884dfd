"""Checkpoints of seglit: the configuration inside, and the net it describes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from seglit.check import check
from seglit.check.nodes import walk
from seglit.config import ConfigError, from_text, plain
from seglit.segmentor import Segmentor

NET = "net."
SOURCES = {
    "pretrained": False,
    "checkpoint_path": None,
    "class_weight": None,
    "init_weights": None,
    "new_classifiers": False,
}
"""Arguments by which net and criterion fetch what a checkpoint has or does not need, and what they are without it."""


def stored(path: Path) -> tuple[DictConfig, Mapping[str, Any]]:
    """The configuration in a checkpoint, not yet checked, and all that the file holds; read with torch's safe loader.

    A safetensors file that `seglit-import weights` wrote of a whole segmentor is one too.

    Raises:
        ConfigError: names the file where it is missing or not a checkpoint of seglit.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; give a .ckpt that seglit.train wrote")
    try:
        content: Any = (
            imported(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:
        # Torch's own words advise to load it unsafely.
        kind = type(error).__name__
        raise ConfigError(
            f"{path}: cannot be read as a checkpoint ({kind}); give a .ckpt that seglit.train wrote"
        ) from error
    about = content.get("seglit") if isinstance(content, Mapping) else None
    text = about.get("config") if isinstance(about, Mapping) else None
    if not isinstance(text, str) or not text:
        raise ConfigError(f"{path}: no configuration inside; give a .ckpt that seglit.train wrote")
    if not isinstance(content.get("state_dict"), Mapping):
        raise ConfigError(f"{path}: no weights inside; give a .ckpt that seglit.train wrote")
    try:
        return from_text(text), content
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def imported(path: Path) -> dict[str, Any]:
    """What `seglit-import weights` wrote, in the form of a checkpoint."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        weights = {NET + name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
        return {"state_dict": weights, "seglit": {"config": (file.metadata() or {}).get("config")}}


def read_checkpoint(path: Path, packages: Sequence[str] = ()) -> tuple[DictConfig, dict[str, Tensor]]:
    """The configuration in a checkpoint, and the weights of the net by parameter name.

    The file is read with torch's safe loader, and only classes of seglit and its libraries may be named in it.

    Args:
        path: the file.
        packages: further packages whose classes it may name, your own for instance.

    Raises:
        ConfigError: names the file where it is missing, not a checkpoint of seglit, or names a foreign class.
    """
    cfg, content = stored(path)
    try:
        check(cfg, trusted=False, packages=packages)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    weights = content["state_dict"]
    return cfg, {name.removeprefix(NET): value for name, value in weights.items() if name.startswith(NET)}


def override(cfg: DictConfig, changes: Sequence[str], packages: Sequence[str] = ()) -> DictConfig:
    """`with_changes`, and checked; `packages` as for `read_checkpoint`."""
    changed = with_changes(cfg, changes)
    check(changed, trusted=False, packages=packages)
    return changed


def with_changes(cfg: DictConfig, changes: Sequence[str]) -> DictConfig:
    """The configuration with `key=value` changes of keys that it has.

    Raises:
        ConfigError: names a key that it has not.
    """
    changed = cfg.copy()
    OmegaConf.set_struct(changed, True)
    for change in changes:
        key, separator, _ = change.partition("=")
        if not separator:
            raise ConfigError(f"{change}: not of the form key=value")
        try:
            changed.merge_with_dotlist([change])
        except Exception as error:
            raise ConfigError(f"{key}: no such key in the stored configuration") from error
    return changed


def rebuildable(cfg: DictConfig) -> DictConfig:
    """The configuration with all that is fetched for training left out of net and criterion.

    The weights are at hand, so none are downloaded or read; no loss is computed, so class weights are neither read nor
    measured.
    """
    changed = cfg.copy()
    OmegaConf.set_struct(changed, False)
    for key, name, value in walk(plain(cfg)["model"], "model"):
        # Class weights that are numbers need no fetching, and a loss may insist on them.
        if key.startswith(("model.net.", "model.criterion.")) and name in SOURCES and not isinstance(value, list):
            OmegaConf.update(changed, key, SOURCES[name])
    return changed


def resuming(cfg: DictConfig) -> DictConfig:
    """The configuration without the file that the net first started from, as a run goes on from its checkpoint."""
    changed = cfg.copy()
    for name in ("init_weights", "new_classifiers"):
        if name in changed.model.net:
            changed.model.net[name] = SOURCES[name]
    return changed


def load_net(cfg: DictConfig, weights: Mapping[str, Tensor]) -> Segmentor:
    """The net that the configuration describes, with these weights, in eval mode."""
    from seglit.build import built

    net: Segmentor = built(rebuildable(cfg).model.net, "model.net")
    net.load_state_dict(dict(weights))
    return net.eval()
