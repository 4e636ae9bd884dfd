"""Sets that people train on give no false alarm."""

from pathlib import Path

import pytest

from seglit.build import built
from seglit.config import compose, plain
from seglit.doctor.examination import examine
from seglit.doctor.report import Report

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def report_on(overrides: list[str], parts: tuple[str, ...]) -> Report:
    cfg = compose(["name=x", "output_dir=x", *overrides])
    content = plain(cfg)
    transforms = content["data"]["train_transforms"]
    return examine(built(cfg.data, "data"), parts, model=content["model"], train_transforms=transforms, show=False)


def test_the_embedded_set() -> None:
    report = report_on([], ("train", "val", "test"))
    assert report.findings == []
    assert [one.overrides for one in report.advice] == ["+tricks=[class_weight]"]
    assert report_on(["+experiment=bluemarble"], ("train", "val", "test")).advice == []


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared trial images")
@pytest.mark.parametrize(
    ("name", "advised"),
    [
        ("camvid", ["class_weight", "ohem", "avg_non_ignore"]),
        ("drive", ["ce_dice", "avg_non_ignore"]),
        ("dsb2018", ["ce_dice"]),
        ("isbi2012", []),
    ],
)
def test_a_shared_set(name: str, advised: list[str]) -> None:
    report = report_on([f"data={name}", f"data.root={SHARED / name}"], ("train", "val"))
    assert report.findings == []
    tricks = [one.overrides for one in report.advice if one.overrides.startswith("+tricks")]
    assert tricks == [f"+tricks=[{trick}]" for trick in advised]
