"""HRNet."""

import re

from seglit.interop.mmseg.part import Part
from seglit.interop.mmseg.settings import Node, Settings, norm_of


def node(settings: Settings) -> Node:
    """The node of an HRNet: one width and one number of blocks, from which all others follow."""
    settings.skip("in_channels", "conv_cfg", "with_cp", "pretrained", "init_cfg")
    # Without effect there: it would need to have no `init_cfg`, which it always has.
    settings.skip("zero_init_residual")
    settings.only("norm_eval", False)
    settings.only("frozen_stages", -1)
    settings.only("multiscale_output", True)
    extra = settings.within("extra")
    stages = [extra.within(f"stage{number}") for number in (1, 2, 3, 4)]
    width, *_ = stages[1].take("num_channels")
    blocks, *_ = stages[0].take("num_blocks")
    modules = []
    for index, stage in enumerate(stages):
        branches = index + 1
        stage.only("num_branches", branches)
        stage.only("block", "BASIC" if index else "BOTTLENECK")
        if tuple(stage.take("num_blocks")) != branches * (blocks,):
            raise stage.unsupported("num_blocks", f"every branch of every stage has as many here, as stage 1 {blocks}")
        channels = tuple(width * 2**branch for branch in range(branches)) if index else (64,)
        if tuple(stage.take("num_channels")) != channels:
            raise stage.unsupported("num_channels", f"there is only {channels}")
        modules.append(stage.take("num_modules"))
    return {
        "_target_": "seglit.backbones.HRNet",
        "width": width,
        "num_modules": modules[1:],
        "num_blocks": blocks,
        **norm_of(settings),
    }


def of_stem(match: re.Match[str]) -> str:
    """The two convolutions of the stem."""
    return f"stem.{int(match[2]) - 1}.{'conv' if match[1] == 'conv' else 'norm'}."


def of_fusion(match: re.Match[str]) -> str:
    """A map that comes down does so in steps, one that goes up in one."""
    to, source, rest = int(match[2]), int(match[3]), match[4].split(".")
    step = [rest.pop(0)] if source < to else []
    member = ("conv", "norm")[int(rest.pop(0))]
    return ".".join([f"{match[1]}.fusions.{to}.paths.{source}", *step, member, *rest])


def before(match: re.Match[str]) -> str:
    """What makes the first map of stage 2, and the last map of each stage."""
    transition, branch, member = match[1], match[2], ("conv", "norm")[int(match[3])]
    return f"narrow.{member}." if branch == "0" else f"deepen.{int(transition) - 1}.{member}."


PARTS = (
    Part(
        ("HRNet",),
        node,
        rules=(
            (r"^(conv|bn)(\d)\.", of_stem),
            (r"^transition(\d)\.(\d)\.(?:0\.)?(\d)\.(?=\w+$)", before),
            (r"^stage(\d)\.", lambda match: f"stages.{int(match[1]) - 2}."),
            (r"^(stages\.\d\.\d)\.fuse_layers\.(\d)\.(\d)\.(.+)$", of_fusion),
            (r"\.bn(\d)\.", r".norm\1."),
            (r"\.downsample\.0\.", ".downsample.conv."),
            (r"\.downsample\.1\.", ".downsample.norm."),
        ),
    ),
)
