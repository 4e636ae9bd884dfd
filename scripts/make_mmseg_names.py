"""The names of the parameters of MMSegmentation's backbones, necks and heads, as templates: digits are `#`.

python scripts/make_mmseg_names.py     # writes src/seglit/interop/mmseg/names.json

Each published configuration's network is built in the environment of `scripts/peers.py`, one for each set of types and
options that can change names. `seglit.interop.mmseg.faults` asks the table which `custom_keys` match nothing.
"""

import argparse
import json
import re
import sys
import warnings
from collections import defaultdict
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import parity
import peers

ELSEWHERE = {
    "mmpretrain.ConvNeXt": [
        *(f"downsample_layers.#.#.{name}" for name in ("bias", "weight")),
        *(f"norm#.{name}" for name in ("bias", "weight")),
        *(f"stages.#.#.{part}.bias" for part in ("depthwise_conv", "norm", "pointwise_conv#")),
        *(f"stages.#.#.{part}.weight" for part in ("depthwise_conv", "norm", "pointwise_conv#")),
        "stages.#.#.gamma",
    ]
}
"""Of MMPretrain, which is not in the environment; as its source says."""
NAMES = peers.ROOT / "src" / "seglit" / "interop" / "mmseg" / "names.json"


def parts(model: dict[str, Any]) -> dict[str, str]:
    """The beginning of the names of each part, and its type."""
    found = {}
    for key in ("backbone", "neck", "decode_head", "auxiliary_head"):
        value = model.get(key)
        if isinstance(value, dict):
            found[f"{key}."] = value["type"]
        for index, inner in enumerate(value if isinstance(value, list) else []):
            found[f"{key}.{index}."] = inner["type"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, default=peers.ENVIRONMENT)
    parser.add_argument("--among-peers", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.among_peers:
        peers.prepared(options.environment)
        result = peers.run(options.environment, "make_mmseg_names.py", *sys.argv[1:], "--among-peers")
        sys.exit(result.returncode)
    warnings.simplefilter("ignore")
    sys.modules["mmcv._ext"] = peers.Placeholders("mmcv._ext")
    sys.modules["mmcv._ext"].__spec__ = ModuleSpec("mmcv._ext", None)
    import mmseg
    from mmseg.utils import register_all_modules

    from seglit.interop.mmseg.config_file import read

    register_all_modules()
    folder = Path(mmseg.__file__).parent / ".mim" / "configs"
    names: dict[str, set[str]] = defaultdict(set)
    seen = set()
    for path in sorted(folder.rglob("*.py")):
        if "_base_" in path.parts:
            continue
        model = read(path).values["model"]
        found = parts(model)
        backbone = model.get("backbone", {})
        key = (tuple(found.items()), str(backbone.get("depth")), backbone.get("final_norm"))
        if key in seen:
            continue
        seen.add(key)
        try:
            wanted = {key: value for key, value in model.items() if key not in ("data_preprocessor", "pretrained")}
            net = parity.original(wanted)
        except Exception as error:
            print(f"{path.name}: {type(error).__name__}: {str(error)[:100]}", flush=True)
            continue
        for name, _ in net.named_parameters():
            for prefix, kind in found.items():
                if name.startswith(prefix):
                    names[kind].add(re.sub(r"\d+", "#", name.removeprefix(prefix)))
    table = {kind: sorted(templates) for kind, templates in sorted({**names, **ELSEWHERE}.items())}
    NAMES.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
