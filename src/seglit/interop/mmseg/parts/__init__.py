"""Every part of MMSegmentation that has an equal here, one file for each of ours."""

from seglit.interop.mmseg.part import Part
from seglit.interop.mmseg.parts import bisenet_v1, bisenet_v2, ddr, fast_scnn, fcn, pid, psp, resnet, stdc, unet

PARTS: tuple[Part, ...] = (
    *bisenet_v1.PARTS,
    *bisenet_v2.PARTS,
    *ddr.PARTS,
    *fast_scnn.PARTS,
    *fcn.PARTS,
    *pid.PARTS,
    *psp.PARTS,
    *resnet.PARTS,
    *stdc.PARTS,
    *unet.PARTS,
)
BY_TYPE: dict[str, Part] = {name: part for part in PARTS for name in part.types}
