"""The three commands as they are typed: arguments, exit status, and one line for a mistake."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor, nn

from conftest import tiny_overrides
from seglit import evaluate, predict, train
from seglit.build import build
from seglit.checkpoint import read_checkpoint, rebuildable
from seglit.compare import read_card
from seglit.config import ConfigError, compose, from_text, to_text
from seglit.data.errors import DataError
from seglit.inference import Inference
from seglit.module import SegmentationModule
from seglit.segmentor import Segmentor


@pytest.fixture(scope="module")
def checkpoint(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train.run(compose(tiny_overrides(tiny_data, folder, "test_after_fit=false", "trainer.max_steps=10")))
    return folder / "checkpoints" / "best.ckpt"


def test_train_is_a_hydra_command(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = tiny_overrides(tiny_data, tmp_path / "run", "trainer.max_steps=2", "trainer.val_check_interval=2")
    monkeypatch.setattr(sys, "argv", ["seglit-train", *overrides, f"hydra.run.dir={tmp_path}/job"])
    train.main()
    said = capsys.readouterr().out
    assert "decode.loss_ce" in said
    assert "test mIoU" in said
    assert 0 <= json.loads((tmp_path / "run" / "metrics.json").read_text())["test/miou"] <= 1


def test_a_mistake_is_one_line_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["seglit-train", "+model.optimizer.lrr=1", f"hydra.run.dir={tmp_path}"])
    with pytest.raises(SystemExit) as end:
        train.main()
    assert end.value.code == 2
    words = "config: model.optimizer.lrr: torch.optim.AdamW takes no such argument; did you mean 'lr'?\n"
    assert capsys.readouterr().err == words


def test_a_key_that_seglit_itself_reads_wrongly_is_no_mistake_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["seglit-train", f"hydra.run.dir={tmp_path}"])
    monkeypatch.setattr(train, "run", lambda cfg: cfg.no_such_key)
    with pytest.raises(RuntimeError, match="a mistake in seglit"):
        train.main()


def test_evaluate(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.main([str(checkpoint), "--split", "val", "model.inference.flip=true", "--output", str(tmp_path)])
    assert "val mIoU" in capsys.readouterr().out
    assert (tmp_path / "evaluation_val.json").is_file()
    with pytest.raises(SystemExit) as end:
        evaluate.main([str(checkpoint), "model.inference.flop=true"])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("config: ")
    assert "model.inference.flop" in error


def test_predict(checkpoint: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = tiny_data / "images" / "test" / "0.png"
    arguments = ["--output", str(tmp_path), "--window", "32", "32", "--stride", "16", "16", "--flip"]
    predict.main([str(checkpoint), str(image), *arguments, "--scales", "0.5", "1.0", "--no-overlay", "--device", "cpu"])
    assert [path.name for path in tmp_path.glob("*.png")] == ["0.png"]
    with pytest.raises(SystemExit) as end:
        predict.main([str(tmp_path / "no.ckpt"), str(image)])
    assert end.value.code == 2
    assert "no such file" in capsys.readouterr().err


def test_a_class_of_the_users_needs_trust(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from seglit.inference import Inference\n\n\nclass MyInference(Inference):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    content = torch.load(checkpoint, weights_only=True)
    text = content["seglit"]["config"].replace("seglit.inference.Inference", "my_package.MyInference")
    content["seglit"]["config"] = text
    mine = tmp_path / "mine.ckpt"
    torch.save(content, mine)
    arguments = [str(mine), "--output", str(tmp_path), "callbacks.progress=null"]
    with pytest.raises(SystemExit):
        evaluate.main(arguments)
    assert "my_package.MyInference is no class that a checkpoint may name" in capsys.readouterr().err
    evaluate.main([*arguments, "--trust", "my_package"])
    assert "test mIoU" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        evaluate.main([*arguments, "--trust", "my_package", "--trust", "yours", "model.inference.flop=true"])
    assert "model.inference.flop: no such key" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        predict.main([str(mine), "--trust", "my_package", "nowhere.png", "--output", str(tmp_path)])
    assert "nowhere.png: no image there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1], "no configuration inside"),
        ({}, "no configuration inside"),
        ({"seglit": [1]}, "no configuration inside"),
        ({"seglit": {"config": 3}}, "no configuration inside"),
        ({"seglit": {"config": "seed: 0"}}, "no weights inside"),
        ({"seglit": {"config": "seed: 0"}, "state_dict": [1]}, "no weights inside"),
        ({"seglit": {"config": "[1]"}, "state_dict": {}}, "the text holds no configuration"),
    ],
)
def test_a_file_of_torchs_that_is_no_checkpoint_is_named(
    content: object, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(content, tmp_path / "odd.ckpt")
    with pytest.raises(SystemExit) as end:
        predict.main([str(tmp_path / "odd.ckpt"), str(tmp_path)])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"config: {tmp_path}/odd.ckpt: {words}")
    assert error.count("\n") == 1


def changed(checkpoint: Path, folder: Path, *changes: str) -> Path:
    """The checkpoint as if it had been trained with these changes of its configuration."""
    content = torch.load(checkpoint, weights_only=True)
    cfg = from_text(content["seglit"]["config"])
    for change in changes:
        key, _, value = change.partition("=")
        OmegaConf.update(cfg, key, OmegaConf.create(f"value: {value}").value, force_add=True)
    content["seglit"]["config"] = to_text(cfg)
    torch.save(content, folder / "changed.ckpt")
    return folder / "changed.ckpt"


@pytest.mark.parametrize("limit", ["limit_{}_batches=1", "overfit_batches=1"])
@pytest.mark.parametrize("split", ["val", "test"])
def test_the_whole_split_is_scored_unless_told_otherwise(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str, limit: str
) -> None:
    counts: list[int] = []
    step = {"val": "validation", "test": "test"}[split]
    monkeypatch.setattr(SegmentationModule, f"on_{step}_batch_end", lambda *_: counts.append(1), raising=False)
    limited = changed(checkpoint, tmp_path, f"trainer.{limit.format(split)}")
    evaluate.evaluate(limited, split, [], tmp_path)
    assert len(counts) == 3
    evaluate.evaluate(limited, split, [f"trainer.limit_{split}_batches=2"], tmp_path)
    assert len(counts) == 5


def test_a_checkpoint_is_rebuilt_without_what_it_was_trained_from(checkpoint: Path, tmp_path: Path) -> None:
    weights = "model.criterion.decode.losses.loss_ce.class_weight"
    trained = changed(
        checkpoint, tmp_path, f"{weights}=gone.txt", "model.criterion.aux.losses.loss_ce.class_weight=auto"
    )
    assert 0 <= evaluate.evaluate(trained, "test", [], tmp_path)["test/miou"] <= 1
    cfg = compose(
        [
            *("name=x", "output_dir=out", "model/net/backbone=timm", "model.net.backbone.pretrained=true"),
            "+model.net.backbone.options.checkpoint_path=gone.pth",
            f"{weights}=auto",
            "model.criterion.aux.losses.loss_ce.class_weight=[1,2,3,4,5,6,7]",
            "+model.paramwise.custom_keys.pretrained.lr_mult=2",
        ]
    )
    model = rebuildable(cfg).model
    assert model.net.backbone.pretrained is False
    assert model.net.backbone.options.checkpoint_path is None
    assert model.criterion.decode.losses.loss_ce.class_weight is None
    assert model.criterion.aux.losses.loss_ce.class_weight == [1, 2, 3, 4, 5, 6, 7]
    assert model.paramwise.custom_keys.pretrained.lr_mult == 2
    assert cfg.model.net.backbone.pretrained is True


def photographs(folder: Path, tiny_data: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.open(tiny_data / "images" / "test" / "0.png").save(folder / name)
    return folder


def below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}


def test_images_are_not_written_over(checkpoint: Path, tiny_data: Path, tmp_path: Path) -> None:
    folder = photographs(tmp_path / "ph", tiny_data, "a.png", "b.jpg", "c.jpg", "c_overlay.png")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for inputs in (folder, folder / "a.png", folder / "*.png", folder / "c*"):
        with pytest.raises(ConfigError, match="png: is one of the images, and would be written over"):
            predict.predict(checkpoint, str(inputs), tmp_path / "ph" / ".." / "ph")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("pattern", ["", "/**/*.*"])
def test_labels_of_an_earlier_call_are_no_images(
    checkpoint: Path, tiny_data: Path, tmp_path: Path, pattern: str
) -> None:
    folder = photographs(tmp_path / "ph", tiny_data, "a.png", "sub/b.jpg")
    for _ in range(2):
        predict.predict(checkpoint, f"{folder}{pattern}", folder / "out")
        assert below(folder / "out") == {"a.png", "a_overlay.png", "sub/b.png", "sub/b_overlay.png"}
    # Above the images, output says nothing about what an image is.
    assert predict.predict(checkpoint, str(folder / "sub"), tmp_path) == [tmp_path / "b.png"]


def test_files_of_one_name_are_refused_overlays_included(checkpoint: Path, tiny_data: Path, tmp_path: Path) -> None:
    folder = photographs(tmp_path / "ph", tiny_data, "a.jpg", "a_overlay.jpg")
    with pytest.raises(ConfigError, match=r"a\.jpg and .*a_overlay\.jpg: would both be labelled in .*a_overlay\.png"):
        predict.predict(checkpoint, str(folder), tmp_path / "out")
    assert len(predict.predict(checkpoint, str(folder), tmp_path / "out", overlays=False)) == 2
    with pytest.raises(ConfigError, match=r"a\.jpg and .*a\.png: would both be labelled in"):
        predict.predict(checkpoint, str(photographs(folder, tiny_data, "a.png")), tmp_path / "out", overlays=False)


def test_a_pattern_keeps_the_folders_that_it_leaves_open(checkpoint: Path, tiny_data: Path, tmp_path: Path) -> None:
    folder = photographs(tmp_path / "ph", tiny_data, "a/1.jpg", "b/1.jpg")
    for number, (pattern, names) in enumerate(
        {"*/1.jpg": ["a/1.png", "b/1.png"], "a/*.jpg": ["1.png"], "**/*.jpg": ["a/1.png", "b/1.png"]}.items()
    ):
        output = tmp_path / f"out{number}"
        written = predict.predict(checkpoint, f"{folder}/{pattern}", output, overlays=False)
        assert written == [output / name for name in names]


def test_options_of_predict_change_only_what_they_say(checkpoint: Path, tmp_path: Path) -> None:
    def inference(*changes: str, **options: Any) -> tuple[Any, ...]:
        cfg, _ = read_checkpoint(changed(checkpoint, tmp_path, *changes))
        given = {"window": None, "stride": None, "flip": None, "scales": None} | options
        found = predict.stored_inference(cfg, **given)
        return found.window, found.stride, found.flip, found.scales

    stored = ("model.inference.window=[30,36]", "model.inference.stride=[10,10]", "model.inference.flip=true")
    assert inference(*stored) == ((30, 36), (10, 10), True, (1.0,))
    assert inference(*stored, scales=[0.5, 1]) == ((30, 36), (10, 10), True, (0.5, 1.0))
    assert inference(*stored, flip=False) == ((30, 36), (10, 10), False, (1.0,))
    assert inference(*stored, stride=[5, 6]) == ((30, 36), (5, 6), True, (1.0,))
    assert inference(*stored, window=[9, 9]) == ((9, 9), (6, 6), True, (1.0,))
    assert inference("model.inference=null", flip=True) == (None, None, True, (1.0,))
    with pytest.raises(ConfigError, match=r"stride needs a window, got stride=\[5, 6\]"):
        inference("model.inference=null", stride=[5, 6])


def test_predict_writes_more_than_256_classes(
    checkpoint: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    palette = f"data.palette={[[i // 256, i % 256, 0] for i in range(300)]}"
    many = changed(checkpoint, tmp_path, palette, "model.inference=null")
    monkeypatch.setattr(Inference, "bands", lambda self, net, image, size: [(0, torch.full((1, *size), 299))])
    for path in predict.predict(many, str(tiny_data / "images" / "test"), tmp_path / "out"):
        assert (np.asarray(Image.open(path)) == 299).all()


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_other_precisions_train_and_evaluate(tiny_data: Path, tmp_path: Path, precision: str) -> None:
    tricks = "+tricks=[ohem,class_weight,ce_dice,avg_non_ignore]"
    options = (f"trainer.precision={precision}", "trainer.max_steps=4", "trainer.val_check_interval=4")
    train.run(compose(tiny_overrides(tiny_data, tmp_path, tricks, *options)))
    assert 0 <= json.loads((tmp_path / "metrics.json").read_text())["test/miou"] <= 1
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert receipt["run"]["precision"] == precision


def test_fp16_where_there_is_none_is_refused(overrides: list[str]) -> None:
    with pytest.raises(ValueError, match=r"trainer\.precision: 16-mixed is not for this device"):
        build(compose([*overrides, "trainer.precision=16-mixed"]))


def test_norms_over_several_cpus_are_refused(overrides: list[str]) -> None:
    ranks = ["trainer.devices=2", "trainer.strategy=ddp_spawn", "trainer.sync_batchnorm=true"]
    with pytest.raises(ValueError, match=r"trainer\.sync_batchnorm: works on GPUs only"):
        build(compose([*overrides, *ranks]))


def test_two_processes_learn_the_same_weights_and_score_each_image_once(tiny_data: Path, tmp_path: Path) -> None:
    arguments = tiny_overrides(
        tiny_data,
        tmp_path / "two",
        "+tricks=[ohem,class_weight,ce_dice,avg_non_ignore]",
        "trainer.max_steps=4",
        "trainer.val_check_interval=4",
        "trainer.devices=2",
        "trainer.strategy=ddp",
    )
    command = [sys.executable, "-m", "seglit.train", *arguments, f"hydra.run.dir={tmp_path}/job"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ}, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("parameter groups") == 1
    metrics = json.loads((tmp_path / "two" / "metrics.json").read_text())
    best = tmp_path / "two" / "checkpoints" / "best.ckpt"
    alone = ["trainer.devices=1", "trainer.strategy=auto"]
    score = evaluate.evaluate(best, "test", alone, tmp_path)
    for name in ("test/miou", "test/miou_low", "test/miou_high"):
        assert score[name] == pytest.approx(metrics[name], abs=1e-6)
    cards = read_card(tmp_path / "two"), read_card(tmp_path)
    assert cards[0].content == cards[1].content
    assert cards[0].names == ["0", "1", "2"]


def test_a_sweep_of_several_processes_is_refused(tiny_data: Path, tmp_path: Path) -> None:
    arguments = tiny_overrides(tiny_data, tmp_path / "run", "trainer.devices=2", "trainer.strategy=ddp", "seed=0,1")
    command = [sys.executable, "-m", "seglit.train", "-m", *arguments, f"hydra.sweep.dir={tmp_path}/sweep"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 2
    assert "config: trainer.strategy: a sweep cannot have several devices by this strategy" in done.stderr
    assert not (tmp_path / "run" / "checkpoints").exists()


class PlainLoss(nn.Module):
    """What somebody might write who has not read of statistics."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, labels)


def test_a_loss_that_knows_no_pixel_weight_is_refused(overrides: list[str]) -> None:
    loss = "+model.criterion.decode.losses.loss_mine={_target_: test_commands.PlainLoss}"
    with pytest.raises(ValueError, match=r"loss_mine.*seglit\.losses\.Loss"):
        train.run(compose([*overrides, loss]))


def test_what_is_switched_off_leaves_nothing_behind(overrides: list[str]) -> None:
    parts = build(compose([*overrides, "callbacks.checkpoint=null"]))
    assert train.best_checkpoint(parts.trainer) is None
    names = ("checkpoint", "recent", "interruption")
    parts = build(compose([*overrides, *(f"callbacks.{name}=null" for name in names)]))
    assert parts.trainer.checkpoint_callback is None
    assert parts.trainer.progress_bar_callback is None
    assert isinstance(parts.module.net, Segmentor)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--device", "tpuu"], "--device tpuu: cannot be used"),
        (["--output", "{file}"], "is no folder; give another --output"),
    ],
)
def test_where_to_predict(
    arguments: list[str],
    words: str,
    checkpoint: Path,
    tiny_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as end:
        predict.main(
            [
                str(checkpoint),
                str(tiny_data / "images" / "test"),
                "--output",
                str(tmp_path / "out"),
                *(word.format(file=tmp_path / "file") for word in arguments),
            ]
        )
    assert end.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("change", ["model.optimizer.lr=5", "seed=3", "data.batch_size=2", "callbacks.tables=null"])
def test_changes_that_an_evaluation_does_not_look_at(
    change: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        evaluate.main([str(checkpoint), change])
    assert end.value.code == 2
    assert "has no effect on an evaluation" in capsys.readouterr().err


def test_a_folder_holds_one_run(tiny_data: Path, tmp_path: Path) -> None:
    words = tiny_overrides(tiny_data, tmp_path / "run", "trainer.max_steps=2", "trainer.val_check_interval=2")
    train.run(compose(words))
    with pytest.raises(ConfigError, match=r"output_dir: .*run holds a run; give another"):
        train.run(compose(words))
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"output_dir: .* cannot be made"):
        train.run(compose(tiny_overrides(tiny_data, tmp_path / "file" / "run")))


def test_a_refused_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["seglit-train", "+model.optimizer.lrr=1", f"hydra.run.dir={tmp_path}/job"])
    with pytest.raises(SystemExit):
        train.main()
    assert list(tmp_path.iterdir()) == []


def test_a_large_image_is_refused_until_its_owner_says_so(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.zeros((60, 100, 3), np.uint8)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    arguments = [str(checkpoint), str(tmp_path / "large.png"), "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as end:
        predict.main([*arguments, "--max-pixels", "5999"])
    assert end.value.code == 2
    assert "large.png: has 6000 pixels, more than 5999" in (error := capsys.readouterr().err)
    assert "give --max-pixels 6000" in error
    predict.main([*arguments, "--max-pixels", "6000"])
    assert Image.MAX_IMAGE_PIXELS == 1000
    assert below(tmp_path / "out") == {"large.png", "large_overlay.png"}


def test_a_mapped_array_is_labelled_as_the_image(checkpoint: Path, tiny_data: Path, tmp_path: Path) -> None:
    folder = photographs(tmp_path / "ph", tiny_data, "a.png")
    np.save(folder / "b.npy", np.asarray(Image.open(folder / "a.png")))
    options: dict[str, Any] = {"window": (32, 32), "flip": True, "scales": (0.5, 1.0), "overlays": False}
    paths = predict.predict(checkpoint, f"{folder}/*", tmp_path / "out", **options)
    assert [path.name for path in paths] == ["a.png", "b.png"]
    first, second = (np.asarray(Image.open(path)) for path in paths)
    np.testing.assert_array_equal(first, second)
    assert len(predict.predict(checkpoint, str(folder), tmp_path / "out", **options)) == 1
    np.save(folder / "c.npy", np.zeros((4, 4)))
    with pytest.raises(DataError, match=r"c\.npy: has shape \(4, 4\) and type float64"):
        predict.predict(checkpoint, str(folder / "c.npy"), tmp_path / "out")
