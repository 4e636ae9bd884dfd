"""The receipt: what a run will really do, read off the objects that will do it."""

from dataclasses import asdict
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import WeightAveraging
from rich.console import Group
from rich.table import Table

from seglit import __version__
from seglit.data.datamodule import SegmentationDataModule
from seglit.module import SegmentationModule
from seglit.optim import describe_groups


def receipt(module: SegmentationModule, datamodule: SegmentationDataModule, trainer: Trainer) -> dict[str, Any]:
    """What will run, as plain numbers and text for `receipt.json`.

    Keys: `tricks` (which of the five are on), `initial` (the file that the weights start from, the parts that it gave,
    and those that begin anew; null without one), `groups` (each parameter group with its rates and the rule that made
    it), `losses` (each loss with weight, divisor, how it is computed and whether it is trained), `schedule`, `data`,
    `run`.
    """
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    optimizer = module.build_optimizer()
    groups = [dict(group) for group in describe_groups(module.net, optimizer.param_groups)]
    channels = {name: head.out_channels for name, head in module.net.heads.items()}
    losses = module.criterion.describe(channels, trainer.strategy.root_device)
    scheduler = None if module.make_scheduler is None else module.make_scheduler(optimizer)
    return {
        "seglit": __version__,
        "tricks": {
            "component_learning_rates": sorted({str(group["rule"]) for group in groups if group["name"] != "base"}),
            "ohem": sorted({str(row["head"]) for row in losses if row["sampler"]}),
            "class_weight": [name_of(row) for row in losses if row["class_weight"] != "none"],
            "several_losses": [name_of(row) for row in losses if row["trained"]]
            if len({row["name"] for row in losses if row["trained"]}) > 1
            else [],
            "avg_non_ignore": [name_of(row) for row in losses if row["avg_non_ignore"]],
        },
        "initial": None if module.net.initial is None else asdict(module.net.initial),
        "groups": groups,
        "losses": losses,
        "schedule": {
            "optimizer": type(optimizer).__name__,
            "scheduler": "none" if scheduler is None else type(scheduler).__name__,
            "total_steps": getattr(scheduler, "total_steps", None),
            "max_steps": trainer.max_steps,
        },
        "data": {
            "root": str(datamodule.root),
            "classes": list(datamodule.classes),
            "ignore_index": datamodule.ignore_index,
            "reads_ignore_index_from": "data.ignore_index",
        },
        "run": {
            "parameters": sum(parameter.numel() for parameter in module.net.parameters()),
            "images_per_step": images_per_step(datamodule, trainer),
            "precision": str(trainer.precision),
            "accumulate_grad_batches": trainer.accumulate_grad_batches,
            "normalize": module.normalize,
            "forward_passes": module.forward_passes(trainer.accumulate_grad_batches),
            "gradient_clip_val": trainer.gradient_clip_val,
            "world_size": trainer.world_size,
            "averaged_weights": any(isinstance(callback, WeightAveraging) for callback in callbacks),
            "seed": datamodule.seed,
        },
    }


def images_per_step(datamodule: SegmentationDataModule, trainer: Trainer) -> int:
    """The training samples that one optimizer step sees, over all devices."""
    return datamodule.batch_size * trainer.world_size * trainer.accumulate_grad_batches


def name_of(row: dict[str, Any]) -> str:
    """`head.loss` of a row of `losses`."""
    return f"{row['head']}.{row['name']}"


def receipt_tables(content: dict[str, Any]) -> Group:
    """The receipt for people."""
    groups = Table(title="parameter groups", title_justify="left")
    for column in ("group", "rule", "lr", "weight decay", "tensors", "parameters"):
        groups.add_column(column, justify="left" if column in {"group", "rule"} else "right")
    for group in content["groups"]:
        decay = group.get("weight_decay")
        groups.add_row(
            str(group["name"]),
            str(group["rule"]),
            f"{group['lr']:g}",
            "-" if decay is None else f"{decay:g}",
            str(group["tensors"]),
            f"{group['parameters']:,}",
        )
    losses = Table(title="losses", title_justify="left")
    losses.add_column("loss", no_wrap=True)
    for column in ("weight", "divided by", "class weight", "pixels", "computed", "trained"):
        losses.add_column(column)
    for row in content["losses"]:
        sampler = row["sampler"]
        pixels = "labelled"
        if sampler is not None:
            pixels = f"OHEM {sampler['thresh']}, {sampler['min_kept']}"
        losses.add_row(
            name_of(row),
            f"{row['weight']:g}",
            row["divisor"] + (f" ({row['compat']})" if row["compat"] else ""),
            row["class_weight"],
            pixels,
            {"kernel": "by a kernel", "tiles": "by tiles", "full size": "at full size"}[row["computed"]],
            "yes" if row["trained"] else "logged only",
        )
    schedule, data, run = content["schedule"], content["data"], content["run"]
    lines = Table(show_header=False, box=None)
    lines.add_row("data", f"{data['root']}: {len(data['classes'])} classes, ignored label {data['ignore_index']}")
    if (initial := content["initial"]) is not None:
        anew = f"; new: {', '.join(initial['new'])}" if initial["new"] else ""
        lines.add_row("weights", f"{', '.join(initial['loaded'])} from {initial['path']}{anew}")
    ends = f"{schedule['scheduler']} to step {schedule['total_steps']}; the run ends at {schedule['max_steps']}"
    lines.add_row("schedule", f"{schedule['optimizer']}, {ends}")
    size = f"{run['parameters']:,} parameters, {run['images_per_step']} images a step"
    lines.add_row("run", f"{size}, {run['precision']}, {run['world_size']} device(s)")
    if run["world_size"] > 1 or run["accumulate_grad_batches"] > 1:
        over = {"global": "of the whole step", "local": "of each micro-batch by itself"}[run["normalize"]]
        twice = ", for which each image runs forward twice" if run["forward_passes"] == 2 else ""
        lines.add_row("losses", f"{over}{twice}")
    return Group(groups, losses, lines)
