"""Numbers of narrowed networks of the real MMSegmentation, for tests/backbones/test_fast_nets.py.

python scripts/make_parts_golden.py

Runs in the environment of `scripts/peers.py`. Weights are `tests/reference/mmseg_nets.py::fill` of their names, the
image is `image(name, (1, 3, 64, 96))`, all in float64, in eval mode.
"""

import argparse
import copy
import json
import sys
import warnings
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import torch

import peers
from parity import original, without

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "tests" / "golden" / "mmseg_fast_nets.json"
CONFIGS = {
    "stdc1": "stdc/stdc1_4xb12-80k_cityscapes-512x1024.py",
    "bisenetv1_r18": "bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024.py",
    "bisenetv2": "bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024.py",
    "fast_scnn": "fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024.py",
    "ddrnet_23-slim": "ddrnet/ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024.py",
    "pidnet-s": "pidnet/pidnet-s_2xb6-120k_1024x1024-cityscapes.py",
    "pidnet-l": "pidnet/pidnet-l_2xb6-120k_1024x1024-cityscapes.py",
}
CHANNELS = (
    "channels", "in_channels", "out_channels", "ppm_channels", "last_in_channels", "detail_channels",
    "semantic_channels", "bga_channels", "downsample_dw_channels", "global_in_channels", "global_block_channels",
    "global_out_channels", "higher_in_channels", "lower_in_channels", "fusion_out_channels", "context_channels",
    "spatial_channels", "base_channels", "stem_channels",
)  # fmt: skip


def narrowed(value: Any) -> Any:
    """A quarter of all channels but the image's."""
    if isinstance(value, dict):
        return {
            key: quarter(inner) if key in CHANNELS and inner != 3 else narrowed(inner) for key, inner in value.items()
        }
    return [narrowed(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def quarter(value: Any) -> Any:
    return [one // 4 for one in value] if isinstance(value, (list, tuple)) else value // 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, default=peers.ENVIRONMENT)
    parser.add_argument("--among-peers", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.among_peers:
        peers.prepared(options.environment)
        sys.exit(peers.run(options.environment, "make_parts_golden.py", "--among-peers").returncode)
    warnings.simplefilter("ignore")
    sys.path.insert(0, str(ROOT / "tests"))
    # mmcv-lite has mmcv's operations but not what they are compiled to.
    sys.modules["mmcv._ext"] = peers.Placeholders("mmcv._ext")
    sys.modules["mmcv._ext"].__spec__ = ModuleSpec("mmcv._ext", None)
    import mmseg
    from mmengine.config import Config
    from mmseg.utils import register_all_modules

    from reference.mmseg_nets import fill, image

    register_all_modules()
    models = {}
    for name, path in CONFIGS.items():
        config = Config.fromfile(Path(mmseg.__file__).parent / ".mim" / "configs" / path).model.to_dict()
        keys = ("pretrained", "data_preprocessor", "train_cfg", "test_cfg", "init_cfg", "loss_decode", "sampler")
        settings = narrowed(without(config, keys))
        if name == "bisenetv1_r18":
            settings["backbone"]["backbone_cfg"] |= {"base_channels": 16, "stem_channels": 16}
        their = copy.deepcopy(settings)
        if "DDR" in name.upper() or "PID" in name.upper():
            one = {"type": "CrossEntropyLoss"}
            their["decode_head"]["loss_decode"] = [one] * 4
        net = original(their).double().eval()
        state = net.state_dict()
        net.load_state_dict({key: fill(key, tuple(value.shape)) for key, value in state.items()})
        with torch.inference_mode():
            logits = net._forward(image(name, (1, 3, 64, 96)))
        models[name] = {
            "settings": settings,
            "weights": {key: list(value.shape) for key, value in state.items()},
            "shape": list(logits.shape),
            "absmax": logits.abs().max().item(),
            "samples": logits.flatten()[torch.linspace(0, logits.numel() - 1, 32).long()].tolist(),
        }
        print(name, models[name]["absmax"], flush=True)
    about = "MMSegmentation 1.2.2 in float64; made by scripts/make_parts_golden.py."
    TARGET.write_text(json.dumps({"about": about, "models": models}) + "\n")


if __name__ == "__main__":
    main()
