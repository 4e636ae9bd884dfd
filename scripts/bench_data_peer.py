"""MMSegmentation's Cityscapes training pipeline, sample by sample; run by bench_data.py, where it is installed.

Reads places in the run from standard input, a line each, and writes the processor's seconds that each sample took.
"""

import importlib
import importlib.metadata
import sys
import time
import warnings
from pathlib import Path

import cv2
import numpy as np
import torch

import peers

SETTINGS = (
    {"type": "LoadImageFromFile"},
    {"type": "LoadAnnotations"},
    {"type": "RandomResize", "scale": (2048, 1024), "ratio_range": (0.5, 2.0), "keep_ratio": True},
    {"type": "RandomCrop", "crop_size": (512, 1024), "cat_max_ratio": 0.75},
    {"type": "RandomFlip", "prob": 0.5},
    {"type": "PhotoMetricDistortion"},
    {"type": "PackSegInputs"},
)
"""`train_pipeline` of configs/_base_/datasets/cityscapes.py, whose settings these are."""


def main() -> None:
    warnings.simplefilter("ignore")
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    peers.stand_in_for_mmcv_operations()
    importlib.import_module("mmseg.datasets.transforms")
    registry = importlib.import_module("mmseg.registry").TRANSFORMS
    steps = [registry.build(dict(step)) for step in SETTINGS]
    images = sorted(Path(sys.argv[1], "images", "train").iterdir())
    np.random.seed(0)  # noqa: NPY002, what these transforms draw from
    versions = {
        name: importlib.metadata.version(name) for name in ("mmsegmentation", "mmcv-lite", "opencv-python", "numpy")
    }
    print(", ".join(f"{name} {number}" for name, number in versions.items()), flush=True)
    for line in sys.stdin:
        image = images[int(line) % len(images)]
        sample = {
            "img_path": str(image),
            "seg_map_path": str(Path(sys.argv[1], "masks", "train", image.name)),
            "label_map": None,
            "reduce_zero_label": False,
            "seg_fields": [],
        }
        start = time.process_time()
        for step in steps:
            sample = step(sample)
        print(time.process_time() - start, flush=True)


if __name__ == "__main__":
    main()
