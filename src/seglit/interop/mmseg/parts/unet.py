"""UNet."""

from seglit.interop.mmseg.part import Part
from seglit.interop.mmseg.settings import Node, Settings, norm_of, relu_only


def node(settings: Settings) -> Node:
    """The node of a UNet, whose stages have all the same number of convolutions."""
    stages = settings.take("num_stages", 5)
    settings.skip("in_channels", "with_cp", "init_cfg", "conv_cfg", "pretrained")
    relu_only(settings)
    deeper = (stages - 1) * (True,)
    for key, needed in {
        "strides": stages * (1,),
        "downsamples": deeper,
        "enc_dilations": stages * (1,),
        "dec_dilations": (stages - 1) * (1,),
    }.items():
        if tuple(settings.take(key, needed)) != needed:
            raise settings.unsupported(key, f"there is only {needed}")
    settings.only("norm_eval", False)
    settings.only("dcn", None)
    settings.only("plugins", None)
    if settings.take("upsample_cfg", {"type": "InterpConv"}) != {"type": "InterpConv"}:
        raise settings.unsupported("upsample_cfg", "there is only InterpConv")
    counts = {}
    for ours, key, length in (
        ("encoder_convs", "enc_num_convs", stages),
        ("decoder_convs", "dec_num_convs", stages - 1),
    ):
        given = tuple(settings.take(key, length * (2,)))
        if len(set(given)) != 1:
            raise settings.unsupported(key, "all stages have the same number")
        counts[ours] = given[0]
    return {
        "_target_": "seglit.backbones.UNet",
        "base_channels": settings.take("base_channels", 64),
        "num_stages": stages,
        **counts,
        **norm_of(settings),
    }


def outputs(settings: Settings) -> list[int]:
    """The deepest comes first there."""
    return list(reversed(range(settings.take("num_stages", 5))))


RULES = (
    (r"^encoder\.0\.0\.convs\.", "encoder.0."),
    # All stages of the encoder but the first are Sequentials of a pooling and the convolutions.
    (r"^encoder\.(\d+)\.1\.convs\.", r"encoder.\1."),
    (r"^(decoder\.\d+)\.conv_block\.convs\.", r"\1.convs."),
    (r"^(decoder\.\d+)\.upsample\.interp_upsample\.1\.", r"\1.upsample."),
)
PARTS = (Part(("UNet",), node, rules=RULES, outputs=outputs),)
