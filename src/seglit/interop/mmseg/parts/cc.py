"""CCHead."""

from seglit.interop.mmseg.part import Part, head_arguments
from seglit.interop.mmseg.parts.around import around_rules
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of a CCHead."""
    return {
        "_target_": "seglit.heads.CCHead",
        **head_arguments(settings),
        "recurrence": settings.take("recurrence", 2),
        "concat_input": settings.take("concat_input", True),
    }


RULES = (*around_rules("cca"), (r"\.(query|key|value)_conv\.", r".\1."), (r"\.gamma\.scale$", ".gamma"))
PARTS = (Part(("CCHead",), node, rules=RULES),)
