"""Predict a large image in this process, and print its peak memory in MiB beside the stored pixels; run by a test.

python tests/peak_of_prediction.py FOLDER SIDE CLASSES
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from seglit.crops import PixelCrops
from seglit.data.normalise import IMAGENET_MEAN, IMAGENET_STD
from seglit.inference import Inference
from seglit.predicted_files import write_predictions


class LightNet(nn.Module):
    """A few channels at stride 8."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.ReLU(), nn.Conv2d(8, classes, 1))
        self.decode_head = nn.Module()
        self.decode_head.align_corners = False

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"decode": self.layers(image)}


def kibibytes(field: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field + ":"))


def main() -> None:
    folder, side, classes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    tile = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    pixels = np.tile(tile, (-(-side // 500), -(-side // 500), 1))[:side, :side].copy()
    palette = [(number % 256, 7 * number % 256, 0) for number in range(classes)]
    crops = PixelCrops(pixels, IMAGENET_MEAN, IMAGENET_STD, torch.device("cpu"))
    net, inference = LightNet(classes).eval(), Inference((512, 512))
    net(torch.zeros(1, 3, 64, 64))
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, start = kibibytes("VmRSS"), time.perf_counter()
    write_predictions(net, inference, crops, folder / "labels.png", folder / "overlay.png", palette, 255)
    print(f"{(kibibytes('VmHWM') - before) / 1024:.1f} {time.perf_counter() - start:.1f}")


if __name__ == "__main__":
    main()
