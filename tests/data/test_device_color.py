"""Colours distorted on the device are those that the loader would have made."""

import itertools
from itertools import islice

import albumentations as A
import cv2
import numpy as np
import pytest
import torch

from seglit.data.datamodule import SegmentationDataModule
from seglit.data.device_color import NAMES, NEUTRAL, distorted, drawn_colors
from seglit.data.loading import StepLoader
from seglit.data.normalise import normalise
from seglit.data.transforms import PhotoMetricDistortion

IMAGE = cv2.resize(np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8), (48, 40))
CHANGED = {"brightness": -20.5, "contrast": 1.37, "saturation": 0.6, "hue": -11}


def on_device(params, image=IMAGE):
    batch = torch.from_numpy(image)[None].permute(0, 3, 1, 2)
    return distorted(batch, torch.tensor([[float(params[name]) for name in NAMES]]))[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("early_contrast", [False, True])
@pytest.mark.parametrize("changes", [c for n in range(5) for c in itertools.combinations(CHANGED, n)])
def test_equals_the_transform(changes, early_contrast):
    """Exactly where no hue or saturation is touched; these are rounded in the transform, hues to 2 degrees."""
    neutral = dict(zip(NAMES, NEUTRAL, strict=True))
    params = neutral | {name: CHANGED[name] for name in changes} | {"early_contrast": early_contrast}
    expected = PhotoMetricDistortion().apply(IMAGE, **params | {"hue": int(params["hue"])}).astype(int)
    ours = on_device(params)
    if {"saturation", "hue"} & set(changes):
        assert np.abs(ours - expected).mean() < 1.0
        assert np.abs(ours - expected).max() <= 12
    else:
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize(
    ("hue", "expected"), [(30, (100, 200, 40)), (60, (40, 200, 140)), (90, (40, 100, 200)), (-30, (200, 40, 100))]
)
def test_hue_turns_by_steps_of_two_degrees(hue, expected):
    """Red 200, green 140, blue 40 has hue 37.5 degrees, so that 60 degrees more are 97.5, and so on."""
    pixel = np.array([[[200, 140, 40]]], np.uint8)
    values = dict(zip(NAMES, NEUTRAL, strict=True)) | {"hue": hue}
    assert tuple(on_device(values, pixel)[0, 0]) == expected


def test_grey_stays_grey():
    grey = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 256, 3)
    values = dict(zip(NAMES, NEUTRAL, strict=True)) | {"hue": 13, "saturation": 1.5}
    np.testing.assert_array_equal(on_device(values, grey), grey)


def test_numbers_are_a_function_of_the_seed_and_p():
    distortion = PhotoMetricDistortion()
    first = [drawn_colors(distortion, seed) for seed in range(40)]
    assert [drawn_colors(distortion, seed) for seed in reversed(range(40))] == first[::-1]
    assert len(set(first)) > 20
    assert {drawn_colors(PhotoMetricDistortion(p=0.0), seed) for seed in range(9)} == {NEUTRAL}


def module(root, **options):
    return SegmentationDataModule(root, 3, batch_size=4, **({"num_workers": 0} | options))


def test_batches_are_distorted_when_they_are_on_the_device(stripes):
    plain = module(stripes)
    data = module(stripes, device_color=PhotoMetricDistortion())
    batches = list(islice(data.train_dataloader(), 3))
    for batch, other in zip(batches, plain.train_dataloader(), strict=False):
        assert torch.equal(batch["image"], other["image"])
        assert torch.equal(batch["labels"], other["labels"])
        ready = data.on_after_batch_transfer(batch, 0)
        colours = distorted(batch["image"], batch["colors"])
        assert not torch.equal(colours, batch["image"])
        torch.testing.assert_close(ready["image"], normalise(colours, data.mean, data.std))
    assert len({tuple(row) for batch in batches for row in batch["colors"].tolist()}) > 8
    again = list(islice(module(stripes, device_color=PhotoMetricDistortion(), num_workers=1).train_dataloader(), 3))
    assert all(torch.equal(one["colors"], other["colors"]) for one, other in zip(batches, again, strict=True))


def test_micro_batches_of_a_step_are_distorted_each(stripes):
    data = module(stripes, device_color=PhotoMetricDistortion())
    loader = data.train_dataloader()
    batch = data.transfer_batch_to_device(next(iter(StepLoader(loader, 2))), torch.device("cpu"), 0)
    parts = [part() for part in data.on_after_batch_transfer(batch, 0)["step"]]
    for part, stored in zip(parts, loader, strict=False):
        torch.testing.assert_close(part["image"], data.on_after_batch_transfer(stored, 0)["image"])


def test_evaluation_keeps_its_colours(stripes):
    batch = next(iter(module(stripes, device_color=PhotoMetricDistortion()).val_dataloader()))
    assert "colors" not in batch


def test_colours_are_not_distorted_twice(stripes):
    with pytest.raises(ValueError, match=r"device_color: train_transforms have a PhotoMetricDistortion too.*twice"):
        module(
            stripes,
            device_color=PhotoMetricDistortion(),
            train_transforms=[A.HorizontalFlip(), PhotoMetricDistortion()],
        )
