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
    - `MixVisionTransformer`: `stages.<i>.patch_embed.<block>`, `.blocks.<i>.norm<1-2>`, `.attn.query`, `.key_value`,
      `.out` and `.reduction.<block>`, `.mlp.hidden`, `.depthwise` and `.out`, and `stages.<i>.norm`;
    - `SwinTransformer`: `patch_embed.<block>`, `stages.<i>.downsample.norm` and `.reduction`,
      `.blocks.<i>.norm<1-2>`, `.attn.qkv`, `.out` and `.relative_position_bias_table`, `.mlp.hidden` and `.out`,
      and `norms.<i>` of its maps;
    - `VisionTransformer`: `patch_embed.conv`, `cls_token`, `pos_embed`, `blocks.<i>.norm<1-2>`, `.attn.qkv` and
      `.out`, `.mlp.hidden` and `.out`, and `norm`;
    - `BEiT`: as `VisionTransformer`, and `blocks.<i>.gamma<1-2>`, `.attn.relative_position_bias_table`;
    - `ConvNeXt`: `stem.<block>`, `stages.<i>.downsample.<block>`, `.blocks.<i>.depthwise`, `.norm`, `.gamma`,
      `.mlp.hidden` and `.out`, and `norms.<i>` of its maps;
    - `MSCAN`: `stages.<i>.patch_embed.<k>.<block>`, `.blocks.<i>.norm<1-2>`, `.gamma<1-2>`, `.attn.before`, `.local`,
      `.strips.<k>.<0-1>`, `.mix` and `.after`, `.mlp.hidden`, `.depthwise` and `.out`, and `stages.<i>.norm`;
    - `TimmBackbone`: `model.*`, where `*` is timm's own name;
    - `FPN` and `MultiLevelNeck`: `laterals.<i>`, `levels.<i>`; `Feature2Pyramid`: `levels.<i>.first`, `.norm`, `.last`;
      `MLANeck`: `norms.<i>`, `laterals.<i>.<block>`, `levels.<i>.<block>`;
    - `LightHamHead`: `squeeze.<block>`, `ham_in`, `ham_out.<block>`, `align.<block>`; `SETRUPHead`: `norm`,
      `convs.<i>.<block>`; `SETRMLAHead`: `branches.<i>.<k>.<block>`;
    - `SegformerHead`: `convs.<i>.<block>`, `fusion.<block>`; `FPNHead`: `branches.<i>.<k>.<block>`;
      `UPerHead`: `pools.<i>.<block>`, `bottleneck.<block>`, `laterals.<i>.<block>`, `levels.<i>.<block>`,
      `fusion.<block>`;
    - `FCNHead`: `convs.<i>.<block>`, `fusion.<block>`; `PSPHead`: `pools.<i>.<block>`, `bottleneck.<block>`;
      every head: `classifier`.

    Args:
        backbone: Module with `feature_specs` and a forward from an image to that many maps.
        decode_head: Makes the head whose logits are the prediction.
        auxiliary_heads: Makes further heads by name, under which criterion and log know them.
        neck: Makes a module from features to features, with `feature_specs` of its own, before the heads.

    Raises:
        ValueError: If backbone or neck do not describe their features, if a head cannot be built from them,
            if an auxiliary head's name is "decode" or no identifier, if the decode head refines the
            logits of a head that is not there, or if heads differ in num_classes.
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
        if len(set(classes.values())) > 1:
            raise ValueError(f"all heads must have the same num_classes, got {classes}")

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
