"""Every part of MMSegmentation that has an equal here, one file for each of ours."""

from seglit.interop.mmseg.part import Part
from seglit.interop.mmseg.parts import (
    ann,
    apc,
    cc,
    da,
    dm,
    dnl,
    ema,
    enc,
    fcn,
    gc,
    isa,
    jpu,
    nl,
    psa,
    psp,
    resnet,
    unet,
)

PARTS: tuple[Part, ...] = (
    *ann.PARTS,
    *apc.PARTS,
    *cc.PARTS,
    *da.PARTS,
    *dm.PARTS,
    *dnl.PARTS,
    *ema.PARTS,
    *enc.PARTS,
    *fcn.PARTS,
    *gc.PARTS,
    *isa.PARTS,
    *jpu.PARTS,
    *nl.PARTS,
    *psa.PARTS,
    *psp.PARTS,
    *resnet.PARTS,
    *unet.PARTS,
)
BY_TYPE: dict[str, Part] = {name: part for part in PARTS for name in part.types}
