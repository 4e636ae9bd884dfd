"""`custom_keys` of MMSegmentation, which name parameters as they are called there, for the names here."""

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from seglit.interop.mmseg.faults import templates
from seglit.interop.mmseg.network import Network, Place
from seglit.interop.mmseg.settings import UnsupportedError
from seglit.interop.mmseg.shipped import without_memory

MOST_NAMES = 300_000
MOST_KEYS = 40
MULTIPLIERS = ("lr_mult", "decay_mult")


def translated(network: Network, given: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Keys that give each parameter here the multipliers that it has there, and what could not be done, by key."""
    ours = [name for name, _ in without_memory(network.build).named_parameters()]
    problems: list[str] = []
    theirs: dict[str, str] = {}
    for place in network.places:
        try:
            theirs |= {our: name for name, our in original(place, ours)}
        except UnsupportedError as error:
            return {}, [str(error)]
    if unknown := [name for name in ours if name not in theirs]:
        return {}, [f"no original name is known of {unknown[0]} and {len(unknown) - 1} more"]
    result: dict[str, dict[str, Any]] = {}
    for key, items in given.items():
        multipliers = {item: value for item, value in items.items() if item in MULTIPLIERS}
        selected = {our for our in ours if key in theirs[our]}
        if not selected or not multipliers:
            problems.append(f"{key}: is left out, as it matches nothing or says nothing")
            continue
        for found in keys_for(selected, ours, key):
            result[found] = multipliers
    wrong = [our for our in ours if decided(our, result) != decided(theirs[our], given)]
    if wrong:
        problems.append(f"{wrong[0]}: and {len(wrong) - 1} more parameters have other multipliers than there")
    return result, problems


def decided(name: str, keys: Mapping[str, Mapping[str, Any]]) -> tuple[float, float]:
    """The multipliers of a parameter: those of the longest key in its name."""
    for key in sorted(keys, key=lambda key: (-len(key), key)):
        if key in name:
            return float(keys[key].get("lr_mult", 1)), float(keys[key].get("decay_mult", 1))
    return 1.0, 1.0


def original(place: Place, ours: list[str]) -> Iterator[tuple[str, str]]:
    """The names of a part's parameters there and here, in pairs."""
    kind = str(place.settings.values["type"])
    wanted = {name for name in ours if name.startswith(place.ours)}
    if kind not in templates():
        if wanted:
            raise UnsupportedError(f"the names of the parameters of {kind} are not known")
        return
    numbers = [int(number) for name in wanted for number in re.findall(r"\d+", name)]
    digits = range(max(numbers, default=0) + 9)
    for template in templates()[kind]:
        places = template.count("#")
        if len(digits) ** places > MOST_NAMES:
            raise UnsupportedError(f"the names of {kind} are too many to be matched")
        for values in itertools.product(digits, repeat=places):
            name = template.replace("#", "{}").format(*values)
            try:
                renamed = place.part.renamed({name: torch.empty(0, device="meta")})
            except (LookupError, ValueError, RuntimeError):
                continue
            for our in renamed:
                full = our[1:] if our.startswith("/") else place.ours + our
                if full in wanted or our.startswith("/"):
                    yield place.theirs + name, full


def keys_for(selected: set[str], names: list[str], key: str) -> list[str]:
    """The fewest keys that are found in the selected names and in no others; all there are, if that is too much."""
    if selected == {name for name in names if key in name}:
        return [key]
    covers: dict[str, frozenset[str]] = {}
    others = [name for name in names if name not in selected]
    for name in selected:
        words = re.findall(r"[^.]+\.?", name)
        for begin in range(len(words)):
            for end in range(begin + 1, len(words) + 1):
                piece = "".join(words[begin:end])
                if piece not in covers and not any(piece in other for other in others):
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
