"""What the settings of all transformers share."""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from seglit.interop.mmseg.part import Weights
from seglit.interop.mmseg.settings import Settings, UnsupportedError

ALL_STAGES = ((0, 1, 2, 3), [0, 1, 2, 3])
MLP_RULES = ((r"\.ffn\.layers\.0\.0\.", ".mlp.hidden."), (r"\.ffn\.layers\.1\.", ".mlp.out."))


def norm_eps_of(settings: Settings, default: float) -> float:
    """`norm_cfg` as the argument `norm_eps`; its default differs from part to part.

    Raises:
        UnsupportedError: On another than layer normalisation.
    """
    values = settings.take("norm_cfg", None) or {"type": "LN", "eps": default}
    norm = Settings(values, f"{settings.path}.norm_cfg")
    if norm.type not in ("LN", "LN2d"):
        raise settings.unsupported("norm_cfg", "there is only LN")
    norm.skip("requires_grad")
    eps = float(norm.take("eps", 1e-5))
    if unknown := norm.untaken():
        raise UnsupportedError(f"{unknown[0]}: has no equal")
    return eps


def gelu_only(settings: Settings) -> None:
    """Take `act_cfg`, which must be GELU."""
    if settings.take("act_cfg", {"type": "GELU"}) != {"type": "GELU"}:
        raise settings.unsupported("act_cfg", "there is only GELU")


def common(settings: Settings, **only: Sequence[object]) -> None:
    """Take what all have and what changes no result, and the keys for which there are but these values."""
    settings.skip("type", "init_cfg", "pretrained", "with_cp", "num_stages")
    settings.only("in_channels", 3)
    settings.only("qkv_bias", True)
    settings.only("attn_drop_rate", 0.0)
    gelu_only(settings)
    for key, values in only.items():
        settings.only(key, *values)


def joined_attention(weights: Mapping[str, Tensor]) -> Weights:
    """`torch.nn.MultiheadAttention`'s parameters by the names of two linear layers, `qkv` and `out`."""
    return {
        re.sub(r"\.attn\.attn\.(?:in_proj_(\w+)|out_proj\.(\w+))", _linear, key): value
        for key, value in weights.items()
    }


def _linear(match: re.Match[str]) -> str:
    return f".attn.qkv.{match[1]}" if match[1] else f".attn.out.{match[2]}"
