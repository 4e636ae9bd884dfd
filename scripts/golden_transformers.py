"""Logits of MMSegmentation's own transformers, narrowed, for the tests: tests/golden/mmseg_transformers.json.

python scripts/golden_transformers.py      # make the file, in the environment of the other libraries

The weights are functions of the parameters' names there, so that none are stored.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

import parity
import peers

TARGET = peers.ROOT / "tests" / "golden" / "mmseg_transformers.json"
SIZE = (1, 3, 65, 97)
SAMPLES = 24
SWIN: dict[str, Any] = {
    "type": "SwinTransformer",
    "embed_dims": 8,
    "depths": [2, 2, 1, 2],
    "num_heads": [1, 2, 2, 4],
    "window_size": 3,
    "mlp_ratio": 2,
}
VIT: dict[str, Any] = {
    "type": "VisionTransformer",
    "img_size": (48, 64),
    "patch_size": 8,
    "embed_dims": 16,
    "num_layers": 5,
    "num_heads": 2,
    "mlp_ratio": 2,
    "out_indices": (0, 1, 2, 4),
    "final_norm": True,
    "norm_cfg": {"type": "LN", "eps": 1e-6},
}

BEIT: dict[str, Any] = {
    "img_size": (64, 96),
    "patch_size": 8,
    "embed_dims": 8,
    "num_layers": 4,
    "num_heads": 2,
    "mlp_ratio": 2,
    "out_indices": (0, 1, 2, 3),
    "init_values": 1.0,
}


def head(kind: str, in_channels: list[int], **settings: Any) -> dict[str, Any]:
    """A decode head on four maps."""
    common = {"in_channels": in_channels, "in_index": [0, 1, 2, 3], "channels": 8, "num_classes": 5}
    return {"type": kind, **common, "norm_cfg": {"type": "BN"}, "align_corners": False} | settings


MODELS: dict[str, dict[str, Any]] = {
    "segformer": {
        "backbone": {
            "type": "MixVisionTransformer",
            "embed_dims": 8,
            "num_layers": [1, 2, 1, 1],
            "num_heads": [1, 2, 3, 4],
            "mlp_ratio": 2,
        },
        "decode_head": head("SegformerHead", [8, 16, 24, 32]),
    },
    "swin": {"backbone": SWIN, "decode_head": head("UPerHead", [8, 16, 32, 64])},
    "vit_multi_level": {
        "backbone": VIT,
        "neck": {
            "type": "MultiLevelNeck",
            "in_channels": [16, 16, 16, 16],
            "out_channels": 8,
            "scales": [4, 2, 1, 0.5],
        },
        "decode_head": head("UPerHead", [8, 8, 8, 8], align_corners=True, pool_scales=(1, 2)),
    },
    "vit_feature2pyramid": {
        "backbone": VIT | {"patch_bias": True, "interpolate_mode": "bilinear"},
        "neck": {"type": "Feature2Pyramid", "embed_dim": 16, "norm_cfg": {"type": "BN"}},
        "decode_head": head("UPerHead", [16, 16, 16, 16]),
    },
    "beit": {
        "backbone": BEIT | {"type": "BEiT"},
        "neck": {"type": "Feature2Pyramid", "embed_dim": 8, "norm_cfg": {"type": "BN"}},
        "decode_head": head("UPerHead", [8, 8, 8, 8]),
    },
    "mae": {
        "backbone": BEIT | {"type": "MAE"},
        "neck": {"type": "Feature2Pyramid", "embed_dim": 8, "norm_cfg": {"type": "BN"}, "rescales": [2, 1, 0.5, 0.25]},
        "decode_head": head("UPerHead", [8, 8, 8, 8]),
    },
    "setr_up": {
        "backbone": VIT | {"out_indices": (4,)},
        "decode_head": {
            "type": "SETRUPHead",
            **{"in_channels": 16, "in_index": 0, "channels": 8, "num_classes": 5, "norm_cfg": {"type": "BN"}},
            **{"num_convs": 2, "up_scale": 2},
        },
    },
    "setr_mla": {
        "backbone": VIT | {"with_cls_token": False},
        "neck": {
            "type": "MLANeck",
            "in_channels": [16, 16, 16, 16],
            "out_channels": 8,
            "norm_cfg": {"type": "BN"},
            "act_cfg": {"type": "ReLU"},
        },
        "decode_head": head("SETRMLAHead", [8, 8, 8, 8], channels=16, mla_channels=4, up_scale=2),
    },
    "segnext": {
        "backbone": {
            "type": "MSCAN",
            "embed_dims": [8, 8, 16, 16],
            "depths": [1, 2, 1, 1],
            "mlp_ratios": [2, 2, 1, 1],
            "norm_cfg": {"type": "BN"},
        },
        "decode_head": {
            "type": "LightHamHead",
            **{"in_channels": [8, 16, 16], "in_index": [1, 2, 3], "channels": 8, "ham_channels": 16},
            **{"num_classes": 5, "norm_cfg": {"type": "GN", "num_groups": 4}, "ham_kwargs": {"MD_R": 4}},
        },
    },
    "semantic_fpn": {
        "backbone": {"type": "ResNetV1c", "depth": 18, "base_channels": 4, "stem_channels": 4},
        "neck": {"type": "FPN", "in_channels": [4, 8, 16, 32], "out_channels": 8, "num_outs": 4},
        "decode_head": head("FPNHead", [8, 8, 8, 8], feature_strides=[4, 8, 16, 32]),
    },
}


def golden(name: str, model: dict[str, Any]) -> dict[str, Any]:
    """A model, the shapes of its parameters, and what it answers in eval mode."""
    from reference.mmseg_nets import fill, image

    model = {"type": "EncoderDecoder", **model}
    # SegNeXt's head mixes its weights with random float32, whatever they are.
    # BEiT's and MAE's can but read images of the size that they are made for.
    size = (1, 3, *BEIT["img_size"]) if name in ("beit", "mae") else SIZE
    dtype = torch.float32 if name == "segnext" else torch.float64
    net = parity.original(model).to(dtype).eval()
    shapes = {key: list(value.shape) for key, value in net.state_dict().items() if "position_index" not in key}
    with torch.inference_mode():
        for key, value in net.state_dict().items():
            if key in shapes:
                value.copy_(fill(key, tuple(value.shape)))
        torch.manual_seed(0)  # SegNeXt's head draws its first vectors at random, in evaluation too
        logits = net._forward(image(name, size).to(dtype))
    places = torch.linspace(0, logits.numel() - 1, SAMPLES).long()
    return {
        "model": model,
        "dtype": str(dtype).removeprefix("torch."),
        "weights": shapes,
        "input_size": list(size),
        "logits": {
            "shape": list(logits.shape),
            "absmax": logits.abs().max().item(),
            "samples": logits.flatten()[places].tolist(),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, default=peers.ENVIRONMENT)
    parser.add_argument("--among-peers", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.among_peers:
        peers.prepared(options.environment)
        sys.exit(peers.run(options.environment, "golden_transformers.py", *sys.argv[1:], "--among-peers").returncode)
    sys.path.insert(0, str(peers.ROOT / "tests"))
    parity.import_mmseg()
    about = "MMSegmentation 1.2.2; made by scripts/golden_transformers.py"
    models = [f" {json.dumps(name)}: {json.dumps(golden(name, model))}" for name, model in MODELS.items()]
    text = ",\n".join(models)
    TARGET.write_text(f'{{"about": {json.dumps(about)}, "models": {{\n{text}\n}}}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
