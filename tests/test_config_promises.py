"""What would pass the signatures and yet not do what it says: partials, nulls, the root, the void label, evaluation."""

import re
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from seglit.check import check
from seglit.check.nodes import target_problems
from seglit.config import ConfigError, RootConfig, compose, conf_dir, explain, from_text, to_text

BASE = ["name=x", "output_dir=out"]

MISTAKES = [
    (
        "model.optimizer._partial_=false",
        "model.optimizer: needs _partial_: true, as torch.optim.AdamW gets params only",
    ),
    ("model.optimizer._partial_=yess", "model.optimizer._partial_: 'yess'; must be true or false"),
    (
        "+model.optimizer._partial=true",
        "model.optimizer._partial: torch.optim.AdamW takes no such argument; did you mean '_partial_'",
    ),
    ("+model.criterion._partal_=true", "model.criterion._partal_: seglit.losses.SegmentationCriterion takes no such"),
    ("+model.net._partial_=true", "model.net._partial_: must be false, as the object itself is needed here"),
    ("+trainer._partial_=true", "trainer._partial_: must be false, as the object itself is needed here"),
    ("+callbacks.tables._partial_=true", "callbacks.tables._partial_: must be false"),
    ("+data.train_transforms.crop._partial_=true", "data.train_transforms.crop._partial_: must be false"),
    (
        "~model.net.decode_head.num_classes",
        "model.net.decode_head.num_classes: is missing; seglit.heads.FCNHead needs it",
    ),
    ("~model.scheduler.total_steps", "model.scheduler.total_steps: is missing"),
    ("model.net=null", "model.net: None is no object"),
    ("model.criterion=null", "model.criterion: None is no object"),
    ("model.optimizer=null", "model.optimizer: None is no object"),
    (
        "model.optimizer=sgd",
        "model.optimizer: 'sgd' is no object; give a node with a _target_, or choose the file by model/optimizer=sgd",
    ),
    ("seed=abc", "seed: 'abc' is not of its type; should be a valid integer"),
    ("seed=null", "seed: None is not of its type"),
    ("test_after_fit=5", "test_after_fit: 5 is not of its type"),
    ("ckpt_path=5", "ckpt_path: 5 is not of its type"),
    ("~test_after_fit", "test_after_fit: is missing"),
    ("~logger", "logger: is missing"),
    ("trainer.val_check_interval=null", "trainer.val_check_interval: must be a number of batches"),
    ("trainer.val_check_interval=0.5", "trainer.val_check_interval: must be a number of batches"),
    ("trainer.val_check_interval=0", "trainer.val_check_interval: must be a number of batches"),
]


def refusal(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(compose([*BASE, *overrides]))
    return str(caught.value).splitlines()


@pytest.mark.parametrize(("mistake", "words"), MISTAKES, ids=[mistake for mistake, _ in MISTAKES])
def test_what_would_not_do_what_it_says_is_refused(mistake: str, words: str) -> None:
    assert any(line.startswith(words) for line in refusal(mistake))


@pytest.mark.parametrize(
    "override",
    [
        "model.scheduler=null",
        "trainer.val_check_interval='00:00:15:00'",
        "model.net.auxiliary_heads.aux.channels=8",
        "+model.net.backbone.norm={_target_: seglit.blocks.GroupNorm, _partial_: true, num_groups: 4}",
        "+model.optimizer._convert_=all",
    ],
)
def test_what_does_is_not(override: str) -> None:
    check(compose([*BASE, override]))


@pytest.mark.parametrize(
    ("void", "words"), [(255, None), (0, "model.criterion.aux.ignore_index: is left out and so 255")]
)
def test_a_void_label_left_out_is_the_default_and_has_to_be_that_of_the_data(void: int, words: str | None) -> None:
    overrides = [f"data.ignore_index={void}", "~model.criterion.aux.ignore_index"]
    if words is None:
        check(compose([*BASE, *overrides]))
    else:
        (line,) = refusal(*overrides)
        assert line.startswith(words)
        assert "data.ignore_index is 0" in line


def test_the_root_is_what_the_shipped_file_says() -> None:
    assert set(compose(BASE)) == set(RootConfig.__dataclass_fields__)


def test_further_packages_may_be_trusted() -> None:
    cfg = compose(BASE)
    OmegaConf.set_struct(cfg, False)
    cfg.callbacks = {"mine": {"_target_": "pathlib.Path"}}
    with pytest.raises(ConfigError, match=r"pathlib\.Path is no class that a checkpoint may name"):
        check(cfg, trusted=False)
    check(cfg, trusted=False, packages=["pathlib"])


def test_a_target_that_is_not_there_hides_no_other_mistake() -> None:
    lines = refusal("data._target_=seglit.data.Nothing", "+seeed=1")
    assert [line.split(":")[0] for line in lines] == ["seeed", "data._target_"]


def test_a_partial_of_which_nothing_is_known_may_get_the_rest_later() -> None:
    assert target_problems({"_target_": "torch.nn.Linear", "_partial_": True}, "key") == []
    assert target_problems({"_target_": "torch.nn.Linear", "in_features": 1}, "key") == [
        "key.out_features: is missing; torch.nn.Linear needs it"
    ]


def test_composing_leaves_a_job_around_it_as_it_was() -> None:
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        before = GlobalHydra.instance().hydra
        compose(BASE)
        assert GlobalHydra.instance().hydra is before


@pytest.mark.parametrize("name", ["plain", "a, b", "it's", "a=b[1]", "back\\slash"])
def test_a_folder_of_any_name_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name / "experiment").mkdir(parents=True)
    (tmp_path / name / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 7\n")
    assert compose([*BASE, "+experiment=mine"], tmp_path / name).seed == 7


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere: no such folder"):
        compose(BASE, tmp_path / "nowhere")


def test_the_nearest_file_may_be_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("seed: 7\n")
    with pytest.raises(ConfigError, match="experiment=mien: no such file; did you mean 'mine'"):
        compose([*BASE, "+experiment=mien"], tmp_path)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "model.criterion.decode.sampler.min_kept=9",
            "model.criterion.decode.sampler is null: first choose what it is",
        ),
        ("model.net.decode_head.out_channels=1", "but an argument of seglit.heads.FCNHead; put + before it"),
        ("data.images=img/{split}", """quote spaces, braces and signs twice, "data.images='img/{split}'\""""),
    ],
)
def test_the_mend_fits_the_mistake(override: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose([*BASE, override])
    assert words in str(caught.value)


def test_a_file_that_is_no_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "torn.yaml").write_text("# @package _global_\nseed: [7\n")
    with pytest.raises(ConfigError) as caught:
        compose([*BASE, "+experiment=torn"], tmp_path)
    text = explain(caught.value)
    assert text is not None
    assert "torn.yaml" in text
    assert "line 2" in text
    assert "\n" not in text


plain_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.lists(st.sampled_from(["${", "}", "\\", "a", ".", ":", "'", " ", "1"]), max_size=8).map("".join),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1), inner, max_size=3),
    max_leaves=5,
)


def escaped(value: Any) -> Any:
    """The value as it would have to be written for OmegaConf to hold it."""
    if isinstance(value, dict):
        return {name: escaped(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [escaped(inner) for inner in value]
    # OmegaConf's rule: a backslash before the sign, and twice as many before that as the text has.
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


@given(plain_values)
def test_any_content_comes_back_from_its_text(value: Any) -> None:
    cfg = OmegaConf.create({"key": escaped(value)})
    assert OmegaConf.to_container(cfg, resolve=True) == {"key": value}
    assert OmegaConf.to_container(from_text(to_text(cfg)), resolve=True) == {"key": value}
