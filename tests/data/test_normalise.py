import numpy as np
import torch

from seglit.data.normalise import normalise

MEAN, STD = (1.5, 2.5, 3.5), (4.0, 5.0, 6.0)


def test_equals_numpy_for_every_value_of_every_channel():
    image = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16)
    expected = (image.numpy().astype(np.float64) - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    np.testing.assert_allclose(normalise(image, MEAN, STD).numpy(), expected, rtol=1e-6)


def test_takes_one_image_and_leaves_it_alone():
    image = torch.full((3, 2, 2), 9, dtype=torch.uint8)
    assert normalise(image, MEAN, STD).shape == (3, 2, 2)
    assert (image == 9).all()


def test_is_contiguous_whatever_the_layout_of_the_image():
    image = torch.zeros(2, 4, 5, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    assert normalise(image, MEAN, STD).is_contiguous()
