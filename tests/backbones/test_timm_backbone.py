import sys

import pytest
import timm
import torch
from torch.testing import assert_close

from seglit.backbones import TimmBackbone

CONVOLUTIONAL = ["resnet18", "mobilenetv3_small_050", "convnext_atto", "regnetx_002"]
FIXED_SIZE = ["swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"]
"""The first of these gives its maps channels last, the second all at one stride."""


@pytest.mark.parametrize("name", CONVOLUTIONAL)
@torch.no_grad()
def test_features_of_convolutional_nets_are_as_described(name):
    net = TimmBackbone(name).eval()
    for height, width in ((64, 64), (65, 97)):
        for feature, spec in zip(net(torch.zeros(1, 3, height, width)), net.feature_specs, strict=True):
            assert feature.shape[:2] == (1, spec.channels)
            for steps, side in zip(feature.shape[2:], (height, width), strict=True):
                assert side // spec.stride <= steps <= -(-side // spec.stride)


@pytest.mark.parametrize("name", FIXED_SIZE)
@torch.no_grad()
def test_features_of_transformers_are_as_described(name):
    net = TimmBackbone(name, options={"img_size": (64, 128)}).eval()
    for feature, spec in zip(net(torch.zeros(1, 3, 64, 128)), net.feature_specs, strict=True):
        assert feature.shape == (1, spec.channels, 64 // spec.stride, 128 // spec.stride)


@torch.no_grad()
def test_features_are_those_of_timm():
    net = TimmBackbone("convnext_atto", out_indices=(1, 3)).eval()
    theirs = timm.create_model("convnext_atto", features_only=True).eval()
    # As the wanted maps are fewer, so may be the parameters.
    theirs.load_state_dict(theirs.state_dict() | net.model.state_dict())
    image = torch.randn(1, 3, 64, 64)
    features = theirs(image)
    assert_close(net(image), (features[1], features[3]))


def test_output_stride_dilates():
    assert [spec.stride for spec in TimmBackbone("resnet18").feature_specs] == [2, 4, 8, 16, 32]
    assert [spec.stride for spec in TimmBackbone("resnet18", output_stride=8).feature_specs] == [
        2,
        4,
        8,
        8,
        8,
    ]


def test_out_indices_choose():
    assert [spec.stride for spec in TimmBackbone("resnet18", out_indices=[1, 4]).feature_specs] == [4, 32]
    assert [spec.channels for spec in TimmBackbone("resnet18", out_indices=[-2, -1]).feature_specs] == [
        256,
        512,
    ]


@pytest.mark.parametrize("out_indices", [[], [3, 1], [1, 1], [0, -1]])
def test_out_indices_must_increase(out_indices):
    with pytest.raises(ValueError, match="out_indices must be increasing and not empty"):
        TimmBackbone("resnet18", out_indices=out_indices)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet18", {"output_stride": 7}),
        ("resnet18", {"out_indices": [7]}),
        ("resnet18", {"options": {"no_such_option": 1}}),
        ("swin_tiny_patch4_window7_224", {"output_stride": 8}),
    ],
)
def test_what_a_model_does_not_take_is_named(name, arguments):
    with pytest.raises(ValueError, match=f"timm's {name} cannot be built with") as raised:
        TimmBackbone(name, **arguments)
    assert next(iter(arguments.get("options", arguments))) in str(raised.value)


def test_an_unknown_name_brings_the_nearest():
    with pytest.raises(ValueError, match=r"no model 'resnet18e'; nearest: .*resnet18"):
        TimmBackbone("resnet18e")
    with pytest.raises(ValueError, match=r"no model '@@@'$"):
        TimmBackbone("@@@")


def test_pretrained_is_passed_on(monkeypatch):
    seen = {}

    def create_model(name, **arguments):
        seen.update(arguments)
        raise TypeError("enough")

    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(ValueError, match="enough"):
        TimmBackbone("resnet18", pretrained=True)
    assert seen == {"pretrained": True, "features_only": True}


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"pip install 'seglit\[timm\]'"):
        TimmBackbone("resnet18")
