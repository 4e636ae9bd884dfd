"""Pascal VOC 2012 with the labels of SBD for seglit.

python scripts/prepare_voc_aug.py downloads/benchmark_RELEASE data/VOCdevkit/VOC2012

Adds to the folder of VOC 2012: SegmentationClassAug with the masks of both, VOC's own where it has one, and the
list ImageSets/Segmentation/trainaug.txt, which is all of SBD and VOC's training images but for VOC's validation
images.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from preparation import arguments_of, check_count, readable_errors, save_mask, track, write_folder
from seglit.files import write_text

NAME = "SegmentationClassAug"
IMAGES = 10582


def main(arguments: Sequence[str] | None = None) -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("sbd", type=Path, help="folder benchmark_RELEASE of SBD")
    parser.add_argument("voc", type=Path, help="folder VOC2012, which is added to")
    options = parser.parse_args(arguments)
    with readable_errors():
        names = training_names(options.sbd, options.voc)
        check_count(len(names), IMAGES, "training images", options.any_count)
        write_folder(
            options.voc / NAME, options.force, lambda folder: write_masks(options.sbd, options.voc, names, folder)
        )
        lists = options.voc / "ImageSets" / "Segmentation"
        write_text(lists / "trainaug.txt", "".join(f"{name}\n" for name in names))
        print(f"{lists / 'trainaug.txt'}: {len(names)} images")


def lines(path: Path) -> set[str]:
    """The names in a list.

    Raises:
        FileNotFoundError: names the list.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list; is the folder that of the unpacked archive?")
    return set(path.read_text(encoding="utf-8").split())


def training_names(sbd: Path, voc: Path) -> list[str]:
    """The images that train, sorted."""
    ours = voc / "ImageSets" / "Segmentation"
    theirs = lines(sbd / "dataset" / "train.txt") | lines(sbd / "dataset" / "val.txt")
    return sorted((theirs | lines(ours / "train.txt")) - lines(ours / "val.txt"))


def write_masks(sbd: Path, voc: Path, names: Sequence[str], folder: Path) -> str:
    """Write the masks of the training images and of VOC's validation images."""
    own = 0
    for name in track([*names, *sorted(lines(voc / "ImageSets" / "Segmentation" / "val.txt"))], "masks"):
        mask, mat = voc / "SegmentationClass" / f"{name}.png", sbd / "dataset" / "cls" / f"{name}.mat"
        if mask.is_file():
            shutil.copyfile(mask, folder / mask.name)
            own += 1
        elif mat.is_file():
            labels = np.asarray(loadmat(mat)["GTcls"]["Segmentation"][0, 0])
            save_mask(folder / mask.name, labels)
        else:
            raise FileNotFoundError(f"{name}: has neither {mask} nor {mat}")
    return f"{own} masks of VOC's own, the rest of SBD"


if __name__ == "__main__":
    main()
