from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from seglit.backbones import UNet
from seglit.data.datamodule import SegmentationDataModule
from seglit.heads import FCNHead
from seglit.losses import CrossEntropyLoss, HeadCriterion, SegmentationCriterion
from seglit.module import SegmentationModule
from seglit.optim import PolyLR
from seglit.segmentor import Segmentor


def make_net() -> Segmentor:
    torch.manual_seed(0)
    head = partial(FCNHead, num_classes=3, channels=8, in_index=0, num_convs=1, concat_input=False)
    aux = partial(FCNHead, num_classes=3, channels=8, in_index=1, num_convs=1, concat_input=False)
    return Segmentor(UNet(base_channels=4, num_stages=2), head, {"aux": aux})


def make_module(**options: object) -> SegmentationModule:
    criterion = options.pop("criterion", None) or SegmentationCriterion(
        decode=HeadCriterion({"loss_ce": CrossEntropyLoss()}),
        aux=HeadCriterion({"loss_ce": CrossEntropyLoss()}, weight=0.4),
    )
    optimizer = partial(torch.optim.SGD, lr=0.1, weight_decay=1e-4)
    return SegmentationModule(make_net(), criterion, optimizer, **options)


def make_data(root: Path) -> SegmentationDataModule:
    return SegmentationDataModule(root, 3, batch_size=2, num_workers=0)


def make_trainer(folder: Path, **options: object) -> Trainer:
    defaults = {
        "max_steps": 4,
        "max_epochs": -1,
        "val_check_interval": 2,
        "check_val_every_n_epoch": None,
        "logger": False,
        "accelerator": "cpu",
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        "default_root_dir": str(folder),
    }
    return Trainer(**(defaults | options))


def test_criterion_must_have_the_heads_of_the_net() -> None:
    criterion = SegmentationCriterion(decode=HeadCriterion({"loss_ce": CrossEntropyLoss()}))
    with pytest.raises(ValueError, match=r"has heads \['decode'\], but the net has \['aux', 'decode'\]"):
        make_module(criterion=criterion)


def test_class_weight_of_the_wrong_length_is_refused() -> None:
    criterion = SegmentationCriterion(
        decode=HeadCriterion({"loss_ce": CrossEntropyLoss(class_weight=[1.0, 2.0])}),
        aux=HeadCriterion({"loss_ce": CrossEntropyLoss()}),
    )
    with pytest.raises(ValueError, match="2 weights for 3 classes"):
        make_module(criterion=criterion)


def test_paramwise_multiplies_the_optimizers_own_rate() -> None:
    optimizer = make_module(paramwise={"custom_keys": {"head": {"lr_mult": 10.0}}}).build_optimizer()
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates == {"base": pytest.approx(0.1), "head": pytest.approx(1.0)}


def test_a_run_scores_the_split_and_logs_the_terms(tiny_data: Path, tmp_path: Path) -> None:
    module = make_module(scheduler=partial(PolyLR, total_steps=4))
    trainer = make_trainer(tmp_path)
    data = make_data(tiny_data)
    trainer.fit(module, datamodule=data)
    names = set(trainer.callback_metrics)
    assert {"train/loss", "train/decode.loss_ce", "train/aux.loss_ce", "train/decode.acc_seg", "val/miou"} <= names
    # Every pixel with a label is in the matrix, once.
    labelled = sum(int((data.samples("val")[index][1] != 255).sum()) for index in range(3))
    assert int(module.evaluations["val"].matrix.sum()) == labelled
    trainer.test(module, datamodule=data, verbose=False)
    assert 0 <= module.evaluations["test"].scores.miou <= 1


def test_class_weight_auto_is_measured_before_training(tiny_data: Path, tmp_path: Path) -> None:
    criterion = SegmentationCriterion(
        decode=HeadCriterion({"loss_ce": CrossEntropyLoss(class_weight="auto:inverse")}),
        aux=HeadCriterion({"loss_ce": CrossEntropyLoss()}),
    )
    module = make_module(criterion=criterion)
    data = make_data(tiny_data)
    make_trainer(tmp_path, max_steps=1, val_check_interval=1).fit(module, datamodule=data)
    weights = criterion.head_criteria()["decode"].named_losses()["loss_ce"].class_weight
    assert weights is not None
    counts = data.label_statistics().pixels
    torch.testing.assert_close(torch.tensor(weights), (counts.sum() / counts / 3).float(), check_dtype=False)
    with pytest.raises(ValueError, match="there is none"):
        module.measure_class_weight(None)


def test_channels_last_and_compile_change_no_number(tiny_data: Path) -> None:
    image = torch.randn(2, 3, 32, 32)
    plain, other = make_module().eval(), make_module(channels_last=True).eval()
    torch.testing.assert_close(other(image)["decode"], plain(image)["decode"], rtol=1e-4, atol=1e-5)
    assert other.net.backbone.encoder[0][0].conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_compiling_changes_no_group() -> None:
    rates = {"custom_keys": {"head": {"lr_mult": 10.0}}}
    plain, compiled = (
        [(group["name"], group["lr"], len(group["params"])) for group in module.build_optimizer().param_groups]
        for module in (make_module(paramwise=rates, compile=flag) for flag in (False, True))
    )
    assert plain == compiled
    assert {name for name, _, _ in plain} == {"base", "head"}


def test_compile_is_asked_of_the_net(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(Segmentor, "compile", lambda net: asked.append(net))
    module = make_module(compile=True)
    assert asked == [module.net]


def test_checkpoints_hold_the_configuration_as_text(tiny_data: Path, tmp_path: Path) -> None:
    module = make_module()
    module.config = "name: x\n"
    trainer = make_trainer(tmp_path, max_steps=1, val_check_interval=1)
    trainer.fit(module, datamodule=make_data(tiny_data))
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    stored = torch.load(tmp_path / "run.ckpt", weights_only=True)
    assert stored["seglit"]["config"] == "name: x\n"
