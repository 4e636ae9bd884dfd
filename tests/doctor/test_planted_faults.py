"""Every planted fault is found and named, and nothing else is said."""

import shlex
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from doctor.planters import PLANTED, Planted, write_clean
from seglit.build import built
from seglit.config import compose
from seglit.data.datamodule import SegmentationDataModule
from seglit.doctor.examination import examine
from seglit.doctor.report import Report


def examined(root: Path, **options: object) -> Report:
    data = SegmentationDataModule(root, **{"num_classes": 3, **options})  # type: ignore[arg-type]
    return examine(data, show=False)


def test_a_set_without_a_fault(tmp_path: Path) -> None:
    report = examined(write_clean(tmp_path / "set"))
    assert report.findings == []
    assert report.numbers is not None


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: f"{planted.kind}-{planted.plant.__name__}")
def test_a_planted_fault_is_named_with_file_and_mend(planted: Planted, tmp_path: Path) -> None:
    root = write_clean(tmp_path / "set")
    options = planted.plant(root) or {}
    findings = examined(root, **options).findings
    # One of a kind for each split that it is in.
    assert {found.kind for found in findings} == {planted.kind}
    assert {found.fault for found in findings} == {planted.fault}
    assert any(place.file.as_posix().endswith(planted.file) for found in findings for place in found.places)
    assert all(planted.mend in found.mend for found in findings)


CURED = {
    "masks_with_suffix": "data.masks='masks/{split}/**/*_label.png'",
    "colours_of_the_palette": "data.mask_format=color",
    "indices_for_colours": "data.mask_format=index",
    "void_elsewhere": "data.ignore_index=65535",
    "other_ignore_index": "data.ignore_index=255",
    "zero_for_void": "data.reduce_zero_label=true",
    "counted_from_one": "data.reduce_zero_label=true",
    "reduced_needlessly": "data.reduce_zero_label=false",
    "binary": "data.label_map='{0:0,255:1}' data.ignore_index=254",
    "binary_with_other_void": "data.label_map='{0:0,255:1}'",
    "stretched": "data.label_map='{0:0,100:1,200:2}'",
    "grey_of_colours": "data.label_map='{53:0,78:2,102:1}'",
    "units": "data.mean=[123.675,116.28,103.53] data.std=[58.395,57.12,57.375]",
    "mixed_batch": "data.eval_batch_size=1",
}
"""Planters, and the overrides in the mend."""
ALSO = {"indices_for_colours": ["data.mask_colors=null"]}


@pytest.mark.parametrize("planted", [one for one in PLANTED if one.plant.__name__ in CURED], ids=lambda one: one.kind)
def test_the_mend_does_mend(planted: Planted, tmp_path: Path) -> None:
    root = write_clean(tmp_path / "set")
    options = {"num_classes": 3, **(planted.plant(root) or {})}
    overrides = CURED[planted.plant.__name__]
    assert all(overrides in found.mend for found in examined(root, **options).findings)
    cfg = compose(["name=x", "output_dir=x", "data=folder", f"data.root={root}"])
    cfg.data.update(options)
    typed = [*shlex.split(overrides), *ALSO.get(planted.plant.__name__, [])]
    as_typed = [f"{key}={value}" if "{split}" not in value else f"{key}='{value}'" for key, value in words(typed)]
    changed = compose(["name=x", "output_dir=x", "data=folder", f"data.root={root}", *as_typed])
    for key, _ in words(typed):
        OmegaConf.update(cfg, key, OmegaConf.select(changed, key), merge=False)
    assert [found for found in examine(built(cfg.data, "data"), show=False).findings if found.fault] == []


def words(overrides: list[str]) -> list[tuple[str, str]]:
    return [(key, value) for key, _, value in (word.partition("=") for word in overrides)]


def test_there_are_more_planted_faults_than_were_asked_for() -> None:
    assert len(PLANTED) >= 45
    assert len({planted.kind for planted in PLANTED}) >= 45
