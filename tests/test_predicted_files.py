"""One image from file to files: the labels and the overlay of what the call gives, in bounded memory."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import peak_of_prediction
from seglit import predicted_files
from seglit.crops import PixelCrops
from seglit.data.normalise import IMAGENET_MEAN, IMAGENET_STD, normalise
from seglit.inference import Inference
from seglit.pictures import overlay
from seglit.predicted_files import write_predictions

PALETTE = [(0, 0, 0), (250, 20, 30), (5, 250, 90)]


@pytest.mark.parametrize(
    "inference", [Inference(), Inference((96, 96)), Inference((96, 64), flip=True, scales=(0.5, 1))]
)
@pytest.mark.parametrize("most", [2**26, 3000])
def test_files_are_what_the_call_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inference: Inference, most: int
) -> None:
    monkeypatch.setattr(predicted_files, "OVERLAY_PIXELS", most)
    torch.manual_seed(0)
    net = peak_of_prediction.LightNet(3).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (150, 203, 3), dtype=np.uint8)
    image = normalise(torch.from_numpy(pixels).permute(2, 0, 1)[None], IMAGENET_MEAN, IMAGENET_STD)
    expected = inference.labels(inference(net, image, (150, 203)))[0].numpy()
    crops = PixelCrops(pixels, IMAGENET_MEAN, IMAGENET_STD, torch.device("cpu"))
    write_predictions(net, inference, crops, tmp_path / "l.png", tmp_path / "o.png", PALETTE, 255)
    found = np.asarray(Image.open(tmp_path / "l.png"))
    assert (found != expected).sum() <= 3  # in float32, a pixel between two classes may be either's
    step = 1 if most == 2**26 else 4
    whole = overlay(pixels, found, PALETTE, 255)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "o.png"))[:, :, ::-1], whole[::step, ::step])


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is Linux's to tell")
def test_memory_is_bounded_by_rows_of_windows(tmp_path: Path) -> None:
    # Float scores of full size would be 2.6 GiB, the float image 412 MiB, the labels as int64 275 MiB. Three rows of 18
    # windows hold 17 MiB of logits, 64 rows of labels and their overlay 9 MiB; 32 MiB are for torch, NumPy and zlib.
    variables = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, peak_of_prediction.__file__, str(tmp_path), "6000", "19"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[0]) < 64
    with Image.open(tmp_path / "labels.png") as labels:
        assert labels.size == (6000, 6000)
