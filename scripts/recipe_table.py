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
    "ann": "ANN",
    "apcnet": "APCNet",
    "ccnet": "CCNet",
    "danet": "DANet",
    "dmnet": "DMNet",
    "dnl": "DNL",
    "emanet": "EMANet",
    "encnet": "EncNet",
    "gcnet": "GCNet",
    "isanet": "ISANet",
    "nonlocal": "NonLocal",
    "psanet": "PSANet",
}
MANY_SETS = ("fcn", "pspnet", "deeplabv3", "deeplabv3plus")
ATTENTION = ("ann", "ccnet", "danet", "gcnet", "isanet", "nonlocal", "psanet")
"""On the three sets; the others were published on the first two, or on Cityscapes alone."""
SCRATCH = "Without model.net.init_weights, a file that seglit-import has written, it trains from scratch."


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


def chosen(*names: str) -> dict[str, str]:
    """Some of the heads."""
    return {name: HEADS[name] for name in names}


def warmed(steps: int, **settings: Any) -> dict[str, Any]:
    """A schedule that begins with a linear warm-up, and further settings of the model."""
    return merged(
        {"model": {"scheduler": {"warmup_steps": steps, **settings.pop("scheduler", {})}}}, {"model": settings}
    )


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Both; where they disagree, the second."""
    result = dict(one)
    for key, value in other.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def hard(min_kept: int) -> dict[str, Any]:
    """The least number of hard pixels of an image."""
    return {"criterion": {"decode": {"sampler": {"min_kept": min_kept}}}}


# From OCNet, as in the recipes of PIDNet and DDRNet.
CITYSCAPES_WEIGHTS = [
    *(0.8373, 0.918, 0.866, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786, 1.0023, 0.9539, 0.9843, 1.1116, 0.9037),
    *(1.0865, 1.0955, 1.0865, 1.1529, 1.0507),
]


def weighted(*heads: str) -> dict[str, Any]:
    """Class weights for the cross-entropy of some heads."""
    return {"criterion": {head: {"losses": {"loss_ce": {"class_weight": CITYSCAPES_WEIGHTS}}} for head in heads}}


HRNETS = {"hr18s": "HRNet-W18-Small", "hr18": "HRNet-W18", "hr48": "HRNet-W48"}
WARM = warmed(1500, scheduler={"warmup_ratio": 1e-6})
BISENETS = {"bisenetv1_r18": "BiSeNet with a ResNet-18"}
UNETS = {
    "fcn_unet_s5-d16": "U-Net",
    "pspnet_unet_s5-d16": "U-Net with the head of PSPNet",
    "deeplabv3_unet_s5-d16": "U-Net with the head of DeepLabV3",
}
PIDNETS = {"pidnet-s": "PIDNet-S", "pidnet-m": "PIDNet-M", "pidnet-l": "PIDNet-L"}
DDRNETS = {"ddrnet_23-slim": "DDRNet-23-slim", "ddrnet_23": "DDRNet-23"}
TO_ZERO = {"scheduler": {"min_lr_ratio": 0.0}}

FAMILIES: tuple[Family, ...] = (
    *dilated(chosen(*MANY_SETS), SCENES | CONTEXTS),
    *dilated(chosen("pspnet", "deeplabv3"), {"coco_stuff164k": (80, 160, 320)}),
    *dilated(chosen("pspnet", "deeplabv3plus"), dict.fromkeys(AERIAL, (80,))),
    *dilated(chosen(*ATTENTION), SCENES),
    *dilated(chosen("apcnet", "dmnet", "encnet"), {name: SCENES[name] for name in ("cityscapes", "ade20k")}),
    *dilated(chosen("dnl"), {name: SCENES[name] for name in ("cityscapes", "ade20k")}),
    *dilated(chosen("emanet"), {"cityscapes": (80,)}),
    Family(
        {f"fcn_{name}": f"FCN with {words}" for name, words in HRNETS.items()},
        {"cityscapes": (40, 80, 160), "ade20k": (80, 160), "voc12aug": (20, 40)}
        | CONTEXTS
        | dict.fromkeys(AERIAL, (80,)),
        note=SCRATCH,
    ),
    Family(
        {f"ocrnet_{name}": f"OCRNet with {words}" for name, words in HRNETS.items()},
        {"cityscapes": (40, 80, 160), "ade20k": (80, 160), "voc12aug": (20, 40)},
        note=SCRATCH,
    ),
    Family(
        {f"upernet_{name}": f"UPerNet with a ResNet-{name[1:]} v1c" for name in ("r50", "r101")},
        SCENES,
        note=SCRATCH,
    ),
    Family(
        {f"fpn_{name}": f"Semantic FPN with a ResNet-{name[1:]}" for name in ("r50", "r101")},
        {"cityscapes": (80,), "ade20k": (160,)},
        note=SCRATCH,
    ),
    Family(
        {"deeplabv3plus_m-v2-d8": "DeepLabV3+ with a dilated MobileNetV2"},
        {"cityscapes": (80,), "ade20k": (160,)},
        note=SCRATCH,
    ),
    Family(
        {"lraspp_m-v3-d8": "LRASPP with a MobileNetV3", "lraspp_m-v3s-d8": "LRASPP with a small MobileNetV3"},
        {"cityscapes": (320,)},
        batch=16,
        note=SCRATCH,
    ),
    Family(UNETS, dict.fromkeys(VESSELS, (40,))),
    Family(
        {"stdc1": "STDC1", "stdc2": "STDC2"},
        {"cityscapes": (80,)},
        warmed(1000, scheduler={"warmup_ratio": 0.1}),
        batch=48,
        note=SCRATCH,
    ),
    Family(
        {"bisenetv2": "BiSeNet V2"},
        {"cityscapes": (160,)},
        warmed(1000, scheduler={"warmup_ratio": 0.1, "min_lr_ratio": 0.002}, optimizer={"lr": 0.05}),
        batch=16,
        crop=(1024, 1024),
    ),
    Family(
        BISENETS,
        {"cityscapes": (160,)},
        warmed(1000, scheduler={"warmup_ratio": 0.1, "min_lr_ratio": 0.004}, optimizer={"lr": 0.025}),
        batch=16,
        crop=(1024, 1024),
        note=SCRATCH,
    ),
    Family(
        {"fast_scnn": "Fast-SCNN"},
        {"cityscapes": (160,)},
        {
            "model": {
                "optimizer": {"lr": 0.12, "weight_decay": 0.00004},
                "scheduler": {"min_lr_ratio": 0.0008333333333333334},
            }
        },
        batch=16,
    ),
    Family(
        DDRNETS,
        {"cityscapes": (120,)},
        {"model": merged(merged(TO_ZERO, hard(21845)), weighted("decode", "spatial"))},
        batch=12,
        crop=(1024, 1024),
        note=SCRATCH,
    ),
    Family(
        PIDNETS,
        {"cityscapes": (120,)},
        {"model": merged(merged(TO_ZERO, hard(21845)), weighted("decode", "p"))},
        batch=12,
        crop=(1024, 1024),
        note=SCRATCH,
    ),
    Family(
        {f"segformer_mit-b{size}": f"SegFormer-B{size}" for size in range(6)}, {"ade20k": (160,)}, WARM, note=SCRATCH
    ),
    Family(
        {f"segformer_mit-b{size}": f"SegFormer-B{size}" for size in range(6)},
        {"cityscapes": (160,)},
        merged(WARM, sliding(1024, 768)),
        batch=8,
        crop=(1024, 1024),
        note=SCRATCH,
    ),
    Family(
        {f"segnext_mscan-{size}": f"SegNeXt-{size.upper()}" for size in "tsbl"}, {"ade20k": (160,)}, WARM, note=SCRATCH
    ),
    Family(
        {f"upernet_swin-{size}": f"UPerNet with Swin-{size.upper()}" for size in "tsb"},
        {"ade20k": (160,)},
        WARM,
        note=SCRATCH,
    ),
    Family({"upernet_vit-b16": "UPerNet with ViT-B/16"}, {"ade20k": (160,)}, WARM, note=SCRATCH),
    Family(
        {f"upernet_convnext-{size}": f"UPerNet with ConvNeXt-{size.title()}" for size in ("tiny", "small", "base")},
        {"ade20k": (160,)},
        merged(merged(WARM, sliding(512, 341)), {"trainer": {"precision": "16-mixed"}}),
        note=SCRATCH,
    ),
)
