"""Comparing two cards: planted differences are found, noise is not, and what cannot be compared is refused."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from seglit import compare as command
from seglit.card import write_images
from seglit.compare import compare
from seglit.config import ConfigError
from seglit.metrics import ImageCounts, scores

PROTOCOL = {"split": "test", "window": None, "flip": False, "classes": ["sky", "[road]", "dog"]}


def write(folder: Path, matrices: np.ndarray, weights: str = "0", **changes: object) -> Path:
    """A card of images with these confusion matrices."""
    folder.mkdir()
    places = np.nonzero(matrices)
    counts = ImageCounts(len(matrices), torch.from_numpy(np.stack([*places, matrices[places]], axis=1)))
    write_images(folder / "evaluation_images.npz", [str(image) for image in range(len(matrices))], counts)
    content = {
        "card": 1,
        "protocol": PROTOCOL | changes,
        "weights": {"sha256": weights, "averaged": weights == "averaged"},
        "run": {"precision": "32-true" if weights != "averaged" else "bf16-mixed"},
        "images": {
            "file": "evaluation_images.npz",
            "sha256": hashlib.sha256((folder / "evaluation_images.npz").read_bytes()).hexdigest(),
        },
    }
    (folder / "evaluation.json").write_text(json.dumps(content))
    return folder


def nets(gain: float, images: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two nets on images of very different difficulty. In each image, b is right a little more often, by `gain`."""
    random = np.random.default_rng(seed)
    hard = random.beta(2, 2, images)
    found = []
    for extra in (0.0, gain):
        wrong = np.clip(hard + 0.03 * random.standard_normal(images) - extra, 0.01, 0.98)[:, None, None]
        shares = (1 - wrong) * np.eye(2) / 2 + wrong * (1 - np.eye(2)) / 2
        # The third class occurs nowhere.
        found.append(np.pad((shares * 10_000).astype(np.int64), ((0, 0), (0, 1), (0, 1))))
    return found[0], found[1]


def test_a_planted_difference_is_found_though_the_images_differ_more(tmp_path: Path) -> None:
    a, b = nets(0.02)
    found = compare(write(tmp_path / "a", a), write(tmp_path / "b", b, "1"))
    expected = scores(torch.from_numpy(b.sum(0))).miou - scores(torch.from_numpy(a.sum(0))).miou
    assert found.difference == pytest.approx(expected)
    low, high = found.interval
    assert 0 < low < found.difference < high
    assert found.better > 0.975
    assert "more than noise over images: b is better" in found.verdict
    assert "not more" not in found.verdict
    assert "over seeds" in found.verdict
    # By themselves the two intervals overlap widely.
    assert found.intervals[0].high > found.intervals[1].low
    assert found.intervals[0].low < scores(torch.from_numpy(a.sum(0))).miou < found.intervals[0].high


def test_the_other_way_round_is_the_same_with_another_sign(tmp_path: Path) -> None:
    a, b = nets(0.02)
    folders = write(tmp_path / "a", a), write(tmp_path / "b", b)
    forth, back = compare(*folders), compare(*reversed(folders))
    assert back.difference == -forth.difference
    assert back.interval == (pytest.approx(-forth.interval.high), pytest.approx(-forth.interval.low))
    assert back.better == pytest.approx(1 - forth.better)
    assert "more than noise over images: a is better" in back.verdict


def test_noise_is_not_taken_for_a_difference(tmp_path: Path) -> None:
    """Of nets that differ by chance alone, one in twenty seems better or worse."""
    seeming = 0
    for seed in range(60):
        a, b = nets(0.0, seed=seed)
        found = compare(write(tmp_path / f"a{seed}", a), write(tmp_path / f"b{seed}", b))
        seeming += "not more than noise" not in found.verdict
    assert seeming <= 8


def test_equal_cards(tmp_path: Path) -> None:
    a, _ = nets(0.0)
    found = compare(write(tmp_path / "a", a), write(tmp_path / "b", a) / "evaluation.json")
    assert (found.difference, found.interval, found.better) == (0, (0, 0), 0)
    assert "not more than noise" in found.verdict
    assert found.remarks == ("a and b are the same weights",)


def test_one_image_says_nothing_of_noise(tmp_path: Path) -> None:
    a, b = nets(0.3, images=1)
    found = compare(write(tmp_path / "a", a), write(tmp_path / "b", b))
    assert found.difference > 0
    assert math.isnan(found.interval.low)
    assert math.isnan(found.better)
    assert found.verdict == "With 1 image(s) nothing can be said of noise over images."


def test_another_protocol_is_refused_a_line_for_each_difference(tmp_path: Path) -> None:
    a, _ = nets(0.0, images=3)
    ours = write(tmp_path / "a", a)
    theirs = write(tmp_path / "b", a, split="val", window=[512, 512], more=1)
    with pytest.raises(ConfigError) as refused:
        compare(ours, theirs)
    places = f"in {ours}/evaluation.json, but", f"in {theirs}/evaluation.json"
    assert str(refused.value).splitlines() == [
        f"protocol.split: test {places[0]} val {places[1]}",
        f"protocol.window: None {places[0]} [512, 512] {places[1]}",
        f"protocol.more: None {places[0]} 1 {places[1]}",
    ]


def test_what_one_card_does_not_say_is_a_difference(tmp_path: Path) -> None:
    a, _ = nets(0.0, images=3)
    plain, more = write(tmp_path / "a", a), write(tmp_path / "b", a, more=1)
    for pair in ((plain, more), (more, plain)):
        with pytest.raises(ConfigError, match=r"^protocol\.more: "):
            compare(*pair)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = nets(0.02)
    command.main([str(write(tmp_path / "a", a)), str(write(tmp_path / "b", b, "averaged"))])
    said = capsys.readouterr().out
    for words in ("IoU of a and b on 60 image(s)", "[road]", "95 % interval", "of the resamples", "b is better"):
        assert words in said
    assert "averaged weights: False in a, True in b" in said
    assert "precision: 32-true in a, bf16-mixed in b" in said
    row = next(line for line in said.splitlines() if "dog" in line)
    assert row.count(" - ") == 3
    assert "+" in next(line for line in said.splitlines() if "mean" in line)
    with pytest.raises(SystemExit) as end:
        command.main([str(tmp_path / "a"), str(write(tmp_path / "c", a, flip=True))])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("config: protocol.flip: False in ")


def test_what_is_no_card_is_refused(tmp_path: Path) -> None:
    a, _ = nets(0.0, images=3)
    good, bad = write(tmp_path / "a", a), write(tmp_path / "b", a)
    card, images = bad / "evaluation.json", bad / "evaluation_images.npz"
    content = json.loads(card.read_text())

    def refused(words: str) -> None:
        with pytest.raises(ConfigError, match=words):
            compare(good, bad)

    images.write_bytes(images.read_bytes() + b"\0")
    refused(r"evaluation_images\.npz: is not what .* was written with")
    images.unlink()
    refused(r"evaluation_images\.npz: no such file; it belongs to")
    card.write_text(json.dumps(content | {"card": 0}))
    refused("is no card of this version")
    card.write_text("[]")
    refused("is no card of this version")
    card.write_text("{")
    refused("is no JSON")
    card.unlink()
    refused(r"evaluation\.json: no such file")
