"""The recipes of the table are written out, compose, pass the check, and name nets and criteria that fit."""

from typing import Any

import pytest
import torch
from hydra.utils import instantiate

import make_recipes
from make_recipes import Recipe, recipes
from recipe_table import SETS
from seglit.check import check
from seglit.config import compose

ALL = list(recipes())


def among(place: int, recipe: Recipe) -> Any:
    """Among the default tests, a few are enough."""
    return pytest.param(recipe, id=recipe.name, marks=[] if place % 30 == 0 else pytest.mark.slow)


@pytest.mark.parametrize("recipe", [among(place, recipe) for place, recipe in enumerate(ALL)])
def test_a_recipe_fits(recipe: Recipe) -> None:
    cfg = compose([f"+experiment={recipe.name}", "name=x", "output_dir=x"])
    check(cfg)
    if "pretrained" in cfg.model.net.backbone:
        cfg.model.net.backbone.pretrained = False
    with torch.device("meta"):
        net = instantiate(cfg.model.net, _convert_="all")
    assert set(net.heads) == set(instantiate(cfg.model.criterion, _convert_="all").head_criteria())
    crop = cfg.data.train_transforms.crop
    assert (crop.height, crop.width or crop.height) == recipe.crop
    assert cfg.model.scheduler.total_steps == cfg.trainer.max_steps == 1000 * recipe.steps
    assert cfg.data.batch_size == recipe.batch


def test_the_files_are_those_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["make_recipes.py", "--check"])
    with pytest.raises(SystemExit) as ended:
        make_recipes.main()
    assert not ended.value.code
    names = [recipe.name for recipe in ALL]
    assert len(names) == len(set(names))
    assert {recipe.set for recipe in ALL} == set(SETS)
