"""Commands import what they need, and no more."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from seglit.startup import without_collection

HEAVY = ("torch", "lightning", "albumentations", "matplotlib", "torchmetrics", "timm", "tensorboard", "cv2", "numpy")
PROGRAM = """
import runpy, sys
sys.argv = {words!r}
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
except SystemExit as end:
    status = end.code or 0
else:
    status = 0
print("\\n", status, *[name for name in {modules!r} if name in sys.modules])
"""


def ended(folder: Path, modules: tuple[str, ...], *words: str) -> list[str]:
    """The exit status of a command, and those of the modules that it imported."""
    program = PROGRAM.format(words=list(words), modules=modules)
    source = Path(__file__).parents[1] / "src"
    variables = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=variables, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "compare", "sweep", "doctor", "replay"])
def test_help_imports_nothing_heavy(tmp_path: Path, command: str) -> None:
    assert ended(tmp_path, HEAVY, f"seglit.{command}", "--help") == ["0"]


@pytest.mark.parametrize("word", ["+experiment=nothing", "model=nothing", "modle=x", "data.root=[", "seeed=1"])
def test_a_mistake_in_what_is_composed_imports_nothing_heavy(tmp_path: Path, word: str) -> None:
    assert ended(tmp_path, HEAVY, "seglit.train", word) == ["2"]


def test_the_parts_of_a_run_import_no_library_that_it_does_not_name(tmp_path: Path) -> None:
    program = "import sys, seglit.build, seglit.callbacks; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert not {"timm", "tensorboard", "mlflow", "wandb", "pandas", "sklearn"} & set(found.stdout.split())


def test_collection_goes_on_after_an_error() -> None:
    assert gc.isenabled()
    with without_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="inside"), without_collection():
        raise ValueError("inside")
    assert gc.isenabled()
