"""Cards of evaluations: what they say, and that they say the same of the same evaluation."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from conftest import tiny_overrides, write_tiny_data
from seglit.bootstrap import miou_interval
from seglit.build import build
from seglit.card import averages_weights, pairs_digest, protocol, read_images, weights_digest, write_images
from seglit.checkpoint import read_checkpoint
from seglit.compare import compare, read_card
from seglit.config import ConfigError, compose
from seglit.data.pairs import Layout, find_pairs
from seglit.evaluate import evaluate
from seglit.metrics import ImageCounts, scores
from seglit.train import run


@pytest.fixture(scope="module")
def trained(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    run(compose(tiny_overrides(tiny_data, folder, "trainer.max_steps=10")))
    return folder


def card_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "evaluation.json").read_text())


def test_a_run_leaves_the_card_of_its_test(trained: Path, tiny_data: Path) -> None:
    card = card_of(trained)
    digests = ("image_list", "label_reading")
    assert {key: value for key, value in card["protocol"].items() if key not in digests} == {
        "split": "test",
        "images": 3,
        "resize": [],
        "inference": "seglit.inference.Inference",
        "window": None,
        "stride": None,
        "flip": False,
        "scales": [1.0],
        "ignore_index": 255,
        "classes": ["class_0", "class_1", "class_2"],
        "absent_classes": "a class that neither a label nor a prediction has is left out of the mean",
    }
    assert card["protocol"]["image_list"] == pairs_digest(find_pairs(tiny_data, "test", Layout()))
    assert card["data"] == "tiny"
    assert card["boundary_iou"] is None
    weights = read_checkpoint(trained / "checkpoints" / "best.ckpt")[1]
    assert card["weights"] == {"sha256": weights_digest(weights), "averaged": False}
    assert card["run"] == {
        "precision": "32-true",
        "seglit": card["run"]["seglit"],
        "torch": torch.__version__,
        "lightning": card["run"]["lightning"],
    }


def test_scores_and_interval_are_those_of_the_images(trained: Path) -> None:
    card, metrics = card_of(trained), json.loads((trained / "metrics.json").read_text())
    names, counts = read_images(trained / "evaluation_images.npz")
    assert names == ["0", "1", "2"]
    expected = scores(counts.matrix(3))
    low, high = miou_interval(counts, 3)
    for found in (card["scores"], metrics):
        assert found["test/miou"] == pytest.approx(expected.miou, abs=1e-6)
        assert found["test/iou/class_1"] == pytest.approx(expected.iou[1].item(), abs=1e-6)
        assert found["test/miou_low"] == pytest.approx(low, abs=1e-6)
        assert found["test/miou_high"] == pytest.approx(high, abs=1e-6)
    assert 0 <= metrics["val/miou_low"] <= metrics["val/miou_high"] <= 1


def test_evaluating_the_checkpoint_gives_the_same_card(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(trained / "checkpoints" / "best.ckpt", "test", [], tmp_path)
    assert "over 3 images" in capsys.readouterr().out
    assert card_of(tmp_path) == card_of(trained)
    found = compare(trained, tmp_path)
    assert (found.difference, found.interval, found.better) == (0, (0, 0), 0)
    assert found.remarks == ("a and b are the same weights",)


@pytest.mark.parametrize(
    ("split", "change", "words"),
    [
        ("val", "data.eval_batch_size=3", r"protocol\.split: test in .*, but val in "),
        ("test", "model.inference.flip=true", r"^protocol\.flip: False in .*, but True in [^\n]*$"),
        ("test", "model.inference.scales=[0.5,1.0]", r"protocol\.scales: \[1\.0\] in .*, but \[0\.5, 1\.0\] in "),
        ("test", "model.inference.window=[32,32]", r"window: None in .*, but \[32, 32\] in .*\n.*stride: None"),
        ("test", "data.classes=[a,b,c]", r"protocol\.classes: \['class_0'.*, but \['a', 'b', 'c'\]"),
        ("test", "data.label_map={0: 0, 1: 2, 2: 1, 255: 255}", r"^protocol\.label_reading: [^\n]*$"),
    ],
)
def test_another_protocol_is_refused(trained: Path, tmp_path: Path, split: str, change: str, words: str) -> None:
    evaluate(trained / "checkpoints" / "best.ckpt", split, [change], tmp_path)
    with pytest.raises(ConfigError, match=words):
        compare(trained, tmp_path)


def test_transforms_are_part_of_the_protocol(tiny_data: Path, tmp_path: Path) -> None:
    resize = "+data.eval_transforms.resize={_target_: albumentations.Resize, height: 24, width: 32}"
    parts = build(compose(tiny_overrides(tiny_data, tmp_path, resize)))
    (said,) = protocol(parts.module, parts.datamodule, "test", [])["resize"]
    assert said.startswith("Resize(")
    assert "height=24" in said
    assert "width=32" in said


def test_boundary_iou_is_measured_when_asked_for(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = evaluate(trained / "checkpoints" / "best.ckpt", "test", ["model.boundary_iou=0.05"], tmp_path)
    assert 0 <= result["test/boundary_miou"] <= 1
    assert result["test/boundary_miou"] != result["test/miou"]
    assert 0 <= result["test/boundary_iou/class_0"] <= 1
    assert "boundary iou" in capsys.readouterr().out
    assert card_of(tmp_path)["boundary_iou"] == 0.05
    # How much else was measured makes the mean IoU no other.
    assert compare(trained, tmp_path).difference == 0
    with pytest.raises(ConfigError, match="boundary_iou: must be a share"):
        evaluate(trained / "checkpoints" / "best.ckpt", "test", ["model.boundary_iou=2.0"], tmp_path)


def test_averaged_weights_are_said_to_be_so(tiny_data: Path, tmp_path: Path) -> None:
    run(compose(tiny_overrides(tiny_data, tmp_path, "callbacks=ema", "trainer.max_steps=10")))
    evaluate(tmp_path / "checkpoints" / "best.ckpt", "test", [], tmp_path / "again")
    assert card_of(tmp_path)["weights"]["averaged"]
    assert card_of(tmp_path / "again") == card_of(tmp_path)
    assert not averages_weights([object, int])


def test_an_image_without_a_label_is_an_image(trained: Path, tmp_path: Path) -> None:
    data = write_tiny_data(tmp_path / "data")
    Image.new("L", (48, 48), 255).save(data / "masks" / "test" / "1.png")
    evaluate(trained / "checkpoints" / "best.ckpt", "test", [f"data.root={data}"], tmp_path)
    counts = read_card(tmp_path).counts
    assert counts.images == 3
    assert counts.rows[:, 0].unique().tolist() == [0, 2]


@pytest.mark.slow
def test_a_limited_test_is_of_the_images_that_were_seen(
    trained: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(compose(tiny_overrides(tiny_data, tmp_path, "trainer.max_steps=10", "trainer.limit_test_batches=1")))
    card = card_of(tmp_path)
    assert card["protocol"]["image_list"] == pairs_digest(find_pairs(tiny_data, "test", Layout())[:1])
    assert card["scores"]["test/miou"] is not None
    # One image has no interval.
    assert (card["scores"]["test/miou_low"], card["scores"]["test/miou_high"]) == (None, None)
    assert "of 1 image(s); how it varies over images cannot be said" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"protocol\.images: 3 in .*, but 1 in .*\nprotocol\.image_list"):
        compare(trained, tmp_path)


def test_the_digest_of_weights_is_of_names_and_values() -> None:
    torch.manual_seed(0)
    weights = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict()
    digest = weights_digest(weights)
    assert weights_digest(dict(reversed(weights.items()))) == digest
    assert (
        weights_digest({k: v.to(memory_format=torch.channels_last) if v.ndim == 4 else v for k, v in weights.items()})
        == digest
    )
    others = [
        weights | {"0.bias": weights["0.bias"].nextafter(torch.tensor(9.0))},
        weights | {"0.bias": weights["0.bias"].bfloat16()},
        weights | {"0.bias": weights["0.bias"].view(torch.int32)},
        weights | {"0.weight": weights["0.weight"].flatten()},
        weights | {"1.num_batches_tracked": torch.tensor(1)},
        {name.replace("0", "2"): value for name, value in weights.items()},
    ]
    assert len({digest, *map(weights_digest, others)}) == 1 + len(others)


def test_the_digest_of_images_is_of_names_order_and_sizes(tmp_path: Path) -> None:
    pairs = find_pairs(write_tiny_data(tmp_path / "a"), "test", Layout())
    elsewhere = find_pairs(write_tiny_data(tmp_path / "b"), "test", Layout())
    assert pairs_digest(pairs) == pairs_digest(elsewhere)
    found = {pairs_digest(pairs), pairs_digest(pairs[::-1]), pairs_digest(pairs[:2])}
    found.add(pairs_digest([pairs[0]._replace(name="x"), *pairs[1:]]))
    for path in (pairs[0].mask, pairs[1].image):
        path.write_bytes(path.read_bytes() + b"\0")
        found.add(pairs_digest(pairs))
    assert len(found) == 6


def test_counts_of_images_survive_the_file(tmp_path: Path) -> None:
    rows = torch.tensor([[0, 1, 2, 2**40], [2, 0, 0, 1]])
    write_images(tmp_path / "x.npz", ["köln/1", "b", "c"], ImageCounts(3, rows))
    names, counts = read_images(tmp_path / "x.npz")
    assert names == ["köln/1", "b", "c"]
    assert counts.images == 3
    assert torch.equal(counts.rows, rows)
    first = (tmp_path / "x.npz").read_bytes()
    write_images(tmp_path / "x.npz", names, counts)
    assert (tmp_path / "x.npz").read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]
