"""EncHead."""

from seglit.interop.mmseg.part import Part, several_features
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of an EncHead; without `add_lateral`, it reads but the last of its features."""
    settings.skip("use_se_loss", "loss_se_decode")  # a matter of the criterion
    arguments = several_features(settings)
    if not settings.take("add_lateral", False):
        arguments["in_index"] = arguments["in_index"][-1]
    return {"_target_": "seglit.heads.EncHead", **arguments, "num_codes": settings.take("num_codes", 32)}


RULES = (
    (r"^se_layer\..*", ""),
    (r"^lateral_convs\.", "laterals."),
    (r"^enc_module\.encoding_project\.", "encoding.projection."),
    (r"^enc_module\.encoding\.0\.", "encoding."),
    (r"^enc_module\.encoding\.1\.", "encoding.norm."),
    (r"^enc_module\.fc\.0\.", "scaling."),
)
PARTS = (Part(("EncHead",), node, rules=RULES),)
