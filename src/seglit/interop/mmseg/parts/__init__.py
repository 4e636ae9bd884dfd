"""Every part of MMSegmentation that has an equal here, one file for each of ours."""

from seglit.interop.mmseg.part import Part
from seglit.interop.mmseg.parts import aspp, fcn, hrnet, lraspp, mobilenet_v2, mobilenet_v3, ocr, psp, resnet, unet

PARTS: tuple[Part, ...] = (
    *aspp.PARTS,
    *fcn.PARTS,
    *hrnet.PARTS,
    *lraspp.PARTS,
    *mobilenet_v2.PARTS,
    *mobilenet_v3.PARTS,
    *ocr.PARTS,
    *psp.PARTS,
    *resnet.PARTS,
    *unet.PARTS,
)
BY_TYPE: dict[str, Part] = {name: part for part in PARTS for name in part.types}
