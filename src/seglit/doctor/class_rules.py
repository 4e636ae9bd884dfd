"""Classes that are missing, rare, or seen in one split alone; void."""

from seglit.doctor.findings import Finding, Place, finding
from seglit.doctor.numbers import Numbers
from seglit.doctor.survey import Survey

FEW = 1e-5
"""A smaller share of the training pixels is next to nothing to learn from."""


def class_findings(known: Survey, numbers: Numbers) -> list[Finding]:
    """What is wrong with how often classes occur; to be asked only where all values mean something."""
    return [*void_findings(known), *occurrence_findings(known, numbers)]


def void_findings(known: Survey) -> list[Finding]:
    """Masks without a class, and splits that have no other."""
    found: list[Finding] = []
    for part, items in known.parts.items():
        void = [item for item in items if not item.mask.error and set(item.mask.pixels) <= {known.data.ignore_index}]
        split = known.data.splits[part]
        all_of_them = bool(void) and len(void) == len(items)
        found += finding(
            "split-all-void" if all_of_them else "mask-all-void",
            f"{'all' if all_of_them else len(void)} masks of split {split!r} are void throughout; "
            "nothing is learnt from them and nothing is scored",
            "correct data.ignore_index or data.label_map" if all_of_them else "label them, or take them out",
            [Place(item.pair.mask, value=known.data.ignore_index) for item in void],
            fault=all_of_them,
        )
    return found


def occurrence_findings(known: Survey, numbers: Numbers) -> list[Finding]:
    """Classes by the splits in which they occur."""
    names, pixels = known.data.classes, numbers.pixels
    kinds: dict[str, list[Place]] = {}
    if "train" not in pixels or not pixels["train"].any():
        return []
    present = [name for name, count in zip(names, pixels["train"], strict=True) if count]
    judged = [part for part in pixels if part != "train" and pixels[part].any()]
    if len(present) == 1 and len(names) > 1:
        return finding(
            "one-class-alone",
            f"all training masks hold {present[0]} alone; a net that always says so is perfect",
            "correct data.masks, data.label_map or data.ignore_index",
            [Place(known.data.root, value=present[0])],
        )
    for label, name in enumerate(names):
        if label == known.data.ignore_index:
            continue
        trained = int(pixels["train"][label])
        elsewhere = {part: int(pixels[part][label]) for part in judged}
        place = Place(known.data.root, value=name)
        if not trained and any(elsewhere.values()):
            examples = [
                Place(item.pair.mask, value=f"{name}, {item.mask.pixels[label]} pixels")
                for part in judged
                for item in known.parts[part]
                if item.mask.pixels.get(label)
            ]
            kinds.setdefault("class-never-trained", []).extend(examples)
        elif not trained:
            kinds.setdefault("class-absent", []).append(place)
        elif trained < FEW * pixels["train"].sum():
            value = f"{name}, {trained} pixel(s) in {int(numbers.images['train'][label])} image(s)"
            kinds.setdefault("class-nearly-empty", []).append(Place(known.data.root, value=value))
        elif "val" in elsewhere and not elsewhere["val"]:
            kinds.setdefault("class-not-validated", []).append(place)
    return [
        *finding(
            "class-never-trained",
            "classes that are scored never occur in the training masks: their IoU is 0, and draws the mean down",
            "move images that show them to the training split, or make them void by data.label_map",
            kinds.get("class-never-trained", []),
        ),
        *finding(
            "class-absent",
            "classes occur in no mask; no weight by class_weight: auto is measured for them",
            "correct data.num_classes and data.classes, or data.label_map",
            kinds.get("class-absent", []),
            fault=False,
        ),
        *finding(
            "class-nearly-empty",
            f"classes have fewer than {FEW:.0e} of the training pixels",
            "label more of them, merge them with another class or make them void by data.label_map",
            kinds.get("class-nearly-empty", []),
            fault=False,
        ),
        *finding(
            "class-not-validated",
            "classes are trained but never occur in the validation masks, so that nothing is known of them",
            "move images that show them to the validation split",
            kinds.get("class-not-validated", []),
            fault=False,
        ),
    ]
