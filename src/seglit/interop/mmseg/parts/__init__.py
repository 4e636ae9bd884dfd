"""Every part of MMSegmentation that has an equal here, one file for each of ours."""

from seglit.interop.mmseg.part import Part
from seglit.interop.mmseg.parts import fcn, psp, resnet, unet

PARTS: tuple[Part, ...] = (
    *fcn.PARTS,
    *psp.PARTS,
    *resnet.PARTS,
    *unet.PARTS,
)
BY_TYPE: dict[str, Part] = {name: part for part in PARTS for name in part.types}
