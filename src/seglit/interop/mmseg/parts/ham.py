"""LightHamHead."""

from seglit.interop.mmseg.part import Part
from seglit.interop.mmseg.parts.segformer import several_features
from seglit.interop.mmseg.settings import Node, Settings, UnsupportedError


def node(settings: Settings) -> Node:
    """The node of a LightHamHead."""
    settings.values.setdefault("ham_kwargs", {})
    ham = settings.within("ham_kwargs")
    # The temperature is overwritten with 1 there.
    ham.skip("inv_t")
    ham.only("MD_S", 1)
    ham.only("rand_init", True)
    node = several_features(settings)
    if "norm" not in node:
        # Batch normalisation is no default here.
        if settings.take("norm_cfg", None) is None:
            raise UnsupportedError(f"{settings.path}: has no 'norm_cfg', and without there is nothing here")
        node |= {"norm": {"_target_": "torch.nn.BatchNorm2d", "_partial_": True}}
    return {
        "_target_": "seglit.heads.LightHamHead",
        **node,
        "ham_channels": settings.take("ham_channels", 512),
        "rank": ham.take("MD_R", 64),
        "train_steps": ham.take("train_steps", 6),
        "eval_steps": ham.take("eval_steps", 7),
    }


RULES = (
    (r"^hamburger\.ham_in\.conv\.", "ham_in."),
    (r"^hamburger\.", ""),
)
PARTS = (Part(("LightHamHead",), node, rules=RULES),)
