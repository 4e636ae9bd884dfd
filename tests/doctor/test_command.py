"""The command: report, files, exit status."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from doctor.planters import descriptions, stray_value, write_clean
from seglit.doctor.__main__ import main


def status(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> int:
    given = [f"data.root={folder}/set", f"output_dir={folder}/report", f"hydra.run.dir={folder}/job"]
    monkeypatch.setattr(sys, "argv", ["seglit-doctor", "data=folder", "data.num_classes=3", *given, *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert isinstance(end.value.code, int)
    return end.value.code


def written(folder: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((folder / "report" / "doctor.json").read_text(encoding="utf-8"))
    return content


def test_a_clean_set_ends_with_0_and_leaves_a_report_and_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_clean(tmp_path / "set")
    assert status(monkeypatch, tmp_path) == 0
    said = capsys.readouterr().out
    assert "class_2" in said
    assert "try data.train_transforms.crop.height=64" in said
    assert "faults that spoil training: 0" in said
    report = written(tmp_path)
    assert (report["faults"], report["findings"]) == (0, [])
    assert report["numbers"]["images"] == {"train": 4, "val": 3, "test": 2}  # type: ignore[index]
    with Image.open(tmp_path / "report" / "doctor.png") as drawn:
        assert drawn.width > 800
    assert not (tmp_path / "job").exists()


def test_a_fault_ends_with_1_and_is_named_with_pixel_value_and_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stray_value(write_clean(tmp_path / "set"))
    assert status(monkeypatch, tmp_path, "test_after_fit=false") == 1
    said = capsys.readouterr().out
    assert "fault value-out-of-range: values 9 are no label: the classes are 0 to 2 and void is 255" in said
    assert f"{tmp_path}/set/masks/train/1.png, row 0, column 5: 9" in said
    assert "mend: correct data.num_classes (the largest value asks for 10)" in said
    (found,) = written(tmp_path)["findings"]  # type: ignore[misc]
    assert found["places"] == [{"file": f"{tmp_path}/set/masks/train/1.png", "row": 0, "column": 5, "value": 9}]
    assert "test" not in written(tmp_path)["numbers"]["images"]  # type: ignore[index]


@pytest.mark.parametrize("case", sorted(descriptions()))
def test_a_description_that_training_refuses_is_a_fault(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, words = descriptions()[case]
    (write_clean(tmp_path / "set") / "classes.json").write_text(content)
    assert status(monkeypatch, tmp_path) == 1
    (found,) = written(tmp_path)["findings"]  # type: ignore[misc]
    assert found["kind"] == "description"
    assert words in f"{found['says']}; {found['mend']}"
    assert found["places"] == [{"file": f"{tmp_path}/set/classes.json"}]


def test_a_mistake_in_the_configuration_ends_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(monkeypatch, tmp_path, "data.mask_format=color") == 2
    assert "config: data: mask_format='color' needs mask_colors" in capsys.readouterr().err
    (tmp_path / "report").write_text("a file")
    assert status(monkeypatch, tmp_path) == 2
    assert "report cannot be made" in capsys.readouterr().err
    assert status(monkeypatch, tmp_path, "+data.rooot=x") == 2
    assert "did you mean 'root'?" in capsys.readouterr().err
