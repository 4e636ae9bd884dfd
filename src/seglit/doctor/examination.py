"""From a data set to the report on it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seglit.check.rules import crop_size
from seglit.data.datamodule import SegmentationDataModule
from seglit.doctor.advice import advice
from seglit.doctor.class_rules import class_findings
from seglit.doctor.duplicate_rules import duplicate_findings
from seglit.doctor.file_rules import file_findings
from seglit.doctor.label_rules import label_findings
from seglit.doctor.layout_rules import look_up
from seglit.doctor.numbers import numbers_of
from seglit.doctor.report import Report
from seglit.doctor.settings_rules import settings_findings
from seglit.doctor.survey import survey

PARTS = ("train", "val", "test")


def examine(
    data: SegmentationDataModule,
    parts: Sequence[str] = PARTS,
    *,
    model: Mapping[str, Any] | None = None,
    train_transforms: Any = None,
    cache: Path | None = None,
    show: bool = True,
) -> Report:
    """Read the whole data set once, and say what is wrong with it and which tricks its numbers speak for.

    Nothing on the disk is changed but the cache. What cannot be read is a finding, and stops nothing.

    Args:
        data: The data set, as training has it; it says how masks are read and what they mean.
        parts: Which of `train`, `val` and `test` to look at.
        model: That section of a configuration, as plain dicts, so that no advice is given for what is on already.
        train_transforms: Likewise that of the data section, for the size of crops.
        cache: The file of what is known of files, by their content. None: `doctor.sqlite` in
            `seglit.data.statistics.cache_folder()`.
        show: Whether to show progress and the time that is left on standard error.

    Raises:
        ValueError: If a part is none of the three.
    """
    if not parts or set(parts) - set(PARTS):
        raise ValueError(f"parts: choose from {', '.join(PARTS)}, got {list(parts)}")
    crop = crop_size(train_transforms)
    palette = tuple(data.palette)
    pairs, findings = look_up(data, parts)
    if not any(pairs.values()):
        return Report(data.root, findings, [], None, crop, palette)
    known = survey(data, pairs, cache, show)
    numbers = numbers_of(known)
    findings += file_findings(known)
    labels = label_findings(known)
    findings += labels
    if not any(one.fault or one.kind == "zero-never-occurs" for one in labels):
        # Of labels that are misread, shares say nothing.
        findings += class_findings(known, numbers)
    findings += [*duplicate_findings(known, show), *settings_findings(known, numbers, model)]
    findings.sort(key=lambda one: not one.fault)
    given = (
        [] if any(one.fault for one in findings) else advice(numbers, model, train_transforms, (data.mean, data.std))
    )
    return Report(data.root, findings, given, numbers, crop, palette)
