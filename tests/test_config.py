"""Where configurations are found, how they are composed and written, and the words for what goes wrong."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf

from seglit import config
from seglit.config import (
    ConfigError,
    compose,
    conf_dir,
    explain,
    from_text,
    nearest,
    plain,
    readable_errors,
    refuse_shadowing,
    similar,
    to_text,
)
from seglit.data.errors import DataError

BASE = ["name=x", "output_dir=out"]


def test_configurations_lie_beside_the_code_or_in_the_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (conf_dir() / "train.yaml").is_file()
    installed = tmp_path / "site-packages" / "seglit"
    (installed / "conf").mkdir(parents=True)
    monkeypatch.setattr(config, "__file__", str(installed / "config.py"))
    assert conf_dir() == installed.resolve() / "conf"


def test_compose_leaves_hydra_as_it_was() -> None:
    assert compose([*BASE, "seed=3"]).seed == 3
    assert not GlobalHydra.instance().is_initialized()
    with pytest.raises(ConfigError):
        compose(["sed=3"])
    assert not GlobalHydra.instance().is_initialized()


def test_importing_it_is_quick() -> None:
    code = "import sys, seglit.config, seglit.check; print([m for m in ('torch', 'lightning') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model.optimizer.lrr=1"], "model.optimizer.lrr: no such key; did you mean 'lr'?"),
        (["zzzzz=1"], "zzzzz: no such key; there are: callbacks, ckpt_path, data"),
        (["a.b.c=1"], "a: no such key"),
        (["model/optimizer=sdg"], "model/optimizer=sdg: no such file; did you mean 'sgd'?"),
        (["model/optimizer=rmsprop"], "model/optimizer=rmsprop: no such file; there are: adam, adamw, sgd"),
        (["model/optimzer=sgd"], "model/optimzer: no such group; did you mean 'model/optimizer'?"),
        (["model/optimzer/x=sgd"], "model/optimzer/x: no such group; did you mean 'model/optimizer'?"),
        (["tricks=ohem"], "tricks: is not among the defaults; put + before it"),
        (["model/net=none"], "model/net: no such group"),
        (["model=3"], "a group, as model or data, is set to the name of a file"),
        (["-x=1"], "-x=1: is not of the form key=value"),
        (["x=[1"], "x=[1: is not of the form key=value"),
        (["+data.root=3"], "Could not append to config. An item is already at 'data.root'."),
        (["~model.nothing"], "'model.nothing' does not exist"),
    ],
    ids=str,
)
def test_an_override_that_cannot_be_is_told_in_one_line(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(overrides)
    text = explain(caught.value)
    assert text is not None
    assert text.startswith("config: ")
    assert words in text
    assert "\n" not in text


def test_a_users_folder_adds_files_but_shadows_none(tmp_path: Path) -> None:
    mine = tmp_path / "with space"
    (mine / "experiment").mkdir(parents=True)
    (mine / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 7\n")
    assert compose([*BASE, "+experiment=mine"], mine).seed == 7
    shadow = mine / "experiment" / "bluemarble.yaml"
    shadow.write_text("seed: 7\n")
    with pytest.raises(ConfigError, match="give yours another name") as caught:
        refuse_shadowing(mine)
    assert str(shadow) in str(caught.value)
    assert "experiment/bluemarble.yaml" in str(caught.value)
    with pytest.raises(ConfigError, match="give yours another name"):
        compose(BASE, mine)


def test_the_shipped_folder_shadows_nothing() -> None:
    refuse_shadowing(conf_dir())


@pytest.mark.parametrize(
    ("default", "words"),
    [
        ("/trics: ohem", "trics: no such group; did you mean 'tricks'"),
        ("/tricks: ohm", "tricks=ohm: no such file; did you mean 'ohem'"),
        ("override /modle: fcn_r18-d8", "modle: no such group; did you mean 'model'"),
        ("override /data: camvid\n  - /tricks: [ohem]", "put the `override` lines of the file last"),
        ("override /data: camvid\n  - /tricks: ohem", "Override 'data : camvid' is defined before 'tricks: ohem'"),
    ],
)
def test_a_slip_in_the_defaults_of_a_file_is_told(default: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "broken.yaml").write_text(f"# @package _global_\ndefaults:\n  - {default}\n")
    with pytest.raises(ConfigError, match=words):
        compose([*BASE, "+experiment=broken"], tmp_path)


def test_text_there_and_back() -> None:
    cfg = compose([*BASE, "model.optimizer.lr=1.23456789012345e-5"])
    again = from_text(to_text(cfg))
    assert isinstance(again, DictConfig)
    assert again.model.optimizer.lr == 1.23456789012345e-5
    assert again.model.scheduler.total_steps == cfg.trainer.max_steps
    assert "${" not in to_text(cfg)
    assert plain(again) == plain(cfg)


@pytest.mark.parametrize("value", [1e-05, 6e-05, 1e16, 0.1 + 0.2, 1e-300, float("inf")])
def test_a_float_stays_that_float(value: float) -> None:
    text = to_text(OmegaConf.create({"value": value}))
    assert from_text(text).value == value
    assert yaml.safe_load(text)["value"] == value


@pytest.mark.parametrize("text", ["- 1\n", "a: [1\n", "a: b: c\n"])
def test_a_text_without_a_configuration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no configuration"):
        from_text(text)


def test_every_value_that_is_not_there_is_told() -> None:
    cfg = OmegaConf.create(
        {
            "data": {"root": "???", "path": "${data.root}/x"},
            "list": [1, {"lr": "${model.lr}"}],
            "custom": {"backbone.stem": {"lr_mult": "${nothing}"}},
            "one": "${two}",
            "two": "${one}",
            "alias": "${data}",
        }
    )
    with pytest.raises(ConfigError) as caught:
        plain(cfg)
    keys = [line.split(": ")[0] for line in str(caught.value).splitlines()]
    assert keys == ["data.root", "list.1.lr", "custom.backbone.stem.lr_mult", "one", "two"]


def test_a_value_of_the_run_is_asked_for_outside_of_one() -> None:
    with pytest.raises(ConfigError) as caught:
        plain(compose([]))
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["name", "output_dir"]
    assert all("known only inside a run" in line for line in lines)


def instantiation_error(cause: Exception) -> InstantiationException:
    error = InstantiationException("Error in call to target")
    error.__cause__ = cause
    return error


class MisconfigurationException(Exception):  # noqa: N818 - Lightning's name
    pass


def test_which_errors_are_the_users() -> None:
    assert explain(ConfigError("a: x\nb: y")) == "config: a: x\nconfig: b: y"
    assert explain(DataError("masks/1.png: empty")) == "data: masks/1.png: empty"
    assert explain(HydraException("some\nwords")) == "config: some words"
    assert explain(instantiation_error(ValueError("depth: 19"))) == "config: depth: 19"
    assert explain(instantiation_error(MisconfigurationException("no GPU"))) == "config: no GPU"
    assert explain(instantiation_error(TypeError("a bug"))) is None
    assert explain(RuntimeError("a bug")) is None
    assert explain(ValueError("a bug")) is None


def test_a_key_of_a_structure_is_told_with_its_neighbours() -> None:
    cfg = compose(BASE)
    with pytest.raises(Exception, match="is not in struct") as caught:
        _ = cfg.data.roott
    assert explain(caught.value) == "config: data.roott: no such key; did you mean 'root'?"


def test_a_command_ends_with_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"), readable_errors():
        raise ConfigError("a: x")
    assert capsys.readouterr().err == "config: a: x\n"
    with pytest.raises(RuntimeError, match="a bug"), readable_errors():
        raise RuntimeError("a bug")


def test_nearest_and_similar() -> None:
    assert nearest("lrr", ["lr", "momentum"]) == "; did you mean 'lr'?"
    assert nearest("zzz", ["lr", "betas"]) == "; there are: betas, lr"
    assert nearest("zzz", []) == ""
    assert similar("zzz", ["lr"]) == ""
