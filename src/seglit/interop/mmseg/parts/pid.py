"""PIDNet and PIDHead."""

import re

from seglit.interop.mmseg.part import Part, head_arguments
from seglit.interop.mmseg.parts.ddr import BILATERAL_RULES, plain_norm
from seglit.interop.mmseg.settings import Node, Settings, relu_only

BRANCHES = {"i": "integral", "p": "proportional", "d": "derivative"}
BOUNDARY = "boundary"


def node(settings: Settings) -> Node:
    """The node of a PIDNet."""
    settings.skip("type", "in_channels", "init_cfg")
    relu_only(settings)
    plain_norm(settings)
    return {
        "_target_": "seglit.backbones.PIDNet",
        "channels": settings.take("channels", 64),
        "ppm_channels": settings.take("ppm_channels", 96),
        "num_stem_blocks": settings.take("num_stem_blocks", 2),
        "num_branch_blocks": settings.take("num_branch_blocks", 3),
        "align_corners": settings.take("align_corners", False),
    }


def head_node(settings: Settings) -> Node:
    """The node of the head that predicts; it reads what the backbone ends in, whatever its in_index."""
    return {"_target_": "seglit.heads.DDRHead", **head_arguments(settings), "in_index": 2}


def further(settings: Settings) -> dict[str, Node]:
    """The heads of the branches for detail and boundaries, without dropout."""
    proportional = {**head_node(settings), "in_index": 0, "dropout_ratio": 0.0}
    boundary = {"num_classes": 2, "out_channels": 1, "channels": settings.take("in_channels") // 4, "in_index": 1}
    return {"p": proportional, BOUNDARY: {**proportional, **boundary}}


def of_branch(match: re.Match[str]) -> str:
    """A layer of one block there is a Sequential or not; here it is not."""
    branch, level = BRANCHES[match[1]], match[2]
    if branch == "derivative" or (branch, level) == ("proportional", "2"):
        return f"{branch}.{level}."
    return match[0].replace(f"{match[1]}_branch_layers", branch)


def counted(match: re.Match[str]) -> str:
    """What is counted from 1 there."""
    name = {"compression": "compressions", "pag": "attentions", "diff": "differences"}[match[1]]
    return f"{name}.{int(match[2]) - 1}."


RULES = (
    *BILATERAL_RULES,
    (r"^([ipd])_branch_layers\.(\d)\.(?:0\.(?=convs|downsample))?", of_branch),
    (r"^(compression|pag|diff)_(\d)\.", counted),
    (r"^(attentions\.\d)\.f_i\.", r"\1.context."),
    (r"^(attentions\.\d)\.f_p\.", r"\1.detail."),
    (r"^dfm\.f_p\.", "fusion.detail."),
    (r"^dfm\.f_i\.", "fusion.context."),
    (r"^dfm\.conv\.", "fusion.last."),
)
PLACES = {"i": "", "p": "/auxiliary_heads.p.", "d": f"/auxiliary_heads.{BOUNDARY}."}
HEAD_RULES = (
    (r"^([ipd])_head\.conv\.", lambda match: f"{PLACES[match[1]]}block."),
    (r"^([ipd])_head\.norm\.", lambda match: f"{PLACES[match[1]]}norm."),
    (r"^([pd])_cls_seg\.", lambda match: f"{PLACES[match[1]]}classifier."),
)
PARTS = (
    Part(("PIDNet",), node, rules=RULES),
    Part(("PIDHead",), head_node, rules=HEAD_RULES, further=further),
)
