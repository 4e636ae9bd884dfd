"""Kill trainings at random moments, let them go on, and compare the end with that of a run without a stop.

python scripts/kill_runs.py                          # 25 kills by SIGKILL
python scripts/kill_runs.py --kills 4 --signal TERM

Each run is killed once or twice, and goes on by `resume=`. Checkpoints are written every third step, so that many kills
come while one is written. What is compared is the sha256 of the last weights and of all numbers logged.
"""

import argparse
import csv
import hashlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

STEPS = 60
RUN = [
    "+experiment=bluemarble",
    f"trainer.max_steps={STEPS}",
    "trainer.val_check_interval=20",
    "trainer.limit_val_batches=1",
    "trainer.log_every_n_steps=1",
    "callbacks.recent.every_n_train_steps=3",
    "callbacks.pictures=null",
    "callbacks.progress=null",
    "data.batch_size=2",
    "data.num_workers=1",
    "test_after_fit=false",
]


def command(folder: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "seglit.train", *more, *RUN, f"output_dir={folder}", f"hydra.run.dir={folder}"]


def result(folder: Path) -> tuple[str, str]:
    """Hashes of the last weights, and of the table of logged numbers, its rows sorted."""
    weights = hashlib.sha256()
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    for name, value in sorted(state["state_dict"].items()):
        weights.update(name.encode() + value.numpy().tobytes())
    with (folder / "logs" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = sorted(repr(sorted(row.items())) for row in csv.DictReader(file))
    return weights.hexdigest()[:16], hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def killed(words: list[str], folder: Path, number: signal.Signals, draw: random.Random) -> str:
    """Start, and kill at a random moment after the first checkpoint; in which step, as far as the files tell."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not list((folder / "checkpoints").glob("*.ckpt")):
        if process.poll() is not None:
            raise SystemExit(f"the run ended by itself: {process.communicate()[1][-2000:]}")
        time.sleep(0.02)
    time.sleep(draw.uniform(0, 2.5))
    process.send_signal(number)
    process.communicate()
    known = [int(path.stem.partition("=")[2] or 0) for path in (folder / "checkpoints").glob("*.ckpt")]
    return f"after step {max(known)}, status {process.returncode}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--signal", choices=("KILL", "TERM"), default="KILL")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    number = signal.Signals[f"SIG{options.signal}"]
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        subprocess.run(command(whole), check=True, capture_output=True)
        expected = result(whole)
        print(f"without a stop: weights {expected[0]}, numbers {expected[1]}", flush=True)
        kills = equal = 0
        while kills < options.kills:
            folder = Path(scratch) / "run"
            told = [killed(command(folder), folder, number, draw)]
            again = [sys.executable, "-m", "seglit.train", f"resume={folder}"]
            if kills + 1 < options.kills and draw.random() < 0.3:
                told.append(killed(again, folder, number, draw))
            subprocess.run(again, check=True, capture_output=True)
            is_equal = result(folder) == expected
            kills += len(told)
            equal += len(told) * is_equal
            print(f"{kills}: killed {' and '.join(told)}: {'equal' if is_equal else 'DIFFERS'}", flush=True)
            shutil.rmtree(folder)
    print(f"{equal} of {kills} kills end in the same weights and numbers")
    sys.exit(equal < kills)


if __name__ == "__main__":
    main()
