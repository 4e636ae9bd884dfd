"""DAHead."""

from seglit.interop.mmseg.part import Part, head_arguments
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of a DAHead."""
    return {
        "_target_": "seglit.heads.DAHead",
        **head_arguments(settings),
        "pam_channels": settings.take("pam_channels"),
    }


RULES = (
    (r"^(pam|cam)_in_conv\.", r"branches.\1.0."),
    (r"^(pam|cam)\.", r"branches.\1.1."),
    (r"^(pam|cam)_out_conv\.", r"branches.\1.2."),
    (r"^(pam|cam)_conv_seg\.", r"classifiers.\1."),
    (r"\.(query|key|value)_project\.", r".\1."),
    (r"\.gamma\.scale$", ".gamma"),
)
PARTS = (Part(("DAHead",), node, rules=RULES),)
