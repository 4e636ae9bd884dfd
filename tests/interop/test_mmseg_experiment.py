"""Whole configurations become experiments that compose, are checked and build; what was wrong in them is told."""

import subprocess
import sys
from textwrap import dedent

import pytest
import torch
from hydra.utils import instantiate

from seglit.check import check
from seglit.config import ConfigError, compose
from seglit.interop.command import main
from seglit.interop.mmseg import load
from seglit.interop.mmseg.config_command import to_yaml
from seglit.interop.mmseg.config_file import read
from seglit.interop.mmseg.custom_keys import decided, layer_decay, originals, translated
from seglit.interop.mmseg.experiment import experiment
from seglit.interop.mmseg.faults import findings
from seglit.interop.mmseg.network import network
from seglit.interop.mmseg.settings import UnsupportedError
from seglit.optim import parameter_groups

UNET = """
norm = dict(type='SyncBN', requires_grad=True)
head = dict(type='FCNHead', in_channels=64, channels=64, num_convs=1, concat_input=False, num_classes=2, norm_cfg=norm)
model = dict(
    type='EncoderDecoder',
    backbone=dict(type='UNet', in_channels=3, base_channels=64, num_stages=5, norm_cfg=norm),
    decode_head=dict(head, in_index=4, dropout_ratio=0.1,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0)),
    auxiliary_head=dict(head, in_channels=128, in_index=3,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4)),
    train_cfg=dict(),
    test_cfg=dict(mode='slide', crop_size=(64, 64), stride=(42, 42)))
"""
NEW = """
pipeline = [
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(584, 565), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(64, 64), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5), dict(type='PhotoMetricDistortion'), dict(type='PackSegInputs')]
train_dataloader = dict(batch_size=4, num_workers=4, dataset=dict(type='RepeatDataset', times=9,
    dataset=dict(type='DRIVEDataset', pipeline=pipeline)))
optim_wrapper = dict(type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0005), clip_grad=None)
param_scheduler = [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=40000, by_epoch=False)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=40000, val_interval=4000)
val_evaluator = dict(type='IoUMetric', iou_metrics=['mDice'])
"""
OLD = """
data = dict(samples_per_gpu=4, workers_per_gpu=4, train=dict(type='DRIVEDataset', pipeline=[
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
    dict(type='Resize', img_scale=(584, 565), ratio_range=(0.5, 2.0)),
    dict(type='RandomCrop', crop_size=(64, 64), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5), dict(type='PhotoMetricDistortion')]))
optimizer = dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0005)
optimizer_config = dict()
lr_config = dict(policy='poly', power=0.9, min_lr=1e-4, by_epoch=False)
runner = dict(type='IterBasedRunner', max_iters=40000)
evaluation = dict(interval=4000, metric='mDice')
"""
NAME = "unet_4xb4-40k_drive-64x64"
SAME = {
    "data": {"batch_size": 16, "num_workers": 4},
    "model": {"inference": {"window": [64, 64], "stride": [42, 42]}},
    "trainer": {"max_steps": 40000, "val_check_interval": 4000, "sync_batchnorm": True},
    "callbacks": {"checkpoint": {"monitor": "val/mdice"}},
}


def config(folder, text, name=NAME):
    path = folder / f"{name}.py"
    path.write_text(dedent(text), encoding="utf-8")
    return path


def composed(folder, path, *overrides, compat=None):
    """The composed and checked configuration of an imported file."""
    made = experiment(read(path), compat)
    (folder / "conf" / "experiment").mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "experiment" / "imported.yaml").write_text(to_yaml(made, path.name), encoding="utf-8")
    cfg = compose(["+experiment=imported", "output_dir=x", "name=x", *overrides], folder / "conf")
    check(cfg)
    return made, cfg


@pytest.mark.parametrize("recipe", [NEW, OLD], ids=["1.x", "0.x"])
def test_both_releases_of_a_recipe_say_what_differs_from_a_model(tmp_path, recipe):
    made, cfg = composed(tmp_path, config(tmp_path, UNET + recipe))
    assert made.defaults == {"/data": "drive", "/model": "fcn_unet_s5-d16"}
    assert made.content == SAME
    assert made.missing == []
    assert cfg.model.criterion.aux.weight == 0.4
    assert findings(read(tmp_path / f"{NAME}.py")) == []


def test_what_differs_from_the_nearest_model(tmp_path):
    text = UNET + NEW
    text += "hard = dict(type='OHEMPixelSampler', thresh=0.7, min_kept=100)\n"
    text += "model['decode_head'].update(align_corners=True, sampler=hard)\n"
    text += "model['decode_head']['loss_decode'].update(avg_non_ignore=True)\n"
    text += "optim_wrapper['clip_grad'] = dict(max_norm=1)\noptim_wrapper['type'] = 'AmpOptimWrapper'\n"
    text += "param_scheduler = [dict(type='LinearLR', start_factor=0.1, end=100, by_epoch=False),"
    text += " dict(type='PolyLR', eta_min=0.0, power=1.0, begin=100, end=30000, by_epoch=False)]\n"
    made, cfg = composed(tmp_path, config(tmp_path, text))
    assert made.content["model"]["net"] == {"decode_head": {"align_corners": True}}
    assert cfg.model.criterion.decode.losses.loss_ce.avg_non_ignore
    assert cfg.model.criterion.decode.sampler.thresh == 0.7
    assert (cfg.trainer.gradient_clip_val, cfg.trainer.precision) == (1, "16-mixed")
    scheduler = cfg.model.scheduler
    assert (scheduler.power, scheduler.warmup_steps, scheduler.warmup_ratio, scheduler.hold_steps) == (
        1,
        100,
        0.1,
        10000,
    )
    assert scheduler.min_lr_ratio == 0


def test_a_net_without_a_model_is_written_out(tmp_path):
    text = UNET.replace("base_channels=64", "base_channels=4") + NEW
    text = text.replace("auxiliary_head=dict(head", "unused=dict(head")
    path = config(tmp_path, text.replace("channels=64,", "channels=8,"))
    made, cfg = composed(tmp_path, path, compat="mmseg-1.2")
    assert made.defaults["/model"] == "_base"
    assert cfg.model.criterion.decode.compat == "mmseg-1.2"
    assert any(line.startswith("model.unused") for line in made.missing)
    net = instantiate(cfg.model.net, _convert_="all")
    shapes = {key: value.shape for key, value in load(path).state_dict().items()}
    assert shapes == {key: value.shape for key, value in net.state_dict().items()}


def test_losses_and_their_names(tmp_path):
    pair = "[dict(type='CrossEntropyLoss'), dict(type='DiceLoss', loss_name='loss_dice', loss_weight=3.0)]"
    text = UNET.replace("dict(type='CrossEntropyLoss', loss_weight=1.0)", pair) + NEW
    _, cfg = composed(tmp_path, config(tmp_path, text))
    assert {name: loss.loss_weight for name, loss in cfg.model.criterion.decode.losses.items()} == {
        "loss_ce": 1.0,
        "loss_dice": 3.0,
    }
    instantiate(cfg.model.criterion, _convert_="all")


LOSSES = """
model = dict(type='EncoderDecoder', backbone=dict(type='{backbone}', {arguments}), decode_head=dict(type='{head}',
    in_channels=32, channels=8, num_classes=3, {more}loss_decode=[{losses}]))
"""
OHEM = "dict(type='OhemCrossEntropy', thres=0.9, min_kept=1024, class_weight=[1.0, 2.0, 3.0], loss_weight={})"


def test_losses_of_pidnet_and_its_boundaries(tmp_path):
    several = ["dict(type='CrossEntropyLoss', loss_weight=0.4)", OHEM.format(1.0), "dict(type='BoundaryLoss')"]
    text = LOSSES.format(
        backbone="PIDNet",
        arguments="channels=8, ppm_channels=8",
        head="PIDHead",
        more="",
        losses=", ".join([*several, OHEM.format(1.0)]),
    )
    text += NEW.replace(
        "dict(type='PackSegInputs')", "dict(type='GenerateEdge', edge_width=5), dict(type='PackSegInputs')"
    )
    made, cfg = composed(tmp_path, config(tmp_path, text))
    heads = instantiate(cfg.model.criterion, _convert_="all").head_criteria()
    assert set(heads) == {"decode", "p", "boundary"}
    assert (heads["p"].weight, heads["p"].sampler) == (0.4, None)
    sampler = heads["decode"].sampler
    assert (sampler.thresh, sampler.min_kept, sampler.per_image) == (0.9, 1024, False)
    assert heads["decode"].named_losses()["loss_ce"].class_weight == (1, 2, 3)
    assert heads["boundary"].target.width == 5
    assert [line for line in made.missing if "[3]" in line]
    assert cfg.model.net.auxiliary_heads.boundary.num_classes == 2
    net = instantiate(cfg.model.net, _convert_="all")
    assert set(net(torch.randn(2, 3, 64, 64))) == {"decode", "p", "boundary"}


def test_losses_of_ddrnet(tmp_path):
    losses = f"{OHEM.format(1.0)}, {OHEM.format(0.4)}"
    arguments = "channels=8, ppm_channels=8"
    text = LOSSES.format(backbone="DDRNet", arguments=arguments, head="DDRHead", more="", losses=losses) + NEW
    _, cfg = composed(tmp_path, config(tmp_path, text))
    heads = instantiate(cfg.model.criterion, _convert_="all").head_criteria()
    assert {name: (head.weight, head.sampler.per_image) for name, head in heads.items()} == {
        "decode": (1.0, False),
        "spatial": (0.4, False),
    }


RESNET = "depth=18, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)"


def of_resnet(head, losses="dict(type='CrossEntropyLoss')", more=""):
    return LOSSES.format(backbone="ResNetV1c", arguments=RESNET, head=head, more=f"in_index=3, {more}", losses=losses)


def test_losses_of_danet(tmp_path):
    text = of_resnet("DAHead", more="pam_channels=4, ").replace("in_channels=32", "in_channels=512") + NEW
    _, cfg = composed(tmp_path, config(tmp_path, text))
    assert {"decode", "decode_pam", "decode_cam"} <= set(cfg.model.criterion)


def test_dice_of_1x_is_translated_and_what_differs_is_named(tmp_path):
    dice = "dict(type='DiceLoss', eps=0.5, naive_dice=True, use_sigmoid=False)"
    path = config(tmp_path, of_resnet("FCNHead", f"dict(type='CrossEntropyLoss'), {dice}") + NEW)
    made, cfg = composed(tmp_path, path)
    loss = cfg.model.criterion.decode.losses.loss_dice
    assert (loss.smooth, loss.exponent, loss.get("use_sigmoid", False)) == (0.5, 1, False)
    assert sum("one Dice of all classes" in line for line in made.missing) == 1
    made, _ = composed(tmp_path, path, compat="mmseg-1.2")
    assert not any("Dice" in line for line in made.missing)


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ("dict(type='DiceLoss', activate=False)", "activate"),
        ("dict(type='DiceLoss', ignore_index=1)", "ignore_index"),
        (f"dict(type='CrossEntropyLoss'), {OHEM.format(1.0)}", "would choose the pixels"),
        ("dict(type='OhemCrossEntropy', ignore_label=1)", "ignore_label"),
        ("dict(type='CrossEntropyLoss', class_weight='weights.npy')", "class_weight"),
    ],
)
def test_losses_without_equal(tmp_path, losses, message):
    with pytest.raises(UnsupportedError, match=message):
        experiment(read(config(tmp_path, of_resnet("FCNHead", losses) + NEW)))


@pytest.mark.parametrize(
    ("change", "content", "missing"),
    [
        ("pipeline[2]['ratio_range'] = (0.4, 1.6)", {"scale": {"scale_limit": [-0.6, 0.6]}}, ()),
        ("pipeline[2]['scale'] = (292, 283)", {"scale": {"scale_limit": [-0.75, 0.0]}}, ()),
        ("pipeline[3]['cat_max_ratio'] = 1.0", {"crop": {"cat_max_ratio": 1.0}}, ()),
        ("pipeline[4]['prob'] = 0.1", {"flip": {"p": 0.1}}, ()),
        ("pipeline[5]['type'] = 'CLAHE'", None, ("CLAHE", "has no color")),
        ("pipeline[2]['keep_ratio'] = False", None, ("keep_ratio",)),
    ],
)
def test_transforms(tmp_path, change, content, missing):
    made = experiment(read(config(tmp_path, UNET + NEW + change + "\n")))
    assert made.content["data"].get("train_transforms") == content
    assert len(made.missing) == len(missing)
    assert all(any(word in line for line in made.missing) for word in missing)


def test_the_base_size_of_scaling_is_named_where_images_differ(tmp_path):
    made = experiment(read(config(tmp_path, UNET + NEW.replace("DRIVEDataset", "ADE20KDataset"))))
    assert any("RandomResize.scale=(584, 565)" in line for line in made.missing)


def vit(**settings):
    return {"img_size": (32, 32), "patch_size": 16, "embed_dims": 8, "num_layers": 4, "num_heads": 2} | settings


SEGFORMER = {"in_channels": [4, 4, 4, 4], "in_index": [0, 1, 2, 3], "channels": 4, "num_classes": 2}
NORMS = {"norm": {"decay_mult": 0.0}, "head": {"lr_mult": 10.0}}
SWIN = {"embed_dims": 4, "num_heads": (1, 1, 1, 1), "depths": (2, 2, 2, 2), "window_size": 4}
MIT = {"embed_dims": 4, "num_heads": [1, 1, 1, 1], "num_layers": [2, 2, 2, 2]}
MSCAN = {"embed_dims": [4, 4, 4, 4], "depths": [1, 1, 1, 1]}


@pytest.mark.parametrize(
    ("backbone", "given"),
    [
        ({"type": "SwinTransformer", **SWIN}, {"relative_position_bias_table": {"decay_mult": 0.0}, **NORMS}),
        ({"type": "MixVisionTransformer", **MIT}, NORMS),
        ({"type": "MSCAN", **MSCAN}, NORMS),
        ({"type": "VisionTransformer", **vit(out_indices=(0, 1, 2, 3))}, {**NORMS, "pos_embed": {"decay_mult": 0.0}}),
        ({"type": "BEiT", **vit(out_indices=(0, 1, 2, 3))}, {"layers.1": {"lr_mult": 0.5}, "ln1": {"decay_mult": 0.0}}),
    ],
    ids=lambda value: value.get("type", ""),
)
def test_custom_keys_of_transformers(backbone, given):
    net = network(
        {"type": "EncoderDecoder", "backbone": backbone, "decode_head": {"type": "SegformerHead", **SEGFORMER}}
    )
    keys, problems = translated(net, given)
    assert not [line for line in problems if "matches nothing" not in line]
    theirs = originals(net)
    assert list(theirs) == [name for name, _ in net.build().named_parameters()]
    for ours, name in theirs.items():
        assert (decided(ours, keys) or (1, 1)) == (decided(name, given) or (1, 1)), name
    parameter_groups(net.build(), lr=0.1, weight_decay=0.1, custom_keys=keys)


def test_layer_decay():
    constructor = "LayerDecayOptimizerConstructor"
    beit = {"type": "BEiT", **vit(out_indices=(0, 1, 2, 3))}
    model = {"type": "EncoderDecoder", "backbone": beit, "decode_head": {"type": "SegformerHead", **SEGFORMER}}
    rules = {"num_layers": 4, "layer_decay_rate": 0.9}
    made = {"layer_decay": 0.9, "flat_decay_mult": 0.0}
    assert layer_decay(network(model), constructor, rules) == (made, [])
    found, problems = layer_decay(network(model), constructor, {**rules, "num_layers": 5})
    assert found == made
    assert "another rate" in problems[0]
    assert layer_decay(network(model | {"backbone": {"type": "MSCAN", **MSCAN}}), constructor, rules)[0] == {}


@pytest.mark.parametrize(("kind", "wrong"), [("layer_wise", False), ("stage_wise", True)])
def test_layer_decay_of_a_convnext(kind, wrong):
    arch = {"depths": [1, 1, 6, 1], "channels": [4, 4, 4, 4]}
    backbone = {
        "type": "mmpretrain.ConvNeXt",
        "arch": arch,
        "out_indices": [0, 1, 2, 3],
        "gap_before_final_norm": False,
    }
    net = network(
        {"type": "EncoderDecoder", "backbone": backbone, "decode_head": {"type": "SegformerHead", **SEGFORMER}}
    )
    rules = {"num_layers": 5, "decay_rate": 0.9, "decay_type": kind}
    made, problems = layer_decay(net, "LearningRateDecayOptimizerConstructor", rules)
    assert bool(problems) == wrong
    assert made.get("layer_decay_blocks") == (None if wrong else 3)


def segformer(**rules):
    backbone = {"type": "MixVisionTransformer", "embed_dims": 32, "num_heads": [1, 2, 5, 8], "num_layers": [2, 2, 2, 2]}
    head = {**SEGFORMER, "type": "SegformerHead", "in_channels": [32, 64, 160, 256], "channels": 256, "num_classes": 2}
    model = {"type": "EncoderDecoder", "backbone": backbone, "decode_head": head}
    return f"model = {model!r}\n{NEW}optim_wrapper['paramwise_cfg'] = {rules!r}\n"


def test_what_a_models_file_says_itself_is_made_what_is_wanted(tmp_path):
    made, cfg = composed(tmp_path, config(tmp_path, segformer(custom_keys=NORMS)))
    assert made.defaults["/model"] == "segformer_mit-b0"
    assert set(cfg.model.paramwise.custom_keys) > {"head", "norm"}
    assert (cfg.model.scheduler.power, cfg.model.scheduler.min_lr_ratio) == (0.9, 0.01)
    made, cfg = composed(tmp_path, config(tmp_path, segformer(norm_decay_mult=0.0)))
    assert made.defaults["/model"] == "segformer_mit-b0"
    assert dict(cfg.model.paramwise) == {"custom_keys": None, "norm_decay_mult": 0.0}
    made, cfg = composed(tmp_path, config(tmp_path, segformer(custom_keys={"head": {"lr_mult": 10.0}})))
    assert made.defaults["/model"] == "_base"
    assert dict(cfg.model.paramwise.custom_keys) == {"head": {"lr_mult": 10.0}}


def test_custom_keys_select_the_same_parameters_by_our_names():
    model = {
        "type": "EncoderDecoder",
        "backbone": {"type": "ResNetV1c", "depth": 18, "strides": (1, 2, 1, 1), "dilations": (1, 1, 2, 4)},
        "decode_head": {"type": "PSPHead", "in_channels": 512, "channels": 8, "in_index": 3, "num_classes": 2},
    }
    net = network(model)
    given = {
        "head": {"lr_mult": 10.0},
        "backbone.stem.1": {"decay_mult": 0.0},
        "psp_modules": {"lr_mult": 2.0},
        "x": {},
    }
    keys, problems = translated(net, given)
    assert problems == ["x: is left out, as it matches nothing or says nothing"]
    rates = {name: decided(name, keys) or (1, 1) for name, _ in net.build().named_parameters()}
    assert rates["backbone.stem.0.norm.weight"] == (1, 0)
    assert rates["backbone.stem.0.conv.weight"] == rates["backbone.layer1.0.conv1.weight"] == (1, 1)
    assert rates["decode_head.pools.1.norm.bias"] == (2, 1)
    assert rates["decode_head.classifier.weight"] == (10, 1)


@pytest.mark.parametrize(
    ("change", "kind", "key"),
    [
        ("models = dict(decode_head=dict(channels=1))", "dead key", "models"),
        ("runner = dict(max_iters=1)", "dead key", "runner"),
        ("crop_size = (32, 32)", "dead key", "crop_size"),
        ("train_cfg = dict(type='IterBasedTrainLoop', max_iters=40000)", "dead key", "train_cfg"),
        ("train_cfg['max_iters'] = 80000", "schedule", "param_scheduler"),
        ("train_cfg['max_iters'] = 80000", "name", "file name, '40k'"),
        ("train_dataloader['batch_size'] = 2", "name", "file name, '4xb4'"),
        ("pipeline[3]['crop_size'] = (32, 32)", "name", "file name, '64x64'"),
        ("train_dataloader['dataset']['dataset']['type'] = 'HRFDataset'", "name", "file name, 'drive'"),
        ("model['decode_head']['loss_decode']['class_weight'] = [1.0, 2.0]", "crash", "class_weight"),
        (
            "optim_wrapper['paramwise_cfg'] = dict(custom_keys=dict(pos_block=dict(decay_mult=0.0)))",
            "custom_keys",
            "pos",
        ),
        ("optim_wrapper['paramwise_cfg'] = dict(custom_keys=dict(head=dict(wd_mult=0.0)))", "custom_keys", "wd_mult"),
    ],
)
def test_what_was_wrong_is_found(tmp_path, change, kind, key):
    found = findings(read(config(tmp_path, UNET + NEW + change + "\n")))
    assert any(one.kind == kind and key in one.key for one in found), found


@pytest.mark.parametrize("words", ["ohem", "amp", "dice", "adamw"])
def test_a_name_that_says_more(tmp_path, words):
    found = findings(read(config(tmp_path, UNET + NEW, f"unet_4xb4-{words}-40k_drive-64x64")))
    assert [one.kind for one in found] == ["name"]


def test_the_command(tmp_path, capsys):
    path, output = config(tmp_path, UNET + NEW), tmp_path / "out.yaml"
    assert run("config", str(path), "-o", str(output)) == 0
    assert "override /model: fcn_unet_s5-d16" in output.read_text(encoding="utf-8")
    assert "data set DRIVEDataset: data=drive" in capsys.readouterr().err
    assert run("config", str(path), "-o", str(output)) == 2
    assert "--force" in capsys.readouterr().err
    assert run("config", str(path), "-o", str(output), "--force") == 0
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out.yaml", path.name]


@pytest.mark.parametrize(
    "text",
    [
        "import os",
        "x = 1",
        "model = dict(type='X')",
        "model = dict(type='EncoderDecoder', backbone=3)",
        UNET.replace("num_stages=5", "num_stages=-1") + NEW,
    ],
    ids=["import", "no model", "type", "number", "constructor"],
)
def test_the_command_refuses_in_one_line(tmp_path, capsys, text):
    assert run("config", str(config(tmp_path, text))) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("seglit-import: ")


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    return stop.value.code


def test_help_loads_nothing_heavy():
    code = "import sys; from seglit.interop.command import main\ntry: main(['config', '-h'])\nexcept SystemExit: 0\n"
    code += "assert not {'torch', 'hydra', 'lightning'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_load_gives_the_network(tmp_path):
    net = load(config(tmp_path, UNET.replace("base_channels=64", "base_channels=2") + NEW)).eval()
    with torch.no_grad():
        assert net(torch.zeros(1, 3, 32, 32))["decode"].shape == (1, 2, 32, 32)


def test_load_takes_the_weights_of_a_checkpoint(tmp_path):
    path = config(
        tmp_path, of_resnet("FCNHead", more="num_convs=1, ").replace("in_channels=32", "in_channels=512") + NEW
    )
    net = load(path)
    theirs = originals(network(read(path).values["model"]))
    buffers = {
        our: our.replace(".norm.", ".bn.") for our in net.state_dict() if our not in theirs and our.startswith("decode")
    }
    weights = {}
    for our, value in net.state_dict().items():
        weight = theirs.get(our.rsplit(".", 1)[0] + ".weight", "").rsplit(".", 1)[0]
        weights[theirs.get(our) or buffers.get(our) or f"{weight}.{our.rsplit('.', 1)[1]}"] = torch.rand(value.shape)
    torch.save({"state_dict": weights, "meta": {}}, tmp_path / "x.pth")
    loaded = load(path, tmp_path / "x.pth").state_dict()
    assert torch.equal(loaded["decode_head.classifier.weight"], weights["decode_head.conv_seg.weight"])
    assert torch.equal(loaded["backbone.layer1.0.conv1.weight"], weights["backbone.layer1.0.conv1.weight"])
    weights["decode_head.conv_seg.weight"] = torch.zeros(5, 8, 1, 1)
    del weights["backbone.layer1.0.conv1.weight"]
    torch.save({"state_dict": weights}, tmp_path / "x.pth")
    with pytest.raises(ConfigError, match=r"(?s)missing: backbone.layer1.0.conv1.*differing: decode_head.classifier"):
        load(path, tmp_path / "x.pth")
