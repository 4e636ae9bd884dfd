import numpy as np
import pytest
from PIL import Image

from seglit.data.errors import DataError
from seglit.data.images import read_image

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["i.png", "i.tif", "i.bmp", "ümläut.png"])
def test_reads_red_green_blue(save, name):
    np.testing.assert_array_equal(read_image(save(name, PIXELS)), PIXELS)


def test_reads_jpeg(save):
    smooth = np.full((32, 32, 3), (200, 100, 20), dtype=np.uint8)
    difference = read_image(save("i.jpg", smooth, quality=95)).astype(int) - smooth
    assert abs(difference).max() <= 3  # what JPEG loses on one colour


def test_grey_becomes_three_equal_channels(save):
    for name in ("g.png", "g.tif"):
        grey = PIXELS[..., 0]
        np.testing.assert_array_equal(read_image(save(name, grey)), np.stack([grey] * 3, axis=-1))


def test_palette_gives_colours_and_transparency_is_dropped(save):
    image = Image.new("P", (2, 1))
    image.putdata([0, 1])
    image.putpalette([1, 2, 3, 40, 50, 60])
    assert read_image(save("p.png", image)).tolist() == [[[1, 2, 3], [40, 50, 60]]]
    rgba = np.dstack([PIXELS, np.zeros((40, 30), np.uint8)])
    np.testing.assert_array_equal(read_image(save("a.png", rgba)), PIXELS)


def test_turns_as_the_exif_orientation_says(save):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read_image(save("i.jpg", PIXELS, exif=exif.tobytes())).shape == (30, 40, 3)


@pytest.mark.parametrize("name", ["i.png", "i.tif"])
def test_16_bits_are_refused(save, name):
    path = save(name, np.zeros((4, 4), np.uint16))
    with pytest.raises(DataError, match=rf"{name}: has values of type uint16; images must have 8 bits"):
        read_image(path)


@pytest.mark.parametrize("name", ["i.png", "i.jpg"])
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "text"])
def test_an_unreadable_file_is_named(save, name, damage):
    path = save(name, PIXELS)
    if damage == "missing":
        path.unlink()
    else:
        contents = path.read_bytes()
        path.write_bytes({"empty": b"", "truncated": contents[: len(contents) // 2], "text": b"no"}[damage])
    with pytest.raises(DataError, match=f"{name}: cannot be read as an image"):
        read_image(path)
