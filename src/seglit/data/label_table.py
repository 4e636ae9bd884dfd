"""From the values in mask files to labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Integer, UInt8, UInt16

from seglit.data.errors import DataError

RAW_VALUES = 1 << 16


class LabelTable:
    """Turns the raw values of a mask, 0 to 65535, into labels, and refuses those that mean nothing.

    For each raw value, in this order:

    1. `label_map`: a listed value becomes the label beside it. Without a map a value is its own label.
       A value that the map does not list follows `label_map_default`, except that `ignore_index` stays
       void.
    2. `reduce_zero_label`: label 0 becomes void and label k becomes k - 1; void stays void.
    3. What is then neither in `[0, num_classes)` nor `ignore_index` is an error.

    Args:
        num_classes: The number of classes, at least 1.
        ignore_index: The label of void; any whole number of 32 bits. Inside `[0, num_classes)` it makes
            that class void.
        label_map: From raw values to labels, `ignore_index` among them where values are void.
        label_map_default: What an unlisted raw value is: `error`, void (`ignore`), or its own label
            (`keep`).
        reduce_zero_label: Whether label 0 is no class but void, and the classes are counted from 1 in the
            files.

    Raises:
        ValueError: If an argument is out of its range, or has no effect or no meaning beside the others.
    """

    def __init__(
        self,
        num_classes: int,
        ignore_index: int = 255,
        label_map: Mapping[int, int] | None = None,
        label_map_default: Literal["error", "ignore", "keep"] = "error",
        reduce_zero_label: bool = False,
    ) -> None:
        if not 1 <= num_classes < RAW_VALUES:
            raise ValueError(f"num_classes must be from 1 to {RAW_VALUES - 1}, got {num_classes}")
        if not -(1 << 31) <= ignore_index < 1 << 31:
            raise ValueError(f"ignore_index must fit into 32 bits, got {ignore_index}")
        if reduce_zero_label and 0 <= ignore_index < num_classes:
            raise ValueError(
                f"reduce_zero_label makes label 0 void, so ignore_index must be no class: "
                f"got ignore_index={ignore_index} with num_classes={num_classes}"
            )
        if label_map is None and label_map_default != "error":
            raise ValueError(f"label_map_default={label_map_default!r} has no effect without a label_map")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.label_map = None if label_map is None else dict(label_map)
        labels = np.arange(RAW_VALUES, dtype=np.int64)
        listed = np.ones(RAW_VALUES, dtype=bool)
        if label_map is not None:
            if label_map_default == "error":
                listed[:] = False
            elif label_map_default == "ignore":
                labels[:] = ignore_index
            if 0 <= ignore_index < RAW_VALUES:
                labels[ignore_index] = ignore_index
                listed[ignore_index] = True
            for raw, label in label_map.items():
                self._check_entry(raw, label, num_classes + reduce_zero_label)
                labels[raw] = label
                listed[raw] = True
        if reduce_zero_label:
            void = (labels == ignore_index) | (labels == 0)
            labels = np.where(void, ignore_index, labels - 1)
        in_range = (labels == ignore_index) | ((labels >= 0) & (labels < num_classes))
        self.dtype = np.dtype(_smallest_type(num_classes, ignore_index))
        self._listed = listed
        self._labels = labels
        self._known = listed & in_range
        self._table = np.where(self._known, labels, 0).astype(self.dtype)
        known = self._known[:256]
        self._keeps_bytes = self.dtype == np.uint8 and bool((self._table[:256][known] == np.arange(256)[known]).all())
        self._first_unknown = 256 if known.all() else int(known.argmin())
        self._known_beyond = np.flatnonzero(known[self._first_unknown :]) + self._first_unknown

    def __call__(
        self, raw: UInt8[np.ndarray, "height width"] | UInt16[np.ndarray, "height width"], source: Path
    ) -> Integer[np.ndarray, "height width"]:
        """The labels, in `self.dtype`, the smallest of uint8, int16, int32 that holds classes and void.

        May be `raw` itself, where nothing changes.

        Args:
            raw: The values in the file.
            source: The file, for the message.

        Raises:
            DataError: On a value that means nothing: the file, the first such pixel, the value and the
                mend.
        """
        if raw.dtype == np.uint8 and self._keeps_bytes and self._is_plainly_known(raw):
            return raw
        values = 256 if raw.dtype == np.uint8 else RAW_VALUES
        # As a histogram shows which values occur, the table is consulted once a value and not once a pixel.
        occurs = cv2.calcHist([raw], [0], None, [values], [0, values]).ravel() > 0
        if (occurs & ~self._known[:values]).any():
            raise DataError(self._complaint(raw, source))
        if raw.dtype == np.uint8 and self._keeps_bytes:
            return raw
        if raw.dtype == np.uint8 and self.dtype == np.uint8:
            return cv2.LUT(raw, self._table[:256])
        return np.take(self._table, raw)

    def meanings(self, raw: Integer[np.ndarray, " values"]) -> list[int | None]:
        """The label of each raw value, 0 to 65535; None where it means nothing."""
        return [int(self._labels[value]) if self._known[value] else None for value in raw.tolist()]

    def _is_plainly_known(self, raw: UInt8[np.ndarray, "height width"]) -> bool:
        """Whether all values are known, five times as quick as a histogram; False where that would show it alone."""
        if self._known_beyond.size > 1:
            return False
        unknown = raw >= self._first_unknown
        for value in self._known_beyond.tolist():
            unknown &= raw != value
        return not unknown.any()

    @property
    def identity(self) -> bytes:
        """Equal for two tables exactly if they turn every mask into the same labels, or both refuse it."""
        numbers = repr((self.num_classes, self.ignore_index))
        return b"".join((numbers.encode(), self._known.tobytes(), self._table.tobytes()))

    def _check_entry(self, raw: int, label: int, labels: int) -> None:
        if not 0 <= raw < RAW_VALUES:
            raise ValueError(f"label_map: raw values are from 0 to {RAW_VALUES - 1}, got {raw}: {label}")
        if not (0 <= label < labels or label == self.ignore_index):
            raise ValueError(
                f"label_map: {raw} becomes {label}, which is neither a label from 0 to {labels - 1} "
                f"nor ignore_index={self.ignore_index}"
            )

    def _complaint(self, raw: Integer[np.ndarray, "height width"], source: Path) -> str:
        row, column = divmod(int((~self._known[raw]).argmax()), raw.shape[1])
        value = int(raw[row, column])
        label = int(self._labels[value])
        where = f"{source}: value {value} at row {row}, column {column}"
        if not self._listed[value]:
            return f"{where} is not in label_map; list it, or set label_map_default to 'ignore' or 'keep'"
        becomes = "" if label == value else f" becomes label {label}, which"
        mend = f"correct num_classes or ignore_index, or say in label_map what {value} is"
        if source.suffix.lower() in (".jpg", ".jpeg"):
            mend = "JPEG changes values, so save masks as PNG"
        return (
            f"{where}{becomes} is no label: the classes are 0 to {self.num_classes - 1} and void is "
            f"{self.ignore_index}; {mend}"
        )


def _smallest_type(num_classes: int, ignore_index: int) -> type[np.integer]:
    lowest, highest = min(0, ignore_index), max(num_classes - 1, ignore_index)
    # No uint16: albumentations' warps and torch's arithmetic do not know it well.
    for candidate in (np.uint8, np.int16):
        if np.iinfo(candidate).min <= lowest and highest <= np.iinfo(candidate).max:
            return candidate
    return np.int32
