"""The logits of MMSegmentation's own networks and of ours with the same random weights.

python scripts/parity.py psp unet                    # every published configuration with one of the words in its path
python scripts/parity.py --size 128 256 stdc
python scripts/parity.py --family stdc               # one configuration of each kind of network, not of each recipe
python scripts/parity.py --family --write docs/parity.md              # the page, of all networks; goes on where it was
python scripts/parity.py --family --write docs/parity.md --again ann  # the same, but these are compared again

Each configuration of the `mmsegmentation` 1.2.2 wheel is built there and, by `seglit.interop.mmseg`, here; its weights
are drawn at random, renamed, loaded strictly, and both predict the same image in eval mode. With `--write`, what is
known of each configuration is kept beside the page, as JSON, and both are written after each.
"""

import argparse
import json
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

import peers

BOUND = 1e-5
LIBRARIES = ("mmsegmentation", "mmcv-lite", "mmengine", "torch", "timm")
OWN_SIZE = ("BEiT", "MAE")
"""Backbones whose position biases are those of one image size there; the others take any."""
NO_ORIGINAL = "is not in the mmseg::model registry"
"""What MMEngine says of a part of another package, as MMPretrain, which is not installed there."""
LRASPP_SIZE = (400, 400)
"""The original's LRASPPHead averages over windows of 49 x 49 steps at stride 8, and fails where there are fewer."""


@dataclass(frozen=True)
class Result:
    """What became of one configuration.

    Attributes:
        name: Its path.
        difference: The largest difference of the logits.
        largest: The largest logit there.
        parameters: Number of parameters here.
        more: Parameters that the original has besides.
        size: Height and width of the image.
        refused: Why there is no such network here; empty if there is.
        failed: Why the two could not be compared; empty if they were.
    """

    name: str
    difference: float = 0.0
    largest: float = 0.0
    parameters: int = 0
    more: int = 0
    size: tuple[int, int] = (0, 0)
    refused: str = ""
    failed: str = ""

    @property
    def relative(self) -> float:
        """The largest difference, of the largest logit where that is over 1."""
        if self.failed and NO_ORIGINAL not in self.failed:
            return float("inf")
        return self.difference / max(self.largest, 1)

    def __str__(self) -> str:
        if self.refused or self.failed:
            kind = "refused" if self.refused else "no original" if NO_ORIGINAL in self.failed else "FAILED"
            return f"{self.name}: {kind}: {self.refused or self.failed}"
        return f"{self.name}: {self.difference:.1e} of {self.largest:.3g}"


def configurations(words: list[str], one_of_each: bool) -> Iterator[tuple[str, Any]]:
    """Paths and `model` of the published configurations; of networks that are equal but for the recipe, the first."""
    import mmseg
    from mmengine.config import Config

    folder = Path(mmseg.__file__).parent / ".mim" / "configs"
    seen = set()
    for path in sorted(folder.rglob("*.py")):
        name = str(path.relative_to(folder))
        if path.name.startswith("_") or "_base_" in path.parts or not any(word in name for word in words):
            continue
        # What some import besides, as MMPretrain, is not installed; those that need it are told as failed.
        model = Config.fromfile(path, import_custom_modules=False).get("model")
        if model is None:
            continue
        plain = model.to_dict() if hasattr(model, "to_dict") else dict(model)
        for key in ("pretrained", "data_preprocessor", "train_cfg", "test_cfg"):
            plain.pop(key, None)
        key = repr(without(plain, ("init_cfg", "num_classes", "loss_decode", "sampler", "pretrained")))
        if one_of_each and key in seen:
            continue
        seen.add(key)
        yield name, plain


def in_turn(found: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The first configuration of each folder, then the second of each, ..., so that what is cut short has seen all."""
    count: Counter[str] = Counter()
    placed = []
    for name, model in found:
        folder = name.split("/")[0]
        placed.append((count[folder], name, model))
        count[folder] += 1
    return [(name, model) for _, name, model in sorted(placed, key=lambda entry: entry[:2])]


def without(value: Any, keys: tuple[str, ...]) -> Any:
    """A nested dictionary without some keys."""
    if isinstance(value, dict):
        return {key: without(inner, keys) for key, inner in value.items() if key not in keys}
    return [without(inner, keys) for inner in value] if isinstance(value, (list, tuple)) else value


def original(model: dict[str, Any]) -> nn.Module:
    """MMSegmentation's network, without downloads and with plain batch normalisation."""
    from mmseg.registry import MODELS

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            if value.get("type") == "SyncBN":
                return value | {"type": "BN"}
            return {key: plain(inner) for key, inner in value.items() if key not in ("init_cfg", "pretrained")}
        return [plain(inner) for inner in value] if isinstance(value, list) else value

    preprocessor = {"type": "SegDataPreProcessor"}
    test = {"mode": "whole"}
    return MODELS.build(plain(model) | {"data_preprocessor": preprocessor, "train_cfg": {}, "test_cfg": test})


@contextmanager
def without_initial_weights() -> Iterator[None]:
    """Modules made within begin with any numbers, which takes no time; all are drawn afterwards."""
    with ExitStack() as stack:
        for name in [name for name in vars(nn.init) if name.endswith("_") and not name.startswith("_")]:
            stack.enter_context(mock.patch.object(nn.init, name, lambda tensor, *_, **__: tensor))
        yield


def filled(net: nn.Module) -> nn.Module:
    """Random weights with which signals neither die nor blow up."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if not value.is_floating_point():
                continue
            noise = torch.randn(value.shape, generator=generator)
            last = name.rsplit(".", 1)[-1]
            if last == "running_var" or (value.ndim == 1 and last == "weight"):
                value.copy_(0.75 + 0.5 * torch.rand(value.shape, generator=generator))
            elif value.ndim < 2 or last in ("running_mean", "bias"):
                value.copy_(0.1 * noise)
            else:
                value.copy_(noise / value[0].numel() ** 0.5)
    return net


class LoopedPSAMask(nn.Module):
    """A stand-in for mmcv's compiled `PSAMask`, by loops over every number."""

    def __init__(self, psa_type: str, mask_size: tuple[int, int]) -> None:
        super().__init__()
        self.collects = psa_type == "collect"
        self.mask_size = mask_size

    def forward(self, masks: Tensor) -> Tensor:  # noqa: D102
        count, _, height, width = masks.shape
        rows, columns = self.mask_size
        spread = masks.new_zeros(count, height, width, height, width)
        for y in range(height):
            for x in range(width):
                for row in range(rows):
                    for column in range(columns):
                        there = y + row - (rows - 1) // 2, x + column - (columns - 1) // 2
                        if 0 <= there[0] < height and 0 <= there[1] < width:
                            value = masks[:, row * columns + column, y, x]
                            if self.collects:
                                spread[:, there[0], there[1], y, x] = value
                            else:
                                spread[:, y, x, there[0], there[1]] = value
        return spread.view(count, height * width, height, width)


def result(name: str, model: dict[str, Any], size: tuple[int, int]) -> Result:
    """Compare a configuration with its original."""
    from seglit.interop.mmseg.network import network
    from seglit.interop.mmseg.settings import UnsupportedError

    size = needed(model, size)
    try:
        translated = network(model)
        with without_initial_weights():
            theirs, ours = original(model).eval(), translated.build().eval()
        filled(theirs)
        ours.load_state_dict(translated.renamed(theirs.state_dict()))
        difference, largest = compared(theirs, ours, size)
    except UnsupportedError as error:
        return Result(name, refused=" ".join(str(error).split()))
    except Exception as error:
        return Result(name, failed=" ".join(f"{type(error).__name__}: {error}".split())[:1500])
    here = number_of_parameters(ours)
    return Result(name, difference, largest, here, number_of_parameters(theirs) - here, size)


def needed(model: dict[str, Any], size: tuple[int, int]) -> tuple[int, int]:
    """The size of image that a network takes: any, but for a few."""
    backbone, head = (model[key] if isinstance(model.get(key), dict) else {} for key in ("backbone", "decode_head"))
    if backbone.get("type") in OWN_SIZE:
        own = backbone.get("img_size", 224)
        return (own, own) if isinstance(own, int) else (own[0], own[1])
    return LRASPP_SIZE if head.get("type") == "LRASPPHead" else size


def number_of_parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def compared(theirs: nn.Module, ours: nn.Module, size: tuple[int, int]) -> tuple[float, float]:
    """The largest difference of the logits, and the largest logit."""
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.manual_seed(0)  # SegNeXt's head draws its first vectors at random, in evaluation too
        expected = theirs._forward(image)
        found = ours(image)["decode"]
    if isinstance(expected, (tuple, list)):
        expected = expected[0]
    assert isinstance(expected, Tensor)
    if expected.shape != found.shape:
        raise ValueError(f"logits of {tuple(found.shape)}, there {tuple(expected.shape)}")
    return (expected - found).abs().max().item(), expected.abs().max().item()


def import_mmseg() -> None:
    """MMSegmentation, with all its parts and what mmcv-lite lacks, and without its warnings."""
    warnings.simplefilter("ignore")
    # mmcv-lite has mmcv's operations but not what they are compiled to; CCNet's is plain PyTorch.
    sys.modules["mmcv._ext"] = peers.Placeholders("mmcv._ext")
    sys.modules["mmcv._ext"].__spec__ = ModuleSpec("mmcv._ext", None)
    from mmseg.models.decode_heads import psa_head
    from mmseg.utils import register_all_modules

    register_all_modules()
    psa_head.PSAMask = LoopedPSAMask


def page(results: list[Result]) -> str:
    """What is known of all configurations, as a page of the documentation."""
    compared = [entry for entry in results if not entry.refused and not entry.failed]
    worst = max((entry.relative for entry in compared), default=0.0)
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    lines = [
        "# The networks of MMSegmentation",
        "",
        "The same random weights give the same logits: MMSegmentation's own networks and seglit's, side by side, at",
        "full width, in float32 on a CPU. Of published configurations whose networks are equal but for the number of",
        "classes, losses and training, the first stands here for all. Written by",
        "",
        "```",
        "python scripts/parity.py --family --write docs/parity.md",
        "```",
        "",
        f"with {libraries}.",
        "The script makes the environment itself, and without `--write` compares what its words name.",
        "",
        f"**{len(compared)} networks were compared; their largest difference is {worst:.1e}** of the largest logit",
        f"where that is over 1, and absolute where not; {BOUND:.0e} is what was promised. The image is noise of",
        "64 x 128 pixels, but for BEiT and MAE, whose position biases are those of one size there, and MobileNetV3,",
        "whose head needs a larger one there. A difference of exactly 0 says that the same operations ran in the same",
        "order.",
        "",
        "## By family",
        "",
        "| family | networks | largest difference | not compared |",
        "| --- | ---: | ---: | ---: |",
    ]
    families: dict[str, list[Result]] = {}
    for entry in results:
        families.setdefault(entry.name.split("/")[0], []).append(entry)
    for family, members in families.items():
        own = [entry.relative for entry in members if entry in compared]
        rest = len(members) - len(own)
        lines.append(f"| {family} | {len(own)} | {f'{max(own):.1e}' if own else ''} | {rest or ''} |")
    lines += [
        "",
        "## By network",
        "",
        "The last column counts the original's parameters that have no equal here, as no prediction reads them: of",
        "EncHead the layer for the presence of classes, of STDC the weights that make boundaries of labels. A negative",
        "number counts what is here besides: of BEiT the biases of keys, which are zero and change nothing.",
        "",
        "| configuration | largest difference | largest logit | image | parameters | more there |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for entry in compared:
        numbers = f"{entry.difference:.1e} | {entry.largest:.3g} | {entry.size[0]} x {entry.size[1]}"
        lines.append(f"| {entry.name.removesuffix('.py')} | {numbers} | {entry.parameters:,} | {entry.more:,} |")
    lines += ["", "## Not compared", ""]
    for title, key in (("There is no such network here", "refused"), ("The original could not be built", "failed")):
        reasons: dict[str, list[str]] = {}
        for entry in results:
            if getattr(entry, key):
                reasons.setdefault(getattr(entry, key).split(". Please check")[0], []).append(entry.name)
        lines += [f"{title}:", "", *listed(reasons), ""] if reasons else []
    return "\n".join([*lines, *CONVNEXT])


def listed(reasons: dict[str, list[str]]) -> list[str]:
    """Reasons with the configurations that they hold for."""
    return [
        f"- `{reason if len(reason) <= 150 else reason[:147] + '...'}`: "
        + ", ".join(name.removesuffix(".py") for name in names)
        for reason, names in reasons.items()
    ]


CONVNEXT = [
    "`mmpretrain.ConvNeXt` is none of MMSegmentation's own parts, and MMPretrain does not go with that environment.",
    "Our ConvNeXt is compared with a second one, slow and plain, written from the paper and with MMPretrain's names",
    "(`tests/reference/mmpretrain_convnext.py`); its heads are those of the other networks.",
    "",
]


def kept(path: Path) -> dict[str, Result]:
    """What is known already, by configuration."""
    if not path.is_file():
        return {}
    entries = [Result(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    return {entry.name: entry for entry in entries}


def write(results: dict[str, Result], path: Path) -> None:
    """Write the page, and beside it what it is made of."""
    ordered = [results[name] for name in sorted(results)]
    lines = ",\n".join(json.dumps(asdict(entry)) for entry in ordered)
    path.with_suffix(".json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    path.write_text(page(ordered), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", default=[""])
    parser.add_argument("--size", type=int, nargs=2, default=(64, 128))
    parser.add_argument("--family", action="store_true", help="one configuration of each network")
    parser.add_argument("--write", type=Path, help="the page to write, and go on with")
    parser.add_argument("--again", nargs="+", default=[], help="of the page, what to compare again")
    parser.add_argument("--environment", type=Path, default=peers.ENVIRONMENT)
    parser.add_argument("--among-peers", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.among_peers:
        peers.prepared(options.environment)
        absolute = [*sys.argv[1:], *(["--write", str(options.write.resolve())] if options.write else [])]
        sys.exit(peers.run(options.environment, "parity.py", "--among-peers", *absolute).returncode)
    import_mmseg()
    results = kept(options.write.with_suffix(".json")) if options.write else {}
    results = {name: entry for name, entry in results.items() if not any(word in name for word in options.again)}
    asked = []
    for name, model in in_turn(configurations(options.words, options.family)):
        if name not in results:
            results[name] = result(name, model, tuple(options.size))
            if options.write:
                write(results, options.write)
        print(results[name], flush=True)
        asked.append(results[name])
    if options.write:
        write(results, options.write)
    worst = max((entry.relative for entry in asked), default=0.0)
    print(f"largest difference, of the largest logit where that is over 1: {worst:.1e}")
    sys.exit(worst > BOUND)


if __name__ == "__main__":
    main()
