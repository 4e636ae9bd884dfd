"""Score a checkpoint: `python -m seglit.evaluate runs/.../best.ckpt --split test`."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

LOOKED_AT = (
    "data.",
    "model.inference",
    "model.boundary_iou",
    "model.channels_last",
    "model.compile",
    "trainer.",
    "callbacks.progress",
)
NOT_LOOKED_AT = ("data.train_transforms", "data.batch_size")
"""Beginnings of the keys that change an evaluation, and of those among them that do not."""
WHOLE_SPLIT = {"limit_val_batches": None, "limit_test_batches": None, "overfit_batches": 0.0}
"""Arguments of the Trainer by which a run may have looked at a part of a split, and what they are for all of it."""


def main(arguments: list[str] | None = None) -> None:
    """The command. A mistake of the user is one line on standard error and exit status 2."""
    parser = argparse.ArgumentParser(prog="seglit-evaluate", description="Score a checkpoint on a split.")
    parser.add_argument("checkpoint", type=Path, help="a .ckpt that seglit.train wrote; its configuration is inside")
    parser.add_argument("changes", nargs="*", metavar="key=value", help="changes of that configuration: data.root=...")
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--output", type=Path, help="folder for the results; beside the checkpoint by default")
    parser.add_argument("--trust", action="append", default=[], metavar="PACKAGE", help="your own, to build from too")
    options = parser.parse_intermixed_args(arguments)

    from seglit.config import readable_errors

    with readable_errors():
        evaluate(options.checkpoint, options.split, options.changes, options.output, options.trust)


def evaluate(
    checkpoint: Path, split: str, changes: Sequence[str] = (), output: Path | None = None, packages: Sequence[str] = ()
) -> dict[str, float | None]:
    """Score the net of a checkpoint on one split of its data set; print the table, and write the results.

    The whole split counts, even if the run that wrote the checkpoint looked at a part only, unless `changes` limit it.
    Writes `evaluation_<split>.json` and `confusion_<split>.png`, and of the newest evaluation in the folder the card
    for `seglit.compare`, `evaluation.json` with `evaluation_images.npz`.

    Args:
        checkpoint: written by `seglit.train`.
        split: `val` or `test`.
        changes: `key=value` changes of the checkpoint's configuration.
        output: folder of the results; None: `evaluation` beside the checkpoint.
        packages: further packages whose classes the checkpoint may name.

    Returns:
        The scores by name, see `seglit.callbacks.score_tables.metrics_of`.
    """
    from seglit.startup import without_collection

    with without_collection():
        from rich.console import Console

        from seglit.build import build
        from seglit.callbacks.score_tables import metrics_of, score_table
        from seglit.card import averages_weights, write_card
        from seglit.check.nodes import resolve
        from seglit.checkpoint import override, read_checkpoint, rebuildable
        from seglit.files import write_text
        from seglit.pictures import confusion_figure, save_figure

    refuse_idle(changes)
    cfg, weights = read_checkpoint(checkpoint, packages)
    cfg.trainer.update({name: value for name, value in WHOLE_SPLIT.items() if name in cfg.trainer})
    cfg = rebuildable(override(cfg, changes, packages))
    averaged = averages_weights(resolve(node["_target_"]) for node in cfg.callbacks.values() if node is not None)
    cfg.callbacks = {"progress": cfg.callbacks.get("progress")}
    cfg.logger = {}
    parts = build(cfg)
    parts.module.net.load_state_dict(weights)
    run = parts.trainer.test if split == "test" else parts.trainer.validate
    run(parts.module, datamodule=parts.datamodule, verbose=False)
    evaluation = parts.module.evaluations[split]
    classes = list(parts.datamodule.classes)
    result = metrics_of(evaluation, classes, split)
    if parts.trainer.is_global_zero:
        folder = output or checkpoint.parent / "evaluation"
        Console().print(score_table(evaluation, classes, f"{split}: {checkpoint}"))
        write_text(folder / f"evaluation_{split}.json", json.dumps(result, indent=2) + "\n")
        write_card(folder, parts, split, averaged)
        save_figure(confusion_figure(evaluation.matrix.cpu().numpy(), classes), folder / f"confusion_{split}.png")
        print(f"{split} mIoU {evaluation.scores.miou:.4f}; results in {folder}")
    return result


def refuse_idle(changes: Sequence[str]) -> None:
    """Refuse changes that an evaluation does not look at.

    Raises:
        ConfigError: names the key.
    """
    from seglit.config import ConfigError

    for change in changes:
        key = change.partition("=")[0]
        if not key.startswith(LOOKED_AT) or key.startswith(NOT_LOOKED_AT):
            raise ConfigError(f"{key}: has no effect on an evaluation, which looks at {', '.join(LOOKED_AT)}")


if __name__ == "__main__":
    main()
