"""MobileNetV2."""

from seglit.interop.mmseg.part import Part
from seglit.interop.mmseg.settings import Node, Settings, norm_of

LAYOUTS = {
    ((1, 2, 2, 1, 1, 1, 1), (1, 1, 1, 2, 2, 4, 4)): 8,
    ((1, 2, 2, 2, 1, 1, 1), (1, 1, 1, 1, 1, 2, 2)): 16,
    ((1, 2, 2, 2, 1, 2, 1), (1, 1, 1, 1, 1, 1, 1)): 32,
}
GIVEN = (1, 2, 4, 6)


def node(settings: Settings) -> Node:
    """The node of a MobileNetV2."""
    settings.skip("conv_cfg", "with_cp", "pretrained", "init_cfg")
    strides = tuple(settings.take("strides", (1, 2, 2, 2, 1, 2, 1)))
    dilations = tuple(settings.take("dilations", 7 * (1,)))
    if (strides, dilations) not in LAYOUTS:
        raise settings.unsupported("strides", f"with dilations={dilations} there is no such MobileNetV2 here")
    if not set(settings.take("out_indices", GIVEN)) <= set(GIVEN):
        raise settings.unsupported("out_indices", f"there are only {GIVEN}")
    if settings.take("act_cfg", {"type": "ReLU6"}) != {"type": "ReLU6"}:
        raise settings.unsupported("act_cfg", "there is only ReLU6")
    settings.only("norm_eval", False)
    settings.only("frozen_stages", -1)
    return {
        "_target_": "seglit.backbones.MobileNetV2",
        "output_stride": LAYOUTS[strides, dilations],
        "widen_factor": settings.take("widen_factor", 1.0),
        **norm_of(settings),
    }


def outputs(settings: Settings) -> list[int]:
    """Our index of each stage that is given."""
    return [GIVEN.index(stage) for stage in sorted(settings.take("out_indices", GIVEN))]


RULES = (
    (r"^conv1\.", "stem."),
    # The blocks of stage 1 do not widen.
    (r"^(layer1\.\d+)\.conv\.0\.", r"\1.depthwise."),
    (r"^(layer1\.\d+)\.conv\.1\.", r"\1.project."),
    (r"^(layer\d\.\d+)\.conv\.0\.", r"\1.expand."),
    (r"^(layer\d\.\d+)\.conv\.1\.", r"\1.depthwise."),
    (r"^(layer\d\.\d+)\.conv\.2\.", r"\1.project."),
)
PARTS = (Part(("MobileNetV2",), node, rules=RULES, outputs=outputs),)
