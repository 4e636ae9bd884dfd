"""Feature2Pyramid."""

from collections.abc import Mapping

from torch import Tensor

from seglit.interop.mmseg.part import Part, Weights
from seglit.interop.mmseg.settings import Node, Settings, norm_of

MEMBERS = {"upsample_4x.0": "first", "upsample_4x.1": "norm", "upsample_4x.3": "last", "upsample_2x.0": "last"}


def node(settings: Settings) -> Node:
    """The node of a Feature2Pyramid."""
    settings.skip("type", "init_cfg", "embed_dim")
    return {
        "_target_": "seglit.necks.Feature2Pyramid",
        "_partial_": True,
        "rescales": list(settings.take("rescales", (4, 2, 1, 0.5))),
        **norm_of(settings),
    }


def convert(weights: Mapping[str, Tensor]) -> Weights:
    """Levels have numbers here; that of the enlargement by 2 depends on whether there is one by 4."""
    both = any(key.startswith("upsample_4x.") for key in weights)
    converted = {}
    for key, value in weights.items():
        member, leaf = key.rsplit(".", 1)
        index = 1 if both and member.startswith("upsample_2x") else 0
        converted[f"levels.{index}.{MEMBERS[member]}.{leaf}"] = value
    return converted


PARTS = (Part(("Feature2Pyramid",), node, convert=convert),)
