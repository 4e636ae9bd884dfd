"""How far apart the gradients of one optimizer step are when its batch of 8 is cut up in other ways.

    python scripts/agreement.py

One process with the whole batch, two with four images each, one that accumulates eight times one image, and two that
accumulate twice two images; void is spread unevenly over the images. In float64, without normalisation over the batch
and without dropout, which see the cuts by themselves. Prints the greatest difference of a parameter's gradient,
relative to the greatest entry of that gradient.
"""

import argparse
import os
import socket
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from PIL import Image
from torch import Tensor
from torch.multiprocessing import spawn

from seglit.backbones import UNet
from seglit.blocks import GroupNorm
from seglit.build import hush
from seglit.data.datamodule import SegmentationDataModule
from seglit.heads import FCNHead
from seglit.losses import (
    CrossEntropyLoss,
    DiceLoss,
    FocalLoss,
    HeadCriterion,
    LovaszLoss,
    OHEMPixelSampler,
    SegmentationCriterion,
    TverskyLoss,
)
from seglit.losses.loss import Loss
from seglit.module import SegmentationModule
from seglit.segmentor import Segmentor

CLASSES = 3
WEIGHTS = [0.5, 1.0, 3.0]
BATCH = 8
CUTS = {"2 x 4": (2, 4, 1), "1 + 1 + ... + 1": (1, 1, 8), "2 x (2 + 2)": (2, 2, 2)}
"""Processes, images at a time, and how often these are accumulated."""

Losses = Callable[[], tuple[dict[str, Loss], OHEMPixelSampler | None]]


def one(make: Callable[..., Loss], sampler: OHEMPixelSampler | None = None, **options: Any) -> Losses:
    """A head with this loss alone."""
    return lambda: ({"loss_x": make(**options)}, sampler)


def everything() -> tuple[dict[str, Loss], OHEMPixelSampler | None]:
    """All tricks at once."""
    losses: dict[str, Loss] = {
        "loss_ce": CrossEntropyLoss(class_weight=WEIGHTS),
        "loss_dice": DiceLoss(loss_weight=3.0, class_weight=WEIGHTS, per_image=False),
        "loss_focal": FocalLoss(),
    }
    return losses, OHEMPixelSampler(0.7, 300)


CRITERIA: dict[str, Losses] = {
    "CE, all": one(CrossEntropyLoss),
    "CE, avg_non_ignore": one(CrossEntropyLoss, avg_non_ignore=True),
    "weighted CE": one(CrossEntropyLoss, class_weight=WEIGHTS, divisor="class_weight"),
    "BCE": one(CrossEntropyLoss, use_sigmoid=True, avg_non_ignore=True),
    "focal": one(FocalLoss, avg_non_ignore=True),
    "OHEM by thresh": one(CrossEntropyLoss, OHEMPixelSampler(0.34, 10)),
    "OHEM by min_kept": one(CrossEntropyLoss, OHEMPixelSampler(None, 200)),
    "Dice by image": one(DiceLoss, avg_non_ignore=True),
    "Dice of the batch": one(DiceLoss, per_image=False),
    "Tversky of the batch": one(TverskyLoss, per_image=False),
    "Lovász by image": one(LovaszLoss, per_image=True),
    "OHEM, weighted CE 1 : Dice 3 : focal 1": everything,
}


def write_data(root: Path) -> None:
    """Eight images of noise with labels, whose share of void goes from none to nearly all."""
    random = np.random.default_rng(0)
    for split, count in (("train", BATCH), ("val", 1)):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for number in range(count):
            labels = random.integers(0, CLASSES, (32, 32), np.uint8)
            image = random.integers(0, 256, (32, 32, 3), np.uint8)
            image[..., 0] = 80 * labels
            labels[random.random((32, 32)) < number / BATCH] = 255
            Image.fromarray(image).save(root / "images" / split / f"{number}.png")
            Image.fromarray(labels).save(root / "masks" / split / f"{number}.png")


def step(root: Path, losses: Losses, images: int, accumulated: int, normalize: str = "global") -> dict[str, Tensor]:
    """The gradients and the loss of one optimizer step in this process, or in all processes of its group.

    The gradients are read off the weights, which a step of plain descent at rate one moves by them.
    """
    torch.manual_seed(0)
    head = partial(FCNHead, num_classes=CLASSES, num_convs=1, channels=8, concat_input=False, dropout_ratio=0.0)
    norm = partial(GroupNorm, num_groups=4)
    net = Segmentor(
        UNet(base_channels=8, num_stages=2, norm=norm),
        partial(head, in_index=0, norm=norm),
        {"aux": partial(head, in_index=1, norm=norm)},
    )
    module = SegmentationModule(
        net,
        SegmentationCriterion(
            decode=HeadCriterion(*losses()), aux=HeadCriterion({"loss_ce": CrossEntropyLoss()}, weight=0.4)
        ),
        partial(torch.optim.SGD, lr=1.0),
        normalize=normalize,  # type: ignore[arg-type]
    )
    data = SegmentationDataModule(root, CLASSES, batch_size=images, num_workers=0)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    trainer = Trainer(
        max_steps=1,
        max_epochs=-1,
        check_val_every_n_epoch=None,
        limit_val_batches=0,
        accelerator="cpu",
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",
        precision="64-true",
        accumulate_grad_batches=accumulated,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        default_root_dir=str(root),
    )
    before = {name: value.detach().double() for name, value in module.net.named_parameters()}
    trainer.fit(module, datamodule=data)
    gradients = {name: before[name] - value.detach() for name, value in module.net.named_parameters()}
    return gradients | {"loss": trainer.callback_metrics["train/loss"].double()}


def rank(number: int, port: int, root: Path, names: list[str], cuts: list[str], normalize: str, output: Path) -> None:
    """What one of two processes does: a step of each criterion in each cut; the first keeps the gradients."""
    quiet()
    os.environ |= {
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "agreement",
    }
    results = {(name, cut): step(root, CRITERIA[name], *CUTS[cut][1:], normalize) for name in names for cut in cuts}
    if number == 0:
        torch.save(results, output)
    torch.distributed.destroy_process_group()


def quiet() -> None:
    """No words of Lightning's about a single step."""
    hush()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)


def differences(names: list[str], cuts: list[str], normalize: str = "global") -> dict[tuple[str, str], float]:
    """The greatest relative difference from the gradient of the batch in one piece, by criterion and cut."""
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_data(root)
        whole = {name: step(root, CRITERIA[name], BATCH, 1) for name in names}
        found = {
            (name, cut): step(root, CRITERIA[name], *CUTS[cut][1:], normalize)
            for name in names
            for cut in cuts
            if CUTS[cut][0] == 1
        }
        shared = [cut for cut in cuts if CUTS[cut][0] == 2]
        if shared:
            output = root / "results.pt"
            spawn(rank, (free_port(), root, names, shared, normalize, output), nprocs=2)
            found |= torch.load(output, weights_only=True)
    return {key: difference(value, whole[key[0]]) for key, value in found.items()}


def difference(gradients: dict[str, Tensor], others: dict[str, Tensor]) -> float:
    """The greatest difference of the gradients of a parameter, or of the losses, relative to the greatest of them."""
    return max(
        ((value - others[name]).abs().max() / others[name].abs().max()).item() for name, value in gradients.items()
    )


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    found = differences(list(CRITERIA), list(CUTS))
    print(f"| loss | {' | '.join(CUTS)} |")
    print("| --- |" + " --- |" * len(CUTS))
    for name in CRITERIA:
        print(f"| {name} | {' | '.join(f'{found[name, cut]:.1e}' for cut in CUTS)} |")
    print(f"\ngreatest: {max(found.values()):.1e}")


if __name__ == "__main__":
    main()
