"""Every part of MMSegmentation that has an equal here, one file for each of ours."""

from seglit.interop.mmseg.part import Part
from seglit.interop.mmseg.parts import (
    convnext,
    fcn,
    feature2pyramid,
    fpn,
    mit,
    multi_level,
    psp,
    resnet,
    segformer,
    swin,
    unet,
    uper,
    vit,
)

PARTS: tuple[Part, ...] = (
    *convnext.PARTS,
    *fcn.PARTS,
    *feature2pyramid.PARTS,
    *fpn.PARTS,
    *mit.PARTS,
    *multi_level.PARTS,
    *psp.PARTS,
    *resnet.PARTS,
    *segformer.PARTS,
    *swin.PARTS,
    *unet.PARTS,
    *uper.PARTS,
    *vit.PARTS,
)
BY_TYPE: dict[str, Part] = {name: part for part in PARTS for name in part.types}
