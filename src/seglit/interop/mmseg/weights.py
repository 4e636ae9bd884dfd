"""`seglit-import weights`: a checkpoint of MMSegmentation or of an image classifier as safetensors, by our names."""

import argparse
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from seglit.interop.mmseg.network import Network
    from seglit.interop.mmseg.part import Part
    from seglit.segmentor import Segmentor

BACKBONE = "backbone."
COUNTER = ".num_batches_tracked"
INSIDE = ("state_dict", "model")
"""Where the weights are in a file that holds more, MMSegmentation's and the papers' own."""
REASONS = {
    "optimizer": "the state of the optimizer",
    "param_schedulers": "the state of the schedules",
    "lr_scheduler": "the state of the schedules",
    "message_hub": "the history of the log",
    "ema_state_dict": "the weights before they were averaged",
    "meta": "what it says of classes and configuration is kept",
    "epoch": "says how long it was trained",
    "iter": "says how long it was trained",
}
CLASSIFIERS = ("fc.", "head.", "head_dist.", "classifier.", "neck.")
"""What an image classifier has beside its backbone."""
IMAGE_SIZE = (128, 128)
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of ImageNet, with which nearly all weights were trained."""
TOLERANCE = 1e-4
"""Of the largest logit: float32 sums in another order, on another machine, leave some 1e-6."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds of use.

    Attributes:
        path: The file.
        weights: By their names there, without the prefix that data parallelism puts before all of them.
        classes: The names of the classes, if it has them.
        palette: A colour for each of them, likewise.
        config: The text of the configuration that it was trained by, likewise.
        release: `0.x` or `1.x` of MMSegmentation; None for other files.
        dropped: What else is in the file, with the reason why it is left out.
    """

    path: Path
    weights: "dict[str, Tensor]"
    classes: tuple[str, ...] | None = None
    palette: tuple[tuple[int, int, int], ...] | None = None
    config: str | None = None
    release: str | None = None
    dropped: dict[str, str] = field(default_factory=dict)

    @property
    def of_segmentor(self) -> bool:
        """Whether it is of a whole segmentor, not of an image classifier or a backbone alone."""
        return any(name.startswith("decode_head.") for name in self.weights)


@dataclass
class Report:
    """What became of each weight.

    Attributes:
        mapped: The name there of each weight by its name here; None for one that was computed from several.
        dropped: What was left out on purpose, by its name there, with the reason.
        filled: Names here that old files lack, and whose value is known.
        left: Names here that the caller allowed to be missing.
        missing: Names here for which there is nothing.
        unexpected: Names there for which the network has no place.
        differing: Names here whose shape is another: that of the file, and that of the network.
    """

    mapped: dict[str, str | None] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    filled: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    differing: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether everything found its place."""
        return not (self.missing or self.unexpected or self.differing)

    def lines(self) -> Iterator[str]:
        """The report for people; what is wrong comes last, each weight by name."""
        yield f"mapped: {len(self.mapped)} weights"
        yield from (f"dropped: {name}: {reason}" for name, reason in self.dropped.items())
        if self.filled:
            yield f"filled in: {len(self.filled)} counters of batches, which old files lack, with 0"
        yield from (f"left out: {name}, as allowed by --partial" for name in self.left)
        yield from self.problems()

    def problems(self) -> Iterator[str]:
        """What is wrong, each weight by name."""
        yield from (f"missing: {name}" for name in self.missing)
        yield from (f"unexpected: {name}" for name in self.unexpected)
        for name, (found, wanted) in self.differing.items():
            yield f"differing: {name} is {list(found)}, the network has {list(wanted)}"


@dataclass(frozen=True)
class Renaming:
    """A part of a network, by the beginnings of its weights' names.

    Attributes:
        theirs: There, as `decode_head.`.
        ours: Here.
        renamed: From its weights there, by names without that beginning, to those here, likewise; a name that begins
            with `/` is one in the whole segmentor.
    """

    theirs: str
    ours: str
    renamed: "Callable[[Mapping[str, Tensor]], dict[str, Tensor]]"


def read(path: Path) -> Checkpoint:
    """A checkpoint of MMSegmentation 0.x or 1.x, MMPretrain, torchvision or timm, read without executing anything.

    Raises:
        ConfigError: Names the file and what is wrong with it.
    """
    from seglit.config import ConfigError
    from seglit.interop.torch_files import MEND, described, open_torch_file

    if path.suffix == ".safetensors":
        return Checkpoint(path, safetensors_in(path)[0])
    with open_torch_file(path) as file:
        content = file.content
        if not isinstance(content, dict):
            raise ConfigError(f"{path}: holds {described(content)}, not weights; {MEND}")
        key = next((name for name in INSIDE if isinstance(content.get(name), dict)), None)
        nodes = content if key is None else content[key]
        about = content.get("meta") if key is not None else None
        about = about if isinstance(about, dict) else {}
        dropped = {
            str(name): REASONS.get(str(name), "no weights of the network")
            for name in content
            if key is not None and name != key
        }
        wanted, kept_beside = {}, {}
        for name, node in without_prefix(nodes, "module.").items():
            if reason := beside(name):
                kept_beside[name] = reason
            else:
                wanted[name] = node
        weights = file.tensors(wanted)
    if not weights:
        raise ConfigError(f"{path}: holds no weights; {MEND}")
    told = about.get("dataset_meta")
    told = told if isinstance(told, dict) else {}
    text = next((about[name] for name in ("cfg", "config") if isinstance(about.get(name), str)), None)
    return Checkpoint(
        path,
        weights,
        classes=as_names(told.get("classes", about.get("CLASSES"))),
        palette=as_colours(told.get("palette", about.get("PALETTE"))),
        config=text or None,
        release=release_of(content, about),
        dropped=dropped | kept_beside,
    )


def without_prefix(nodes: Mapping[Any, Any], prefix: str) -> dict[Any, Any]:
    """The same by shorter names, if all begin so."""
    if nodes and all(isinstance(name, str) and name.startswith(prefix) for name in nodes):
        return {name.removeprefix(prefix): node for name, node in nodes.items()}
    return dict(nodes)


def beside(name: Any) -> str | None:
    """Why an entry among the weights is none of the network's; None if it may be one."""
    if not isinstance(name, str):
        return None
    if name.startswith("ema_"):
        return "an average that a hook kept beside the weights"
    return "the data's mean and std" if name.startswith("data_preprocessor.") else None


def as_names(value: Any) -> tuple[str, ...] | None:
    """Names of classes; None for anything else."""
    if isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value):
        return tuple(value)
    return None


def as_colours(value: Any) -> tuple[tuple[int, int, int], ...] | None:
    """Colours of classes; None for anything else."""
    if not isinstance(value, list | tuple) or not value:
        return None
    colours = []
    for entry in value:
        good = isinstance(entry, list | tuple) and len(entry) == 3
        if not good or not all(type(part) is int and 0 <= part <= 255 for part in entry):
            return None
        colours.append((entry[0], entry[1], entry[2]))
    return tuple(colours)


def release_of(content: Mapping[Any, Any], meta: Mapping[Any, Any]) -> str | None:
    """Which MMSegmentation wrote it."""
    if "message_hub" in content or {"mmengine_version", "dataset_meta", "cfg"} & meta.keys():
        return "1.x"
    return "0.x" if {"mmseg_version", "mmcv_version", "CLASSES", "config"} & meta.keys() else None


def renamings(network: "Network") -> list[Renaming]:
    """The parts of a translated network."""
    return [Renaming(place.theirs, place.ours, place.part.renamed) for place in network.places]


def fitted(net: "Segmentor", node: Mapping[str, Any], weights: "Mapping[str, Tensor]") -> list[Renaming]:
    """The parts of a segmentor, each read by the rules after which its weights fit best.

    For a segmentor of which it is not known what its parts are called there, as one of `conf/model`.

    Args:
        net: The segmentor.
        node: From which it was built.
        weights: By their names there.
    """
    heads = [name for name in net.auxiliary_heads if name != "coarse"]
    places = [(BACKBONE, BACKBONE), ("neck.", "neck.")]
    if any(name.startswith("decode_head.1.") for name in weights):
        places += [("decode_head.0.", "auxiliary_heads.coarse."), ("decode_head.1.", "decode_head.")]
    else:
        places += [("decode_head.", "decode_head.")]
    if any(name.startswith("auxiliary_head.0.") for name in weights):
        places += [(f"auxiliary_head.{index}.", f"auxiliary_heads.{name}.") for index, name in enumerate(heads)]
    elif heads:
        places += [("auxiliary_head.", f"auxiliary_heads.{heads[0]}.")]
    shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    known = candidates(node["backbone"])
    return [
        Renaming(theirs, ours, best_rules(known[ours == BACKBONE], ours, shapes, within(weights, theirs)))
        for theirs, ours in places
    ]


def candidates(backbone: Mapping[str, Any]) -> "dict[bool, list[Part]]":
    """Parts that may be those of a network: of its backbone, if True, and of all else.

    A ResNet is that of its variant: others, and parts that hold a ResNet, are alike by name and shape.
    """
    from seglit.interop.mmseg.parts import PARTS
    from seglit.interop.mmseg.parts.resnet import VARIANTS

    others = [part for part in PARTS if not set(VARIANTS) & set(part.types)]
    if not backbone["_target_"].endswith(".ResNet"):
        return {True: others, False: others}
    variant = backbone.get("variant", "v1c")
    return {True: [part for part in PARTS if variant in map(VARIANTS.get, part.types)], False: others}


def within(weights: "Mapping[str, Tensor]", prefix: str) -> "dict[str, Tensor]":
    """Those whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def best_rules(
    known: "Sequence[Part]", ours: str, shapes: Mapping[str, tuple[int, ...]], weights: "Mapping[str, Tensor]"
) -> "Callable[[Mapping[str, Tensor]], dict[str, Tensor]]":
    """The rules of the part after which most weights fit, and fewest are left over; the first of equals."""
    wanted = {name.removeprefix(ours): shape for name, shape in shapes.items() if name.startswith(ours)}

    def misfits(part: "Part") -> int:
        try:
            named = part.renamed(weights)
        except (LookupError, ValueError, RuntimeError, TypeError):
            # Made for the names and shapes of another part.
            return len(wanted) + len(weights) + 1
        found = {name: tuple(value.shape) for name, value in named.items()}
        return sum(wanted.get(name) != found.get(name) for name in wanted.keys() | found.keys())

    return min(known, key=misfits).renamed


def translate(
    checkpoint: Checkpoint,
    parts: Sequence[Renaming],
    net: "Segmentor",
    *,
    partial: Sequence[str] = (),
    backbone_only: bool = False,
) -> "tuple[dict[str, Tensor], Report]":
    """The weights by our names, and what became of each.

    Args:
        checkpoint: As read.
        parts: The parts of the network.
        net: The segmentor that shall take the weights.
        partial: Beginnings of names, ours or theirs, which may be missing, superfluous or of another shape.
        backbone_only: Only the backbone is wanted, or is there.

    Raises:
        ConfigError: If an entry of `partial` allows nothing.
    """
    import torch

    from seglit.config import ConfigError

    report = Report(dropped=dict(checkpoint.dropped))
    rest = dict(checkpoint.weights)
    if backbone_only:
        parts = [part for part in parts if part.ours == BACKBONE]
        rest = backbone_of(checkpoint, report)
    found: dict[str, Tensor] = {}
    sources: dict[str, str | None] = {}
    for part in parts:
        own = {name.removeprefix(part.theirs): rest.pop(name) for name in [*rest] if name.startswith(part.theirs)}
        # Weights that share a tensor in the file get each an object of its own, by which it is known again.
        own = {name: value.detach() for name, value in own.items()}
        by_object = {id(value): name for name, value in own.items()}
        used = set()
        for name, value in part.renamed(own).items():
            ours = name[1:] if name.startswith("/") else part.ours + name
            found[ours] = value
            source = by_object.get(id(value))
            used.add(source)
            sources[ours] = None if source is None else part.theirs + source
        remade = [ours for ours, source in sources.items() if source is None and ours.startswith(part.ours)]
        for name in own.keys() - used:
            reason = "computed anew, or made into others" if remade else "has no counterpart, and needs none"
            report.dropped[part.theirs + name] = reason
    expected = {
        name: value for name, value in net.state_dict().items() if not backbone_only or name.startswith(BACKBONE)
    }
    allowed = [name for name in (*expected, *rest, *found) if name.startswith(tuple(partial))]
    for prefix in partial:
        if not any(name.startswith(prefix) for name in allowed):
            raise ConfigError(f"--partial {prefix}: no weight is called so")
    taken: dict[str, Tensor] = {}
    for name, value in expected.items():
        if name in found and found[name].shape == value.shape:
            taken[name] = found[name]
            report.mapped[name] = sources[name]
        elif name not in found and name.endswith(COUNTER) and name.removesuffix(COUNTER) + ".running_var" in found:
            taken[name] = torch.zeros_like(value)
            report.filled.append(name)
        elif name.startswith(tuple(partial)):
            report.left.append(name)
        elif name in found:
            report.differing[name] = tuple(found[name].shape), tuple(value.shape)
        else:
            report.missing.append(name)
    for name in (*rest, *(sources[name] or name for name in found if name not in expected)):
        if name.startswith(tuple(partial)):
            report.dropped[name] = "allowed by --partial"
        else:
            report.unexpected.append(name)
    return taken, report


def backbone_of(checkpoint: Checkpoint, report: Report) -> "dict[str, Tensor]":
    """The weights of the backbone alone, by names that begin with `backbone.`; the others go into the report."""
    weights = checkpoint.weights
    if any(name.startswith(BACKBONE) for name in weights):
        rest = {name for name in weights if not name.startswith(BACKBONE)}
        report.dropped.update(dict.fromkeys(sorted(rest), "not of the backbone"))
        return {name: value for name, value in weights.items() if name not in rest}
    rest = {name for name in weights if name.startswith(CLASSIFIERS)}
    report.dropped.update(dict.fromkeys(sorted(rest), "of the image classifier, not of the backbone"))
    return {BACKBONE + name: value for name, value in weights.items() if name not in rest}


def verify(net: "Segmentor", original: Path | None = None) -> str:
    """Let the segmentor predict, and compare with the original's logits where they are given.

    Args:
        net: With its weights.
        original: A `.npz`, or a `.pt` of a dict, with `image`, (batch, 3, height, width), normalised, and with the
            `logits` that the original's decode head gives for it in eval mode, before they are resized.

    Returns:
        What was seen, in words.

    Raises:
        ConfigError: If logits are not finite, or others than the original's.
    """
    import torch

    from seglit.config import ConfigError

    generator = torch.Generator().manual_seed(0)
    given = {} if original is None else logits_in(original)
    image = given.get("image", torch.randn(1, 3, *IMAGE_SIZE, generator=generator)).float()
    with torch.inference_mode():
        logits = net.eval()(image)["decode"]
    if not logits.isfinite().all():
        raise ConfigError("the network with these weights gives logits that are not finite; are the weights whole?")
    size = " x ".join(map(str, logits.shape[1:]))
    if original is None:
        return f"a forward pass gives finite logits of {size}"
    expected = given["logits"].float()
    if expected.shape != logits.shape:
        raise ConfigError(
            f"{original}: logits of {list(expected.shape)}, here {list(logits.shape)}; give those of the decode head "
            "before they are resized"
        )
    difference, largest = (expected - logits).abs().max().item(), expected.abs().max().item()
    if not difference <= TOLERANCE * max(largest, 1):
        raise ConfigError(f"{original}: the logits differ by up to {difference:.3g}, the largest being {largest:.3g}")
    return f"the logits of {size} are the original's up to {difference:.1e}, the largest being {largest:.3g}"


def verify_backbone(net: "Segmentor") -> str:
    """Let the backbone read noise.

    Raises:
        ConfigError: If its features are not finite.
    """
    import torch

    from seglit.config import ConfigError

    with torch.inference_mode():
        features = net.backbone.eval()(torch.randn(1, 3, *IMAGE_SIZE, generator=torch.Generator().manual_seed(0)))
    if not all(feature.isfinite().all() for feature in features):
        raise ConfigError("the backbone with these weights gives features that are not finite; are the weights whole?")
    return f"a forward pass of the backbone gives {len(features)} finite features"


def logits_in(path: Path) -> "dict[str, Tensor]":
    """`image` and `logits` of a file.

    Raises:
        ConfigError: If they are not in it.
    """
    import numpy as np
    import torch

    from seglit.config import ConfigError
    from seglit.interop.torch_files import open_torch_file

    names = ("image", "logits")
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in names}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}: cannot be read as .npz of image and logits ({error})") from error
    with open_torch_file(path) as file:
        if not isinstance(file.content, dict) or not set(names) <= file.content.keys():
            raise ConfigError(f"{path}: has to be a dict with image and logits")
        return file.tensors({name: file.content[name] for name in names})


def write(
    path: Path,
    weights: "Mapping[str, Tensor]",
    checkpoint: Checkpoint,
    node: Mapping[str, Any],
    scope: str,
    config: str | None = None,
) -> None:
    """Write safetensors with what has to be known of them; the file is whole, or is not there.

    Args:
        path: The file.
        weights: By our names.
        checkpoint: Where they are from.
        node: The node of the segmentor, from which it can be built again.
        scope: `segmentor`, `backbone`, or `part` for a segmentor of which something was left out.
        config: The configuration of a run, as in a checkpoint of seglit.
    """
    import torch
    import yaml
    from safetensors.torch import save_file

    from seglit import __version__
    from seglit.files import write_whole

    about = {
        "format": "pt",
        "seglit": __version__,
        "scope": scope,
        "source": checkpoint.path.name,
        "source_sha256": sha256(checkpoint.path),
        "net": yaml.safe_dump(json.loads(json.dumps(node)), sort_keys=False),
    }
    if config is not None:
        about["config"] = config
    if checkpoint.classes is not None:
        about["classes"] = json.dumps(checkpoint.classes)
    if checkpoint.palette is not None:
        about["palette"] = json.dumps(checkpoint.palette)
    # Neither shared nor strided memory can be written.
    content = {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in weights.items()}
    write_whole(path, lambda temporary: save_file(content, temporary, about))


def sha256(path: Path) -> str:
    """The hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def safetensors_in(path: Path) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """The weights in a safetensors file, and what it says about them.

    Raises:
        ConfigError: If it is none.
    """
    from safetensors import SafetensorError, safe_open

    from seglit.config import ConfigError

    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path}: cannot be read as safetensors ({error}); give a whole file") from error


def network_of(content: Mapping[str, Any], name: Path) -> "Network":
    """The network that a configuration describes; `name` is where it is from.

    Raises:
        ConfigError: If there is none, or it has no equal.
    """
    from seglit.config import ConfigError
    from seglit.interop.mmseg.network import network
    from seglit.interop.mmseg.settings import UnsupportedError

    model = content.get("model")
    if not isinstance(model, Mapping):
        raise ConfigError(f"{name}: the configuration has no model")
    try:
        return network(model)
    except UnsupportedError as error:
        raise ConfigError(f"{name}: {error}") from error


def configuration(checkpoint: Checkpoint, config: Path | None) -> Mapping[str, Any]:
    """The configuration in a file, or by default the one inside the checkpoint, read without executing it.

    Raises:
        ConfigError: If there is none.
    """
    from seglit.config import ConfigError
    from seglit.interop.mmseg.config_file import read as read_config

    if config is None and checkpoint.config is None:
        raise ConfigError(f"{checkpoint.path}: has no configuration inside; give --config, or --model")
    if config is None and re.search(r"\b_base_\s*[:=]", checkpoint.config or ""):
        # MMSegmentation stores what was inherited, and a file from elsewhere shall not choose what is read here.
        raise ConfigError(f"{checkpoint.path}: the configuration inside inherits from files; give --config, or --model")
    with TemporaryDirectory() as folder:
        path = config
        if path is None:
            path = Path(folder) / "inside_the_checkpoint.py"
            path.write_text(checkpoint.config or "", encoding="utf-8")
        try:
            content: Mapping[str, Any] = read_config(path).values
        except ValueError as error:
            raise ConfigError(str(error).replace(f"{folder}/", f"{checkpoint.path}: ")) from error
    return content


def node_of_model(name: str, checkpoint: Checkpoint) -> dict[str, Any]:
    """The node of the segmentor of `conf/model/<name>.yaml`, with as many classes as the checkpoint's head has."""
    from seglit.checkpoint import rebuildable
    from seglit.config import compose, plain

    heads = ("decode_head.conv_seg.weight", "decode_head.1.conv_seg.weight")
    classes = [len(checkpoint.weights[head]) for head in heads if head in checkpoint.weights]
    overrides = [f"data.num_classes={classes[-1]}"] if classes else []
    cfg = rebuildable(compose([f"model={name}", "name=import", "output_dir=import", *overrides]))
    node: dict[str, Any] = plain(cfg)["model"]["net"]
    return node


def run_config(checkpoint: Checkpoint, node: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    """The configuration of a run by which `seglit.predict` and `seglit.evaluate` take the file for a checkpoint.

    Args:
        checkpoint: Says classes and colours.
        node: The node of the segmentor.
        content: The configuration there, which says mean, std and window; empty if it is not known, in which case they
            are those of ImageNet and the whole image.
    """
    from omegaconf import OmegaConf

    from seglit.config import compose, to_text
    from seglit.data.palette import default_palette

    number = node["decode_head"]["num_classes"]
    cfg = compose(
        [
            *("data=folder", "data.root=data", f"data.num_classes={number}", "data.train_transforms.crop.height=512"),
            *("name=imported", "output_dir=imported"),
        ]
    )
    OmegaConf.set_struct(cfg, False)
    cfg.model.net = json.loads(json.dumps(node))
    losses = cfg.model.criterion
    auxiliary = losses.pop("aux")
    for name in node.get("auxiliary_heads") or {}:
        losses[name] = auxiliary
    classes, palette = checkpoint.classes, checkpoint.palette
    cfg.data.classes = list(classes if classes and len(classes) == number else map(str, range(number)))
    cfg.data.palette = [list(colour) for colour in palette or () if len(palette or ()) == number]
    cfg.data.palette = cfg.data.palette or [list(colour) for colour in default_palette(number)]
    normal = content.get("data_preprocessor") or content.get("img_norm_cfg") or {}
    cfg.data.mean, cfg.data.std = list(normal.get("mean", MEAN)), list(normal.get("std", STD))
    model = content.get("model") or {}
    test = model.get("test_cfg") or {}
    if test.get("mode") == "slide":
        cfg.model.inference.window, cfg.model.inference.stride = list(test["crop_size"]), list(test["stride"])
    return to_text(cfg)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("weights", type=Path, help="a .pth of MMSegmentation, MMPretrain, torchvision or timm")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .safetensors to write")
    known = parser.add_mutually_exclusive_group()
    known.add_argument("--config", type=Path, help="its configuration; by default the one inside the checkpoint")
    known.add_argument("--model", metavar="NAME", help="a model of seglit, as pspnet_r50-d8, that shall take them")
    parser.add_argument("--backbone", action="store_true", help="write the backbone's alone, as a start for training")
    parser.add_argument(
        "--partial", action="append", default=[], metavar="PREFIX", help="weights called so may be missing or misfit"
    )
    parser.add_argument("--verify", type=Path, metavar="FILE", help=".npz or .pt of an image and the original's logits")


def run(options: argparse.Namespace) -> int:
    """The command; a mistake of the user is one line on standard error and exit status 2."""
    from seglit.config import readable_errors

    with readable_errors():
        return import_weights(options)


def import_weights(options: argparse.Namespace) -> int:
    """Import, report, verify and write; 1 if a weight did not find its place, in which case nothing is written.

    Raises:
        ConfigError: If a file or an argument is not what it should be.
    """
    from hydra.utils import instantiate

    from seglit.config import ConfigError

    if options.output.suffix != ".safetensors":
        raise ConfigError(f"{options.output}: the name of the file to write has to end with .safetensors")
    if options.output.resolve() == options.weights.resolve():
        raise ConfigError(f"{options.output}: is the file to read; give another name")
    checkpoint = read(options.weights)
    backbone_only = options.backbone or not checkpoint.of_segmentor
    if backbone_only and options.verify is not None:
        raise ConfigError("--verify: compares logits, which a backbone alone has not")
    content: Mapping[str, Any] = {}
    if options.model is not None:
        node = node_of_model(options.model, checkpoint)
        net: Segmentor = instantiate(node, _convert_="all")
        # A bare backbone's names have to look like those of a segmentor for the rules to be found.
        weights = backbone_of(checkpoint, Report()) if backbone_only else checkpoint.weights
        parts = fitted(net, node, weights)
    else:
        content = configuration(checkpoint, options.config)
        translated = network_of(content, options.config or checkpoint.path)
        node, net, parts = translated.node, translated.build(), renamings(translated)
    taken, report = translate(checkpoint, parts, net, partial=options.partial, backbone_only=backbone_only)
    print(f"{checkpoint.path}: {origin(checkpoint)}")
    print("\n".join(report.lines()))
    if not report.complete:
        print("nothing was written; weights that may be missing are named by --partial")
        return 1
    net.load_state_dict(taken, strict=False)
    if backbone_only:
        print(verify_backbone(net))
    elif not report.left:
        print(verify(net, options.verify))
    elif options.verify is not None:
        raise ConfigError("--verify: compares logits, which are none of the original's without all of its weights")
    scope = "backbone" if backbone_only else "part" if report.left else "segmentor"
    config = run_config(checkpoint, node, content) if scope == "segmentor" else None
    write(options.output, taken, checkpoint, node, scope, config)
    print(f"{scope} written to {options.output}")
    return 0


def origin(checkpoint: Checkpoint) -> str:
    """Where a checkpoint is from, in words."""
    kind = f"MMSegmentation {checkpoint.release}" if checkpoint.release else "weights"
    classes = "" if checkpoint.classes is None else f", {len(checkpoint.classes)} classes"
    return f"{kind}, {len(checkpoint.weights)} weights{classes}"
