from pathlib import Path

import pytest

from seglit.data.errors import DataError
from seglit.data.pairs import Layout, find_pairs


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def names(root: Path, split: str = "train", **layout: str) -> list[tuple[str, str, str]]:
    return [
        (pair.name, pair.image.relative_to(root).as_posix(), pair.mask.relative_to(root).as_posix())
        for pair in find_pairs(root, split, Layout(**layout))
    ]


def test_folders_pair_by_the_path_below_without_its_ending(tmp_path):
    touch(tmp_path, "images/train/b.jpg", "images/train/a/b.JPEG", "images/val/z.png")
    touch(tmp_path, "masks/train/b.png", "masks/train/a/b.tif", "masks/train/unused.png")
    assert names(tmp_path) == [
        ("a/b", "images/train/a/b.JPEG", "masks/train/a/b.tif"),
        ("b", "images/train/b.jpg", "masks/train/b.png"),
    ]


def test_patterns_pair_by_what_the_wildcards_stand_for(tmp_path):
    touch(tmp_path, "img/a/1.jpg", "img/2.jpg", "img/2.png")
    touch(tmp_path, "gt/a/1_labelIds.png", "gt/a/1_color.png", "gt/2_labelIds.png")
    assert names(tmp_path, images="img/**/*.jpg", masks="gt/**/*_labelIds.png") == [
        ("2", "img/2.jpg", "gt/2_labelIds.png"),
        ("a/1", "img/a/1.jpg", "gt/a/1_labelIds.png"),
    ]


def test_the_layout_of_cityscapes(tmp_path):
    touch(tmp_path, "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png")
    for kind in ("labelIds", "instanceIds", "color"):
        touch(tmp_path, f"gtFine/train/aachen/aachen_000000_000019_gtFine_{kind}.png")
    layout = {
        "images": "leftImg8bit/{split}/*/*_leftImg8bit.png",
        "masks": "gtFine/{split}/*/*_gtFine_labelIds.png",
    }
    assert [pair[0] for pair in names(tmp_path, **layout)] == ["aachen/aachen_000000_000019"]


def test_images_and_masks_may_share_a_folder_and_a_wildcard_may_be_a_folder(tmp_path):
    touch(tmp_path, "s1/images/1.png", "s1/masks/1.png", "s2/images/1.png", "s2/masks/1.png")
    found = names(tmp_path, images="*/images/*", masks="*/masks/*")
    assert [pair[0] for pair in found] == ["s1/1", "s2/1"]
    touch(tmp_path, "both/x.jpg", "both/x_mask.png")
    assert names(tmp_path, images="both/*.jpg", masks="both/*_mask.png") == [("x", "both/x.jpg", "both/x_mask.png")]


def test_question_marks_stand_for_one_letter_and_brackets_for_themselves(tmp_path):
    touch(tmp_path, "im[1]/1.png", "im[1]/22.png", "m/1.png")
    assert names(tmp_path, images="im[1]/?.png", masks="m/**") == [("1", "im[1]/1.png", "m/1.png")]


def test_hidden_files_and_files_that_are_no_images_are_passed_over(tmp_path):
    touch(tmp_path, "images/train/a.png", "images/train/.b.png", "images/train/.c/d.png", "images/train/e.txt")
    touch(tmp_path, "masks/train/a.png")
    assert [pair[0] for pair in names(tmp_path)] == ["a"]


def test_linked_folders_are_followed(tmp_path):
    touch(tmp_path, "elsewhere/a.png", "masks/train/city/a.png")
    (tmp_path / "images/train").mkdir(parents=True)
    (tmp_path / "images/train/city").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert [pair[0] for pair in names(tmp_path)] == ["city/a"]


@pytest.mark.parametrize(
    "lines", ["b\na", "b.jpg\n\n a.jpg \n", "JPEGImages/b.jpg\nJPEGImages/a", "./JPEGImages/b\na\n"]
)
def test_a_split_file_selects_and_orders(tmp_path, lines):
    touch(tmp_path, "JPEGImages/a.jpg", "JPEGImages/b.jpg", "JPEGImages/c.jpg")
    touch(tmp_path, "SegmentationClass/a.png", "SegmentationClass/b.png")
    (tmp_path / "train.txt").write_text(lines, encoding="utf-8")
    found = names(tmp_path, images="JPEGImages", masks="SegmentationClass", split_file="{split}.txt")
    assert [pair[0] for pair in found] == ["b", "a"]


def test_files_outside_the_root_can_be_used(tmp_path):
    touch(tmp_path, "root/images/train/a.jpg", "labels/a.png")
    layout = {"masks": "../labels", "split_file": "list.txt"}
    (tmp_path / "root/list.txt").write_text("a", encoding="utf-8")
    assert find_pairs(tmp_path / "root", "train", Layout(**layout))[0].mask.samefile(tmp_path / "labels/a.png")


def test_a_missing_split_lists_those_that_there_are(tmp_path):
    touch(tmp_path, "images/train/a.png", "images/test/a.png")
    with pytest.raises(DataError, match=r"images/val: no such folder, .*'val'; .*/images holds test, train"):
        find_pairs(tmp_path, "val", Layout())
    with pytest.raises(DataError, match=r"masks/train: no such folder, for the masks of split 'train'; .* images"):
        find_pairs(tmp_path, "train", Layout())


def test_a_missing_root_lists_what_there_is(tmp_path):
    touch(tmp_path, *(f"set{number}/x" for number in range(9)))
    with pytest.raises(DataError, match=r"camvid: no such folder; .* holds set0, .*set7, \.\.\.$"):
        find_pairs(tmp_path / "camvid", "train", Layout())


def test_an_empty_folder_is_refused(tmp_path):
    touch(tmp_path, "images/train/readme.txt")
    with pytest.raises(DataError, match=r"images/train: holds no images of split 'train'.*'images/train'.*\.png"):
        find_pairs(tmp_path, "train", Layout())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty is empty"):
        find_pairs(tmp_path / "empty" / "root", "train", Layout())


def test_an_image_without_a_mask_is_named(tmp_path):
    touch(tmp_path, "images/train/a.png", "images/train/b.png", "masks/train/a_mask.png")
    message = r"images/train/a.png: has no mask .*'a' \(so have 2 of 2 images\).*for instance .*a_mask.png"
    with pytest.raises(DataError, match=message):
        find_pairs(tmp_path, "train", Layout())


def test_two_files_of_one_name_are_refused(tmp_path):
    touch(tmp_path, "images/train/a.png", "images/train/a.jpg", "masks/train/a.png")
    with pytest.raises(DataError, match="two images of split 'train' have the name 'a'; keep one"):
        find_pairs(tmp_path, "train", Layout())


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a\nnope\n", r"train.txt, line 2: 'nope' names none of the 2 images; one is '[ab]'"),
        ("a\nb\na.png", r"train.txt, line 3: 'a' is listed before, in line 1"),
        ("\n\n", r"train.txt: lists no image"),
        (None, r"train.txt: cannot be read as a split file .* holds images, masks"),
    ],
)
def test_a_wrong_split_file_is_refused(tmp_path, lines, message):
    touch(tmp_path, "images/a.png", "images/b.png", "masks/a.png", "masks/b.png")
    if lines is not None:
        (tmp_path / "train.txt").write_text(lines, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        find_pairs(tmp_path, "train", Layout("images", "masks", "{split}.txt"))
