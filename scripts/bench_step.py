"""A whole training step, net, losses, optimizer: by tiles against plain losses, and in other precisions and formats.

python scripts/bench_step.py
python scripts/bench_step.py --compile   # torch.compile as well, which takes minutes

The options are those of a run: `trainer.precision=bf16-mixed`, `model.channels_last=true`, `model.compile=true`. Each
contender is a net of its own with the same weights and batch; all take a step in turn.
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benching import Row, header, interleaved, options_of, shown, time_row, written
from seglit.build import built
from seglit.config import compose
from seglit.losses.ranks import ALONE
from seglit.module import SegmentationModule

CLASSES, IMAGES = 19, 2
SHAPES = {"fcn_unet_small": 64, "fcn_unet_s5-d16": 64, "pspnet_r18-d8": 128}
"""Crops by model."""
WHOLE = {"fcn_unet_small": (256, 256), "pspnet_r18-d8": (256, 256)}
"""Crops of the steps that compare losses."""
SHORT = ("fcn_unet_small", "pspnet_r18-d8")


def main() -> None:
    options = options_of(__doc__, add_compile)
    print(header(torch.get_num_threads(), ["seglit", "torch", "lightning"]) + "\n", flush=True)
    rows: list[Row] = []
    for model in SHORT if options.short else SHAPES:
        rows += measured(model, SHAPES[model], 3 if options.short else 9, compiled=options.compile)
    for model, size in WHOLE.items():
        for classes in (19,) if options.short else (19, 150):
            rows += compared(model, size, classes, 3 if options.short else 9)
    for found in rows:
        print(shown(found), flush=True)
    written(rows, options.json)


def add_compile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--compile", action="store_true", help="torch.compile as well, which takes minutes")


def measured(model: str, size: int, rounds: int, *, compiled: bool) -> list[Row]:
    """The rows of a model."""
    plain = ["model.channels_last=false"]
    steps = {
        "float32": step_of(model, size, plain),
        "bf16-mixed": step_of(model, size, plain, mixed=True),
        "channels_last": step_of(model, size, ["model.channels_last=true"]),
        "channels_last and bf16-mixed": step_of(model, size, ["model.channels_last=true"], mixed=True),
    }
    if compiled:
        steps["compile"] = step_of(model, size, [*plain, "model.compile=true"])
    for step in steps.values():
        step()
        step()
    times = interleaved(steps, rounds)
    shape = f"{model}, {IMAGES}x3x{size}x{size}, {CLASSES} classes"
    base = times.pop("float32")
    return [time_row(f"step, {name} against float32", shape, taken, base) for name, taken in times.items()]


def compared(model: str, size: tuple[int, int], classes: int, rounds: int) -> list[Row]:
    """The rows of a model's losses: as they are by default, by tiles, in one piece, and those of plain PyTorch."""
    shape = f"{model}, {IMAGES}x3x{size[0]}x{size[1]}, {classes} classes"
    steps = {
        "default": step_of(model, size[0], [], classes=classes),
        "kernels=false": step_of(model, size[0], ["model.criterion.kernels=false"], classes=classes),
        "tiled=false": step_of(model, size[0], ["model.criterion.tiled=false"], classes=classes),
        "F.interpolate + F.cross_entropy": step_of(model, size[0], [], classes=classes, plain=True),
    }
    for step in steps.values():
        step()
    times = interleaved(steps, rounds)
    ours = times.pop("default")
    return [time_row(f"step, losses by default against {name}", shape, ours, taken) for name, taken in times.items()]


def plain_loss(outputs: dict[str, Tensor], labels: Tensor) -> Tensor:
    """Cross-entropy of each head, the auxiliary ones at 0.4."""
    losses = []
    for name, logits in outputs.items():
        full = F.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
        losses.append((1.0 if name == "decode" else 0.4) * F.cross_entropy(full, labels, ignore_index=255))
    return torch.stack(losses).sum()


def step_of(
    model: str, size: int, changes: list[str], *, mixed: bool = False, classes: int = CLASSES, plain: bool = False
) -> Callable[[], None]:
    """A call that takes a step; `mixed` as Lightning's `bf16-mixed` does it, `plain` with losses of PyTorch alone."""
    torch.manual_seed(0)
    words = [f"model={model}", "data=folder", "data.root=nowhere", f"data.num_classes={classes}", "name=bench"]
    cfg = compose([*words, "output_dir=nowhere", *changes])
    module: SegmentationModule = built(cfg.model, "model")
    module.train()
    optimizer = module.build_optimizer()
    image, labels = torch.randn(IMAGES, 3, size, size), torch.randint(0, classes, (IMAGES, size, size))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            if plain:
                loss = plain_loss(module(image), labels)
            else:
                loss = module.criterion(module(image), labels, module.align_corners, ALONE)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
