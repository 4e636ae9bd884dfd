"""Rules for parameters, which MMSegmentation gives by the names there, for the names here."""

import contextlib
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from seglit.interop.mmseg.faults import templates
from seglit.interop.mmseg.network import Network, Place
from seglit.interop.mmseg.part import Weights
from seglit.interop.mmseg.settings import UnsupportedError
from seglit.interop.mmseg.shipped import without_memory
from seglit.optim import layer_depths

MOST_NAMES = 300_000
SMALL = 5
"""Of the numbers in a name, all but one are below, as of stages and layers; one may be of a block."""
SHAPES = ((3,), (3, 3), (3, 3, 1, 1))
"""One of them fits what is done to a parameter's values."""
MOST_KEYS = 40
MULTIPLIERS = ("lr_mult", "decay_mult")


Keys = dict[str, dict[str, Any]]


def translated(
    network: Network, given: Mapping[str, Mapping[str, Any]], *, alone: bool = True
) -> tuple[Keys, list[str]]:
    """Keys that give each parameter here the multipliers that it has there, and what could not be done, by key.

    Args:
        network: The network.
        given: `custom_keys`.
        alone: Whether there are no other rules, so that what no key matches has multipliers of 1.
    """
    try:
        theirs = originals(network)
    except UnsupportedError as error:
        return {}, [f"cannot be translated: {error}"]
    ours = list(theirs)
    problems: list[str] = []
    useful: Keys = {}
    for key, items in given.items():
        multipliers = {item: value for item, value in items.items() if item in MULTIPLIERS}
        if multipliers and any(key in name for name in theirs.values()):
            useful[key] = multipliers
        else:
            problems.append(f"{key}: is left out, as it matches nothing or says nothing")
    wanted = {our: decided(theirs[our], useful) for our in ours}
    # As few keys as can be: theirs, with exceptions where our names hold them too; else keys for each by itself.
    for keys in (with_exceptions(useful, wanted, alone), apart(useful, theirs)):
        if all(same(decided(our, keys), wanted[our], alone) for our in ours):
            return {key: items for key, items in keys.items() if deciding(key, keys, ours)}, problems
    wrong = [our for our in ours if not same(decided(our, keys), wanted[our], alone)]
    return keys, [*problems, f"{wrong[0]}: and {len(wrong) - 1} more parameters have other multipliers than there"]


def with_exceptions(given: Keys, wanted: Mapping[str, tuple[float, float] | None], alone: bool) -> Keys:
    """The keys as they are, and longer ones for the parameters that these would give others than the wanted."""
    keys = {key: items for key, items in given.items() if any(key in our for our in wanted)}
    groups: dict[tuple[float, float], set[str]] = {}
    for our, multipliers in wanted.items():
        if not same(decided(our, keys), multipliers, alone):
            groups.setdefault(multipliers or (1.0, 1.0), set()).add(our)
    longest = max(map(len, keys), default=0)
    for (lr_mult, decay_mult), selected in groups.items():
        for found in keys_for(selected, list(wanted), longest + 1):
            keys[found] = {"lr_mult": lr_mult} if decay_mult == 1 != lr_mult else {"decay_mult": decay_mult}
            if lr_mult != 1 != decay_mult:
                keys[found]["lr_mult"] = lr_mult
    return keys


def apart(given: Keys, theirs: Mapping[str, str]) -> Keys:
    """For each key those that select what it decides about there."""
    keys: Keys = {}
    order = sorted(given, key=lambda key: (-len(key), key))
    for key in order:
        selected = {our for our, name in theirs.items() if next((one for one in order if one in name), None) == key}
        for found in keys_for(selected, list(theirs)):
            keys[found] = given[key]
    return keys


def same(one: tuple[float, float] | None, other: tuple[float, float] | None, alone: bool) -> bool:
    """Whether decisions are equal; without other rules, none at all is one for multipliers of 1."""
    return (one or (1.0, 1.0)) == (other or (1.0, 1.0)) if alone else one == other


def deciding(key: str, keys: Mapping[str, Any], names: list[str]) -> bool:
    """Whether a key is the longest in some name."""
    order = sorted(keys, key=lambda key: (-len(key), key))
    return any(next((one for one in order if one in name), None) == key for name in names)


def originals(network: Network) -> dict[str, str]:
    """The name there of each parameter here, in our order.

    Raises:
        UnsupportedError: If that of some part is not known.
    """
    ours = [name for name, _ in without_memory(network.build).named_parameters()]
    theirs: dict[str, str] = {}
    for place in network.places:
        theirs |= {our: name for name, our in original(place, ours)}
    if unknown := [name for name in ours if name not in theirs]:
        raise UnsupportedError(f"no original name is known of {unknown[0]} and {len(unknown) - 1} more")
    return {our: theirs[our] for our in ours}


def layer_decay(network: Network, constructor: str, rules: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The rules for what an optimizer constructor there does by the depth of layers, and what is not the same.

    Args:
        network: The network.
        constructor: `LearningRateDecayOptimizerConstructor`, or that of layers alone.
        rules: `paramwise_cfg`.
    """
    by_layer = "layer_wise" if constructor.startswith("Layer") else str(rules.get("decay_type", "layer_wise"))
    rate, number = rules.get("decay_rate", rules.get("layer_decay_rate")), rules.get("num_layers")
    kind = str(network.places[0].settings.values["type"])
    if not isinstance(rate, float) or not isinstance(number, int):
        return {}, ["paramwise_cfg: has no decay_rate or num_layers"]
    made: dict[str, Any] = {"layer_decay": rate, "flat_decay_mult": 0.0}
    if "ConvNeXt" in kind and "stage_wise" not in by_layer:
        made["layer_decay_blocks"] = 3
    if "ConvNeXt" not in kind and ("stage_wise" in by_layer or kind not in ("BEiT", "MAE")):
        return {}, [f"constructor={constructor}: fails there for a {kind}"]
    try:
        theirs = originals(network)
    except UnsupportedError as error:
        return made, [f"constructor={constructor}: it could not be compared, {error}"]
    depths = layer_depths(theirs, made.get("layer_decay_blocks"))
    last = max(depths.values())
    above = {our: exponent(name, kind, by_layer, number) for our, name in theirs.items()}
    wrong = [our for our in theirs if last - depths[our] != above[our]]
    if not wrong:
        return made, []
    place = wrong[len(wrong) // 2]
    return made, [
        f"constructor={constructor}: {len(wrong)} parameters have another rate than there, "
        f"as {place}, {rate} ** {last - depths[place]} for {rate} ** {above[place]}"
    ]


def exponent(name: str, kind: str, by_layer: str, number: int) -> int:
    """How many times a rate is scaled there."""
    words = name.split(".")
    inside = words[1] if words[0] == "backbone" else ""
    if "ConvNeXt" not in kind:
        start = inside in ("cls_token", "mask_token", "pos_embed", "patch_embed")
        return number + 1 if start else number - int(words[2]) if inside == "layers" else 0
    if "stage_wise" in by_layer:
        return number + 1 if inside == "downsample_layers" else number - int(words[2]) if inside == "stages" else 0
    if inside == "downsample_layers":
        return number + 1 - (0, 2, 3, number)[int(words[2])]
    if inside == "stages":
        return number + 1 - (1, 2, 3 + int(words[3]) // 3, number)[int(words[2])]
    return 0


def decided(name: str, keys: Mapping[str, Mapping[str, Any]]) -> tuple[float, float] | None:
    """The multipliers of a parameter: those of the longest key in its name, None where no key is."""
    for key in sorted(keys, key=lambda key: (-len(key), key)):
        if key in name:
            return float(keys[key].get("lr_mult", 1)), float(keys[key].get("decay_mult", 1))
    return None


def original(place: Place, ours: list[str]) -> Iterator[tuple[str, str]]:
    """The names of a part's parameters there and here, in pairs."""
    kind = str(place.settings.values["type"])
    wanted = {name for name in ours if name.startswith(place.ours)}
    if kind not in templates():
        if wanted:
            raise UnsupportedError(f"the names of the parameters of {kind} are not known")
        return
    numbers = [int(number) for name in wanted for number in re.findall(r"\d+", name)]
    most = max(numbers, default=0) + 9
    alone: dict[str, str] = {}
    weights: Weights = {}
    for template in templates()[kind]:
        places = template.count("#")
        if places * most * SMALL ** (places - 1) > MOST_NAMES:
            raise UnsupportedError(f"the names of {kind} are too many to be matched")
        for values in numberings(places, most):
            name = template.replace("#", "{}").format(*values)
            for our in renamed_alone(place, name):
                full = our[1:] if our.startswith("/") else place.ours + our
                if full in wanted or our.startswith("/"):
                    alone[full] = name
                    weights[name] = torch.empty(0, device="meta")
    # What a name is made into may depend on which others there are.
    by_object = {id(weight): name for name, weight in weights.items()}
    together: dict[str, str] = {}
    with contextlib.suppress(LookupError, ValueError, RuntimeError):
        for our, weight in place.part.renamed(weights).items():
            if place.ours + our in wanted and id(weight) in by_object:
                together[place.ours + our] = by_object[id(weight)]
    for our, name in (alone | together).items():
        yield place.theirs + name, our


def numberings(places: int, most: int) -> Iterator[tuple[int, ...]]:
    """Numbers for the places of a template, of which but one is greater than a few."""
    yield from itertools.product(range(min(SMALL, most)), repeat=places)
    for large in range(SMALL, most):
        for at in range(places):
            for rest in itertools.product(range(SMALL), repeat=places - 1):
                yield (*rest[:at], large, *rest[at:])


def renamed_alone(place: Place, name: str) -> list[str]:
    """Our names of what a parameter there is made into, together with others where these are needed."""
    for shape in SHAPES:
        weights = {name: torch.empty(shape, device="meta")}
        for _ in range(3):
            try:
                return list(place.part.renamed(weights))
            except KeyError as error:
                weights[str(error.args[0])] = torch.empty(shape, device="meta")
            except (LookupError, ValueError, RuntimeError):
                break
    return []


def keys_for(selected: set[str], names: list[str], least: int = 1) -> list[str]:
    """Few keys of a least length that are found in the selected names and in no others."""
    covers: dict[str, frozenset[str]] = {}
    others = [name for name in names if name not in selected]
    for name in selected:
        words = re.findall(r"[^.]+\.?", name)
        for begin in range(len(words)):
            for end in range(begin + 1, len(words) + 1):
                piece = "".join(words[begin:end])
                if len(piece) >= least and piece not in covers and not any(piece in other for other in others):
                    covers[piece] = frozenset(one for one in selected if piece in one)
    chosen: list[str] = []
    left = set(selected)
    while left and covers and len(chosen) < MOST_KEYS:
        best = max(covers, key=lambda piece: (len(covers[piece] & left), -len(piece), piece))
        if not covers[best] & left:
            break
        chosen.append(best)
        left -= covers[best]
    return chosen
