"""Every planted fault is found and named, and nothing else is said."""

from pathlib import Path

import pytest

from doctor.planters import PLANTED, Planted, write_clean
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


def test_there_are_more_planted_faults_than_were_asked_for() -> None:
    assert len(PLANTED) >= 45
    assert len({planted.kind for planted in PLANTED}) >= 45
