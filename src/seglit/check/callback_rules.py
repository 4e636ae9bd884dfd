"""Rules of callbacks and loggers."""

import inspect
from collections.abc import Iterator
from typing import Any

from seglit.check.hints import within
from seglit.check.nodes import HYDRA_KEYS, MISSING, Node, default_of, mapping, resolve
from seglit.config import ConfigError, nearest

SCORES = ("val/miou", "val/macc", "val/aacc", "val/mdice")
BOUNDARY = "val/boundary_miou"
"""A score that is logged where it is asked for."""
PLACES = ("step", "epoch")
"""What Lightning's checkpoints may go by, as if it were logged."""
MODULE = "seglit.module.SegmentationModule"


def logger_rule(content: Node) -> Iterator[str]:
    """Whoever logs rates has a logger."""
    from lightning.pytorch.callbacks import LearningRateMonitor

    if any(node is not None for node in mapping(content.get("logger")).values()):
        return
    for name, _ in callbacks_of(content, LearningRateMonitor):
        yield f"callbacks.{name}: LearningRateMonitor needs a logger, and there is none; set callbacks.{name}=null"


def switched_off_rule(content: Node) -> Iterator[str]:
    """The Trainer does not switch off what is among the callbacks."""
    from lightning.pytorch.callbacks import Checkpoint, ProgressBar

    for argument, kind in (("enable_checkpointing", Checkpoint), ("enable_progress_bar", ProgressBar)):
        for name, _ in callbacks_of(content, kind) if content["trainer"].get(argument) is False else ():
            yield f"trainer.{argument}: false, but there is callbacks.{name}; leave one of them out"


def monitor_rule(content: Node) -> Iterator[str]:
    """Callbacks that go by a score name one that is logged, and know whether more of it is better."""
    from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

    logged = logged_names(content)
    for name, node in callbacks_of(content, ModelCheckpoint, EarlyStopping):
        monitor, mode = node.get("monitor"), node.get("mode", default_of(node, "mode"))
        if not isinstance(monitor, str):
            continue  # the last checkpoint, then; where it has to be given, the signature says so
        if logged and monitor not in (*logged, *PLACES):
            yield f"callbacks.{name}.monitor: {monitor} is not logged{nearest(monitor, logged)}"
        better = better_mode(monitor)
        if better and mode is not MISSING and mode != better:
            yield f"callbacks.{name}.mode: {mode}, but of {monitor} the {better}imum is best; set it to {better}"


def better_mode(name: str) -> str:
    """Whether more of what is logged by this name is better, `max`, or less, `min`; empty where neither."""
    if name in (*SCORES, BOUNDARY) or name.endswith(".acc_seg"):
        return "max"
    return "min" if name.startswith("train/") and ".kept_" not in name else ""


def logged_names(content: Node) -> list[str]:
    """What the module logs; empty where that cannot be known, as others may log as well."""
    from seglit.losses.criterion import WATCHED

    model, callbacks = content["model"], mapping(content.get("callbacks"))
    targets = [str(mapping(node).get("_target_")) for node in callbacks.values() if node is not None]
    if model.get("_target_") != MODULE or not all(within(target, ("seglit", "lightning")) for target in targets):
        return []
    criterion = mapping(model.get("criterion"))
    if not str(criterion.get("_target_")).endswith(".SegmentationCriterion"):
        return []
    heads = {name: mapping(node) for name, node in criterion.items() if name not in HYDRA_KEYS}
    terms = [f"train/{name}.{term}" for name, head in heads.items() for term in mapping(head.get("losses"))]
    watched = [
        f"train/{name}.{part}"
        for name, head in heads.items()
        for part in WATCHED
        if part == "acc_seg" or head.get("sampler") is not None
    ]
    boundary = [] if model.get("boundary_iou") is None else [BOUNDARY]
    return [*SCORES, *boundary, "train/loss", *terms, *watched]


def callbacks_of(content: Node, *kinds: type) -> Iterator[tuple[str, Node]]:
    """Name and node of each callback of one of the classes."""
    for name, node in mapping(content.get("callbacks")).items():
        try:
            target: Any = resolve(str(mapping(node).get("_target_")))
        except ConfigError:
            continue  # has a line of its own
        if inspect.isclass(target) and issubclass(target, kinds):
            yield str(name), mapping(node)
