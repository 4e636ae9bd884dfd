"""MobileNetV3."""

from seglit.interop.mmseg.part import Part
from seglit.interop.mmseg.settings import Node, Settings, norm_of

GIVEN = {"small": (0, 1, 12), "large": (1, 3, 16)}


def node(settings: Settings) -> Node:
    """The node of a MobileNetV3."""
    settings.skip("conv_cfg", "with_cp", "pretrained", "init_cfg")
    arch = settings.take("arch", "small")
    if arch not in GIVEN:
        raise settings.unsupported("arch", f"there are only {', '.join(GIVEN)}")
    if tuple(settings.take("out_indices", (0, 1, 12))) != GIVEN[arch]:
        raise settings.unsupported("out_indices", f"of the {arch} net there are only {GIVEN[arch]}")
    settings.only("reduction_factor", 1)
    settings.only("norm_eval", False)
    settings.only("frozen_stages", -1)
    return {"_target_": "seglit.backbones.MobileNetV3", "arch": arch, **norm_of(settings)}


RULES = (
    (r"^layer(\d+)\.", r"layers.\1."),
    (r"\.(expand|depthwise)_conv\.", r".\1."),
    (r"\.linear_conv\.", ".project."),
    (r"\.se\.conv1\.conv\.", ".attention.squeeze."),
    (r"\.se\.conv2\.conv\.", ".attention.excite."),
)
PARTS = (Part(("MobileNetV3",), node, rules=RULES),)
