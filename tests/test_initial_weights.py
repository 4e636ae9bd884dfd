"""A training that starts from a file of weights."""

from functools import partial

import pytest
import torch
from safetensors.torch import save_file

from seglit.backbones import UNet
from seglit.checkpoint import load_net, resuming
from seglit.config import ConfigError, compose
from seglit.heads import FCNHead
from seglit.segmentor import Segmentor


def segmentor(classes=3, **arguments) -> Segmentor:
    head = partial(FCNHead, num_classes=classes, channels=4, num_convs=1)
    return Segmentor(UNet(base_channels=2, num_stages=2), head, {"aux": head}, **arguments)


@pytest.fixture
def file(tmp_path):
    def make(net, keep=lambda name: True):
        path = tmp_path / "start.safetensors"
        save_file({name: value for name, value in net.state_dict().items() if keep(name)}, path)
        return str(path)

    return make


def test_a_whole_segmentor(file):
    net = segmentor()
    found = segmentor(init_weights=file(net))
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in found.state_dict().items())
    assert found.initial.loaded == ("backbone", "decode_head", "auxiliary_heads.aux")
    assert found.initial.new == ()
    assert segmentor().initial is None


def test_the_backbone_alone(file):
    net = segmentor()
    found = segmentor(5, init_weights=file(net, lambda name: name.startswith("backbone.")))
    assert all(
        torch.equal(value, net.backbone.state_dict()[name]) for name, value in found.backbone.state_dict().items()
    )
    assert found.initial.loaded == ("backbone",)
    assert found.initial.new == ("decode_head", "auxiliary_heads.aux")


def test_other_classes(file):
    net = segmentor()
    path = file(net)
    with pytest.raises(ValueError, match=r"classifier.bias of \[3\], the net of \[5\].*new_classifiers=true"):
        segmentor(5, init_weights=path)
    found = segmentor(5, init_weights=path, new_classifiers=True)
    same = {name for name, value in found.state_dict().items() if "classifier" not in name}
    assert all(torch.equal(found.state_dict()[name], net.state_dict()[name]) for name in same)
    assert found.initial.new == ("decode_head.classifier", "auxiliary_heads.aux.classifier")
    # Also where the classes are as many.
    again = segmentor(3, init_weights=path, new_classifiers=True)
    assert not torch.equal(again.decode_head.classifier.weight, net.decode_head.classifier.weight)


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        (lambda name: name != "backbone.encoder.0.0.conv.weight", "has no backbone.encoder.0.0.conv.weight"),
        (lambda name: name.startswith("decode_head."), "has no backbone; give"),
        (lambda name: "norm" not in name, r"and \d+ more such"),
    ],
)
def test_files_that_do_not_fit(file, keep, words):
    with pytest.raises(ValueError, match=words):
        segmentor(init_weights=file(segmentor(), keep))


def test_files_that_are_none(tmp_path, file):
    with pytest.raises(ValueError, match="no such file"):
        segmentor(init_weights=str(tmp_path / "x.safetensors"))
    broken = tmp_path / "x.safetensors"
    broken.write_bytes(b"x")
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        segmentor(init_weights=str(broken))
    with pytest.raises(ValueError, match="has no effect without init_weights"):
        segmentor(new_classifiers=True)
    wide = Segmentor(UNet(base_channels=4, num_stages=2), segmentor_head())
    with pytest.raises(ValueError, match="is it of another model"):
        segmentor(init_weights=file(wide))


def segmentor_head():
    return partial(FCNHead, num_classes=3, channels=4, num_convs=1)


def test_the_configuration_of_a_run(file):
    cfg = compose(["name=x", "output_dir=x", "+model.net.new_classifiers=true"])
    assert cfg.model.net.init_weights is None
    small = Segmentor(UNet(base_channels=16, num_stages=2), segmentor_head())
    cfg.model.net.init_weights = file(small)
    from seglit.build import built

    with pytest.raises(ConfigError, match=r"model\.net: init_weights: .*is it of another model"):
        built(cfg.model.net, "model.net")
    # Neither a prediction nor a run that goes on reads the file.
    assert resuming(cfg).model.net.init_weights is None
    assert resuming(cfg).model.net.new_classifiers is False
    assert cfg.model.net.init_weights is not None
    net = built(resuming(cfg).model.net, "model.net")
    assert load_net(cfg, net.state_dict()).initial is None
