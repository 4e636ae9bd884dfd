"""What an MMSegmentation configuration says and MMSegmentation silently does not do."""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from seglit.interop.mmseg.config_file import ConfigFile

NAMES = Path(__file__).with_name("names.json")
RUNNER = frozenset(
    [
        "model",
        "train_dataloader",
        "val_dataloader",
        "test_dataloader",
        "train_cfg",
        "val_cfg",
        "test_cfg",
        "val_evaluator",
        "test_evaluator",
        "optim_wrapper",
        "param_scheduler",
        "auto_scale_lr",
        "default_hooks",
        "custom_hooks",
        "custom_imports",
        "data_preprocessor",
        "load_from",
        "resume",
        "launcher",
        "env_cfg",
        "log_processor",
        "log_level",
        "visualizer",
        "default_scope",
        "randomness",
        "experiment_name",
        "cfg",
        "work_dir",
        "tta_model",
        "tta_pipeline",
        "vis_backends",
    ]
)
"""The keys of a 1.x configuration that something reads."""
OLD = {
    "runner": "train_cfg = dict(type='IterBasedTrainLoop', max_iters=...)",
    "lr_config": "param_scheduler",
    "optimizer_config": "optim_wrapper",
    "checkpoint_config": "default_hooks.checkpoint",
    "log_config": "default_hooks.logger",
    "evaluation": "train_cfg.val_interval and val_evaluator",
    "data": "train_dataloader, val_dataloader",
    "fp16": "optim_wrapper = dict(type='AmpOptimWrapper', ...)",
    "resume_from": "load_from and resume",
    "cudnn_benchmark": "env_cfg.cudnn_benchmark",
    "dist_params": "env_cfg.dist_cfg",
    "workflow": "nothing",
}
"""Keys of 0.x that 1.x does not read, and what took their place."""
GROUP_KEYS = ("lr_mult", "decay_mult", "lr", "weight_decay", "momentum", "betas", "eps", "dampening", "nesterov")
DATA_WORDS = {
    "cityscapes": "Cityscapes",
    "ade20k": "ADE20K",
    "voc12": "VOC",
    "voc12aug": "VOC",
    "coco": "COCO",
    "loveda": "LoveDA",
    "potsdam": "Potsdam",
    "vaihingen": "ISPRS",
    "isaid": "iSAID",
    "drive": "DRIVE",
    "stare": "STARE",
    "hrf": "HRF",
    "chase": "ChaseDB1",
    "levir": "LEVIR",
    "nyu": "NYU",
}
MASK_HEADS = ("SideAdapterCLIPHead", "MaskFormerHead", "Mask2FormerHead")


@dataclass(frozen=True)
class Finding:
    """Something that was not as it seems.

    Attributes:
        kind: `dead key`, `custom_keys`, `schedule`, `name`, `crash` or `loss`.
        key: Where it stands.
        what: What happens there.
        mend: What to do about it.
    """

    kind: str
    key: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.key}: {self.what}; {self.mend}"


def is_old(values: Mapping[str, Any]) -> bool:
    """Whether a configuration is for MMSegmentation 0.x."""
    return "optim_wrapper" not in values and ("optimizer" in values or "data" in values)


def findings(config: ConfigFile) -> list[Finding]:
    """All that is wrong with a configuration, whether or not its network has an equal here."""
    return [*dead_keys(config), *custom_keys(config), *schedules(config), *names(config), *losses(config)]


def dead_keys(config: ConfigFile) -> Iterator[Finding]:
    """Keys at the top that nothing reads."""
    values = config.values
    if is_old(values):
        known = RUNNER | OLD.keys() | {"optimizer", "lr_config", "seed", "gpu_ids", "find_unused_parameters"}
    else:
        known = RUNNER
        for key in OLD.keys() & values.keys() - config.used:
            yield Finding("dead key", key, "is a key of 0.x, which 1.x does not read", f"there it is {OLD[key]}")
        if "optimizer" in config.own and "optimizer" not in config.used and "optim_wrapper" not in config.own:
            given = values["optim_wrapper"].get("optimizer")
            if given != values["optimizer"]:
                mend = "write optim_wrapper = dict(optimizer=optimizer)"
                yield Finding("dead key", "optimizer", "is not the one in optim_wrapper, which is used", mend)
    for path, line, key in config.lost:
        what = f"is lost, as {path.name} gives {key} again further down"
        yield Finding("dead key", f"{path.name}:{line}, {key}", what, "write it once")
    for key in sorted(values.keys() - known - config.used - OLD.keys()):
        near = difflib.get_close_matches(key, known & values.keys(), n=1, cutoff=0.88)
        if near and isinstance(values[key], dict | list | tuple) and key != "optimizer":
            inner = f" ({', '.join(map(str, values[key]))[:80]})" if isinstance(values[key], dict) else ""
            what = f"nothing reads it, so that what it says{inner} has no effect"
            yield Finding("dead key", key, what, f"was {near[0]} meant?")
    if "crop_size" in config.own and "crop_size" not in config.used:
        crop = crop_of(values)
        if crop is not None and tuple(values["crop_size"]) != crop:
            what = f"is {tuple(values['crop_size'])}, but the pipeline crops {crop}, as its base wrote"
            yield Finding("dead key", "crop_size", what, "write the pipeline anew with the crop that is meant")


def paramwise(values: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Where the rules for parameters stand, and what they are."""
    if is_old(values):
        return "optimizer.paramwise_cfg", (values.get("optimizer") or {}).get("paramwise_cfg") or {}
    return "optim_wrapper.paramwise_cfg", values["optim_wrapper"].get("paramwise_cfg") or {}


def custom_keys(config: ConfigFile) -> Iterator[Finding]:
    """Keys that match no parameter, and what they hold that nothing reads."""
    if not is_old(config.values) and "optim_wrapper" not in config.values:
        return
    place, rules = paramwise(config.values)
    known = original_names(config.values.get("model") or {})
    mend = "leave it out, or name the parameters as they are called"
    for key, items in (rules.get("custom_keys") or {}).items():
        for item in items:
            if item not in GROUP_KEYS:
                near = "decay_mult" if "wd" in item or "decay" in item else "lr_mult"
                what = "nothing reads it, so that the parameters have the usual rate and decay"
                yield Finding("custom_keys", f"{place}.custom_keys.{key}.{item}", what, f"was {near} meant?")
        pattern = re.sub(r"\d+", "#", key)
        model = config.values.get("model") or {}
        if known is None:
            misspelt = key not in model and difflib.get_close_matches(key, model, n=1, cutoff=0.85)
            if (key == "absolute_pos_embed" and swin_without_it(model)) or misspelt:
                yield Finding("custom_keys", f"{place}.custom_keys.{key}", "matches no parameter", mend)
        elif not any(pattern in name for name in known):
            yield Finding("custom_keys", f"{place}.custom_keys.{key}", "matches no parameter", mend)


def swin_without_it(model: Mapping[str, Any]) -> bool:
    """Whether a backbone is a Swin without absolute positions, the only parameter of that name."""
    backbone = model.get("backbone") or {}
    return backbone.get("type") == "SwinTransformer" and not backbone.get("use_abs_pos_embed", False)


@cache
def templates() -> dict[str, list[str]]:
    """The parameters of each type, see `scripts/make_mmseg_names.py`."""
    return dict(json.loads(NAMES.read_text(encoding="utf-8")))


def original_names(model: Mapping[str, Any]) -> list[str] | None:
    """Templates of all names of a network's parameters there; None where a part is unknown."""
    found: list[str] = []
    table = templates()
    for key in ("backbone", "neck", "decode_head", "auxiliary_head", "image_encoder", "text_encoder"):
        value = model.get(key)
        if value is None:
            continue
        several = isinstance(value, list | tuple)
        for part in value if several else [value]:
            if part.get("type") not in table:
                return None
            found += [f"{key}.{'#.' if several else ''}{name}" for name in table[part["type"]]]
    return found


def schedules(config: ConfigFile) -> Iterator[Finding]:
    """Schedules that end before or after the training."""
    values = config.values
    steps = iterations(values)
    given = values.get("param_scheduler") or []
    ends = [part.get("end") for part in (given if isinstance(given, list | tuple) else [given])]
    if steps and ends and not is_old(values) and ends[-1] is not None and ends[-1] != steps:
        when = "the rate stays at the end for the rest" if ends[-1] < steps else "the rate never comes to its end"
        what = f"ends at {ends[-1]}, the training at train_cfg.max_iters={steps}: {when}"
        yield Finding("schedule", "param_scheduler", what, "give both the same number")


def iterations(values: Mapping[str, Any]) -> int | None:
    """How long the training is."""
    if is_old(values):
        runner = values.get("runner") or {}
        found = runner.get("max_iters", values.get("total_iters"))
    else:
        found = (values.get("train_cfg") or {}).get("max_iters")
    return found if isinstance(found, int) else None


def training_set(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The data set that is trained on, without what repeats or joins it."""
    if "train_dataloader" in values:
        data = (values.get("train_dataloader") or {}).get("dataset") or {}
    else:
        data = (values.get("data") or {}).get("train") or {}
    for _ in range(5):
        inner = data.get("dataset") or data.get("datasets")
        if inner is None:
            break
        data = inner[0] if isinstance(inner, list | tuple) else inner
    return data


def crop_of(values: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width of the crops in training."""
    for transform in training_set(values).get("pipeline") or []:
        if transform.get("type") == "RandomCrop":
            size = transform["crop_size"]
            return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    return None


def heads(values: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every head of the model, by its key."""
    model = values.get("model") or {}
    for key in ("decode_head", "auxiliary_head"):
        value = model.get(key)
        if isinstance(value, Mapping):
            yield f"model.{key}", value
        for index, inner in enumerate(value if isinstance(value, list | tuple) else []):
            yield f"model.{key}[{index}]", inner


def losses_of(head: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The losses of a head."""
    given = head.get("loss_decode") or {"type": "CrossEntropyLoss"}
    return list(given) if isinstance(given, list | tuple) else [given]


def names(config: ConfigFile) -> Iterator[Finding]:
    """What the file's name says and its content does not do."""
    values, stem = config.values, config.path.stem.lower()
    mend = "trust the content, or mend it"

    def finding(word: str, what: str) -> Finding:
        return Finding("name", f"file name, {word!r}", what, mend)

    steps = iterations(values)
    found = re.search(r"(?<![a-z0-9])(\d+)k(?![a-z0-9])", stem)
    if found and steps and int(found[1]) * 1000 != steps:
        yield finding(found[0], f"the training has {steps} iterations")
    if found := re.search(r"\d+xb(\d+)", stem):
        batch = (values.get("train_dataloader") or {}).get("batch_size")
        if batch is not None and batch != int(found[1]):
            yield finding(found[0], f"a device has a batch of {batch}")
    sizes = [(int(a), int(b)) for a, b in re.findall(r"(?<![\dx])(\d{2,4})x(\d{2,4})(?![\dx]|-pre)", stem)]
    crop = crop_of(values)
    if crop is not None and sizes and crop not in sizes and crop[::-1] not in sizes:
        yield finding("x".join(map(str, sizes[-1])), f"the crops are {crop[0]} x {crop[1]}")
    kind = str(training_set(values).get("type"))
    said = [word for word in DATA_WORDS if re.search(rf"(?<![a-z]){word}", stem)]
    fits = any(DATA_WORDS[word].lower() in kind.lower() for word in said)
    if said and not fits and kind not in ("None", "DSDLSegDataset"):
        yield finding(said[0], f"the data set is a {kind}")
    words = set(re.split(r"[-_.]", stem))
    kinds = {loss.get("type") for _, head in heads(values) for loss in losses_of(head)}
    sampled = any("OHEM" in str((head.get("sampler") or {}).get("type")) for _, head in heads(values))
    if "ohem" in words and not sampled and "OhemCrossEntropy" not in kinds:
        yield finding("ohem", "no head has an OHEMPixelSampler or an OhemCrossEntropy")
    if "dice" in words and not any("Dice" in str(kind) for kind in kinds):
        yield finding("dice", "no head has a Dice loss")
    if not is_old(values):
        wrapper = values.get("optim_wrapper") or {}
        if words & {"amp", "fp16"} and wrapper.get("type") != "AmpOptimWrapper":
            yield finding("amp", f"the optim_wrapper is {wrapper.get('type')}, which trains in float32")
    optimizer = str(optimizer_of(values).get("type"))
    for word in words & {"adamw", "adam", "sgd"}:
        if optimizer.lower() != word:
            yield finding(word, f"the optimizer is {optimizer}")
    backbone = (values.get("model") or {}).get("backbone") or {}
    if backbone.get("type") in ("ResNet", "ResNetV1c", "ResNetV1d", "ResNeSt"):
        depth = re.search(r"(?<![a-z0-9])[rs](18|50|101)b?(?![a-z0-9])", stem)
        if depth and int(depth[1]) != backbone.get("depth", int(depth[1])):
            yield finding(depth[0], f"the backbone has depth={backbone['depth']}")
        strides = [*backbone.get("strides", (1, 2, 2, 2))]
        if found := re.search(r"(?<![a-z0-9])d(8|16|32)(?![a-z0-9])", stem):
            stride = 4
            for one in strides:
                stride *= one
            if stride != int(found[1]):
                yield finding(found[0], f"the last map of the backbone is at stride {stride}")


def optimizer_of(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The optimizer that is used."""
    if is_old(values):
        return values.get("optimizer") or {}
    return (values.get("optim_wrapper") or {}).get("optimizer") or {}


def losses(config: ConfigFile) -> Iterator[Finding]:
    """Losses that stop at a void pixel, or that learn something else."""
    values = config.values
    for place, head in heads(values):
        if head.get("type") in MASK_HEADS:
            continue
        classes, ignored = head.get("num_classes"), head.get("ignore_index", 255)
        for loss in losses_of(head):
            kind = loss.get("type")
            plain = kind == "CrossEntropyLoss" and not loss.get("use_sigmoid") and not loss.get("use_mask")
            weighted = plain and loss.get("class_weight") and not is_old(values)
            if weighted and isinstance(classes, int) and not -classes <= ignored < classes:
                what = f"1.x looks the weight of void pixels up, and stops at the first label {ignored}: IndexError"
                mend = "here void pixels have no weight, and nothing stops"
                yield Finding("crash", f"{place}.loss_decode.class_weight", what, mend)
            if kind == "DiceLoss" and loss.get("use_sigmoid", True) and not is_old(values) and classes != 1:
                softmax = any(one.get("type") == "CrossEntropyLoss" for one in losses_of(head))
                if softmax and not any(one.get("use_sigmoid") for one in losses_of(head) if one is not loss):
                    what = "1.x takes the sigmoid of each logit for Dice, where the network is trained by softmax"
                    yield Finding("loss", f"{place}.loss_decode.DiceLoss", what, "write use_sigmoid=False for 0.x's")
