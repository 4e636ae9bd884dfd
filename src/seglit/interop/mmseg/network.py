"""The dictionary `model` of an MMSegmentation configuration as a segmentor, and its weights by our names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.utils import instantiate
from torch import Tensor

from seglit.interop.mmseg.part import Part, Weights
from seglit.interop.mmseg.parts import BY_TYPE
from seglit.interop.mmseg.settings import Node, Settings, UnsupportedError
from seglit.segmentor import Segmentor

COARSE = "coarse"
SEGMENTORS = ("EncoderDecoder", "CascadeEncoderDecoder")


@dataclass(frozen=True)
class Place:
    """A part of a network.

    Attributes:
        theirs: The beginning of its parameters' names there, as `decode_head.0.`.
        ours: The same here.
        part: What it is.
        settings: Its settings, read.
    """

    theirs: str
    ours: str
    part: Part
    settings: Settings


@dataclass(frozen=True)
class Network:
    """A translated network.

    Attributes:
        node: The node of the `Segmentor`.
        places: Its parts.
        settings: The whole dictionary, of which `train_cfg`, `test_cfg` and losses are not read here.
    """

    node: Node
    places: tuple[Place, ...]
    settings: Settings

    def build(self) -> Segmentor:
        """The segmentor, with weights as at the start of a training."""
        segmentor: Segmentor = instantiate(self.node)
        return segmentor

    def renamed(self, weights: Mapping[str, Tensor]) -> Weights:
        """All weights by their names here.

        Raises:
            UnsupportedError: Names those that belong to no part.
        """
        renamed: Weights = {}
        rest = dict(weights)
        for place in self.places:
            keys = [key for key in rest if key.startswith(place.theirs)]
            own = {key.removeprefix(place.theirs): rest.pop(key) for key in keys}
            for key, value in place.part.renamed(own).items():
                renamed[key[1:] if key.startswith("/") else place.ours + key] = value
        if rest:
            raise UnsupportedError(f"weights of no part: {', '.join(sorted(rest)[:5])} ({len(rest)} in all)")
        return renamed


def network(model: Mapping[str, Any]) -> Network:
    """What an MMSegmentation model is here.

    Raises:
        UnsupportedError: Names what has no equal.
    """
    settings = Settings(model, "model")
    kind = settings.take("type")
    if kind not in SEGMENTORS:
        raise settings.unsupported("type", f"there are only {', '.join(SEGMENTORS)}")
    settings.skip("pretrained", "init_cfg", "num_stages")
    places: list[Place] = []

    def placed(at: Settings, theirs: str, ours: str) -> Node:
        name = at.type
        if name not in BY_TYPE:
            raise at.unsupported("type", "has no equal")
        part = BY_TYPE[name]
        node = part.node(at)
        places.append(Place(theirs, ours, part, at))
        return node

    backbone = settings.within("backbone")
    node: Node = {"_target_": "seglit.segmentor.Segmentor", "backbone": placed(backbone, "backbone.", "backbone.")}
    outputs = outputs_of(places[-1])
    if settings.take("neck", None) is not None:
        neck = placed(settings.within("neck"), "neck.", "neck.")
        if outputs is not None and "in_index" in neck:
            neck["in_index"] = reordered(neck["in_index"], outputs)
        node["neck"] = neck
        outputs = outputs_of(places[-1])
    auxiliary: dict[str, Node] = {}

    def headed(at: Settings, theirs: str, ours: str) -> Node:
        head = placed(at, theirs, ours)
        if outputs is not None:
            head["in_index"] = reordered(head.get("in_index", -1), outputs)
            if "skip_index" in head:
                head["skip_index"] = outputs[head["skip_index"]]
        further = places[-1].part.further
        if further is not None:
            auxiliary.update(further(at))
        return head

    decode = several(settings, "decode_head")
    for theirs, head in list(decode.items())[:-1]:
        auxiliary[COARSE] = headed(head, theirs, f"auxiliary_heads.{COARSE}.")
    if len(decode) > 2:
        raise settings.unsupported("decode_head", "a cascade has two heads here")
    theirs, head = list(decode.items())[-1]
    node["decode_head"] = headed(head, theirs, "decode_head.")
    given = several(settings, "auxiliary_head")
    for index, (theirs, head) in enumerate(given.items()):
        name = "aux" if len(given) == 1 else f"aux_{index}"
        auxiliary[name] = headed(head, theirs, f"auxiliary_heads.{name}.")
    if auxiliary:
        node["auxiliary_heads"] = auxiliary
    return Network(node, tuple(places), settings)


def several(settings: Settings, key: str) -> dict[str, Settings]:
    """The dictionaries of a key that has one or a list of them, by the beginning of their parameters' names."""
    value = settings.take(key, None)
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return {f"{key}.": settings.within(key)}
    return {f"{key}.{i}.": settings.member(key, i) for i in range(len(value))}


def outputs_of(place: Place) -> Sequence[int] | None:
    """Our index of each map that a part gives there."""
    return None if place.part.outputs is None else place.part.outputs(place.settings)


def reordered(in_index: int | list[int], outputs: Sequence[int]) -> int | list[int]:
    """The same features by our order."""
    return outputs[in_index] if isinstance(in_index, int) else [outputs[i] for i in in_index]
