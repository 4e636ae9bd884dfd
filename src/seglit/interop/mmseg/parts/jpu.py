"""JPU."""

from seglit.interop.mmseg.part import Part
from seglit.interop.mmseg.settings import Node, Settings, norm_of, relu_only


def levels(settings: Settings) -> range:
    """Which of the backbone's maps are fused."""
    count = len(settings.take("in_channels", (512, 1024, 2048)))
    end = settings.take("end_level", -1)
    return range(settings.take("start_level", 0), count if end == -1 else end)


def node(settings: Settings) -> Node:
    """The node of a JPU."""
    settings.skip("init_cfg", "conv_cfg")
    relu_only(settings)
    return {
        "_target_": "seglit.necks.JPU",
        "_partial_": True,
        "channels": settings.take("mid_channels", 512),
        "in_index": list(levels(settings)),
        "dilations": list(settings.take("dilations", (1, 2, 4, 8))),
        "align_corners": settings.take("align_corners", False),
        **norm_of(settings),
    }


def outputs(settings: Settings) -> list[int]:
    """The fused map, which comes first here, is the last there."""
    return [*range(1, len(levels(settings))), 0]


RULES = (
    (r"^conv_layers\.(\d+)\.0\.", r"laterals.\1."),
    (r"^dilation_layers\.(\d+)\.0\.depthwise_conv\.", r"branches.\1.0."),
    (r"^dilation_layers\.(\d+)\.0\.pointwise_conv\.", r"branches.\1.1."),
)
PARTS = (Part(("JPU",), node, rules=RULES, outputs=outputs),)
