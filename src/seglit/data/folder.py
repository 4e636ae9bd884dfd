"""Images and masks in a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer, UInt8
from torch.utils.data import Dataset

from seglit.data.errors import DataError
from seglit.data.images import read_image
from seglit.data.pairs import Layout, find_pairs


class Sample(NamedTuple):
    """One image with its labels.

    Attributes:
        image: Red, green, blue.
        labels: Class indices, or the label of void.
        name: The image's name in its split.
    """

    image: UInt8[np.ndarray, "height width 3"]
    labels: Integer[np.ndarray, "height width"]
    name: str


class FolderDataset(Dataset[Sample]):
    """The images of one split with their labels, unchanged, in a fixed order.

    Each mask is checked whenever it is read.

    Args:
        root: The folder of the data set.
        split: The name of the split.
        read_mask: From a mask file to labels.
        layout: Where the files lie.
        read_image: From an image file to pixels.

    Attributes:
        pairs: The files, by index.

    Raises:
        DataError: See `find_pairs`.
    """

    def __init__(
        self,
        root: Path,
        split: str,
        read_mask: Callable[[Path], np.ndarray],
        layout: Layout,
        read_image: Callable[[Path], np.ndarray] = read_image,
    ) -> None:
        self.read_mask = read_mask
        self.read_image = read_image
        self.pairs = find_pairs(root, split, layout)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        """The sample at an index.

        Raises:
            DataError: If a file cannot be read, holds a value that means nothing, or if image and mask
                differ in size.
        """
        name, image_path, mask_path = self.pairs[index]
        image = self.read_image(image_path)
        labels = self.read_mask(mask_path)
        if labels.shape != image.shape[:2]:
            raise DataError(
                f"{mask_path}: the mask is {_size(labels)} pixels, but its image {image_path} is "
                f"{_size(image)} (width x height, after EXIF orientation); they must have one size"
            )
        return Sample(image, labels, name)


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]} x {array.shape[0]}"
