"""The segmentor: a backbone with its heads."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from seglit.features import FeatureSpec, feature_specs_of
from seglit.heads import Head

HeadFactory = Callable[[Sequence[FeatureSpec]], Head]
NeckFactory = Callable[[Sequence[FeatureSpec]], nn.Module]

DECODE = "decode"
BOUNDARY_CLASSES = 2


class Segmentor(nn.Module):
    """A backbone with one decode head and any number of named auxiliary heads, which only training uses.

    Heads and neck come as factories, because what they need of the backbone is known only here: each is
    called with the `feature_specs` of what it reads.

    Names of parameters are fixed, as checkpoints and `custom_keys` rely on them:

    - `backbone.*`, `neck.*`, `decode_head.*`, `auxiliary_heads.<name>.*`;
    - a block, written `<block>` below, has `conv` and `norm`;
    - `ResNet`: `stem.<i>.<block>`, `layer<1-4>.<i>.conv<k>`, `.norm<k>` and `.downsample.<block>`;
    - `UNet`: `encoder.<stage>.<i>.<block>`, `decoder.<stage>.upsample.<block>` and `.convs.<i>.<block>`,
      stage 0 being the full resolution;
    - `STDC`: `stem.<i>.<block>`, `stages.<i>.<j>.convs.<k>.<block>` and `.downsample.<block>`, `fusion.conv.<block>`,
      `.squeeze` and `.excite`, and `context` as in `BiSeNetV1`;
    - `BiSeNetV1`: `backbone.*`, `context.whole.<block>`, `.refinements.<i>.conv.<block>` and `.attention.<block>`,
      and `.convs.<i>.<block>`, `spatial.<i>.<block>`, `fusion.<block>` and `attention.<block>`;
    - `BiSeNetV2`: `detail.<i>.<j>.<block>`, `stem.first`, `.convs.<i>` and `.last`, `stages.<i>.<j>.gather`,
      `.expand.<k>`, `.project` and `.shortcut.<k>`, `context.norm`, `.whole` and `.last`, `fusion.detail`,
      `.detail_down`, `.semantic`, `.semantic_up` and `.last`;
    - `FastSCNN`: `shared.<i>`, `stages.<i>.<j>.expand`, `.depthwise` and `.project`, `pools.<i>`, `context`,
      `depthwise`, `pointwise` and `detail`;
    - `DDRNet`: `stem.<i>`, `context.<i>`, `spatial.<i>`, `up.<i>`, `down.<i>.<j>`, `pyramid`; `PIDNet`: `stem.<i>`,
      `integral.<i>`, `proportional.<i>`, `derivative.<i>`, `compressions.<i>`, `attentions.<i>.context` and `.detail`,
      `differences.<i>`, `pyramid`, `fusion`; in both, blocks of `convs.<k>.<block>` and `downsample.<block>`;
    - `TimmBackbone`: `model.*`, where `*` is timm's own name;
    - `FCNHead`: `convs.<i>.<block>`, `fusion.<block>`, where separable with `depthwise` and `pointwise` before
      `<block>`; `DDRHead`: `block.<block>`, `norm`; `PSPHead`: `pools.<i>.<block>`, `bottleneck.<block>`;
      every head: `classifier`.

    Args:
        backbone: Module with `feature_specs` and a forward from an image to that many maps.
        decode_head: Makes the head whose logits are the prediction.
        auxiliary_heads: Makes further heads by name, under which criterion and log know them.
        neck: Makes a module from features to features, with `feature_specs` of its own, before the heads.

    Raises:
        ValueError: If backbone or neck do not describe their features, if a head cannot be built from them,
            if an auxiliary head's name is "decode" or no identifier, if the decode head refines the
            logits of a head that is not there, or if heads differ in num_classes; an auxiliary head may have 2
            whatever the others have, to learn boundaries (`seglit.losses.HeadCriterion`, `target`).
    """

    def __init__(
        self,
        backbone: nn.Module,
        decode_head: HeadFactory,
        auxiliary_heads: Mapping[str, HeadFactory] | None = None,
        neck: NeckFactory | None = None,
    ) -> None:
        super().__init__()
        auxiliary_heads = auxiliary_heads or {}
        for name in auxiliary_heads:
            if name == DECODE or not name.isidentifier():
                raise ValueError(
                    f"an auxiliary head's name must be letters, digits and _, not {DECODE!r}, got {name!r}"
                )
        self.backbone = backbone
        specs = feature_specs_of(backbone)
        self.neck = None if neck is None else neck(specs)
        if self.neck is not None:
            specs = feature_specs_of(self.neck)
        self.decode_head = build_head(DECODE, decode_head, specs)
        self.auxiliary_heads = nn.ModuleDict(
            {name: build_head(name, factory, specs) for name, factory in auxiliary_heads.items()}
        )
        refined = self.decode_head.refines
        if refined is not None and refined not in self.auxiliary_heads:
            raise ValueError(
                f"{type(self.decode_head).__name__} refines the logits of an auxiliary head called {refined!r}; "
                f"there is {', '.join(map(repr, self.auxiliary_heads)) or 'none'}"
            )
        classes = {name: head.num_classes for name, head in self.heads.items()}
        if not {classes[name] for name in self.auxiliary_heads} <= {classes[DECODE], BOUNDARY_CLASSES}:
            raise ValueError(
                f"all heads must have the same num_classes, got {classes}; only an auxiliary head that learns "
                f"boundaries may have {BOUNDARY_CLASSES}"
            )

    @property
    def heads(self) -> dict[str, Head]:
        """All heads by the names of their outputs: "decode" and those of the auxiliary heads."""
        auxiliary = {name: cast(Head, head) for name, head in self.auxiliary_heads.items()}
        return {DECODE: self.decode_head, **auxiliary}

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> dict[str, Float[Tensor, "batch _ _ _"]]:
        """Logits by head, each at its head's own stride; in eval mode those of the decode head alone.

        Args:
            image: Normalised as the weights expect it.
        """
        features = self.backbone(image)
        if self.neck is not None:
            features = self.neck(features)
        refined = self.decode_head.refines
        logits = {
            name: head(features) for name, head in self.auxiliary_heads.items() if self.training or name == refined
        }
        decoded = self.decode_head(features) if refined is None else self.decode_head(features, logits[refined])
        return {DECODE: decoded, **(logits if self.training else {})}


def build_head(name: str, factory: HeadFactory, specs: Sequence[FeatureSpec]) -> Head:
    """What the factory makes, or its ValueError with the name of the head."""
    try:
        return factory(specs)
    except ValueError as error:
        raise ValueError(f"head {name!r}: {error}") from error
