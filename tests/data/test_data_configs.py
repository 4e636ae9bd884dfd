import inspect
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from seglit.config import conf_dir
from seglit.data.datamodule import SegmentationDataModule
from seglit.data.transforms import Augmentation

REPOSITORY = Path(__file__).resolve().parents[2]
CONF = conf_dir()
SHARED = REPOSITORY.parent / "shared" / "data"
SETS = sorted(path.stem for path in (CONF / "data").glob("*.yaml"))
PIPELINES = sorted(path.stem for path in (CONF / "data" / "train_transforms").glob("*.yaml"))
MINE = ("root=data/mine", "num_classes=4")


@pytest.fixture
def composed(tmp_path):
    """Composes a data config as below a root that holds a seed; overrides are of `data`."""
    (tmp_path / "root.yaml").write_text(
        f"defaults: [data: folder, _self_]\nseed: 17\nhydra: {{searchpath: ['file://{CONF}']}}\n", encoding="utf-8"
    )

    def compose_data(name: str, *overrides: str) -> DictConfig:
        GlobalHydra.instance().clear()
        with initialize_config_dir(config_dir=str(tmp_path), version_base=None):
            return compose("root", overrides=[f"data={name}", *overrides]).data

    return compose_data


def settings(name: str) -> list[str]:
    return [f"data.{setting}" for setting in MINE] if name == "folder" else []


def test_configs_were_found():
    assert {"bluemarble", "camvid", "folder"} <= set(SETS)
    assert {"scale_crop_flip_color", "scale_crop_flips"} <= set(PIPELINES)


@pytest.mark.parametrize("name", SETS)
def test_each_config_builds_a_data_module(composed, name):
    config = composed(name, *settings(name), "data.root=data/mine")
    data = instantiate(config, _convert_="all")
    assert isinstance(data, SegmentationDataModule)
    assert data.seed == 17
    assert len(data.train_augmentation.compose.transforms) > 0


@pytest.mark.parametrize("name", SETS)
def test_each_argument_can_be_overridden_without_a_plus(composed, name):
    arguments = set(inspect.signature(SegmentationDataModule).parameters)
    assert set(composed(name, *settings(name))) == arguments | {"_target_"}


def test_folder_has_the_defaults_of_the_signature(composed):
    config = OmegaConf.to_container(composed("folder", *settings("folder")), resolve=True)
    for name, parameter in inspect.signature(SegmentationDataModule).parameters.items():
        if name in ("root", "num_classes", "seed", "train_transforms"):
            continue
        expected = {} if name == "eval_transforms" else parameter.default
        assert config[name] == expected, name


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_each_pipeline_goes_with_any_set_and_void(composed, pipeline):
    for name in ("folder", "bluemarble"):
        config = composed(
            name, *settings(name), "data.root=x", f"data/train_transforms={pipeline}", "data.ignore_index=-100"
        )
        data = instantiate(config, _convert_="all")
        assert isinstance(data.train_augmentation, Augmentation)


def test_overrides_reach_the_transforms(composed):
    crop = "data.train_transforms.crop"
    config = composed("camvid", f"{crop}.height=256", "~data.train_transforms.color")
    assert config.train_transforms.crop.width == config.train_transforms.pad.min_width == 256
    assert list(config.train_transforms) == ["scale", "crop", "flip", "pad"]
    config = composed("camvid", f"{crop}.height=256", f"{crop}.width=512")
    assert (config.train_transforms.pad.min_height, config.train_transforms.pad.min_width) == (256, 512)
    assert "train_transforms" not in composed("camvid", "~data.train_transforms")  # none, by the signature
    config = composed("camvid", "data.label_map={3:0,4:255}", "data.label_map_default=keep")
    assert OmegaConf.to_container(config.label_map) == {3: 0, 4: 255}


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared trial images")
@pytest.mark.parametrize(("name", "folder", "size"), [("bluemarble", "bluemarble_lc", 160), ("camvid", "camvid", 320)])
def test_the_sets_load(composed, name, folder, size):
    config = composed(name, f"data.root={SHARED / folder}", "data.num_workers=0", "data.batch_size=2")
    data = instantiate(config, _convert_="all")
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (2, 3, size, size)
    assert data.classes[0] in ("water", "sky")
