"""Which recipes there are: what all of a data set share is said once (`SETS`), and so is what a family of nets shares.

Numbers are those of MMSegmentation's recipes; a batch is the sum over their devices. make_recipes.py writes the files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MANY = "The batch is for one device; on four, a quarter of it each."


@dataclass(frozen=True)
class DataSet:
    """What all recipes on a data set share."""

    words: str
    data: str
    crop: tuple[int, int]
    batch: int
    settings: Mapping[str, Any] = field(default_factory=dict)


def sliding(window: int, stride: int) -> dict[str, Any]:
    return {"model": {"inference": {"window": [window, window], "stride": [stride, stride]}}}


CONTEXT = {"model": {**sliding(480, 320)["model"], "optimizer": {"lr": 0.004, "weight_decay": 0.0001}}}
BEST_DICE = {"callbacks": {"checkpoint": {"monitor": "val/mdice"}}}
SETS = {
    "cityscapes": DataSet("Cityscapes", "cityscapes", (512, 1024), 8),
    "ade20k": DataSet("ADE20K", "ade20k", (512, 512), 16),
    "voc12aug": DataSet("PASCAL VOC 2012 with the masks of SBD", "voc2012_aug", (512, 512), 16),
    "pascal_context": DataSet("PASCAL Context", "pascal_context", (480, 480), 16, CONTEXT),
    "pascal_context_59": DataSet("PASCAL Context without background", "pascal_context_59", (480, 480), 16, CONTEXT),
    "coco_stuff164k": DataSet("COCO-Stuff 164k", "coco_stuff164k", (512, 512), 16),
    "loveda": DataSet("LoveDA", "loveda", (512, 512), 16),
    "potsdam": DataSet("Potsdam", "potsdam", (512, 512), 16),
    "vaihingen": DataSet("Vaihingen", "vaihingen", (512, 512), 16),
    "isaid": DataSet("iSAID", "isaid", (896, 896), 16),
    "drive": DataSet("DRIVE's retinal vessels", "drive", (64, 64), 16, sliding(64, 42) | BEST_DICE),
    "stare": DataSet("STARE's retinal vessels", "stare", (128, 128), 16, sliding(128, 85) | BEST_DICE),
    "chase_db1": DataSet("CHASE_DB1's retinal vessels", "chase_db1", (128, 128), 16, sliding(128, 85) | BEST_DICE),
    "hrf": DataSet("HRF's retinal vessels", "hrf", (256, 256), 16, sliding(256, 170) | BEST_DICE),
}
VESSELS = ("drive", "stare", "chase_db1", "hrf")
AERIAL = ("loveda", "potsdam", "vaihingen", "isaid")
# Thousands of steps on the three sets that nearly every net was published on.
SCENES = {"cityscapes": (40, 80), "ade20k": (80, 160), "voc12aug": (20, 40)}
CONTEXTS = {"pascal_context": (40, 80), "pascal_context_59": (40, 80)}


@dataclass(frozen=True)
class Family:
    """Models that share recipes."""

    models: Mapping[str, str]
    steps: Mapping[str, tuple[int, ...]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    batch: int | None = None
    crop: tuple[int, int] | None = None
    defaults: tuple[str, ...] = ()
    note: str = ""


def timm(name: str) -> dict[str, Any]:
    """A ResNet of timm's in place of ours, for its weights."""
    backbone = {"name": name, "pretrained": True, "output_stride": 8}
    return {"model": {"net": {"backbone": backbone}}}


TIMM = ("override /model/net/backbone: timm",)
TIMM_NOTE = "The weights on ImageNet are downloaded by timm; without them, model.net.backbone.pretrained=false."


HEADS = {
    "fcn": "FCN",
    "pspnet": "PSPNet",
    "deeplabv3": "DeepLabV3",
    "deeplabv3plus": "DeepLabV3+",
}


def resnets(heads: Mapping[str, str], backbone: str, words: str) -> dict[str, str]:
    """Models by name, in words."""
    return {f"{head}_{backbone}": f"{title} with {words}" for head, title in heads.items()}


def dilated(heads: Mapping[str, str], steps: Mapping[str, tuple[int, ...]]) -> tuple[Family, ...]:
    """The heads on both dilated ResNets with timm's weights."""
    return tuple(
        Family(resnets(heads, backbone, words), steps, timm(name), defaults=TIMM, note=TIMM_NOTE)
        for backbone, words, name in (
            ("r50-d8", "a dilated ResNet-50 v1c", "resnet50c.gluon_in1k"),
            ("r101-d8", "a dilated ResNet-101 v1c", "resnet101c.gluon_in1k"),
        )
    )


FAMILIES: tuple[Family, ...] = (
    *dilated(HEADS, SCENES | CONTEXTS),
    *dilated({name: HEADS[name] for name in ("pspnet", "deeplabv3")}, {"coco_stuff164k": (80, 160, 320)}),
    *dilated({name: HEADS[name] for name in ("pspnet", "deeplabv3plus")}, dict.fromkeys(AERIAL, (80,))),
)
