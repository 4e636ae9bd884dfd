"""The names of what heads with one block between two convolutions share."""

from seglit.interop.mmseg.part import Replacement


def around_rules(block: str) -> tuple[tuple[str, Replacement], ...]:
    """For the name of the block there."""
    return (
        (r"^convs\.0\.", "body.before."),
        (rf"^{block}\.", "body.block."),
        (r"^convs\.1\.", "body.after."),
        (r"^conv_cat\.", "body.fusion."),
    )
