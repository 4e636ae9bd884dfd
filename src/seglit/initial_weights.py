"""Weights from a safetensors file with which a training starts."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from seglit.segmentor import Segmentor

CLASSIFIER = "classifier"
COUNT = 5
"""How many mistakes of a kind an error lists."""


@dataclass(frozen=True)
class InitialWeights:
    """What a segmentor started from.

    Attributes:
        path: The file.
        loaded: The parts whose weights are from it, as `backbone` and `auxiliary_heads.aux`.
        new: What was drawn at random: parts that the file has not, and classifiers that were to begin anew.
    """

    path: str
    loaded: tuple[str, ...]
    new: tuple[str, ...]


def load_initial_weights(net: "Segmentor", path: str, *, new_classifiers: bool = False) -> InitialWeights:
    """Give a segmentor the weights of a file, which has all of a part or nothing of it, and at least the backbone.

    Args:
        net: Takes the weights.
        path: A safetensors file by seglit's names, as `seglit-import weights` writes it.
        new_classifiers: Whether the last layer of each head begins anew, as for other classes.

    Raises:
        ValueError: Names the file, and each weight that is missing, superfluous or of another shape.
    """
    weights = read_safetensors(path)
    shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    parts = part_names(net)
    found = tuple(part for part in parts if any(name.startswith(f"{part}.") for name in weights))
    if "backbone" not in found:
        raise ValueError(f"init_weights: {path} has no backbone; give a file that seglit-import weights wrote")
    classifiers = {name for name in (*shapes, *weights) if new_classifiers and is_classifier(name, parts)}
    wanted = {name for name in shapes if name.startswith(tuple(f"{part}." for part in found))} - classifiers
    given = weights.keys() - classifiers
    differing = {name for name in wanted & given if tuple(weights[name].shape) != shapes[name]}
    problems = listed([f"has no {name}" for name in wanted - given])
    problems += listed([f"has {name}, which the net has not" for name in given - wanted])
    problems += listed(
        [f"has {name} of {list(weights[name].shape)}, the net of {list(shapes[name])}" for name in differing]
    )
    if problems:
        only = wanted == given and all(is_classifier(name, parts) for name in differing)
        mend = "new_classifiers=true begins them anew" if only else "is it of another model?"
        raise ValueError(f"init_weights: {path} {'; '.join(problems)}; {mend}")
    net.load_state_dict({name: weights[name] for name in wanted}, strict=False)
    new = [part for part in parts if part not in found]
    new += [f"{part}.{CLASSIFIER}" for part in found if any(name.startswith(f"{part}.") for name in classifiers)]
    return InitialWeights(path, found, tuple(new))


def read_safetensors(path: str) -> dict[str, Tensor]:
    """The weights in a safetensors file.

    Raises:
        ValueError: Names the file if it is none.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not Path(path).is_file():
        raise ValueError(f"init_weights: {path}: no such file; give a .safetensors that seglit-import weights wrote")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"init_weights: {path}: cannot be read as safetensors ({error})") from error


def part_names(net: nn.Module) -> list[str]:
    """The parts of a segmentor, the auxiliary heads one by one."""
    names = []
    for name, part in net.named_children():
        names += [f"{name}.{inner}" for inner, _ in part.named_children()] if name == "auxiliary_heads" else [name]
    return names


def is_classifier(name: str, parts: list[str]) -> bool:
    """Whether a weight is one of the last layer of a head."""
    return any(name.startswith(f"{part}.{CLASSIFIER}.") for part in parts)


def listed(lines: list[str]) -> list[str]:
    """The first few of them, in alphabetical order, and how many more there are."""
    more = len(lines) - COUNT
    return sorted(lines)[:COUNT] + ([f"and {more} more such"] if more > 0 else [])
