"""The losses of other libraries, and of seglit, as seglit.testing takes them; run by conformance_report.py.

It runs where these libraries are installed, and needs of seglit no more than seglit.losses and seglit.testing. The
claims are those of each library's own documentation: a label that it ignores, class weights of pixels, a sampler.
"""

import argparse
import importlib
import importlib.metadata
import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

import peers
from seglit.losses import (
    CrossEntropyLoss,
    DiceLoss,
    FocalLoss,
    HeadCriterion,
    LovaszLoss,
    OHEMPixelSampler,
    TverskyLoss,
)
from seglit.testing import LossUnderTest, SamplerUnderTest, hold, laws_of, of_criterion, of_module, of_sampler, verdict

Subject = LossUnderTest | SamplerUnderTest
WEIGHTS = (1.0, 2.0, 0.5, 3.0)
CLASSES = 4
VOID = (255,)
ROUGH = 1e-5
"""Tolerance for other libraries, some of which add a float32 epsilon or work in float32 inside."""
THRESH, MIN_KEPT = 0.7, 2
ORIGINAL = {"mmseg": "mmsegmentation", "smp": "segmentation-models-pytorch"}
"""Names on the package index, where they differ."""


def seglit_losses() -> dict[str, Subject]:
    """All losses of seglit, plain, weighted, and under OHEM."""
    makes: dict[str, Callable[..., Any]] = {
        "CrossEntropyLoss": CrossEntropyLoss,
        "CrossEntropyLoss+avg_non_ignore": lambda **more: CrossEntropyLoss(avg_non_ignore=True, **more),
        "CrossEntropyLoss+use_sigmoid": lambda **more: CrossEntropyLoss(use_sigmoid=True, **more),
        "FocalLoss": FocalLoss,
        "DiceLoss": DiceLoss,
        "DiceLoss+batch": lambda **more: DiceLoss(per_image=False, **more),
        "TverskyLoss": TverskyLoss,
        "LovaszLoss": LovaszLoss,
        "LovaszLoss+per_image": lambda **more: LovaszLoss(per_image=True, **more),
    }
    sampler = OHEMPixelSampler(THRESH, MIN_KEPT)
    heads = {name: HeadCriterion({"loss_x": make()}) for name, make in makes.items()}
    heads |= {
        f"{name}+class_weight": HeadCriterion({"loss_x": make(class_weight=WEIGHTS)}) for name, make in makes.items()
    }
    heads |= {f"{name}+OHEM": HeadCriterion({"loss_x": make()}, sampler) for name, make in makes.items()}
    subjects: dict[str, Subject] = {
        name: of_criterion(head, name, ignored=(255, 0, -100, 254)) for name, head in heads.items()
    }
    return subjects | {"OHEMPixelSampler": of_sampler(sampler)}


def torch_losses() -> dict[str, Subject]:
    """What torch brings."""

    def weighted(weights: tuple[float, ...]) -> LossUnderTest:
        return of_module(
            nn.CrossEntropyLoss(torch.tensor(weights, dtype=torch.float64), ignore_index=255),
            divisor="class_weight",
            class_weight=weights,
            with_class_weight=weighted,
        )

    plain = of_module(nn.CrossEntropyLoss(ignore_index=255), divisor="valid")
    return {"CrossEntropyLoss": plain, "CrossEntropyLoss+weight": weighted(WEIGHTS)}


def mmseg_losses() -> dict[str, Subject]:
    """MMSegmentation's, each through `loss_by_feat` of a decode head."""
    peers.stand_in_for_mmcv_operations()
    losses = importlib.import_module("mmseg.models.losses")
    ohem = {"type": "OHEMPixelSampler", "thresh": THRESH, "min_kept": MIN_KEPT}
    by_count = {"type": "OHEMPixelSampler", "min_kept": MIN_KEPT}
    entropy = {"type": "CrossEntropyLoss"}
    formulas: dict[str, dict[str, Any]] = {
        "DiceLoss": {"type": "DiceLoss"},
        "DiceLoss+softmax": {"type": "DiceLoss", "use_sigmoid": False},
        "TverskyLoss": {"type": "TverskyLoss"},
        "LovaszLoss": {"type": "LovaszLoss", "reduction": "none"},
        "LovaszLoss+per_image": {"type": "LovaszLoss", "per_image": True},
    }
    subjects: dict[str, Subject] = {
        "CrossEntropyLoss": mmseg_head(entropy, divisor="all"),
        "CrossEntropyLoss+avg_non_ignore": mmseg_head(entropy | {"avg_non_ignore": True}, divisor="valid"),
        "CrossEntropyLoss+class_weight": mmseg_weighted({"avg_non_ignore": False}, WEIGHTS),
        "CrossEntropyLoss+class_weight+avg_non_ignore": mmseg_weighted({"avg_non_ignore": True}, WEIGHTS),
        "CrossEntropyLoss+use_sigmoid": mmseg_head(entropy | {"use_sigmoid": True}, divisor="all"),
        "CrossEntropyLoss+OHEM": mmseg_head(entropy, ohem, divisor="kept"),
        "CrossEntropyLoss+OHEM+avg_non_ignore": mmseg_head(entropy | {"avg_non_ignore": True}, ohem, divisor="kept"),
        "CrossEntropyLoss+OHEM_by_count": mmseg_head(entropy, by_count, divisor="kept"),
        "FocalLoss": mmseg_head({"type": "FocalLoss"}, divisor="all"),
        "FocalLoss+OHEM": mmseg_head({"type": "FocalLoss"}, ohem, divisor="kept"),
    }
    for name, config in formulas.items():
        subjects |= {name: mmseg_head(config, divisor="formula"), f"{name}+OHEM": mmseg_head(config, ohem, "formula")}
    subjects["OhemCrossEntropy"] = of_module(
        losses.OhemCrossEntropy(thres=THRESH, min_kept=MIN_KEPT), ignored=VOID, divisor="kept"
    )
    subjects["OHEMPixelSampler"] = SamplerUnderTest("OHEMPixelSampler", mmseg_keeps)
    return subjects


def mmseg_built(loss: dict[str, Any], sampler: dict[str, Any] | None, ignore_index: int) -> Any:
    """A decode head of no layers to speak of."""
    fcn = importlib.import_module("mmseg.models.decode_heads").FCNHead
    return fcn(
        in_channels=CLASSES,
        channels=CLASSES,
        num_convs=0,
        concat_input=False,
        num_classes=CLASSES,
        loss_decode=loss,
        sampler=sampler,
        ignore_index=ignore_index,
    )


def mmseg_head(loss: dict[str, Any], sampler: dict[str, Any] | None = None, divisor: Any = None) -> LossUnderTest:
    """The losses of a decode head."""
    pixel_data = importlib.import_module("mmengine.structures").PixelData
    sample_type = importlib.import_module("mmseg.structures").SegDataSample
    head = mmseg_built(loss, sampler, 255)

    def compute(logits: Tensor, labels: Tensor, _: int) -> Tensor:
        samples = [sample_type(gt_sem_seg=pixel_data(data=image[None])) for image in labels]
        terms = head.loss_by_feat(logits, samples)
        return torch.stack([term for name, term in terms.items() if "loss" in name]).sum()

    subject = LossUnderTest(
        "mmseg",
        compute,
        ignored=VOID,
        divisor=divisor,
        keeps=None if sampler is None else lambda logits, labels, _: head.sampler.sample(logits, labels[:, None]) > 0,
        keeps_by_count=sampler is not None,
        adds_up=loss["type"] != "LovaszLoss" or "per_image" in loss,
        tolerance=ROUGH,
    )
    return in_float32(subject) if loss["type"] == "LovaszLoss" else subject


def in_float32(loss: LossUnderTest) -> LossUnderTest:
    """A loss that fails in float64, where the batch is in float64."""

    def compute(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
        single = logits.float() if logits.dtype == torch.float64 else logits
        return loss.compute(single, labels, ignore_index).to(logits.dtype)

    return replace(loss, compute=compute, tolerance=10 * ROUGH)


def mmseg_weighted(options: dict[str, Any], weights: tuple[float, ...]) -> LossUnderTest:
    """Cross-entropy with class weights."""
    return replace(
        mmseg_head({"type": "CrossEntropyLoss", "class_weight": list(weights), **options}, divisor="class_weight"),
        class_weight=weights,
        with_class_weight=lambda others: mmseg_weighted(options, others),
    )


def mmseg_keeps(logits: Tensor, labels: Tensor, ignore_index: int, thresh: float | None, min_kept: int) -> Tensor:
    """What the sampler keeps."""
    sampler = {"type": "OHEMPixelSampler", "thresh": thresh, "min_kept": min_kept}
    kept: Tensor = mmseg_built({"type": "CrossEntropyLoss"}, sampler, ignore_index).sampler.sample(
        logits, labels[:, None]
    )
    return kept > 0


def smp_losses() -> dict[str, Subject]:
    """Those of segmentation-models-pytorch for several classes."""
    losses = importlib.import_module("segmentation_models_pytorch.losses")
    options: dict[str, Any] = {"mode": "multiclass", "ignore_index": 255}
    claims: dict[str, Any] = {"ignored": VOID, "tolerance": ROUGH}
    return {
        "DiceLoss": of_module(losses.DiceLoss(**options), divisor="formula", **claims),
        "JaccardLoss": of_module(losses.JaccardLoss(**options), divisor="formula", **claims),
        "TverskyLoss": of_module(losses.TverskyLoss(**options), divisor="formula", **claims),
        "FocalLoss": of_module(losses.FocalLoss(**options), divisor="valid", **claims),
        "LovaszLoss": in_float32(of_module(losses.LovaszLoss(**options), divisor="formula", adds_up=False, **claims)),
        "LovaszLoss+per_image": in_float32(
            of_module(losses.LovaszLoss(per_image=True, **options), divisor="formula", **claims)
        ),
        "SoftCrossEntropyLoss": of_module(losses.SoftCrossEntropyLoss(ignore_index=255), divisor="all", **claims),
        "SoftCrossEntropyLoss+smooth_factor": of_module(
            losses.SoftCrossEntropyLoss(ignore_index=255, smooth_factor=0.1), divisor="all", **claims
        ),
    }


def monai_losses() -> dict[str, Subject]:
    """Those of MONAI, told to ignore a label where they can be."""
    losses = importlib.import_module("monai.losses")
    soft = {"to_onehot_y": True, "softmax": True}

    def taken(loss: nn.Module, **claims: Any) -> LossUnderTest:
        return of_module(lambda logits, labels: loss(logits, labels[:, None]), tolerance=ROUGH, **claims)

    focal = {"to_onehot_y": True, "use_softmax": True}
    return {
        "DiceLoss": taken(losses.DiceLoss(ignore_index=255, **soft), ignored=VOID, divisor="formula"),
        "DiceLoss+batch": taken(losses.DiceLoss(ignore_index=255, batch=True, **soft), ignored=VOID, divisor="formula"),
        "TverskyLoss": taken(losses.TverskyLoss(ignore_index=255, **soft), ignored=VOID, divisor="formula"),
        "FocalLoss": taken(losses.FocalLoss(ignore_index=255, **focal), ignored=VOID, divisor="valid"),
        "DiceCELoss": taken(losses.DiceCELoss(**soft)),
        "GeneralizedDiceLoss": taken(losses.GeneralizedDiceLoss(**soft)),
    }


def torchmetrics_losses() -> dict[str, Subject]:
    """The scores of torchmetrics that the losses here stand for; of these, values alone."""
    classification = importlib.import_module("torchmetrics.classification")
    segmentation = importlib.import_module("torchmetrics.segmentation")

    def jaccard() -> Any:
        return classification.MulticlassJaccardIndex(CLASSES, average="macro", ignore_index=255)

    def dice() -> Any:
        return segmentation.DiceScore(CLASSES, average="macro", input_format="index")

    def score(make: Callable[[], Any], **claims: Any) -> LossUnderTest:
        def combine(logits: Tensor, labels: Tensor, _: int, parts: list[Any]) -> Tensor:
            metric = make()
            for images, *_rest in parts:
                metric.update(logits[images].argmax(1), labels[images])
            return metric.compute().to(logits.dtype)

        return LossUnderTest(
            "score",
            lambda logits, labels, void: combine(logits, labels, void, [(slice(None),)]),
            combine=combine,
            differentiable=False,
            tolerance=ROUGH,
            **claims,
        )

    return {"JaccardIndex": score(jaccard, ignored=VOID, divisor="formula"), "DiceScore": score(dice)}


LIBRARIES: dict[str, Callable[[], dict[str, Subject]]] = {
    "seglit": seglit_losses,
    "torch": torch_losses,
    "mmseg": mmseg_losses,
    "smp": smp_losses,
    "monai": monai_losses,
    "torchmetrics": torchmetrics_losses,
}


def judged(library: str) -> dict[str, Any]:
    """The verdicts on all losses of a library, or why there are none."""
    try:
        subjects = LIBRARIES[library]()
    except Exception as error:
        return {"missing": f"{type(error).__name__}: {error}"}
    version = importlib.metadata.version(ORIGINAL.get(library, library)) if library != "seglit" else ""
    verdicts = {
        name: {law: [found.state, found.words] for law in laws_of(subject) for found in [verdict(subject, law)]}
        for name, subject in subjects.items()
    }
    return {"version": version, "verdicts": verdicts}


def show(path: str, law: str) -> None:
    """Hold one law against one loss, and let it fail in full."""
    library, _, name = path.partition(":")
    subjects = LIBRARIES[library]()
    if name not in subjects or law not in laws_of(subjects[name]):
        sys.exit(f"{path} {law}: there are {', '.join(subjects)}, and their laws {', '.join(laws_of(subjects[name]))}")
    hold(subjects[name], law)
    print(f"{path} keeps {law}")


def main() -> None:
    """Print the verdicts on a library as JSON, or show one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=LIBRARIES)
    parser.add_argument("--show", nargs=2, metavar=("LIBRARY:LOSS", "LAW"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.show:
        show(*options.show)
    else:
        print(json.dumps(judged(options.library)))


if __name__ == "__main__":
    main()
