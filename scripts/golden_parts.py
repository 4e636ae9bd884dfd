"""What the original computes of small networks: tests/golden/mmseg_parts.*.json, remade from the `model` of each entry.

python scripts/golden_parts.py                              # all of them
python scripts/golden_parts.py tests/golden/mmseg_parts.cnn.json

An entry begins as `{"model": MODEL, "size": SIZE}` with a dictionary of MMSegmentation's and the size of a batch of
images; the script adds the names of the modules with parameters, and samples of the logits of each head that predicts.
Weights are `fill` of their names and the images `image`, of `tests/reference/mmseg_nets.py`; all is in float64.
"""

import argparse
import json
import sys
import warnings
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import torch

import peers

TESTS = peers.ROOT / "tests"
SAMPLES = 32


def entry(name: str, model: dict[str, Any], size: list[int]) -> dict[str, Any]:
    """The whole entry of a network."""
    from parity import original
    from reference.mmseg_nets import fill, image

    net = original(with_tuples(model)).double().eval()
    with torch.no_grad():
        for key, value in net.state_dict().items():
            value.copy_(fill(key, tuple(value.shape)))
        logits = net._forward(image(f"img/{name}", tuple(size)))
    logits = logits[0] if isinstance(logits, (tuple, list)) else logits
    places = torch.linspace(0, logits.numel() - 1, SAMPLES).long()
    modules = dict.fromkeys(key.rsplit(".", 1)[0] for key in net.state_dict())
    return {
        "model": model,
        "size": size,
        "modules": " ".join(modules),
        "logits": {
            "shape": list(logits.shape),
            "absmax": logits.abs().max().item(),
            "mean": logits.mean().item(),
            "samples": logits.flatten()[places].tolist(),
        },
    }


def with_tuples(value: Any) -> Any:
    """A copy whose lists of numbers are tuples, on which some of the constructors insist."""
    if isinstance(value, dict):
        return {key: with_tuples(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [with_tuples(inner) for inner in value] if isinstance(value[0], dict) else tuple(value)
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, default=sorted((TESTS / "golden").glob("mmseg_parts.*.json")))
    parser.add_argument("--environment", type=Path, default=peers.ENVIRONMENT)
    parser.add_argument("--among-peers", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    files = [str(path.resolve()) for path in options.files]
    if not options.among_peers:
        peers.prepared(options.environment)
        sys.exit(peers.run(options.environment, "golden_parts.py", *files, "--among-peers").returncode)
    warnings.simplefilter("ignore")
    sys.modules["mmcv._ext"] = peers.Placeholders("mmcv._ext")
    sys.modules["mmcv._ext"].__spec__ = ModuleSpec("mmcv._ext", None)
    from mmseg.utils import register_all_modules

    register_all_modules()
    sys.path.insert(0, str(TESTS))
    for path in options.files:
        stored = json.loads(path.read_text(encoding="utf-8"))
        made = {name: entry(name, given["model"], given["size"]) for name, given in stored.items()}
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in made.items())
        path.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
        print(f"{path.name}: {', '.join(made)}")


if __name__ == "__main__":
    main()
