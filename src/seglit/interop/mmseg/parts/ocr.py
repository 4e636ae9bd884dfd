"""OCRHead."""

from seglit.interop.mmseg.part import Part, head_arguments
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of an OCRHead; with another scale than 1 the original cannot run."""
    settings.only("scale", 1)
    return {
        "_target_": "seglit.heads.OCRHead",
        **head_arguments(settings),
        "attention_channels": settings.take("ocr_channels"),
    }


RULES = (
    (r"^bottleneck\.", "pixels."),
    (r"^object_context_block\.(query|key|value)_project\.", r"\1."),
    (r"^object_context_block\.out_project\.", "context."),
    (r"^object_context_block\.bottleneck\.", "fusion."),
)
PARTS = (Part(("OCRHead",), node, rules=RULES),)
