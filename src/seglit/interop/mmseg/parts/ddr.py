"""DDRNet and DDRHead."""

from seglit.interop.mmseg.part import Part, head_arguments
from seglit.interop.mmseg.settings import Node, Settings, norm_of, relu_only

SPATIAL = "spatial"


def plain_norm(settings: Settings) -> None:
    """Take `norm_cfg`, of which some layers there hear and others do not, so that only the default is clear.

    Raises:
        UnsupportedError: On anything but plain or synchronised batch normalisation.
    """
    if norm_of(settings):
        raise settings.unsupported("norm_cfg", "there it holds for some layers only; there is only plain BN")


def node(settings: Settings) -> Node:
    """The node of a DDRNet."""
    settings.skip("type", "in_channels", "init_cfg")
    relu_only(settings)
    plain_norm(settings)
    return {
        "_target_": "seglit.backbones.DDRNet",
        "channels": settings.take("channels", 32),
        "ppm_channels": settings.take("ppm_channels", 128),
        "align_corners": settings.take("align_corners", False),
    }


def head_node(settings: Settings) -> Node:
    """The node of the head that predicts; it reads what the backbone ends in, whatever its in_index."""
    return {"_target_": "seglit.heads.DDRHead", **head_arguments(settings), "in_index": 1}


def further(settings: Settings) -> dict[str, Node]:
    """The head that supervises the fine branch, without dropout."""
    return {SPATIAL: {**head_node(settings), "in_index": 0, "dropout_ratio": 0.0}}


BILATERAL_RULES = (
    (r"\.conv(\d)\.(conv|bn)\.", lambda match: f".convs.{int(match[1]) - 1}.{match[2]}."),
    (r"\.downsample\.0\.", ".downsample.conv."),
    (r"\.downsample\.1\.", ".downsample.norm."),
    (r"^spp\.scales\.(\d)\.1\.", r"pyramid.scales.\1."),
    (r"^spp\.processes\.", "pyramid.process."),
    (r"^spp\.", "pyramid."),
)
"""What DDRNet and PIDNet share."""
RULES = (
    *BILATERAL_RULES,
    (r"^(context|spatial)_branch_layers\.2\.0\.", r"\1.2."),
    (r"^(context|spatial)_branch_layers\.", r"\1."),
    (r"^compression_1\.", "up.0."),
    (r"^compression_2\.", "up.1."),
    (r"^down_1\.", "down.0.0."),
    (r"^down_2\.", "down.1."),
)
HEAD_RULES = (
    (r"^head\.0\.", "block."),
    (r"^head\.1\.", "norm."),
    (r"^aux_head\.0\.", f"/auxiliary_heads.{SPATIAL}.block."),
    (r"^aux_head\.1\.", f"/auxiliary_heads.{SPATIAL}.norm."),
    (r"^aux_cls_seg\.", f"/auxiliary_heads.{SPATIAL}.classifier."),
)
PARTS = (
    Part(("DDRNet",), node, rules=RULES),
    Part(("DDRHead",), head_node, rules=HEAD_RULES, further=further),
)
