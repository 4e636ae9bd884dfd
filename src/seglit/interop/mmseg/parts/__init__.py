"""Every part of MMSegmentation that has an equal here, one file for each of ours."""

from seglit.interop.mmseg.part import Part
from seglit.interop.mmseg.parts import (
    beit,
    convnext,
    fcn,
    feature2pyramid,
    fpn,
    ham,
    mit,
    mscan,
    multi_level,
    psp,
    resnet,
    segformer,
    setr,
    swin,
    unet,
    uper,
    vit,
)

PARTS: tuple[Part, ...] = (
    *beit.PARTS,
    *convnext.PARTS,
    *fcn.PARTS,
    *feature2pyramid.PARTS,
    *fpn.PARTS,
    *ham.PARTS,
    *mit.PARTS,
    *mscan.PARTS,
    *multi_level.PARTS,
    *psp.PARTS,
    *resnet.PARTS,
    *segformer.PARTS,
    *setr.PARTS,
    *swin.PARTS,
    *unet.PARTS,
    *uper.PARTS,
    *vit.PARTS,
)
BY_TYPE: dict[str, Part] = {name: part for part in PARTS for name in part.types}
