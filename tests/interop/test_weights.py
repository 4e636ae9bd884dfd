"""`seglit-import weights`: nothing is lost, nothing is silent."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hydra.utils import instantiate
from torch import nn

from reference import mmseg_nets
from seglit.backbones import ResNet
from seglit.checkpoint import load_net, read_checkpoint
from seglit.config import ConfigError
from seglit.interop.mmseg import weights as module
from seglit.interop.mmseg.network import network
from seglit.interop.mmseg.weights import (
    Checkpoint,
    add_arguments,
    as_colours,
    fitted,
    import_weights,
    read,
    renamings,
    run,
    safetensors_in,
    translate,
    verify,
    write,
)

NARROW = {"base_channels": 8, "stem_channels": 8}
AUXILIARY = {"type": "FCNHead", "channels": 8, "in_index": 2, "num_convs": 1, "concat_input": False, "num_classes": 19}
LAYOUT = {"dilations": (1, 1, 2, 4), "strides": (1, 2, 1, 1), "contract_dilation": True}
MODELS = {
    "pspnet": {
        "type": "EncoderDecoder",
        "backbone": {"type": "ResNetV1c", "depth": 50, **NARROW, **LAYOUT},
        "decode_head": {"type": "PSPHead", "channels": 16, "in_index": 3, "num_classes": 19},
        "auxiliary_head": AUXILIARY,
    },
    "fcn": {
        "type": "EncoderDecoder",
        "backbone": {"type": "ResNetV1c", "depth": 50, **NARROW, **LAYOUT},
        "decode_head": {"type": "FCNHead", "channels": 16, "in_index": 3, "num_classes": 19},
        "auxiliary_head": AUXILIARY,
    },
    "unet": {
        "type": "EncoderDecoder",
        "backbone": {"type": "UNet", "base_channels": 4},
        "decode_head": {
            "type": "FCNHead",
            **{"channels": 4, "in_index": 4, "num_convs": 1, "concat_input": False, "num_classes": 2},
        },
        "auxiliary_head": {
            "type": "FCNHead",
            **{"channels": 4, "in_index": 3, "num_convs": 1, "concat_input": False, "num_classes": 2},
        },
    },
}
NETS = {
    "pspnet": mmseg_nets.narrowed_pspnet,
    "fcn": mmseg_nets.narrowed_fcn,
    "unet": lambda: mmseg_nets.narrowed_unet(2),
}
CLASSES = tuple(f"class {index}" for index in range(19))
PALETTE = [[index, 0, 255] for index in range(19)]
FORMS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


class HistoryBuffer:
    def __init__(self):
        self.values = np.arange(3.0)


def original(name: str) -> nn.Module:
    return mmseg_nets.load_mmseg_fill(NETS[name]()).eval()


def theirs(net: nn.Module, prefix: str = "") -> dict:
    return {prefix + mmseg_nets.mmseg_key(name): value for name, value in net.state_dict().items()}


def write_pth(path, content, *, zipped=True):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def options(*arguments) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([*map(str, arguments)])


@pytest.fixture
def configured(monkeypatch):
    """The reader of configurations, without files."""

    def configuration(checkpoint, config):
        model = MODELS[checkpoint.config if config is None else config.stem]
        test = {"mode": "slide", "crop_size": (64, 64), "stride": (42, 42)}
        return {"model": model | {"test_cfg": test}, "img_norm_cfg": {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0]}}

    monkeypatch.setattr(module, "configuration", configuration)


@FORMS
@pytest.mark.parametrize("name", MODELS)
def test_round_trip(tmp_path, configured, capsys, name, zipped):
    net = original(name)
    image = torch.randn(1, 3, 64, 64)
    content = {
        "meta": {"CLASSES": CLASSES, "PALETTE": PALETTE, "config": name, "mmseg_version": "0.30.0"},
        "state_dict": theirs(net, "module."),
        "optimizer": {"state": {0: torch.ones(3)}},
    }
    path = write_pth(tmp_path / "old model.pth", content, zipped=zipped)
    with torch.inference_mode():
        logits = write_pth(tmp_path / "logits.pt", {"image": image, "logits": net(image)["decode"]}, zipped=zipped)
    output = tmp_path / "new" / "x.safetensors"
    assert import_weights(options(path, "-o", output, "--verify", logits)) == 0
    printed = capsys.readouterr().out
    assert f"MMSegmentation 0.x, {len(net.state_dict())} weights, 19 classes" in printed
    assert f"mapped: {len(net.state_dict())} weights" in printed
    assert "dropped: optimizer: the state of the optimizer" in printed
    assert "are the original's up to 0.0e+00" in printed
    weights, about = safetensors_in(output)
    assert weights.keys() == net.state_dict().keys()
    assert all(torch.equal(weights[key], value) for key, value in net.state_dict().items())
    assert about["source"] == "old model.pth"
    assert about["source_sha256"] == module.sha256(path)
    assert about["scope"] == "segmentor"
    assert json.loads(about["classes"]) == list(CLASSES)
    assert json.loads(about["palette"]) == PALETTE
    instantiate(yaml.safe_load(about["net"])).load_state_dict(weights)
    cfg, found = read_checkpoint(output)
    assert load_net(cfg, found).state_dict().keys() == weights.keys()
    assert cfg.data.mean == [1.0, 2.0, 3.0]
    assert cfg.model.inference.window == [64, 64]
    known = len(CLASSES) == cfg.data.num_classes
    assert cfg.data.classes == (list(CLASSES) if known else ["0", "1"])
    assert len(cfg.data.palette) == cfg.data.num_classes
    assert [entry.name for entry in output.parent.iterdir()] == ["x.safetensors"]


def test_a_checkpoint_of_1x(tmp_path):
    net = original("fcn")
    content = {
        "meta": {"dataset_meta": {"classes": list(CLASSES), "palette": PALETTE}, "cfg": "a = 1", "epoch": 3},
        "state_dict": theirs(net) | {"data_preprocessor.mean": torch.ones(3), "ema_backbone_x": torch.ones(1)},
        "message_hub": {"loss": HistoryBuffer(), "number": np.float64(3)},
        "ema_state_dict": theirs(net),
        "param_schedulers": [{}],
        "something": HistoryBuffer(),
    }
    checkpoint = read(write_pth(tmp_path / "x.pth", content))
    assert checkpoint.release == "1.x"
    assert checkpoint.classes == CLASSES
    assert checkpoint.palette == tuple(map(tuple, PALETTE))
    assert checkpoint.config == "a = 1"
    assert checkpoint.of_segmentor
    assert checkpoint.weights.keys() == theirs(net).keys()
    assert checkpoint.dropped.keys() == {
        *("meta", "message_hub", "ema_state_dict", "param_schedulers", "something"),
        *("data_preprocessor.mean", "ema_backbone_x"),
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"state_dict": {"decode_head.a": HistoryBuffer()}}, "HistoryBuffer"),
        ({"state_dict": {}}, "holds no weights"),
        (nn.ReLU(), "torch.nn.modules.activation.ReLU"),
        ([], "of type list"),
    ],
)
def test_files_without_weights(tmp_path, content, words):
    with pytest.raises(ConfigError, match=rf"x\.pth: .*{words}"):
        read(write_pth(tmp_path / "x.pth", content))


def test_colours_that_are_none():
    for value in (None, [], "red", [[1, 2]], [[1, 2, 256]], [[True, 0, 0]], [1, 2, 3], np.zeros((2, 3))):
        assert as_colours(value) is None


def test_a_report_names_each_misfit(tmp_path, configured, capsys):
    weights = theirs(original("pspnet"))
    del weights["decode_head.bottleneck.bn.bias"]
    weights["decode_head.conv_seg.bias"] = torch.ones(21)
    weights["backbone.extra"] = torch.ones(1)
    weights["elsewhere"] = torch.ones(1)
    path = write_pth(tmp_path / "x.pth", {"state_dict": weights})
    output = tmp_path / "x.safetensors"
    call = (path, "-o", output, "--config", "pspnet.py")
    assert import_weights(options(*call)) == 1
    printed = capsys.readouterr().out.splitlines()
    for line in (
        "missing: decode_head.bottleneck.norm.bias",
        "differing: decode_head.classifier.bias is [21], the network has [19]",
        "unexpected: backbone.extra",
        "unexpected: elsewhere",
    ):
        assert line in printed
    assert len([line for line in printed if line.startswith(("missing", "differing", "unexpected"))]) == 4
    assert not output.exists()
    allowed = ("--partial", "decode_head.", "--partial", "backbone.extra", "--partial", "elsewhere")
    assert import_weights(options(*call, *allowed)) == 0
    printed = capsys.readouterr().out
    assert "left out: decode_head.classifier.bias, as allowed by --partial" in printed
    assert "dropped: elsewhere: allowed by --partial" in printed
    found, about = safetensors_in(output)
    assert about["scope"] == "part"
    with pytest.raises(ConfigError, match="no configuration inside"):
        read_checkpoint(output)
    assert "decode_head.classifier.bias" not in found
    with pytest.raises(ConfigError, match="--partial nothing: no weight is called so"):
        import_weights(options(*call, "--partial", "nothing"))
    with pytest.raises(ConfigError, match="without all of its weights"):
        import_weights(options(*call, *allowed, "--verify", "x.npz"))


def test_counters_that_old_files_lack(tmp_path, configured, capsys):
    weights = {name: value for name, value in theirs(original("fcn")).items() if "num_batches" not in name}
    path = write_pth(tmp_path / "x.pth", {"state_dict": weights})
    assert import_weights(options(path, "-o", tmp_path / "x.safetensors", "--config", "fcn.py")) == 0
    assert f"filled in: {len(theirs(original('fcn'))) - len(weights)} counters" in capsys.readouterr().out


def test_shared_and_strided_weights_are_written(tmp_path):
    shared = torch.arange(6.0).reshape(2, 3)
    write(
        tmp_path / "x.safetensors",
        {"a": shared, "b": shared.t()},
        Checkpoint(Path(__file__), {}),
        {},
        "x",
    )
    found, _ = safetensors_in(tmp_path / "x.safetensors")
    assert torch.equal(found["b"], shared.t())


def test_two_names_of_one_tensor_are_both_mapped(tmp_path):
    weights = theirs(original("unet"))
    shared = weights["backbone.encoder.1.1.convs.0.bn.bias"]
    weights["backbone.encoder.1.1.convs.1.bn.bias"] = shared
    checkpoint = read(write_pth(tmp_path / "x.pth", {"state_dict": weights}))
    net = network(MODELS["unet"])
    taken, report = translate(checkpoint, renamings(net), net.build())
    assert report.complete
    assert len(report.mapped) == len(taken) == len(weights)
    assert all(source is not None for source in report.mapped.values())


def names_in_timm(name: str, *, deep: bool) -> str:
    """Of a ResNet of ours; also those in torchvision."""
    first = {f"stem.{i}.conv.": f"conv1.{3 * i}." for i in range(3)} | {"stem.0.norm.": "conv1.1."}
    first |= {"stem.1.norm.": "conv1.4.", "stem.2.norm.": "bn1."}
    for ours, other in (first if deep else {"stem.0.conv.": "conv1.", "stem.0.norm.": "bn1."}).items():
        name = name.replace(ours, other)
    name = name.replace("downsample.conv.", "downsample.0.").replace("downsample.norm.", "downsample.1.")
    return name.replace(".norm", ".bn")


def as_v1d(name: str) -> str:
    return name.replace("downsample.1.", "downsample.2.").replace("downsample.0.", "downsample.1.")


NODE = {"_target_": "seglit.backbones.ResNet"}


@pytest.mark.parametrize(
    ("variant", "name_of", "prefix"),
    [
        ("v1b", lambda name: names_in_timm(name, deep=False), ""),
        ("v1c", lambda name: names_in_timm(name, deep=True), ""),
        ("v1d", lambda name: as_v1d(names_in_timm(name, deep=True)), ""),
        ("v1c", lambda name: mmseg_nets.mmseg_key(f"backbone.{name}").removeprefix("backbone."), ""),
        ("v1c", lambda name: mmseg_nets.mmseg_key(f"backbone.{name}").removeprefix("backbone."), "backbone."),
    ],
    ids=["torchvision", "timm c", "timm d", "open-mmlab", "mmpretrain"],
)
def test_backbones_alone(variant, name_of, prefix):
    net = instantiate(network(MODELS["fcn"]).node | {"backbone": {**NODE, "depth": 18, "variant": variant, **NARROW}})
    for value in net.state_dict().values():
        value.copy_(torch.rand(value.shape)) if value.is_floating_point() else value.fill_(3)
    weights = {prefix + name_of(name): value for name, value in net.backbone.state_dict().items()}
    weights["head.fc.weight"] = weights["fc.bias"] = torch.ones(2)
    checkpoint = Checkpoint(Path("x"), weights)
    assert not checkpoint.of_segmentor
    named = module.backbone_of(checkpoint, module.Report())
    parts = fitted(net, {"backbone": {**NODE, "variant": variant}}, named)
    taken, report = translate(checkpoint, parts, net, backbone_only=True)
    assert report.complete
    assert report.dropped.keys() == {"head.fc.weight", "fc.bias"}
    assert taken.keys() == {name for name in net.state_dict() if name.startswith("backbone.")}
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in taken.items())
    other = "v1c" if variant == "v1d" else "v1d"
    _, report = translate(
        checkpoint, fitted(net, {"backbone": {**NODE, "variant": other}}, named), net, backbone_only=True
    )
    assert not report.complete


def test_the_model_is_a_conf_of_seglit(tmp_path, capsys):
    net = ResNet(18, base_channels=64)
    weights = {names_in_timm(name, deep=True): value for name, value in net.state_dict().items()}
    path, output = write_pth(tmp_path / "x.pth", weights), tmp_path / "x.safetensors"
    assert import_weights(options(path, "-o", output, "--model", "fcn_r18-d8")) == 0
    assert "a forward pass of the backbone gives 4 finite features" in capsys.readouterr().out
    found, about = safetensors_in(output)
    assert about["scope"] == "backbone"
    assert found.keys() == {f"backbone.{name}" for name in net.state_dict()}
    # A safetensors file, as timm has them, is read too.
    torch_names = {name: value.clone() for name, value in weights.items()}
    from safetensors.torch import save_file

    save_file(torch_names, tmp_path / "timm.safetensors")
    assert import_weights(options(tmp_path / "timm.safetensors", "-o", output, "--model", "fcn_r18-d8")) == 0


def test_the_heads_of_a_conf_of_seglit_take_the_classes_of_the_file(tmp_path):
    net = original("pspnet")
    parts = fitted(net, {"backbone": NODE}, theirs(net))
    taken, report = translate(Checkpoint(tmp_path, theirs(net)), parts, net)
    assert report.complete
    assert len(taken) == len(net.state_dict())
    node = module.node_of_model("pspnet_r18-d8", Checkpoint(tmp_path, theirs(net)))
    assert node["decode_head"]["num_classes"] == node["auxiliary_heads"]["aux"]["num_classes"] == 19


def test_the_forward_pass_sees_what_is_wrong(tmp_path):
    net = original("unet")
    image = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        logits = net(image)["decode"]

    def against(name, **arrays):
        np.savez(tmp_path / name, **{key: value.numpy() for key, value in arrays.items()})
        return verify(net, tmp_path / name)

    assert "are the original's" in against("good.npz", image=image, logits=logits)
    with pytest.raises(ConfigError, match=r"differ by up to 0\.01"):
        against("other.npz", image=image, logits=logits + 0.01)
    with pytest.raises(ConfigError, match="before they are resized"):
        against("large.npz", image=image, logits=logits[..., :3])
    with pytest.raises(ConfigError, match=r"cannot be read as \.npz"):
        against("part.npz", image=image)
    with pytest.raises(ConfigError, match="has to be a dict"):
        verify(net, write_pth(tmp_path / "x.pt", {"image": image}))
    net.decode_head.classifier.bias.data.fill_(float("nan"))
    with pytest.raises(ConfigError, match="not finite"):
        verify(net)


def test_arguments_that_do_not_go_together(tmp_path):
    path = write_pth(tmp_path / "x.pth", {"a": torch.ones(1)})
    with pytest.raises(ConfigError, match=r"has to end with \.safetensors"):
        import_weights(options(path, "-o", "x.pth"))
    with pytest.raises(ConfigError, match="is the file to read"):
        import_weights(options("x.safetensors", "-o", "x.safetensors"))
    with pytest.raises(ConfigError, match="a backbone alone has not"):
        import_weights(options(path, "-o", "x.safetensors", "--verify", "y"))
    with pytest.raises(ConfigError, match="no configuration inside; give --config, or --model"):
        import_weights(options(path, "-o", "x.safetensors"))


def test_a_mistake_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(options(tmp_path / "x.pth", "-o", "x.safetensors"))
    assert capsys.readouterr().err.startswith(f"config: {tmp_path}/x.pth: no such file")


def test_a_configuration_inside_names_no_files(tmp_path):
    with pytest.raises(ConfigError, match="inherits from files"):
        module.configuration(Checkpoint(tmp_path, {}, config="a = 1; _base_ = '/somewhere/else.py'"), None)


def test_help_is_quick():
    code = "import sys, seglit.interop.mmseg.weights; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
