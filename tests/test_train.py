"""Runs from composed configurations: train, the five tricks in every combination, resume, evaluate, predict."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import tiny_overrides
from seglit.config import ConfigError, compose
from seglit.evaluate import evaluate
from seglit.losses.native import native
from seglit.predict import predict
from seglit.resume import refuse_changes
from seglit.train import run

TRICKS = ("head_lr_x10", "ohem", "class_weight", "ce_dice", "avg_non_ignore")


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def losses_of(folder: Path) -> list[float]:
    lines = (folder / "logs" / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("train/loss")
    return [float(line.split(",")[column]) for line in lines[1:] if line.split(",")[column]]


@pytest.fixture(scope="module")
def trained(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    run(compose(tiny_overrides(tiny_data, folder, "+tricks=[head_lr_x10,ohem,class_weight,ce_dice,avg_non_ignore]")))
    return folder


def test_a_run_leaves_checkpoints_metrics_curves_and_pictures(trained: Path) -> None:
    metrics = json.loads((trained / "metrics.json").read_text())
    assert 0 <= metrics["test/miou"] <= 1
    assert metrics["val/step"] == 20
    for name in ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "receipt.json", "config.yaml"):
        assert (trained / name).is_file(), name
    for name in ("curves.png", "confusion_val.png", "confusion_test.png", "test/0.png", "val/step_000020/0.png"):
        assert pixels(trained / "pictures" / name).shape[1] > 100


def test_the_receipt_says_what_is_on(trained: Path) -> None:
    receipt = json.loads((trained / "receipt.json").read_text())
    assert receipt["tricks"] == {
        "component_learning_rates": receipt["tricks"]["component_learning_rates"],
        "ohem": ["decode"],
        "class_weight": ["decode.loss_ce", "aux.loss_ce"],
        "several_losses": ["decode.loss_ce", "decode.loss_dice", "aux.loss_ce", "aux.loss_dice"],
        "avg_non_ignore": ["aux.loss_ce"],  # where a sampler chooses, its choice is the divisor
    }
    assert {group["name"]: group["lr"] for group in receipt["groups"]} == {"base": 0.01, "head": 0.1}
    first, *_ = receipt["losses"]
    assert first["divisor"] == "kept"
    assert len(first["class_weight_values"]) == 3


def combinations() -> list[tuple[str, ...]]:
    return [chosen for count in range(6) for chosen in itertools.combinations(TRICKS, count)]


@pytest.mark.slow
@pytest.mark.parametrize("tricks", combinations(), ids="+".join)
def test_every_combination_of_tricks_learns(tricks: tuple[str, ...], tmp_path: Path) -> None:
    """Twenty steps on the embedded set: finite falling loss, and a receipt that says exactly what is on."""
    run(
        compose(
            [
                "name=combination",
                f"output_dir={tmp_path}",
                f"+tricks=[{','.join(tricks)}]",
                "trainer.max_steps=20",
                "trainer.val_check_interval=20",
                "trainer.limit_val_batches=1",
                "trainer.log_every_n_steps=1",
                "data.num_workers=0",
                "data.batch_size=4",
                "data.train_transforms.crop.height=96",
                "callbacks.progress=null",
                "test_after_fit=false",
            ]
        )
    )
    losses = losses_of(tmp_path)
    assert len(losses) == 20
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    on = json.loads((tmp_path / "receipt.json").read_text())["tricks"]
    expected = {
        "component_learning_rates": "head_lr_x10",
        "ohem": "ohem",
        "class_weight": "class_weight",
        "several_losses": "ce_dice",
        "avg_non_ignore": "avg_non_ignore",
    }
    assert {key for key, value in on.items() if value} == {key for key, trick in expected.items() if trick in tricks}


def test_the_losses_of_a_run_are_the_same_whatever_computes_them(tiny_data: Path, tmp_path: Path) -> None:
    """With all tricks at once; and the receipt says how they are computed."""
    losses = {}
    ways = {"kernel": (), "tiles": ("model.criterion.kernels=false",), "full size": ("model.criterion.tiled=false",)}
    for way, overrides in ways.items():
        folder = tmp_path / way
        more = ["+tricks=[ohem,class_weight,ce_dice,head_lr_x10]", "model.criterion.decode.sampler.min_kept=200"]
        more += [*overrides, "trainer.log_every_n_steps=1", "test_after_fit=false"]
        run(compose(tiny_overrides(tiny_data, folder, *more)))
        losses[way] = losses_of(folder)
        receipt = json.loads((folder / "receipt.json").read_text())
        computed = {row["computed"] for row in receipt["losses"]}
        assert computed == {"tiles" if way == "kernel" and native() is None else way}
    assert len(losses["tiles"]) > 1
    # Later, what a rounding decides about which pixel is hard goes its own way.
    np.testing.assert_allclose(losses["kernel"][:5], losses["full size"][:5], rtol=1e-3)
    np.testing.assert_allclose(losses["tiles"][:5], losses["full size"][:5], rtol=1e-3)


def test_a_resumed_run_ends_with_the_same_weights(tiny_data: Path, tmp_path: Path) -> None:
    def ends(folder: Path, *more: str) -> dict[str, torch.Tensor]:
        run(compose(tiny_overrides(tiny_data, folder, "test_after_fit=false", *more)))
        return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]

    whole = ends(tmp_path / "whole")
    ends(
        tmp_path / "first",
        "trainer.max_steps=20",
        "callbacks.checkpoint.save_top_k=-1",
        "callbacks.checkpoint.filename='{step}'",
    )
    resumed = ends(tmp_path / "second", f"ckpt_path='{tmp_path}/first/checkpoints/step=10.ckpt'")
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    refused = {
        "model.optimizer.lr=0.02": "model.optimizer.lr: 0.02, but .* was trained with 0.01",
        "+tricks=[head_lr_x10]": "model.paramwise.custom_keys: .*, but .* was trained with None",
        "trainer.max_steps=40": "model.scheduler.total_steps: 40",
        "trainer.accumulate_grad_batches=2": "trainer.accumulate_grad_batches: 2",
        "callbacks=ema": "callbacks.ema",
        "data.num_classes=4": "data.num_classes: 4",
    }
    checkpoint = tmp_path / "first" / "checkpoints" / "last.ckpt"
    for change, message in refused.items():
        with pytest.raises(ConfigError, match=message):
            run(compose(tiny_overrides(tiny_data, tmp_path / "third", f"ckpt_path='{checkpoint}'", change)))
    with pytest.raises(ConfigError, match="no such file"):
        run(compose(tiny_overrides(tiny_data, tmp_path / "third", "ckpt_path=nowhere.ckpt")))
    free = compose(
        tiny_overrides(tiny_data, tmp_path, "data.num_workers=1", "+data.pin_memory=false", "model.compile=true")
    )
    refuse_changes(free, checkpoint)


def test_evaluate_needs_only_the_checkpoint(trained: Path, tmp_path: Path) -> None:
    result = evaluate(trained / "checkpoints" / "best.ckpt", "test", [], tmp_path)
    metrics = json.loads((trained / "metrics.json").read_text())
    assert result["test/miou"] == pytest.approx(metrics["test/miou"], abs=1e-6)
    assert json.loads((tmp_path / "evaluation_test.json").read_text()) == result
    assert pixels(tmp_path / "confusion_test.png").shape[1] > 100
    other = evaluate(trained / "checkpoints" / "best.ckpt", "val", ["model.inference.flip=true"], tmp_path)
    assert 0 <= other["val/miou"] <= 1
    with pytest.raises(ConfigError, match=r"data\.roott"):
        evaluate(trained / "checkpoints" / "best.ckpt", "val", ["data.roott=x"], tmp_path)


def test_averaged_weights_are_what_is_tested_and_kept(tiny_data: Path, tmp_path: Path) -> None:
    run(compose(tiny_overrides(tiny_data, tmp_path, "callbacks=ema", "callbacks.ema.decay=0.5")))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    checkpoint = tmp_path / "checkpoints" / "best.ckpt"
    assert evaluate(checkpoint, "test", [], tmp_path)["test/miou"] == pytest.approx(metrics["test/miou"], abs=1e-6)
    stored = torch.load(checkpoint, weights_only=True)
    averaged, current = stored["state_dict"], stored["current_model_state"]
    assert any(not torch.equal(averaged[name], current[name]) for name in averaged)
    assert json.loads((tmp_path / "receipt.json").read_text())["run"]["averaged_weights"]


def test_predict_writes_labels_and_overlays(trained: Path, tiny_data: Path, tmp_path: Path) -> None:
    checkpoint = trained / "checkpoints" / "best.ckpt"
    written = predict(checkpoint, str(tiny_data / "images" / "test"), tmp_path / "whole")
    assert [path.name for path in written] == ["0.png", "1.png", "2.png"]
    label = pixels(written[0])
    assert label.shape == (48, 48)
    assert set(np.unique(label)) <= {0, 1, 2}
    assert (tmp_path / "whole" / "0_overlay.png").is_file()
    windows = predict(checkpoint, str(tiny_data / "images" / "test" / "*.png"), tmp_path / "windows", window=(48, 48))
    assert np.array_equal(label, pixels(windows[0]))
    with pytest.raises(ConfigError, match="no image there"):
        predict(checkpoint, str(tmp_path / "nothing"), tmp_path)
    with pytest.raises(ConfigError, match="no such file"):
        predict(tmp_path / "no.ckpt", str(tiny_data), tmp_path)


def test_a_mistake_is_refused_before_data_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"losses\.loss_ce"):
        run(
            compose(
                [
                    "data=folder",
                    "data.root=/nowhere",
                    "data.num_classes=3",
                    "name=x",
                    f"output_dir={tmp_path}",
                    "+model.criterion.decode.losses.loss_cee.loss_weight=2",
                ]
            )
        )
    with pytest.raises(ConfigError, match="haed"):
        run(compose(["name=x", f"output_dir={tmp_path}", "+model.paramwise.custom_keys.haed.lr_mult=10"]))
    assert not any(tmp_path.iterdir())
