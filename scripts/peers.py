"""The environment of the other libraries that seglit is compared with: made where it is missing, shared by all scripts.

python scripts/peers.py                        # make it, and say what is in it
python scripts/peers.py --environment FOLDER   # there

A script that needs them calls `prepared`, and runs itself or another by `run`; a library that could not be installed is
in what `prepared` returns, with the reason.
"""

import argparse
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import types
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = Path(tempfile.gettempdir()) / "seglit-conformance"
"""Where the environment is unless an option says otherwise."""
NEEDED = ["torch==2.14.1", "torchvision==0.29.1", "numpy", "jaxtyping", "hypothesis", "hydra-core"]
PEERS = {
    "torch": [],
    "mmseg": ["mmsegmentation==1.2.2", "mmengine==0.10.7", "mmcv-lite==2.1.0", "ftfy", "regex"],
    "smp": ["segmentation-models-pytorch==0.6.0"],
    "monai": ["monai==1.6.1"],
    "torchmetrics": ["torchmetrics==1.9.0"],
}


def prepared(environment: Path) -> dict[str, str]:
    """Make the environment where it is not complete; what could not be installed, and pip's last words."""
    done = environment / "conformance.json"
    wanted = json.dumps([NEEDED, PEERS])
    if done.is_file():
        stored = json.loads(done.read_text(encoding="utf-8"))
        if stored["wanted"] == wanted:
            return dict(stored["refused"])
    venv.create(environment, clear=True, with_pip=True)
    installed(environment, NEEDED, check=True)
    refused = {}
    for library, requirements in PEERS.items():
        result = installed(environment, [*NEEDED[:2], *requirements], check=False)
        if result.returncode != 0:
            refused[library] = (result.stderr.strip().splitlines() or ["pip failed"])[-1]
    done.write_text(json.dumps({"wanted": wanted, "refused": refused}), encoding="utf-8")
    return refused


def installed(environment: Path, requirements: list[str], *, check: bool) -> subprocess.CompletedProcess[str]:
    command = [str(python(environment)), "-m", "pip", "install", "--quiet", *requirements]
    return subprocess.run(command, check=check, capture_output=not check, text=True)


def python(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def run(
    environment: Path, script: str | Path, *arguments: str, variables: dict[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a script of this folder among the other libraries, with seglit's own sources."""
    merged = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **(variables or {})}
    command = [str(python(environment)), str(ROOT / "scripts" / script), *arguments]
    return subprocess.run(command, env=merged, cwd=environment, text=True, check=False, **options)


class Placeholders(types.ModuleType):
    """The compiled operations of mmcv, which nothing here calls, by name."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        module = importlib.import_module("torch.nn").Module
        return type(name, (module,), {})


def stand_in_for_mmcv_operations() -> None:
    """Let `mmseg` be imported beside mmcv-lite, which has no compiled operations."""
    if "mmcv._ext" not in sys.modules and importlib.util.find_spec("mmcv._ext") is None:
        sys.modules["mmcv._ext"] = Placeholders("mmcv._ext")
        sys.modules["mmcv.ops"] = Placeholders("mmcv.ops")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT)
    options = parser.parse_args()
    refused = prepared(options.environment)
    for library, requirements in PEERS.items():
        print(f"{library}: {'refused: ' + refused[library] if library in refused else ' '.join(requirements)}")


if __name__ == "__main__":
    main()
