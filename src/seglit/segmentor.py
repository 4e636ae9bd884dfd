"""The segmentor: a backbone with its heads."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from seglit.features import FeatureSpec, feature_specs_of
from seglit.heads import Head
from seglit.heads.head import Features
from seglit.initial_weights import InitialWeights, load_initial_weights

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
    - `HRNet`: `stem.<i>.<block>`, `layer1` as that of a ResNet, `narrow.<block>`, `deepen.<stage>.<block>`,
      `stages.<stage>.<i>.branches.<map>.<k>` with ResNet's names and `.fusions.<to>.paths.<from>.<block>`;
    - `MobileNetV2`: `stem.<block>`, `layer<1-7>.<i>.expand.<block>`, `.depthwise.<block>` and `.project.<block>`;
    - `MobileNetV3`: `layers.<i>` with those names, `.attention.squeeze` and `.attention.excite`, the first and the
      last being a block;
    - `ResNet`: `stem.<i>.<block>`, `layer<1-4>.<i>.conv<k>`, `.norm<k>` and `.downsample.<block>`; of the variant
      `resnest`, `conv2` is a block that has `squeeze`, `squeeze_norm` and `scores` too;
    - `UNet`: `encoder.<stage>.<i>.<block>`, `decoder.<stage>.upsample.<block>` and `.convs.<i>.<block>`, stage 0
      being the full resolution;
    - `MixVisionTransformer`: `stages.<i>.patch_embed.<block>`, `.blocks.<i>.norm<1-2>`, `.attn.query`,
      `.key_value`, `.out` and `.reduction.<block>`, `.mlp.hidden`, `.depthwise` and `.out`, and `stages.<i>.norm`;
    - `SwinTransformer`: `patch_embed.<block>`, `stages.<i>.downsample.norm` and `.reduction`,
      `.blocks.<i>.norm<1-2>`, `.attn.qkv`, `.out` and `.relative_position_bias_table`, `.mlp.hidden` and `.out`,
      and `norms.<i>` of its maps;
    - `VisionTransformer`: `patch_embed.conv`, `cls_token`, `pos_embed`, `blocks.<i>.norm<1-2>`, `.attn.qkv` and
      `.out`, `.mlp.hidden` and `.out`, and `norm`;
    - `BEiT`: as `VisionTransformer`, and `blocks.<i>.gamma<1-2>`, `.attn.relative_position_bias_table`;
    - `ConvNeXt`: `stem.<block>`, `stages.<i>.downsample.<block>`, `.blocks.<i>.depthwise`, `.norm`, `.gamma`,
      `.mlp.hidden` and `.out`, and `norms.<i>` of its maps;
    - `MSCAN`: `stages.<i>.patch_embed.<k>.<block>`, `.blocks.<i>.norm<1-2>`, `.gamma<1-2>`, `.attn.before`,
      `.local`, `.strips.<k>.<0-1>`, `.mix` and `.after`, `.mlp.hidden`, `.depthwise` and `.out`, and
      `stages.<i>.norm`;
    - `STDC`: `stem.<i>.<block>`, `stages.<i>.<j>.convs.<k>.<block>` and `.downsample.<block>`,
      `fusion.conv.<block>`, `.squeeze` and `.excite`, and `context` as in `BiSeNetV1`;
    - `BiSeNetV1`: `backbone.*`, `context.whole.<block>`, `.refinements.<i>.conv.<block>` and `.attention.<block>`,
      and `.convs.<i>.<block>`, `spatial.<i>.<block>`, `fusion.<block>` and `attention.<block>`;
    - `BiSeNetV2`: `detail.<i>.<j>.<block>`, `stem.first`, `.convs.<i>` and `.last`, `stages.<i>.<j>.gather`,
      `.expand.<k>`, `.project` and `.shortcut.<k>`, `context.norm`, `.whole` and `.last`, `fusion.detail`,
      `.detail_down`, `.semantic`, `.semantic_up` and `.last`;
    - `FastSCNN`: `shared.<i>`, `stages.<i>.<j>.expand`, `.depthwise` and `.project`, `pools.<i>`, `context`,
      `depthwise`, `pointwise` and `detail`;
    - `DDRNet`: `stem.<i>`, `context.<i>`, `spatial.<i>`, `up.<i>`, `down.<i>.<j>`, `pyramid`; `PIDNet`: `stem.<i>`,
      `integral.<i>`, `proportional.<i>`, `derivative.<i>`, `compressions.<i>`, `attentions.<i>.context` and
      `.detail`, `differences.<i>`, `pyramid`, `fusion`; in both, blocks of `convs.<k>.<block>` and
      `downsample.<block>`;
    - `TimmBackbone`: `model.*`, where `*` is timm's own name;
    - `ASPPHead`: `pyramid.average.<block>`, `.branches.<i>.<block>` and `.bottleneck.<block>`;
      `DepthwiseSeparableASPPHead` has `skip.<block>` and `decoder.<i>` too; a separable convolution has
      `depthwise.<block>` and `pointwise.<block>`;
    - `LRASPPHead`: `deep.<block>`, `gate`, `mix`, `branches.<i>`, `ups.<i>.<block>`;
    - `OCRHead`: `pixels.<block>`, `query.<i>.<block>`, `key.<i>.<block>`, `value.<block>`, `context.<block>`;
    - `FPN` and `MultiLevelNeck`: `laterals.<i>`, `levels.<i>`; `Feature2Pyramid`: `levels.<i>.first`, `.norm`,
      `.last`; `MLANeck`: `norms.<i>`, `laterals.<i>.<block>`, `levels.<i>.<block>`;
    - `LightHamHead`: `squeeze.<block>`, `ham_in`, `ham_out.<block>`, `align.<block>`; `SETRUPHead`: `norm`,
      `convs.<i>.<block>`; `SETRMLAHead`: `branches.<i>.<k>.<block>`;
    - `SegformerHead`: `convs.<i>.<block>`, `fusion.<block>`; `FPNHead`: `branches.<i>.<k>.<block>`; `UPerHead`:
      `pools.<i>.<block>`, `bottleneck.<block>`, `laterals.<i>.<block>`, `levels.<i>.<block>`, `fusion.<block>`;
    - `FCNHead`: `convs.<i>.<block>`, `fusion.<block>`, where separable with `depthwise` and `pointwise` before
      `<block>`; `DDRHead`: `block.<block>`, `norm`; `PSPHead`: `pools.<i>.<block>`, `bottleneck.<block>`; every
      head: `classifier`;
    - `NLHead`, `DNLHead`, `GCHead`, `CCHead`: `body.before.<block>`, `body.after.<block>`, `body.fusion.<block>`,
      and in `body.block` what attends: `query`, `key`, `value`, `out.<block>`, `saliency`; `score`, `addend.*` and
      `factor.*` with `reduce`, `norm`, `expand`; `gamma`;
    - `DAHead`: `branches.<pam|cam>.<0|2>.<block>`, `branches.pam.1.<query|key|value|gamma>`,
      `branches.cam.1.gamma`, `classifiers.<pam|cam>`;
    - `ANNHead`: `attention.*` and `self_attention.*` with `query.<block>`, `key.<block>`, `value`, `out`, then
      `fusion.<block>`, `bottleneck.<block>`, `self_fusion.<block>`;
    - `ISAHead`: `reduction.<block>`, `far.*` and `near.*` with `query.<i>.<block>`, `key.<i>.<block>`, `value`,
      `out.<block>`, `fusion.<block>`;
    - `PSAHead`: `branches.<i>.reduction.<block>`, `branches.<i>.weighing.0.<block>` and `.1`, `projection.<block>`,
      `bottleneck.<block>`;
    - `EMAHead`: `reduction.<block>`, `projection`, `attention.bases`, `out.<block>`, `bottleneck.<block>`,
      `fusion.<block>`;
    - `EncHead`: `bottleneck.<block>`, `laterals.<i>.<block>`, `fusion.<block>`, `encoding.projection.<block>`,
      `encoding.<codewords|scale|norm>`, `scaling`;
    - `APCHead`: `branches.<i>.<cells|pixels|whole|residual|fusion>.<block>`, `branches.<i>.affinity`,
      `bottleneck.<block>`; `DMHead`: `branches.<i>.filters`, `branches.<i>.<reduction|fusion>.<block>`,
      `branches.<i>.norm`, `bottleneck.<block>`;
    - `JPU`: `laterals.<i>.<block>`, `branches.<i>.<0|1>.<block>`.

    Args:
        backbone: Module with `feature_specs` and a forward from an image to that many maps.
        decode_head: Makes the head whose logits are the prediction.
        auxiliary_heads: Makes further heads by name, under which criterion and log know them.
        neck: Makes a module from features to features, with `feature_specs` of its own, before the heads.
        init_weights: A safetensors file to start from, of a whole segmentor or of its backbone, see
            `seglit.initial_weights`; None leaves the weights as the parts drew them.
        new_classifiers: Whether the last layer of each head is not taken from that file, as for other classes.

    Attributes:
        initial: What the weights started from; None without a file.

    Raises:
        ValueError: If backbone or neck do not describe their features, if a head cannot be built from them,
            if an auxiliary head's name is "decode", no identifier or that of another output, if the decode
            head refines the logits of a head that is not there, if heads differ in num_classes, though an
            auxiliary head may have 2 whatever the others have, to learn boundaries
            (`seglit.losses.HeadCriterion`, `target`), if `init_weights` does not fit, or if `new_classifiers` has
            no file to act on.
    """

    def __init__(
        self,
        backbone: nn.Module,
        decode_head: HeadFactory,
        auxiliary_heads: Mapping[str, HeadFactory] | None = None,
        neck: NeckFactory | None = None,
        init_weights: str | None = None,
        new_classifiers: bool = False,
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
        for more in self.decode_head.further:
            if output_name(DECODE, more) in self.auxiliary_heads:
                raise ValueError(
                    f"an auxiliary head cannot be called {output_name(DECODE, more)!r}, as "
                    f"{type(self.decode_head).__name__} gives further logits of that name"
                )
        classes = {name: head.num_classes for name, head in self.heads.items()}
        if not {classes[name] for name in self.auxiliary_heads} <= {classes[DECODE], BOUNDARY_CLASSES}:
            raise ValueError(
                f"all heads must have the same num_classes, got {classes}; only an auxiliary head that learns "
                f"boundaries may have {BOUNDARY_CLASSES}"
            )
        self.initial: InitialWeights | None = None
        if init_weights is not None:
            self.initial = load_initial_weights(self, init_weights, new_classifiers=new_classifiers)
        elif new_classifiers:
            raise ValueError("new_classifiers=True has no effect without init_weights")

    @property
    def heads(self) -> dict[str, Head]:
        """By the name of each output, the head that it is from: "decode" and those of the auxiliary heads.

        What a head gives further follows its own, as "decode_pam".
        """
        auxiliary = {name: cast(Head, head) for name, head in self.auxiliary_heads.items()}
        heads = {DECODE: self.decode_head, **auxiliary}
        return {output_name(name, more): head for name, head in heads.items() for more in ("", *head.further)}

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> dict[str, Float[Tensor, "batch _ _ _"]]:
        """Logits by the names of `heads`, each at its head's own stride; in eval mode those of the decode head alone.

        Args:
            image: Normalised as the weights expect it.
        """
        features = self.backbone(image)
        if self.neck is not None:
            features = self.neck(features)
        refined = self.decode_head.refines
        logits: dict[str, Tensor] = {}
        for name, head in self.auxiliary_heads.items():
            if self.training or name == refined:
                logits |= self._outputs(name, cast(Head, head), features)
        if refined is None:
            decoded = self._outputs(DECODE, self.decode_head, features)
        else:
            decoded = {DECODE: self.decode_head(features, logits[refined])}
        return {**decoded, **(logits if self.training else {})}

    def _outputs(self, name: str, head: Head, features: Features) -> dict[str, Tensor]:
        outputs = head.outputs(features) if self.training else {"": head(features)}
        return {output_name(name, more): logits for more, logits in outputs.items()}


def output_name(head: str, further: str) -> str:
    """What criterion and log call an output of a head: its prediction, of the empty name, or what it gives further."""
    return f"{head}_{further}" if further else head


def build_head(name: str, factory: HeadFactory, specs: Sequence[FeatureSpec]) -> Head:
    """What the factory makes, or its ValueError with the name of the head."""
    try:
        return factory(specs)
    except ValueError as error:
        raise ValueError(f"head {name!r}: {error}") from error
