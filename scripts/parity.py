"""The logits of MMSegmentation's own networks and of ours with the same random weights.

python scripts/parity.py psp unet                    # every published configuration with one of the words in its path
python scripts/parity.py --size 128 256 stdc
python scripts/parity.py --family stdc               # one configuration of each kind of network, not of each recipe

Each configuration of the `mmsegmentation` 1.2.2 wheel is built there and, by `seglit.interop.mmseg`, here; its weights
are drawn at random, renamed, loaded strictly, and both predict the same image in eval mode.
"""

import argparse
import sys
import warnings
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import peers


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


def compared(model: dict[str, Any], size: tuple[int, int]) -> tuple[float, float]:
    """The largest difference of the logits, and the largest logit."""
    from seglit.interop.mmseg.network import network

    theirs = filled(original(model)).eval()
    translated = network(model)
    ours = translated.build().eval()
    weights = theirs.state_dict()
    ours.load_state_dict(translated.renamed(weights))
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="+")
    parser.add_argument("--size", type=int, nargs=2, default=(64, 128))
    parser.add_argument("--family", action="store_true", help="one configuration of each network")
    parser.add_argument("--environment", type=Path, default=peers.ENVIRONMENT)
    parser.add_argument("--among-peers", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.among_peers:
        peers.prepared(options.environment)
        sys.exit(peers.run(options.environment, "parity.py", *sys.argv[1:], "--among-peers").returncode)
    import_mmseg()
    from seglit.interop.mmseg.settings import UnsupportedError

    worst = 0.0
    for name, model in configurations(options.words, options.family):
        try:
            difference, largest = compared(model, tuple(options.size))
        except UnsupportedError as error:
            print(f"{name}: refused: {error}", flush=True)
            continue
        except Exception as error:
            print(f"{name}: FAILED: {type(error).__name__}: {str(error)[:1500]}", flush=True)
            worst = float("inf")
            continue
        worst = max(worst, difference / max(largest, 1))
        print(f"{name}: {difference:.1e} of {largest:.3g}", flush=True)
    print(f"largest difference, of the largest logit where that is over 1: {worst:.1e}")
    sys.exit(worst > 1e-5)


if __name__ == "__main__":
    main()
