"""No step of training waits for the device, but one that is logged, and that once.

On the CPU nothing waits. So what would on a device is intercepted: values that are read by the host, operations whose
result has a shape that depends on values, and numbers of the host that are copied to the device.
"""

import inspect
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from conftest import tiny_overrides
from seglit.build import build
from seglit.callbacks import black_box
from seglit.config import compose
from seglit.losses import ohem, pixels, proof, tiled

READS = {"_local_scalar_dense", "equal", "is_nonzero"}
SHAPES = {"nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
MOVES = {"to", "cuda"}
TO_HOST = {"cpu", "tolist", "numpy", "__array__"}
FROM_HOST = {"tensor", "as_tensor", "new_tensor"}
OTHERS = {
    "torch/optim/": "the counters of steps, which torch keeps on the host",
    "lightning/pytorch/callbacks/lr_monitor.py": "rates for callbacks, copied to the device where a step is logged",
}
"""What is not seglit's, with the reason why it is passed over."""


class Loaded:
    """Batches that are there; Lightning would take a list of them for one of loaders."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


class Watch:
    """Counts what would wait, by its place in the code, for each step."""

    def __init__(self) -> None:
        self.steps: list[Counter[str]] = []
        self.of_host: list[Tensor] = []

    def note(self, name: str) -> None:
        frames = [frame for frame in inspect.stack(0) if Path(frame.filename).name != Path(__file__).name]
        place = next((index for index, frame in enumerate(frames) if "/torch/" not in frame.filename), 0)
        if any(part in frame.filename for frame in frames[: place + 1] for part in OTHERS):
            return
        ours = frames[place]
        self.steps[-1][f"{name} at {'/'.join(Path(ours.filename).parts[-3:])}:{ours.lineno}"] += 1

    def is_of_host(self, tensor: Tensor) -> bool:
        place = tensor.untyped_storage().data_ptr()
        return any(place == known.untyped_storage().data_ptr() for known in self.of_host)


class Calls(TorchFunctionMode):
    """What Python asks of tensors."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if (name in TO_HOST and not self.watch.is_of_host(args[0])) or (
            name in MOVES and self.watch.is_of_host(args[0]) and moves_to(args, kwargs or {})
        ):
            self.watch.note(name)
        elif name == "empty" and (kwargs or {}).get("device") is None:
            self.watch.of_host.append(result)
        elif name in FROM_HOST:
            if name == "new_tensor" or (kwargs or {}).get("device") is not None:
                self.watch.note(name)
            else:
                self.watch.of_host.append(result)
        return result


def moves_to(args: Any, kwargs: Any) -> bool:
    """Whether a call of `to` names a device."""
    return any(isinstance(value, torch.device | str) for value in (*args[1:], *kwargs.values()))


class Operations(TorchDispatchMode):
    """What torch does."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._opname
        read = name in READS and not self.watch.is_of_host(args[0])
        masked = name in INDEXING and any(part is not None and part.dtype == torch.bool for part in args[1])
        if read or name in SHAPES or masked:
            self.watch.note(name)
        result = func(*args, **(kwargs or {}))
        tensors = [part for part in args if isinstance(part, Tensor)]
        if tensors and isinstance(result, Tensor) and all(map(self.watch.is_of_host, tensors)):
            self.watch.of_host.append(result)
        return result


def watched(overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> Watch:
    """What would wait in each step of a run, where the losses take the way that they take on a device."""
    for module in (pixels, ohem, tiled, black_box):
        monkeypatch.setattr(module, "can_look_at", lambda tensor: False)
    monkeypatch.setattr(proof, "kernel_for", lambda device: None)
    parts = build(compose(overrides))
    parts.datamodule.setup("fit")
    parts.module.measure_class_weight(parts.datamodule)
    # Loaded before, as loading is work of the host.
    batches = [batch for batch, _ in zip(parts.datamodule.train_dataloader(), range(6), strict=False)]
    monkeypatch.setattr(parts.datamodule, "train_dataloader", lambda: Loaded(batches))
    loop = parts.trainer.fit_loop.epoch_loop
    advance, watch = loop.advance, Watch()

    def advance_watched(data: Any) -> None:
        watch.steps.append(Counter())
        with Operations(watch), Calls(watch):
            advance(data)

    monkeypatch.setattr(loop, "advance", advance_watched)
    parts.trainer.fit(parts.module, datamodule=parts.datamodule)
    return watch


RECIPES = {
    "ohem": ("+tricks=ohem",),
    "tricks": ("+tricks=[head_lr_x10,ohem,class_weight,ce_dice,avg_non_ignore]",),
    "sgd, kept alone": (
        "+tricks=ohem",
        "model.criterion.decode.sampler.thresh=null",
        "model/optimizer=sgd",
    ),
}


@pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=pytest.mark.slow if name == "ohem" else ()) for name in RECIPES]
)
def test_only_what_is_logged_is_waited_for(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    told = ["trainer.max_steps=6", "trainer.val_check_interval=6", "trainer.log_every_n_steps=3"]
    steps = watched(tiny_overrides(tiny_data, tmp_path / "run", *RECIPES[recipe], *told), monkeypatch).steps
    assert len(steps) == 6
    # In the first, constants are sent to the device.
    for number, found in enumerate(steps[1:], 2):
        if number % 3:
            assert not found, f"step {number}: {dict(found)}"
        else:
            assert found.total() == 1, f"step {number}: {dict(found)}"
            assert next(iter(found)).startswith("tolist at src/seglit/module.py"), found


def test_the_watch_sees(tiny_data: Path) -> None:
    watch = Watch()
    watch.steps.append(Counter())
    values = torch.arange(4.0)
    with Operations(watch), Calls(watch):
        values[values > 1]
        values[values.argmax()]
        float(values.sum())
        bool((values > 1).any())
        values.tolist()
        values.new_tensor(1.0)
        torch.tensor(2.0, device="cpu")
        float(torch.tensor(2.0))
    assert watch.steps[0].total() == 7
