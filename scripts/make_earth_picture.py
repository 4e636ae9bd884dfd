"""The README's first picture: the Earth, its land cover in truth, and as a checkpoint predicts it.

python scripts/make_bluemarble.py --download --wheels wheels --whole-earth earth
python -m seglit.predict CHECKPOINT earth/earth.jpg --output earth/predicted --window 225 225 --stride 150 150
python scripts/make_earth_picture.py earth/earth.jpg earth/earth_mask.png earth/predicted/earth.png earth.jpg
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from seglit.data.datamodule import SegmentationDataModule
from seglit.metrics import ConfusionMatrix, scores
from seglit.pictures import colourise, panel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("image", "truth", "prediction", "output"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    data = SegmentationDataModule("seglit:bluemarble", 7)
    # The picture is far larger than Pillow's guard against decompression bombs likes.
    Image.MAX_IMAGE_PIXELS = None
    truth, prediction = (np.asarray(Image.open(path)) for path in (options.truth, options.prediction))
    matrix = ConfusionMatrix(7, 255)
    matrix.update(*(torch.from_numpy(array.copy())[None] for array in (prediction, truth)))
    result = scores(matrix.compute())
    size = (900, 450)
    image = np.asarray(Image.open(options.image).convert("RGB").resize(size, Image.Resampling.LANCZOS))
    small = [np.asarray(Image.fromarray(array).resize(size, Image.Resampling.NEAREST)) for array in (truth, prediction)]
    maps = [colourise(array, data.palette, 255) for array in small]
    titles = ["NASA Blue Marble", "land cover, MODIS", "land cover, predicted"]
    picture = panel([image, *maps], titles, data.classes, data.palette)
    Image.fromarray(picture).save(options.output, quality=88)
    print(f"whole Earth, training strips included: mIoU {result.miou:.4f}, {100 * result.aacc:.2f} % of pixels right")


if __name__ == "__main__":
    main()
