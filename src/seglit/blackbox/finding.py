"""What a replay finds."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """A cause.

    Attributes:
        kind: what is at fault: a number of the criterion, an `image`, a `label`, a stored `weight`, a `layer`, a loss
            `term`, the `gradient` of a layer or term, a parameter `group` that grew, or code that raised an `error`.
        name: which: a file, or the name of a weight, layer, term or group.
        detail: the numbers.
        mend: what is likely to help.
    """

    kind: Literal["criterion", "image", "label", "weight", "layer", "term", "gradient", "group", "error"]
    name: str
    detail: str
    mend: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.detail}; {self.mend}"
