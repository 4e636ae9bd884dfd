from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.data import label_of
from seglit.data.errors import DataError
from seglit.data.label_table import LabelTable

SOURCE = Path("mask.png")
IGNORED = (255, 0, 254, -100, 7, 65535, 300)


@st.composite
def settings(draw):
    num_classes = draw(st.integers(1, 12))
    ignore_index = draw(st.sampled_from(IGNORED))
    reduce_zero_label = draw(st.booleans()) and not 0 <= ignore_index < num_classes
    highest = num_classes - 1 + reduce_zero_label
    label = st.integers(0, highest) | st.just(ignore_index)
    label_map = draw(st.none() | st.dictionaries(st.integers(0, 20) | st.just(255), label, max_size=8))
    default = "error" if label_map is None else draw(st.sampled_from(["error", "ignore", "keep"]))
    return num_classes, ignore_index, label_map, default, reduce_zero_label


@given(settings(), st.sampled_from([np.uint8, np.uint16]), st.data())
def test_equals_the_reference_or_refuses_the_first_pixel_that_means_nothing(numbers, dtype, data):
    values = st.integers(0, 20) | st.sampled_from([254, 255])
    raw = np.array(data.draw(st.lists(values, min_size=12, max_size=12)), dtype=dtype).reshape(3, 4)
    expected = [[label_of(int(value), *numbers) for value in row] for row in raw]
    table = LabelTable(*numbers)
    unknown = [(row, column) for row in range(3) for column in range(4) if expected[row][column] is None]
    if not unknown:
        labels = table(raw, SOURCE)
        assert labels.dtype == table.dtype
        assert labels.tolist() == expected
        return
    row, column = unknown[0]
    with pytest.raises(DataError, match=rf"mask.png: value {raw[row, column]} at row {row}, column {column} "):
        table(raw, SOURCE)


@pytest.mark.parametrize(
    ("num_classes", "ignore_index", "dtype"),
    [
        (19, 255, np.uint8),
        (256, 0, np.uint8),
        (2, -100, np.int16),
        (257, 255, np.int16),
        (2, 65535, np.int32),
        (40000, 255, np.int32),
        (2, -(1 << 31), np.int32),
    ],
)
def test_labels_have_the_smallest_type_that_holds_classes_and_void(num_classes, ignore_index, dtype):
    table = LabelTable(num_classes, ignore_index)
    assert table.dtype == dtype
    raw = np.array([[0, num_classes - 1]], dtype=np.uint16)
    assert table(raw, SOURCE).tolist() == [[0, num_classes - 1]]


def test_every_value_of_16_bits_is_told_apart():
    """65534 is the only value that means nothing here: the last but one of the last row."""
    raw = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    with pytest.raises(DataError, match="value 65534 at row 255, column 254"):
        LabelTable(65534, ignore_index=65535)(raw, SOURCE)
    np.testing.assert_array_equal(LabelTable(65535, ignore_index=65535)(raw, SOURCE), raw)


def test_reduce_zero_label_with_void_255():
    """0 is void, 1 becomes 0, 150 becomes 149, and 255 stays void rather than becoming 254."""
    raw = np.array([[0, 1, 150, 255]], dtype=np.uint8)
    assert LabelTable(150, reduce_zero_label=True)(raw, SOURCE).tolist() == [[255, 0, 149, 255]]


def test_label_map_comes_before_reduce_zero_label():
    """9 is mapped to 1 and then reduced to 0."""
    table = LabelTable(2, label_map={9: 1, 5: 0}, reduce_zero_label=True)
    assert table(np.array([[9, 5]], dtype=np.uint8), SOURCE).tolist() == [[0, 255]]


def test_a_listed_value_beats_void():
    """Masks of 0 and 255, where 255 is the foreground although it is the number of void."""
    table = LabelTable(2, label_map={0: 0, 255: 1})
    assert table(np.array([[0, 255]], dtype=np.uint8), SOURCE).tolist() == [[0, 1]]


def test_void_can_change_its_number():
    table = LabelTable(3, ignore_index=-100, label_map={255: -100}, label_map_default="keep")
    assert table(np.array([[2, 255]], dtype=np.uint8), SOURCE).tolist() == [[2, -100]]


@pytest.mark.parametrize(
    ("options", "source", "message"),
    [
        ({}, "m.png", "is no label: the classes are 0 to 2 and void is 255; correct num_classes or ignore_index, or"),
        ({}, "m.JPG", "is no label: .*; JPEG changes values, so save masks as PNG"),
        ({"label_map": {1: 0}}, "m.png", "is not in label_map; list it, or set label_map_default"),
        ({"reduce_zero_label": True}, "m.png", "becomes label 3, which is no label"),
    ],
)
def test_messages_say_what_is_wrong_and_how_to_mend_it(options, source, message):
    raw = np.array([[1, 1, 4]], dtype=np.uint8)
    with pytest.raises(DataError, match=f"{source}: value 4 at row 0, column 2 {message}"):
        LabelTable(3, **options)(raw, Path(source))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "num_classes must be from 1"),
        ({"num_classes": 1 << 16}, "num_classes must be from 1"),
        ({"ignore_index": 1 << 31}, "ignore_index must fit into 32 bits"),
        ({"ignore_index": 2, "reduce_zero_label": True}, "ignore_index=2 with num_classes=3"),
        ({"label_map_default": "ignore"}, "'ignore' has no effect without a label_map"),
        ({"label_map": {70000: 0}}, "raw values are from 0 to 65535, got 70000: 0"),
        ({"label_map": {7: 3}}, "7 becomes 3, which is neither a label from 0 to 2 nor ignore_index=255"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LabelTable(**{"num_classes": 3, **options})


def test_identity_tells_tables_apart():
    tables = [
        LabelTable(3),
        LabelTable(4),
        LabelTable(3, ignore_index=254),
        LabelTable(3, label_map={0: 0, 1: 1, 2: 2}),
        LabelTable(3, label_map={0: 0, 1: 1, 2: 1}),
        LabelTable(3, reduce_zero_label=True),
    ]
    assert len({table.identity for table in tables}) == len(tables) - 1  # the identity map is no map
    assert LabelTable(3).identity == LabelTable(3).identity


@pytest.mark.parametrize(("num_classes", "ignore_index"), [(256, 0), (255, 255), (1, 0), (256, 255)])
def test_bytes_that_all_mean_something_are_kept(num_classes, ignore_index):
    raw = np.arange(256, dtype=np.uint8).reshape(16, 16)[: -(-num_classes // 16)]
    known = raw if num_classes > 1 else np.zeros((1, 4), np.uint8)
    assert LabelTable(num_classes, ignore_index)(known, SOURCE) is known
