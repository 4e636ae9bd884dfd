"""A training that starts from a file of weights."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from conftest import tiny_overrides
from seglit.backbones import UNet
from seglit.build import build, built
from seglit.checkpoint import load_net, read_checkpoint, resuming
from seglit.config import ConfigError, compose
from seglit.heads import FCNHead
from seglit.receipt import receipt, receipt_tables
from seglit.segmentor import Segmentor
from seglit.train import run


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
    with pytest.raises(ConfigError, match=r"model\.net: init_weights: .*is it of another model"):
        built(cfg.model.net, "model.net")
    # Neither a prediction nor a run that goes on reads the file.
    assert resuming(cfg).model.net.init_weights is None
    assert resuming(cfg).model.net.new_classifiers is False
    assert cfg.model.net.init_weights is not None
    net = built(resuming(cfg).model.net, "model.net")
    assert load_net(cfg, net.state_dict()).initial is None


def test_the_receipt_says_it(tmp_path, tiny_data):
    path = str(tmp_path / "start.safetensors")
    cfg = compose(
        tiny_overrides(tiny_data, tmp_path, f"model.net.init_weights={path}", "model.criterion.kernels=false")
    )
    net = built(resuming(cfg).model.net, "model.net")
    save_file({name: value for name, value in net.state_dict().items() if name.startswith("backbone.")}, path)
    parts = build(cfg)
    content = receipt(parts.module, parts.datamodule, parts.trainer)
    assert content["initial"] == {"path": path, "loaded": ("backbone",), "new": ("decode_head", "auxiliary_heads.aux")}
    console = Console(width=300)
    with console.capture() as printed:
        console.print(receipt_tables(content))
    assert f"backbone from {path}; new: decode_head, auxiliary_heads.aux" in printed.get()


@pytest.mark.slow
def test_a_run_from_a_file_and_on_from_its_checkpoint(tmp_path, tiny_data, capsys):
    path = str(tmp_path / "start.safetensors")
    short = ["trainer.max_steps=2", "trainer.val_check_interval=2", "test_after_fit=false", "callbacks.pictures=null"]
    started = tiny_overrides(tiny_data, tmp_path / "run", *short, f"model.net.init_weights={path}")
    cfg = compose(started)
    net = built(resuming(cfg).model.net, "model.net")
    weights = {name: value for name, value in net.state_dict().items() if name.startswith("backbone.")}
    save_file(weights, path)
    run(cfg)
    assert "backbone from" in capsys.readouterr().out
    written = json.loads((tmp_path / "run" / "receipt.json").read_text())
    assert written["initial"] == {"path": path, "loaded": ["backbone"], "new": ["decode_head", "auxiliary_heads.aux"]}
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    Path(path).unlink()
    with pytest.raises(ConfigError, match=r"model\.net\.init_weights: None, but .* was trained with"):
        run(compose([*started, "model.net.init_weights=null", f"ckpt_path={last}"]))
    run(compose([*started, f"ckpt_path={last}"]))
    load_net(*read_checkpoint(last))
