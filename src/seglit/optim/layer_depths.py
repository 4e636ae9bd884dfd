"""How deep in the net a parameter is, told by its name, for layer-wise learning rates."""

import re
from collections.abc import Iterable

BACKBONE = "backbone."
STEM = {
    "bn",
    "cls_token",
    "conv",
    "conv_stem",
    "norm_pre",
    "patch_embed",
    "pos_embed",
    "reg_token",
    "stem",
}
STAGES = {"block", "blocks", "encoder", "layer", "layers", "s", "stage", "stages"}
"""Words before the number of a stage; `s` is RegNet's."""
DOWNSAMPLE = "downsample_layers"
"""ConvNeXt's original name for what stands before each stage, its stem being number 0."""
FINAL_NORM = {"fc_norm", "ln", "norm", "norms"}
AFTER = (3, 0, 0)
"""The place of what comes after the backbone's stages."""


def layer_depths(names: Iterable[str], blocks: int | None = None) -> dict[str, int]:
    """The number of the layer that each parameter belongs to, counted from the image.

    Layer 0 is the backbone's stem with its embeddings and tokens. Then come its stages in order, or the
    blocks of a transformer without stages. In a U-Net come the encoder's stages, then the decoder's, from the
    deepest to full resolution. Neck, heads and the norms after the backbone are together the last layer.

    Understood are the names of all backbones of seglit, timm's ResNets, ConvNeXts, RegNets, EfficientNets,
    MobileNets, Swin and plain vision transformers, and MMSegmentation's ConvNeXt and BEiT.

    Args:
        names: Names of all parameters of a segmentor, frozen ones included, so that freezing shifts nothing.
        blocks: Number of consecutive blocks of a stage that make a layer; None takes the stage as one.
            With 3 this is MMSegmentation's `layer_wise` decay of a ConvNeXt.

    Raises:
        ValueError: If a name of the backbone tells no place, if there is no backbone, or if `blocks` is less
            than 1 or splits no stage.
    """
    if blocks is not None and blocks < 1:
        raise ValueError(f"layer_decay_blocks must be at least 1, got {blocks}")
    names = list(names)
    inside = [name for name in names if name.startswith(BACKBONE)]
    if not inside:
        raise ValueError("layer_decay goes by names that begin with 'backbone.', and the net has none")
    places = {name: _place(name, blocks) for name in inside}
    if blocks is not None and places == {name: _place(name, None) for name in inside}:
        raise ValueError(
            f"layer_decay_blocks={blocks} has no effect, as no stage of this backbone has more blocks than "
            f"that; leave it out"
        )
    ranks = {place: rank for rank, place in enumerate(sorted(set(places.values()) - {AFTER}))}
    return {name: ranks.get(places.get(name, AFTER), len(ranks)) for name in names}


def _place(name: str, blocks: int | None) -> tuple[int, int, int]:
    """Sortable place of a backbone's parameter: part, stage, layer in the stage."""
    # `TimmBackbone` and some of timm's own wrappers hold what they wrap as `model`.
    path = re.sub(r"^(model\.)+", "", name.removeprefix(BACKBONE))
    # A number that ends a word becomes a word of its own: `layer1.0`, `stages_1.blocks.0`.
    first, *rest = re.sub(r"(?<=[a-z])_?(\d+)(?=\.|$)", r".\1", path).split(".")
    number = int(rest[0]) if rest and rest[0].isdigit() else None
    if number is not None and first in STAGES:
        inner = [word for word in rest[1:3] if word not in ("blocks", "b")]
        block = int(inner[0]) if inner and inner[0].isdigit() else 0
        return 1, number, 0 if blocks is None else block // blocks
    if number is not None and first == DOWNSAMPLE:
        return (0, 0, 0) if number == 0 else (1, number, 0)
    if number is not None and first == "decoder":
        # Stage 0 has the full resolution, so it comes last.
        return 2, -number, 0
    if first in STEM:
        return 0, 0, 0
    if first in FINAL_NORM:
        return AFTER
    raise ValueError(
        f"layer_decay: the name {name!r} does not tell how deep it is; understood are "
        f"{', '.join(sorted(STEM))}, then a number after {', '.join(sorted(STAGES))} or decoder; "
        f"leave layer_decay out for this backbone, and give custom_keys instead"
    )
