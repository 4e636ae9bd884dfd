"""Images per second and core of the training data, against MMSegmentation's Cityscapes pipeline: interleaved, medians.

python scripts/bench_data.py
python scripts/bench_data.py --environment FOLDER --json rows.json

Both read the same PNG files of 2048 x 1024, which are made here, scale by 0.5 to 2, cut out 512 x 1024 with
cat_max_ratio 0.75, mirror, and distort colours, in one process of one thread each, in turn image by image.
MMSegmentation 1.2.2 runs by itself, see bench_data_peer.py. Counted is the processor's time, so that other work on the
machine does not enter; the files are in memory by then, on both sides. Neither side normalises: that is for the device.
The last row leaves the colours to it too, and what they take there is not counted.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

import peers
from seglit.build import built
from seglit.config import compose
from seglit.data.loading import AugmentedDataset, collate
from seglit.data.sampling import SamplePosition
from seglit.data.workers import prepare_worker
from seglit.files import write_text

UNAVAILABLE = 69
"""Exit status where MMSegmentation cannot be installed."""
CLASSES = 19
COLORS = "{_target_: seglit.data.transforms.PhotoMetricDistortion}"
WAYS = {
    "from files": [],
    "masks cached": ["data.cache=masks"],
    "all cached": ["data.cache=all"],
    "all cached, colours on the device": [
        "data.cache=all",
        "~data.train_transforms.color",
        f"data.device_color={COLORS}",
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, default=peers.ENVIRONMENT, help="where MMSegmentation is")
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--short", action="store_true", help="few rounds, under 90 seconds")
    options = parser.parse_args()
    prepare_worker(0)  # as in each process that loads samples
    torch.set_num_threads(1)
    refused = peers.prepared(options.environment)
    if "mmseg" in refused:
        print(f"MMSegmentation cannot be installed: {refused['mmseg']}", file=sys.stderr)
        sys.exit(UNAVAILABLE)
    images, rounds = (6, 5) if options.short else (12, 15)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for number in range(images):
            write_scene(root, number)
        rows = measured(root, options.environment, images, rounds)
    if options.json is not None:
        write_text(options.json, json.dumps(rows, indent=1) + "\n")


def measured(root: Path, environment: Path, images: int, rounds: int) -> list[dict[str, Any]]:
    """Print the table, and return it."""
    with peer_of(environment, root) as process:
        versions = process.stdout.readline().strip()
        contenders = {name: sampler(root, keys) for name, keys in WAYS.items()}
        contenders["MMSegmentation"] = lambda place: asked(process, place)
        print(header(versions), end="\n\n", flush=True)
        print(sizes(root))
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for number in range(-1, rounds):
            sums = dict.fromkeys(contenders, 0.0)
            for place in range(images):
                for name, take in contenders.items():
                    sums[name] += take((number + 1) * images + place)
            for name, total in sums.items() if number >= 0 else ():
                times[name].append(total / images)
        process.stdin.close()
    peer = 1 / statistics.median(times["MMSegmentation"])
    print(f"\n{'images per second and core':34s} {'seglit':>8s} {'peer':>8s} {'ratio':>6s}  milliseconds, range")
    rows = []
    for name in WAYS:
        ours = 1 / statistics.median(times[name])
        numbers = {"ours": round(ours, 1), "peer": round(peer, 1), "ratio": round(ours / peer, 2)}
        shape = "PNG of 2048x1024 to a crop of 512x1024"
        rows.append({"measure": f"data, {name}", "shape": shape, "unit": "images/s/core", **numbers})
        least, greatest = (1000 * limit(times[name]) for limit in (min, max))
        print(f"{name:34s} {ours:8.1f} {peer:8.1f} {ours / peer:6.2f}  {least:.1f} to {greatest:.1f}")
    return rows


def sampler(root: Path, more: list[str]) -> Callable[[int], float]:
    """The seconds of the processor that a training sample takes, by its place in the run."""
    settings = {"root": root, "num_classes": CLASSES, "num_workers": 0}
    settings |= {"train_transforms.crop.height": 512, "train_transforms.crop.width": 1024}
    settings |= {"cache_dir": root / "cache"} if "cache" in " ".join(more) else {}
    keys = [*(f"data.{key}={value}" for key, value in settings.items()), *more]
    data = built(compose(["data=folder", "name=x", "output_dir=x", *keys]).data, "data")
    data.setup("fit")
    samples = AugmentedDataset(data.samples("train"), data.train_augmentation, 0)

    def seconds(place: int) -> float:
        start = time.process_time()
        collate([samples[SamplePosition(place, place % len(samples))]])
        return time.process_time() - start

    return seconds


def peer_of(environment: Path, root: Path) -> subprocess.Popen[str]:
    """A process that takes MMSegmentation's samples when it is asked to."""
    script = Path(__file__).with_name("bench_data_peer.py")
    command = [str(peers.python(environment)), str(script), str(root)]
    variables = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)


def asked(process: subprocess.Popen[str], place: int) -> float:
    """The seconds that the other process took for a sample."""
    process.stdin.write(f"{place}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def write_scene(root: Path, number: int) -> None:
    """A picture with the statistics of a photograph, and its mask: ever smaller things before a sky and a road.

    Shapes of all sizes that cover each other (Lee, Mumford and Huang, 2001), with texture, blur and noise.
    """
    draw = np.random.default_rng(number)
    image = np.zeros((1024, 2048, 3), np.uint8)
    image[:450], image[450:] = (180, 170, 160), (95, 90, 85)
    labels = np.zeros((1024, 2048), np.uint8)
    labels[:450] = 10
    for radius in sorted(12 / draw.uniform(0.03, 1, 260), reverse=True):
        centre = (int(draw.integers(0, 2048)), int(draw.normal(480, 130)))
        axes = (int(radius * draw.uniform(0.3, 1)) + 1, int(radius * draw.uniform(0.3, 1)) + 1)
        place = {"center": centre, "axes": axes, "angle": float(draw.uniform(0, 180)), "startAngle": 0, "endAngle": 360}
        cv2.ellipse(image, **place, color=draw.integers(20, 220, 3).tolist(), thickness=-1)
        cv2.ellipse(labels, **place, color=int(draw.integers(1, CLASSES)), thickness=-1)
    labels[990:] = 255
    pixels = cv2.GaussianBlur(image, (0, 0), 1.0).astype(np.float32)
    for cell, strength in ((64, 10), (16, 5), (4, 3), (1, 1.2)):
        texture = draw.normal(size=(1024 // cell, 2048 // cell, 1)).astype(np.float32)
        pixels += strength * cv2.resize(texture, (2048, 1024), interpolation=cv2.INTER_LINEAR)[..., None]
    for folder, content in (("images", np.clip(pixels, 0, 255).astype(np.uint8)), ("masks", labels)):
        for split in ("train", "val") if number == 0 else ("train",):
            target = root / folder / split / f"{number:02}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(target), content)


def sizes(root: Path) -> str:
    """How large the files are."""
    kinds = {
        "image files": "images/train/*",
        "mask files": "masks/train/*",
        "cached images": "cache/images/*",
        "cached masks": "cache/masks/*",
    }
    found = {name: [path.stat().st_size for path in root.glob(pattern)] for name, pattern in kinds.items()}
    return ", ".join(f"{name} {statistics.mean(values) / 1000:.0f} kB" for name, values in found.items())


def header(peer: str) -> str:
    """Machine and versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    own = f"OpenCV {cv2.__version__}, NumPy {np.__version__}, Python {platform.python_version()}"
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, 1 used\nseglit: {own}\npeer: {peer}"


if __name__ == "__main__":
    main()
