import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seglit.data.errors import DataError
from seglit.data.images import read_image
from seglit.data.label_table import LabelTable
from seglit.data.masks import MaskReader

LABELS = np.array([[0, 1, 2, 3], [3, 2, 1, 255]], dtype=np.uint8)
COLOURS = [(0, 0, 0), (255, 0, 0), (0, 255, 0), (10, 20, 30)]


def grey_png(path: Path, bits: int, row: bytes, width: int) -> Path:
    """A PNG of one row of grey values of few bits, which Pillow reads but does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, 1, bits, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


def test_reads_8_and_16_bits_whatever_the_container(save):
    read = MaskReader(LabelTable(4))
    for name, pixels in (("8.png", LABELS), ("16.png", LABELS.astype(np.uint16)), ("8.tif", LABELS)):
        assert read(save(name, pixels)).tolist() == LABELS.tolist(), name
    big_endian = save("16.tif", Image.fromarray(LABELS.astype(np.uint16)))
    assert read(big_endian).tolist() == LABELS.tolist()
    assert read(save("32.tif", LABELS.astype(np.int32))).tolist() == LABELS.tolist()


def test_reads_labels_above_255(save):
    pixels = np.array([[0, 300, 999]], dtype=np.uint16)
    assert MaskReader(LabelTable(1000))(save("m.png", pixels)).tolist() == [[0, 300, 999]]


def test_reads_the_index_of_a_palette_png_not_its_colour(save):
    image = Image.new("P", (4, 2))
    image.putdata((LABELS % 4).ravel().tolist())
    # Two classes of the same colour: only the index can tell them apart.
    image.putpalette([9, 9, 9, 9, 9, 9, 200, 0, 0, 1, 2, 3])
    assert MaskReader(LabelTable(4))(save("m.png", image)).tolist() == (LABELS % 4).tolist()


def test_reads_masks_of_few_bits_unstretched(save, tmp_path):
    read = MaskReader(LabelTable(16))
    assert read(save("1.png", np.array([[False, True, True]]))).tolist() == [[0, 1, 1]]
    assert read(grey_png(tmp_path / "2.png", 2, bytes([0b00011011]), 4)).tolist() == [[0, 1, 2, 3]]
    assert read(grey_png(tmp_path / "4.png", 4, bytes([0x01, 0xEF]), 4)).tolist() == [[0, 1, 14, 15]]


def test_turns_a_mask_as_its_exif_orientation_says(save):
    """Orientation 6: the first row of the file is the right column of the picture."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save("m.png", LABELS, exif=exif.tobytes())
    expected = np.rot90(LABELS, -1)
    assert MaskReader(LabelTable(4))(path).tolist() == expected.tolist()
    colours = np.array(COLOURS, dtype=np.uint8)[LABELS % 4]
    path = save("c.png", colours, exif=exif.tobytes())
    assert MaskReader(LabelTable(4), "color", COLOURS)(path).tolist() == (expected % 4).tolist()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_a_tiff_mask_is_turned_like_the_image_beside_it(save, orientation, compression):
    exif = Image.Exif()
    exif[0x0112] = orientation
    colours = np.array(COLOURS, dtype=np.uint8)[LABELS % 4]
    options = {"exif": exif, "compression": compression}
    image = read_image(save("i.tif", colours, **options))
    expected = (image[..., None, :] == COLOURS).all(-1).argmax(-1).tolist()
    for pixels in (LABELS % 4, (LABELS % 4).astype(np.uint16)):
        assert MaskReader(LabelTable(4))(save("m.tif", pixels, **options)).tolist() == expected
    for mode in ("RGB", "RGBA"):
        path = save("c.tif", Image.fromarray(colours).convert(mode), **options)
        assert MaskReader(LabelTable(4), "color", COLOURS)(path).tolist() == expected


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_reads_colours_by_their_place_in_the_list(save, mode):
    pixels = np.array(COLOURS, dtype=np.uint8)[LABELS % 4]
    image = Image.fromarray(pixels).convert(mode)
    assert MaskReader(LabelTable(4), "color", COLOURS)(save("m.png", image)).tolist() == (LABELS % 4).tolist()


def test_reads_the_colour_of_a_palette_png_not_its_index(save):
    image = Image.new("P", (2, 1))
    image.putdata([0, 1])
    image.putpalette([*COLOURS[3], *COLOURS[1]])
    assert MaskReader(LabelTable(4), "color", COLOURS)(save("m.png", image)).tolist() == [[3, 1]]


def test_reads_black_and_white_as_colours(save):
    read = MaskReader(LabelTable(2), "color", [(0, 0, 0), (255, 255, 255)])
    assert read(save("grey.png", np.array([[0, 255]], dtype=np.uint8))).tolist() == [[0, 1]]
    assert read(save("bits.png", np.array([[False, True]]))).tolist() == [[0, 1]]


def test_label_map_makes_a_colour_void_and_joins_two(save):
    table = LabelTable(2, label_map={0: 0, 1: 1, 2: 1, 3: 255})
    pixels = np.array([COLOURS], dtype=np.uint8)
    assert MaskReader(table, "color", COLOURS)(save("m.png", pixels)).tolist() == [[0, 1, 1, 255]]


def test_every_colour_is_told_from_its_neighbours(save):
    """Colours that differ in one bit of one channel."""
    colours = [(1 << bit, 0, 0) for bit in range(8)] + [(0, 1 << bit, 0) for bit in range(8)]
    colours += [(0, 0, 1 << bit) for bit in range(8)]
    read = MaskReader(LabelTable(24), "color", colours)
    assert read(save("m.png", np.array([colours], dtype=np.uint8))).tolist() == [list(range(24))]


def test_an_unknown_colour_is_named_with_its_place(save):
    pixels = np.zeros((3, 5, 3), dtype=np.uint8)
    pixels[1, 2] = pixels[2, 4] = (0, 0, 9)
    message = r"m.png: colour \[0, 0, 9\] at row 1, column 2 is none of the 4 mask colours; list it in mask_colors"
    with pytest.raises(DataError, match=message):
        MaskReader(LabelTable(4), "color", COLOURS)(save("m.png", pixels))


@pytest.mark.parametrize(
    ("pixels", "name", "message"),
    [
        (np.zeros((2, 2, 3), np.uint8), "m.png", r"m.png: is a colour .*mode RGB.*set mask_format=color"),
        (np.zeros((2, 2), np.float32), "m.tif", r"m.tif: is a colour or floating-point image \(mode F\)"),
        (np.array([[0, 1], [70000, 1]], np.int32), "m.tif", "value 70000 at row 1, column 0 is not from 0 to 65535"),
        (np.array([[0, -1]], np.int32), "m.tif", "value -1 at row 0, column 1 is not from 0 to 65535"),
        (np.array([[0, 9]], np.uint8), "m.png", "value 9 at row 0, column 1 is no label"),
        (np.array([[0, 9]], np.uint16), "m.png", "value 9 at row 0, column 1 is no label"),
    ],
)
def test_a_file_of_another_kind_is_refused(save, pixels, name, message):
    with pytest.raises(DataError, match=message):
        MaskReader(LabelTable(4))(save(name, pixels))


def test_colours_are_not_read_from_16_bits(save):
    path = save("m.png", np.zeros((2, 2), np.uint16))
    with pytest.raises(DataError, match=r"m.png: has mode I;16, which is no 8-bit colour image"):
        MaskReader(LabelTable(4), "color", COLOURS)(path)


@pytest.mark.parametrize("options", [{}, {"mask_format": "color", "mask_colors": COLOURS}])
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "text"])
def test_an_unreadable_file_is_named(save, tmp_path, options, damage):
    path = save("m.png", np.random.default_rng(0).integers(0, 4, (50, 50, 3), dtype=np.uint8))
    if damage == "missing":
        path.unlink()
    else:
        contents = {"empty": b"", "truncated": path.read_bytes()[:2000], "text": b"not an image"}[damage]
        path.write_bytes(contents)
    with pytest.raises(DataError, match=r"m.png: cannot be read as a mask"):
        MaskReader(LabelTable(4), **options)(path)


@pytest.mark.parametrize(
    ("mask_format", "colours", "message"),
    [
        ("index", COLOURS, "mask_colors has no effect with mask_format='index'"),
        ("color", None, "mask_format='color' needs mask_colors"),
        ("color", [], "mask_format='color' needs mask_colors"),
        ("color", [(0, 0, 0), (1, 1, 1), (0, 0, 0)], r"\[0, 0, 0\] occurs twice"),
        ("color", [(0, 0, 256)], "three whole numbers from 0 to 255"),
        ("color", [(0, 0)], "three whole numbers from 0 to 255"),
    ],
)
def test_impossible_settings_are_refused(mask_format, colours, message):
    with pytest.raises(ValueError, match=message):
        MaskReader(LabelTable(3), mask_format, colours)


def test_identity_tells_readers_apart():
    table = LabelTable(4)
    readers = [MaskReader(table), MaskReader(table, "color", COLOURS), MaskReader(table, "color", COLOURS[::-1])]
    assert len({reader.identity for reader in readers}) == 3
