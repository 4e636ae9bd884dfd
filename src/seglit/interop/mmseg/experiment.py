"""A whole MMSegmentation configuration as an experiment of seglit."""

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from seglit.interop.mmseg import shipped
from seglit.interop.mmseg.config_file import ConfigFile
from seglit.interop.mmseg.criterion import criterion
from seglit.interop.mmseg.custom_keys import layer_decay, translated
from seglit.interop.mmseg.faults import crop_of, heads, is_old, iterations, optimizer_of, paramwise, training_set
from seglit.interop.mmseg.network import Network, network
from seglit.interop.mmseg.settings import Node, Settings, UnsupportedError

DATA = {
    "CityscapesDataset": "cityscapes",
    "ADE20KDataset": "ade20k",
    "PascalVOCDataset": "voc2012",
    "COCOStuffDataset": "coco_stuff164k",
    "PascalContextDataset": "pascal_context",
    "PascalContextDataset59": "pascal_context_59",
    "LoveDADataset": "loveda",
    "PotsdamDataset": "potsdam",
    "ISPRSDataset": "vaihingen",
    "DRIVEDataset": "drive",
    "STAREDataset": "stare",
    "HRFDataset": "hrf",
    "ChaseDB1Dataset": "chase_db1",
    "iSAIDDataset": "isaid",
}
OPTIMIZERS = {"SGD": "sgd", "Adam": "adam", "AdamW": "adamw"}
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
RULES = ("norm_decay_mult", "bias_lr_mult", "bias_decay_mult", "dwconv_decay_mult", "flat_decay_mult")
CONSTRUCTORS = ("LayerDecayOptimizerConstructor", "LearningRateDecayOptimizerConstructor")
KNOWN = {
    "LoadImageFromFile": None,
    "LoadAnnotations": None,
    "RandomResize": "scale",
    "Resize": "scale",
    "RandomCrop": "crop",
    "RandomFlip": "flip",
    "PhotoMetricDistortion": "color",
    "GenerateEdge": None,
    "PackSegInputs": None,
    "Normalize": None,
    "Pad": None,
    "DefaultFormatBundle": None,
    "Collect": None,
}
"""The transform of `conf/data/train_transforms/scale_crop_flip_color.yaml`; None where nothing has to be said."""
SIZES = {
    "cityscapes": (2048, 1024),
    "drive": (584, 565),
    "stare": (700, 605),
    "chase_db1": (999, 960),
    "hrf": (3504, 2336),
    "potsdam": (512, 512),
    "vaihingen": (512, 512),
    "isaid": (896, 896),
    "loveda": (1024, 1024),
}
"""Of the images, where all are alike."""
NEARLY = 0.01
"""A factor that is as good as 1, as the 2049 x 1025 to which some scale Cityscapes."""


@dataclass
class Experiment:
    """An experiment, and what became of the configuration.

    Attributes:
        network: The translated network.
        defaults: The files that it takes, as `override /data: cityscapes`.
        content: The keys that differ from these files.
        rules: What `paramwise` is to say.
        taken: What was translated, as lines for people.
        missing: What has no equal here, by its key.
    """

    network: Network
    defaults: dict[str, str] = field(default_factory=dict)
    content: dict[str, Any] = field(default_factory=dict)
    rules: dict[str, Any] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def set(self, key: str, value: Any) -> None:
        """Set a dotted key of the content."""
        *path, last = key.split(".")
        at = self.content
        for name in path:
            at = at.setdefault(name, {})
        at[last] = value


def experiment(config: ConfigFile, compat: str | None = None) -> Experiment:
    """The experiment that a configuration is.

    Args:
        config: What was read.
        compat: None for the definitions of losses; `mmseg-0.25` or `mmseg-1.2` for the arithmetic of that release.

    Raises:
        UnsupportedError: Names what has no equal here and would make another network or training.
    """
    values = config.values
    if not isinstance(values.get("model"), Mapping):
        raise UnsupportedError("model: there is none")
    settings = {key: value for key, value in values["model"].items() if key != "data_preprocessor"}
    made = Experiment(network(settings))
    made.missing += [
        key for key in made.network.settings.untaken() if not key.startswith(("model.train_cfg", "model.test_cfg"))
    ]
    parameter_rules(values, made)
    data(values, config.path.stem, made)
    model(values, made, compat)
    optimizer(values, made)
    schedule(values, made, compat)
    run(values, made)
    for key in ("pretrained", "load_from"):
        if values["model"].get(key) or values.get(key):
            made.missing.append(
                f"{key}={str(values['model'].get(key) or values.get(key))[:80]}: weights are not loaded"
            )
    return made


def data(values: Mapping[str, Any], stem: str, made: Experiment) -> None:
    """Data set, batch, crops."""
    found = training_set(values)
    kind = str(found.get("type"))
    name = DATA.get(kind)
    if name == "voc2012" and "aug" in stem:
        name = "voc2012_aug"
    if name is None or name not in shipped.names("data"):
        made.missing.append(f"data set {kind}: describe your data in data")
        name = "folder"
        made.set("data.root", "???")
    made.defaults["/data"] = name
    given = shipped.resolved("data", name)
    counts = {head["num_classes"] for _, head in heads(values) if "num_classes" in head and learns_classes(head)}
    if len(counts) > 1:
        raise UnsupportedError(f"model: the heads have different num_classes, {sorted(counts)}")
    for count in counts:
        if name != "folder" and count != given["num_classes"]:
            made.missing.append(f"num_classes={count}, where the data set has {given['num_classes']}")
        if count != given["num_classes"]:
            made.set("data.num_classes", count)
    ignored = {head.get("ignore_index", 255) for _, head in heads(values)}
    if len(ignored) > 1:
        raise UnsupportedError(f"ignore_index: the heads have different ones, {sorted(ignored)}")
    if ignored and (one := ignored.pop()) != given["ignore_index"]:
        made.set("data.ignore_index", one)
    transforms(values, found, made, name)
    if (crop := crop_of(values)) is not None:
        usual_crop = given.get("train_transforms", {}).get("crop", {})
        if usual_crop.get("height") != crop[0]:
            made.set("data.train_transforms.crop.height", crop[0])
        if usual_crop.get("width", crop[0] if crop[0] == crop[1] else None) not in (crop[1], "${.height}") or (
            usual_crop.get("width") == "${.height}" and crop[0] != crop[1]
        ):
            made.set("data.train_transforms.crop.width", crop[1])
    if is_old(values):
        loader = values.get("data") or {}
        batch, workers = loader.get("samples_per_gpu"), loader.get("workers_per_gpu")
    else:
        loader = values.get("train_dataloader") or {}
        batch, workers = loader.get("batch_size"), loader.get("num_workers")
    devices = re.search(r"(?<![a-z0-9])(\d+)xb?\d+(?=[-_])", stem)
    if isinstance(batch, int):
        count = int(devices[1]) if devices and int(devices[1]) <= 64 else 1
        made.set("data.batch_size", batch * count)
        made.taken.append(f"batch of {batch * count}: {batch} on each of {count} devices there")
    if isinstance(workers, int):
        made.set("data.num_workers", workers)
    norm = values["model"].get("data_preprocessor") or values.get("img_norm_cfg") or {}
    for key, usual_value in (("mean", MEAN), ("std", STD)):
        if norm.get(key) and list(norm[key]) != usual_value:
            made.set(f"data.{key}", list(norm[key]))
    made.taken.append(f"data set {kind}: data={name}")


def transforms(values: Mapping[str, Any], found: Mapping[str, Any], made: Experiment, name: str) -> None:
    """What is done to the images in training."""
    steps = {str(step.get("type")): step for step in found.get("pipeline") or [] if isinstance(step, Mapping)}
    at = "data.train_transforms"
    for kind in steps.keys() - KNOWN.keys():
        made.missing.append(f"train_pipeline.{kind}: say it in {at}")
    for transform in {ours: None for ours in KNOWN.values() if ours} if steps else {}:
        given = next((steps[kind] for kind, ours in KNOWN.items() if ours == transform and kind in steps), None)
        if given is None:
            made.missing.append(f"train_pipeline: has no {transform}; take it out, ~{at}.{transform}")
        elif transform == "scale":
            scaled(given, made, name)
        elif transform == "crop" and (most := given.get("cat_max_ratio", 1.0)) != 0.75:
            made.set(f"{at}.crop.cat_max_ratio", most)
        elif transform == "flip":
            if given.get("direction", "horizontal") != "horizontal":
                made.missing.append(f"train_pipeline.RandomFlip.direction={given['direction']}: here it is horizontal")
            if (chance := given.get("prob", given.get("flip_ratio", 0.5))) != 0.5:
                made.set(f"{at}.flip.p", chance)
    if name == "folder":
        labels = steps.get("LoadAnnotations", {})
        if labels.get("reduce_zero_label", found.get("reduce_zero_label", False)):
            made.set("data.reduce_zero_label", True)


def scaled(step: Mapping[str, Any], made: Experiment, name: str) -> None:
    """`RandomResize` of 1.x or `Resize` of 0.x: there to a share of a given size, here of the image's own."""
    place = f"train_pipeline.{step['type']}"
    lowest, highest = step.get("ratio_range") or (1.0, 1.0)
    size = step.get("scale", step.get("img_scale"))
    if not step.get("keep_ratio", True):
        made.missing.append(f"{place}.keep_ratio=False: here the ratio is kept")
    if size is None or not all(isinstance(side, int) for side in size):
        made.missing.append(f"{place}.scale={size}: here images are scaled from their own size")
    elif name not in SIZES:
        made.missing.append(f"{place}.scale={tuple(size)}: there images are fitted into it first, here not")
    else:
        factor = min(max(size) / max(SIZES[name]), min(size) / min(SIZES[name]))
        if abs(factor - 1) > NEARLY:
            lowest, highest = lowest * factor, highest * factor
    if (lowest, highest) != (0.5, 2.0):
        limits = [round(lowest - 1, 6), round(highest - 1, 6)]
        made.set("data.train_transforms.scale.scale_limit", limits)


def model(values: Mapping[str, Any], made: Experiment, compat: str | None) -> None:
    """Net, criterion and inference."""
    losses, approximated = criterion(values, made.network, compat)
    made.missing += approximated
    wanted = with_classes(made.network.node, {name for name, head in losses.items() if head.get("target")})
    scheduler, _ = schedule_of(values, iterations(values) or 0, Experiment(made.network))
    nearest = shipped.nearest_model(wanted, lambda name: can_be_changed(name, made.rules, scheduler))
    match = None
    if nearest is not None:
        match, changes = nearest
        made.defaults["/model"] = match
        files = shipped.choices(match)
        criteria = {
            name: change
            for name in sorted(shipped.names("model/criterion"), key=lambda name: name != files["criterion"])
            if (change := shipped.difference(shipped.over("criterion", name, match), losses)) is not None
        }
        if criteria:
            name = min(criteria, key=lambda name: shipped.leaves(criteria[name]))
            if name != files["criterion"]:
                made.defaults["/model/criterion"] = name
            if changes:
                made.set("model.net", changes)
            if criteria[name]:
                made.set("model.criterion", criteria[name])
            made.taken.append(f"network: model={match}{', with other arguments' if changes else ''}")
        else:
            match = None
    if match is None:
        made.defaults["/model"] = "_base"
        made.defaults.pop("/model/criterion", None)
        made.set("model.net", {key: shipped.terse(value) for key, value in wanted.items() if key != "_target_"})
        for head in losses.values():
            head["compat"] = compat
        made.set("model.criterion", shipped.terse({"_target_": "seglit.losses.SegmentationCriterion", **losses}))
        made.taken.append("network: written out, as no model config is equal")
    test = Settings(values["model"].get("test_cfg") or {}, "model.test_cfg")
    mode = test.take("mode", "whole")
    if mode == "slide":
        made.set("model.inference.window", pair(test.take("crop_size")))
        made.set("model.inference.stride", pair(test.take("stride")))
    elif mode != "whole":
        made.missing.append(f"model.test_cfg.mode={mode}")


def pair(value: Any) -> list[int]:
    """A size as height and width."""
    return [value, value] if isinstance(value, int) else list(value)


def can_be_changed(name: str, rules: Mapping[str, Any], scheduler: str) -> bool:
    """Whether what a model's file says itself can be made what is wanted, as keys cannot be taken away from it."""
    own = shipped.own(name)
    keys, wanted = own.get("paramwise", {}).get("custom_keys", {}), rules.get("custom_keys")
    told = wanted is None or all(key in wanted and set(items) <= set(wanted[key]) for key, items in keys.items())
    return told and set(own.get("scheduler", {})) <= set(shipped.resolved("model/scheduler", scheduler))


def learns_classes(head: Mapping[str, Any]) -> bool:
    """Whether a head learns the classes of the data, and not boundaries that are made of them."""
    return head.get("type") != "STDCHead"


def with_classes(node: Any, others: Container[str]) -> Any:
    """A node with the number of classes of the data, but in heads that learn others, and lists in place of tuples."""
    if isinstance(node, Mapping):
        result = {key: with_classes(value, others) for key, value in node.items()}
        if isinstance(node.get("num_classes"), int):
            result["num_classes"] = "${data.num_classes}"
        return result | {name: literal(node[name]) for name in node if name in others}
    return [with_classes(value, others) for value in node] if isinstance(node, list | tuple) else node


def literal(node: Any) -> Any:
    """A node with lists in place of tuples."""
    if isinstance(node, Mapping):
        return {key: literal(value) for key, value in node.items()}
    return [literal(value) for value in node] if isinstance(node, list | tuple) else node


def optimizer(values: Mapping[str, Any], made: Experiment) -> None:
    """Optimizer and rules for parameters."""
    given = Settings({**optimizer_of(values)}, "optimizer")
    if not given.values:
        made.missing.append("optimizer: there is none")
        return
    kind = given.take("type")
    if kind not in OPTIMIZERS:
        raise given.unsupported("type", f"there are {', '.join(OPTIMIZERS)}")
    given.skip("paramwise_cfg", "constructor")
    wanted: Node = {"_target_": f"torch.optim.{kind}", "_partial_": True}
    if kind != "SGD":
        wanted["weight_decay"] = given.take("weight_decay", 0.01 if kind == "AdamW" else 0.0)
    for key in ("lr", "momentum", "weight_decay", "betas", "eps", "nesterov", "dampening", "amsgrad"):
        if key in given.values:
            value = given.take(key)
            wanted[key] = list(value) if isinstance(value, tuple) else value
    made.missing += [f"{key}: has no equal" for key in given.untaken()]
    if kind == "SGD":
        wanted.setdefault("momentum", 0.0)
        wanted.setdefault("weight_decay", 0.0)
    name = OPTIMIZERS[kind]
    match = made.defaults["/model"]
    if match == "_base":
        made.set("model.optimizer", wanted)
    else:
        files = shipped.choices(match)
        if files["optimizer"] != name:
            made.defaults["/model/optimizer"] = name
        base = shipped.over("optimizer", name, match)
        full = {**{key: value for key, value in DEFAULTS.items() if key in base}, **wanted}
        change = {key: value for key, value in full.items() if base.get(key, DEFAULTS.get(key)) != value}
        if change:
            made.set("model.optimizer", change)
    made.taken.append(f"optimizer {kind}, lr {wanted.get('lr')}")
    own = {} if match == "_base" else shipped.own(match).get("paramwise", {})
    for rule in [*made.rules, *(rule for rule in own if rule not in made.rules)]:
        if own.get(rule) != made.rules.get(rule):
            made.set(f"model.paramwise.{rule}", made.rules.get(rule))


def parameter_rules(values: Mapping[str, Any], made: Experiment) -> None:
    """Rules for single parameters, by their names here."""
    place, given = paramwise(values)
    rules = {rule: value for rule, value in given.items() if rule in RULES}
    holder = values.get("optimizer") if is_old(values) else values.get("optim_wrapper")
    constructor = (holder or {}).get("constructor")
    done = {*RULES, "custom_keys"}
    if constructor in CONSTRUCTORS:
        # There it takes the place of all other rules.
        rules, problems = layer_decay(made.network, constructor, given)
        made.missing += [f"{place.removesuffix('.paramwise_cfg')}.{problem}" for problem in problems]
        made.taken.append(f"{constructor}: model.paramwise.layer_decay={given.get('decay_rate')}")
        given = {}
    elif constructor not in (None, "DefaultOptimizerConstructor", "DefaultOptimWrapperConstructor"):
        made.missing.append(f"{place.removesuffix('.paramwise_cfg')}.constructor={constructor}")
    made.missing += [f"{place}.{rule}={value}" for rule, value in given.items() if rule not in done]
    if given.get("custom_keys"):
        keys, problems = translated(made.network, given["custom_keys"], alone=not rules)
        made.missing += [f"{place}.custom_keys.{problem}" for problem in problems]
        if keys:
            rules["custom_keys"] = keys
    made.rules = rules


DEFAULTS = {"betas": [0.9, 0.999], "eps": 1e-8, "nesterov": False, "dampening": 0, "amsgrad": False}


def schedule(values: Mapping[str, Any], made: Experiment, compat: str | None) -> None:
    """Length and learning rates of the training."""
    steps = iterations(values)
    if steps is None:
        made.missing.append("train_cfg: gives no max_iters; set trainer.max_steps")
        steps = 0
    else:
        made.set("trainer.max_steps", steps)
    name, wanted = schedule_of(values, steps, made)
    if compat is not None:
        wanted["compat"] = compat
    target = shipped.resolved("model/scheduler", name)
    match = made.defaults["/model"]
    if match == "_base":
        made.set("model.scheduler", {**target, **wanted})
        return
    if shipped.choices(match)["scheduler"] != name:
        made.defaults["/model/scheduler"] = name
    base = shipped.over("scheduler", name, match)
    full = {**target, **wanted}
    change = {key: value for key, value in full.items() if key not in base or base[key] != value}
    if change:
        made.set("model.scheduler", change)


def schedule_of(values: Mapping[str, Any], steps: int, made: Experiment) -> tuple[str, Node]:
    """The schedule's name in `conf/model/scheduler`, and its arguments; what has no equal goes into `made.missing`."""
    lr = optimizer_of(values).get("lr") or 0.0
    return old_schedule(values, lr, made) if is_old(values) else new_schedule(values, lr, steps, made)


def ratio(floor: float, lr: float) -> float:
    """A floor as a share of the rate, without the noise of the division."""
    return float(f"{floor / lr:.12g}") if lr else 0.0


def new_schedule(values: Mapping[str, Any], lr: float, steps: int, made: Experiment) -> tuple[str, Node]:
    """`param_scheduler` of 1.x."""
    given = values.get("param_scheduler") or []
    parts = list(given) if isinstance(given, list | tuple) else [given]
    wanted: Node = {}
    name = "constant"
    for index, part in enumerate(parts):
        at = Settings(part, f"param_scheduler[{index}]")
        kind = at.type
        at.skip("by_epoch")
        begin, end = at.take("begin", 0), at.take("end", steps)
        if kind == "LinearLR" and index == 0 and len(parts) > 1:
            wanted |= {"warmup_steps": end, "warmup_ratio": at.take("start_factor", 1 / 3)}
            at.skip("end_factor")
        elif kind in ("PolyLR", "CosineAnnealingLR", "MultiStepLR") and name == "constant":
            name = {"PolyLR": "poly", "CosineAnnealingLR": "cosine", "MultiStepLR": "step"}[kind]
            if kind == "PolyLR":
                wanted["power"] = at.take("power", 1.0)
            if kind == "MultiStepLR":
                wanted |= {"milestones": list(at.take("milestones")), "gamma": at.take("gamma", 0.1)}
            else:
                wanted["min_lr_ratio"] = ratio(at.take("eta_min", 0.0) or 0.0, lr)
                at.skip("T_max")
            if "warmup_steps" in wanted and begin == 0:
                wanted["decay_from"] = "start"
            if isinstance(end, int) and end < steps and name != "step":
                wanted["hold_steps"] = steps - end
        elif kind == "ConstantLR" and name == "constant" and len(parts) == 1:
            at.skip("factor")
        else:
            made.missing.append(f"param_scheduler[{index}], {kind}: has no equal in its place")
            at.skip(*part)
        made.missing += [f"{key}: has no equal" for key in at.untaken()]
    return name, wanted


def old_schedule(values: Mapping[str, Any], lr: float, made: Experiment) -> tuple[str, Node]:
    """`lr_config` of 0.x."""
    at = Settings(values.get("lr_config") or {"policy": "fixed"}, "lr_config")
    policy = at.take("policy")
    at.skip("by_epoch", "warmup_by_epoch")
    wanted: Node = {}
    if policy == "poly":
        name = "poly"
        wanted["power"] = at.take("power", 1.0)
        wanted["min_lr_ratio"] = ratio(at.take("min_lr", 0.0), lr)
    elif policy == "CosineAnnealing":
        name = "cosine"
        wanted["min_lr_ratio"] = at.take("min_lr_ratio", None) or ratio(at.take("min_lr", 0.0) or 0.0, lr)
    elif policy == "step":
        name = "step"
        step = at.take("step")
        wanted |= {"milestones": [step] if isinstance(step, int) else list(step), "gamma": at.take("gamma", 0.1)}
    elif policy == "fixed":
        name = "constant"
    else:
        raise at.unsupported("policy", "there are poly, CosineAnnealing, step and fixed")
    warmup = at.take("warmup", None)
    if warmup is not None:
        wanted |= {"warmup_steps": at.take("warmup_iters", 0), "warmup_ratio": at.take("warmup_ratio", 0.1)}
        if warmup != "linear":
            wanted["warmup"] = warmup
        if name != "constant":
            wanted["decay_from"] = "start"
    made.missing += [f"{key}: has no equal" for key in at.untaken()]
    return name, wanted


def run(values: Mapping[str, Any], made: Experiment) -> None:
    """The trainer and its hooks."""
    accumulate = 1
    if is_old(values):
        interval = (values.get("evaluation") or {}).get("interval")
        clip = (values.get("optimizer_config") or {}).get("grad_clip")
        half = (values.get("optimizer_config") or {}).get("type") == "Fp16OptimizerHook" or "fp16" in values
        hooks = list(values.get("custom_hooks") or [])
        logged = (values.get("log_config") or {}).get("interval")
    else:
        wrapper = values.get("optim_wrapper") or {}
        interval = (values.get("train_cfg") or {}).get("val_interval")
        clip, half = wrapper.get("clip_grad"), wrapper.get("type") == "AmpOptimWrapper"
        accumulate = wrapper.get("accumulative_counts", 1)
        hooks = list(values.get("custom_hooks") or [])
        logged = ((values.get("default_hooks") or {}).get("logger") or {}).get("interval")
    if isinstance(interval, int):
        made.set("trainer.val_check_interval", interval * accumulate)
    if isinstance(logged, int):
        made.set("trainer.log_every_n_steps", logged)
    if "SyncBN" in str(values["model"].get("backbone")) + str(values["model"].get("decode_head")):
        made.set("trainer.sync_batchnorm", True)
    if accumulate > 1:
        made.set("trainer.accumulate_grad_batches", accumulate)
    if clip:
        if clip.get("norm_type", 2) != 2:
            made.missing.append(f"clip_grad.norm_type={clip['norm_type']}")
        if "max_norm" in clip:
            made.set("trainer.gradient_clip_val", clip["max_norm"])
    if half:
        made.set("trainer.precision", "16-mixed")
    for hook in hooks:
        if hook.get("type") == "EMAHook":
            made.defaults["/callbacks"] = "ema"
            made.set("callbacks.ema.decay", round(1 - hook.get("momentum", 0.0002), 10))
        else:
            made.missing.append(f"custom_hooks.{hook.get('type')}")
    metrics = str(values.get("val_evaluator") or values.get("evaluation") or {})
    if "mDice" in metrics and "mIoU" not in metrics:
        made.set("callbacks.checkpoint.monitor", "val/mdice")
