"""The scripts that prepare data sets, on tiny copies of the original layouts, read back by the shipped files."""

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

import aerial
import preparation
import prepare_dsb2018
import prepare_isaid
import prepare_isbi2012
import prepare_isprs
import prepare_pascal_context
import prepare_vessels
import prepare_voc_aug
from seglit.build import built
from seglit.config import compose
from seglit.data.datamodule import SegmentationDataModule
from tiny_layouts import archive, checker, noise, save

SIDE = 64


def module(name: str, root: Path) -> SegmentationDataModule:
    """What the shipped configuration reads there."""
    return built(compose([f"data={name}", "name=x", "output_dir=x", f"data.root={root}"]).data, "data")


def counts(data: SegmentationDataModule) -> list[int]:
    return [len(data.samples(part)) for part in ("train", "val")]


def refused(capsys: pytest.CaptureFixture[str], script: object, *arguments: object) -> str:
    """What the script says on standard error as it ends with status 2."""
    with pytest.raises(SystemExit) as end:
        script.main([str(argument) for argument in arguments])  # type: ignore[attr-defined]
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def write_vessels(name: str, source: Path) -> None:
    """The files of a set as they are downloaded, with half a mask of vessels."""
    image, mask = noise(0, SIDE, SIDE, 3), checker([0, 255], SIDE, SIDE)
    if name == "drive":
        for split, numbers in (("training", range(21, 41)), ("test", range(1, 21))):
            for number in numbers:
                save(source / split / "images" / f"{number:02d}_{split}.tif", image)
                save(source / split / "1st_manual" / f"{number:02d}_manual1.gif", mask)
                save(source / split / "mask" / f"{number:02d}_{split}_mask.gif", mask)
            archive(source / split, "zip")
    elif name == "stare":
        for number in range(1, 21):
            for folder, ending, pixels in (("images", "ppm", image), ("labels", "ah.ppm", mask)):
                packed = io.BytesIO()
                Image.fromarray(pixels).save(packed, "PPM")
                (source / folder).mkdir(parents=True, exist_ok=True)
                (source / folder / f"im{number:04d}.{ending}.gz").write_bytes(gzip.compress(packed.getvalue()))
        archive(source / "images", "tar")
    elif name == "chase_db1":
        for number in range(1, 15):
            for side in "LR":
                save(source / f"Image_{number:02d}{side}.jpg", image)
                save(source / f"Image_{number:02d}{side}_1stHO.png", mask)
                save(source / f"Image_{number:02d}{side}_2ndHO.png", mask)
    else:
        for group in ("dr", "g", "h"):
            for number in range(1, 16):
                save(source / "images" / f"{number:02d}_{group}.JPG", image)
                save(source / "manual1" / f"{number:02d}_{group}.tif", mask)
                save(source / "mask" / f"{number:02d}_{group}_mask.tif", mask)


@pytest.mark.parametrize(
    ("name", "numbers", "first"),
    [
        ("drive", [20, 20], "21"),
        ("stare", [10, 10], "im0001"),
        ("chase_db1", [20, 8], "Image_01L"),
        ("hrf", [15, 30], "01_dr"),
    ],
)
def test_vessels(name: str, numbers: list[int], first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_vessels(name, tmp_path / "source")
    prepare_vessels.main([name, str(tmp_path / "source"), str(tmp_path / name)])
    assert f"{numbers[0]} training and {numbers[1]} validation images" in capsys.readouterr().out
    data = module(name, tmp_path / name)
    assert counts(data) == numbers
    assert data.samples("train").pairs[0].name == first
    image, labels = data.samples("train")[0][:2]
    assert np.array_equal(labels, checker([0, 1], SIDE, SIDE))
    if name in {"drive", "stare"}:
        assert np.array_equal(image, noise(0, SIDE, SIDE, 3))


def test_slips_with_vessels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = tmp_path / "source", tmp_path / "output"
    assert "no such folder or archive" in refused(capsys, prepare_vessels, "drive", source, output)
    write_vessels("chase_db1", source)
    assert "holds no images" in refused(capsys, prepare_vessels, "drive", source, output)
    (source / "Image_03L.jpg").unlink()
    error = refused(capsys, prepare_vessels, "chase_db1", source, output)
    assert "validation images: found 7, but the set has 8; give --any-count" in error
    (source / "Image_04L_1stHO.png").unlink()
    assert "Image_04L.jpg: has no mask" in refused(capsys, prepare_vessels, "chase_db1", source, output)
    save(source / "Image_04L_1stHO.png", checker([0, 128, 255], SIDE, SIDE))
    error = refused(capsys, prepare_vessels, "chase_db1", source, output, "--any-count")
    assert "Image_04L_1stHO.png: has the values [0, 128, 255]" in error
    assert not output.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]
    save(source / "Image_04L_1stHO.png", checker([0, 255], SIDE, SIDE))
    prepare_vessels.main(["chase_db1", str(source), str(output), "--any-count"])
    assert "exists already" in refused(capsys, prepare_vessels, "chase_db1", source, output)
    prepare_vessels.main(["chase_db1", str(source), str(output), "--any-count", "--force"])
    (output / "prepared.txt").unlink()
    error = refused(capsys, prepare_vessels, "chase_db1", source, output, "--force", "--any-count")
    assert "was not made by this script" in error


@pytest.mark.parametrize(
    ("name", "numbers"), [pytest.param("potsdam", [24, 14], marks=pytest.mark.slow), ("vaihingen", [16, 17])]
)
def test_isprs(name: str, numbers: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    colours = np.array([*prepare_isprs.COLOURS, (0, 0, 0)], np.uint8)
    expected = checker([0, 1, 2, 3, 4, 5, 6], 600, 520)
    label = colours[expected]
    label[1, 0] = (252, 255, 255)  # Potsdam has a few such
    train = sorted(prepare_isprs.TRAINING[name])
    if name == "potsdam":
        others = [
            "2_13",
            "2_14",
            "3_13",
            "3_14",
            "4_13",
            "4_14",
            "4_15",
            "5_13",
            "5_14",
            "5_15",
            "6_13",
            "6_14",
            "6_15",
            "7_13",
        ]
        files = {
            tile: (f"top_potsdam_{tile}_RGB.tif", f"top_potsdam_{tile}_label_noBoundary.tif") for tile in train + others
        }
    else:
        others = [str(tile) for tile in (2, 4, 6, 8, 10, 12, 14, 16, 20, 22, 24, 27, 29, 31, 33, 35, 38)]
        files = {tile: (f"top_mosaic_09cm_area{tile}.tif",) * 2 for tile in train + others}
    for image, mask in files.values():
        save(tmp_path / "images" / image, noise(0, 600, 520, 3))
        save(tmp_path / "labels" / mask, label)
    arguments = [name, tmp_path / "images", tmp_path / "labels", tmp_path / name]
    prepare_isprs.main([str(argument) for argument in arguments])
    data = module(name, tmp_path / name)
    assert counts(data) == [4 * number for number in numbers]
    window = data.samples("train")
    place = [pair.name for pair in window.pairs].index(f"{train[0]}_88_8")
    image, labels = window[place][:2]
    assert np.array_equal(image, noise(0, 600, 520, 3)[88:, 8:])
    assert np.array_equal(labels, np.where(expected == 6, 255, expected)[88:, 8:])
    label[5, 7] = (200, 10, 10)
    save(tmp_path / "labels" / files[train[0]][1], label)
    error = refused(capsys, prepare_isprs, *arguments, "--force")
    assert "row 5, column 7 has the colour [200, 10, 10]" in error
    assert counts(module(name, tmp_path / name)) == [4 * number for number in numbers]


def test_windows_cover_the_tile() -> None:
    assert aerial.starts(512, 512, 256) == [0]
    assert aerial.starts(300, 512, 256) == [0]
    assert aerial.starts(1000, 512, 256) == [0, 256, 488]
    assert aerial.starts(1024, 512, 256) == [0, 256, 512]


def test_isaid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = checker(list(range(16)), 1000, 700)
    colours = np.array(prepare_isaid.COLOURS, np.uint8)[expected]
    for split, tiles in {"train": ("P0000", "P0002"), "val": ("P0003",)}.items():
        for tile in tiles:
            save(tmp_path / split / "images" / f"{tile}.png", noise(0, 1000, 700, 3))
            save(tmp_path / split / "labels" / f"{tile}_instance_color_RGB.png", colours)
    sources = [tmp_path / split / kind for split in ("train", "val") for kind in ("images", "labels")]
    assert "training images: found 2, but the set has 1411" in refused(
        capsys, prepare_isaid, *sources, tmp_path / "isaid"
    )
    prepare_isaid.main([*map(str, sources), str(tmp_path / "isaid"), "--any-count"])
    data = module("isaid", tmp_path / "isaid")
    assert counts(data) == [4, 2]
    windows = data.samples("train")
    place = [pair.name for pair in windows.pairs].index("P0002_104_0")
    image, labels = windows[place][:2]
    assert np.array_equal(image, noise(0, 1000, 700, 3)[104:])
    assert np.array_equal(labels, expected[104:])
    assert [tuple(colour) for colour in data.palette] == [*prepare_isaid.COLOURS]


def write_voc(voc: Path, year_lists: str, **lists: list[str]) -> None:
    for name, images in lists.items():
        path = voc / "ImageSets" / year_lists / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{image}\n" for image in images))
        for image in images:
            save(voc / "JPEGImages" / f"{image}.jpg", noise(0, SIDE, SIDE, 3))


def test_voc_aug(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    voc, sbd = tmp_path / "VOC2012", tmp_path / "benchmark_RELEASE"
    write_voc(voc, "Segmentation", train=["a", "b"], val=["c"])
    for name in "abc":
        save(voc / "SegmentationClass" / f"{name}.png", checker([0, 20, 255], SIDE, SIDE))
    (sbd / "dataset" / "cls").mkdir(parents=True)
    for name, images in (("train", "bcd"), ("val", "e")):
        (sbd / "dataset" / f"{name}.txt").write_text("\n".join(images))
    for name in "bcde":
        save(voc / "JPEGImages" / f"{name}.jpg", noise(0, SIDE, SIDE, 3))
        savemat(sbd / "dataset" / "cls" / f"{name}.mat", {"GTcls": {"Segmentation": checker([0, 7], SIDE, SIDE)}})
    assert "found 4, but the set has 10582" in refused(capsys, prepare_voc_aug, sbd, voc)
    prepare_voc_aug.main([str(sbd), str(voc), "--any-count"])
    data = module("voc2012_aug", voc)
    assert [pair.name for pair in data.samples("train").pairs] == ["a", "b", "d", "e"]
    assert [pair.name for pair in data.samples("val").pairs] == ["c"]
    assert np.array_equal(data.samples("train")[1][1], checker([0, 20, 255], SIDE, SIDE))
    assert np.array_equal(data.samples("train")[2][1], checker([0, 7], SIDE, SIDE))
    (sbd / "dataset" / "cls" / "e.mat").unlink()
    assert "e: has neither" in refused(capsys, prepare_voc_aug, sbd, voc, "--any-count", "--force")
    (sbd / "dataset" / "train.txt").unlink()
    assert "train.txt: no such list" in refused(capsys, prepare_voc_aug, sbd, voc)


def test_pascal_context(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    context, voc, output = tmp_path / "context", tmp_path / "VOC2010", tmp_path / "output"
    write_voc(voc, "Main", train=["a", "b"], val=["c", "d"])
    classes = list(compose(["data=pascal_context", "name=x", "output_dir=x"]).data.classes)[1:]
    (context / "trainval").mkdir(parents=True)
    everything = sorted({*classes, "accordion", "zebra"})
    numbers = {name: place for place, name in enumerate(everything, start=1)}
    (context / "labels.txt").write_text("".join(f"{number}: {name}\n" for name, number in numbers.items()))
    (context / "59_labels.txt").write_text("".join(f"{numbers[name]}: {name}\n" for name in classes))
    shown = [numbers["aeroplane"], numbers["wood"], numbers["zebra"]]
    for name in "abc":
        savemat(context / "trainval" / f"{name}.mat", {"LabelMap": checker(shown, SIDE, SIDE).astype(np.uint16)})
    assert "images of train: found 2" in refused(capsys, prepare_pascal_context, context, voc, output)
    prepare_pascal_context.main([str(context), str(voc), str(output), "--any-count"])
    data = module("pascal_context", output)
    assert counts(data) == [2, 1]
    assert np.array_equal(data.samples("val")[0][1], checker([1, 59, 0], SIDE, SIDE))
    assert np.array_equal(module("pascal_context_59", output).samples("val")[0][1], checker([0, 58, 255], SIDE, SIDE))
    (context / "59_labels.txt").write_text("1: accordion\n")
    error = refused(capsys, prepare_pascal_context, context, voc, output, "--any-count", "--force")
    assert "is not of our classes" in error
    (context / "labels.txt").write_text("accordion\n")
    error = refused(capsys, prepare_pascal_context, context, voc, output, "--any-count", "--force")
    assert "labels.txt, line 1" in error


def test_dsb2018(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "stage1_train"
    first, second = np.zeros((2, SIDE, SIDE), np.uint8)
    first[:8], second[32:40] = 255, 255
    for number in range(40):
        home = source / f"{number:04x}"
        save(home / "images" / f"{number:04x}.png", noise(number, SIDE, SIDE, 4))
        save(home / "masks" / "one.png", first)
        save(home / "masks" / "two.png", second)
    packed = archive(source, "zip")
    assert "images: found 40, but the set has 670" in refused(capsys, prepare_dsb2018, packed, tmp_path / "output")
    prepare_dsb2018.main([str(packed), str(tmp_path / "output"), "--any-count"])
    data = module("dsb2018", tmp_path / "output")
    assert sum(counts(data)) + len(data.samples("test")) == 40
    assert min(*counts(data), len(data.samples("test"))) > 0
    assert np.array_equal(data.samples("train")[0][1], ((first + second) > 0).astype(np.uint8))


def test_isbi2012(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    assert "train-volume.tif: no such file" in refused(capsys, prepare_isbi2012, source, tmp_path / "output")
    for name, slices in (
        ("volume", [noise(place, SIDE, SIDE) for place in range(30)]),
        ("labels", [checker([0, 255], SIDE, SIDE)] * 30),
    ):
        pages = [Image.fromarray(pixels) for pixels in slices]
        pages[0].save(source / f"train-{name}.tif", save_all=True, append_images=pages[1:])
    prepare_isbi2012.main([str(source), str(tmp_path / "output")])
    data = module("isbi2012", tmp_path / "output")
    assert counts(data) == [24, 6]
    image, labels = data.samples("val")[0][:2]
    assert np.array_equal(image[..., 0], noise(24, SIDE, SIDE))
    assert np.array_equal(labels, checker([1, 0], SIDE, SIDE))


def test_an_archive_that_leaves_its_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = tmp_path / "evil.zip"
    with zipfile.ZipFile(evil, "w") as packed:
        packed.writestr("../../escaped.jpg", b"x")
    error = refused(capsys, prepare_dsb2018, evil, tmp_path / "output")
    assert "its member ../../escaped.jpg leaves the folder" in error
    (tmp_path / "broken.zip").write_bytes(b"no archive")
    assert "not a zip file" in refused(capsys, prepare_dsb2018, tmp_path / "broken.zip", tmp_path / "output")


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    files = [tmp_path / "a" / "01.png", tmp_path / "b" / "01.png"]
    with pytest.raises(ValueError, match="two images of the name 01"):
        preparation.matching(files, r"(\d\d)\.png", "images", tmp_path)
