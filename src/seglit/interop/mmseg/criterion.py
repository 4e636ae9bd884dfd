"""Losses and samplers of MMSegmentation's heads as heads of a criterion."""

from collections.abc import Mapping
from typing import Any

from seglit.interop.mmseg.faults import heads
from seglit.interop.mmseg.network import Network
from seglit.interop.mmseg.settings import Node, Settings, UnsupportedError

IGNORED = "${data.ignore_index}"


def criterion(values: Mapping[str, Any], network: Network, compat: str | None) -> tuple[Node, list[str]]:
    """The node of each head's criterion by the head's name, and what is not quite the same, by key.

    Raises:
        UnsupportedError: Names a loss or a head without equal.
    """
    ours = {place.settings.path: place.ours for place in network.places}
    result: Node = {}
    remarks: list[str] = []
    for path, head in heads(values):
        prefix = ours[path]
        name = "decode" if prefix == "decode_head." else prefix.split(".")[1]
        result[name] = of_head(Settings(head, path), name, compat, remarks)
    known = {"decode", *(network.node.get("auxiliary_heads") or {})}
    if further := known - result.keys():
        raise UnsupportedError(f"losses of {', '.join(sorted(further))}: are not translated yet")
    return {"decode": result.pop("decode"), **result}, remarks


def of_head(head: Settings, name: str, compat: str | None, remarks: list[str]) -> Node:
    """The criterion of one head."""
    given = head.take("loss_decode", {"type": "CrossEntropyLoss"})
    several = list(given) if isinstance(given, list | tuple) else [given]
    losses: Node = {}
    sampler: Node | None = None
    for index, values in enumerate(several):
        at = Settings(values, f"{head.path}.loss_decode{f'[{index}]' if len(several) > 1 else ''}")
        kind, node, hard = of_loss(at, remarks)
        sampler = hard or sampler
        title = at.take("loss_name", f"loss_{kind}")
        if not title.startswith("loss_"):
            title = f"loss_{title}"
        while title in losses:
            title += "_more"
        losses[title] = node
        remarks += [f"{key}: has no equal" for key in at.untaken()]
    weight = 1.0
    if name != "decode" and len(losses) == 1:
        (only,) = losses.values()
        weight, only["loss_weight"] = only["loss_weight"], 1.0
    chosen = head.take("sampler", None)
    if chosen is not None:
        at = Settings(chosen, f"{head.path}.sampler")
        if at.type != "OHEMPixelSampler":
            raise at.unsupported("type", "has no equal")
        sampler = ohem(at.take("thresh", None), at.take("min_kept", 100000))
    return {
        "_target_": "seglit.losses.HeadCriterion",
        "losses": losses,
        "sampler": sampler,
        "ignore_index": IGNORED,
        "weight": weight,
        "compat": compat if name == "decode" else "${..decode.compat}",
    }


def ohem(thresh: float | None, min_kept: int) -> Node:
    """The node of a sampler."""
    return {"_target_": "seglit.losses.OHEMPixelSampler", "thresh": thresh, "min_kept": min_kept}


def of_loss(at: Settings, remarks: list[str]) -> tuple[str, Node, Node | None]:
    """A loss: its short name, its node, and a sampler if it brings one."""
    kind = at.type
    at.only("reduction", "mean", "none" if kind == "LovaszLoss" else "mean")
    node: Node = {"loss_weight": float(at.take("loss_weight", 1.0))}
    if at.take("class_weight", None) is not None:
        weight = at.take("class_weight")
        node["class_weight"] = weight if isinstance(weight, str) else [float(one) for one in weight]
    match kind:
        case "CrossEntropyLoss":
            at.only("use_mask", False)
            node |= {
                "_target_": "seglit.losses.CrossEntropyLoss",
                "use_sigmoid": at.take("use_sigmoid", False),
                "avg_non_ignore": at.take("avg_non_ignore", False),
            }
            return "ce", node, None
        case "OhemCrossEntropy":
            at.skip("ignore_label")
            node["_target_"] = "seglit.losses.CrossEntropyLoss"
            remarks.append(
                f"{at.path}: is a sampler with cross-entropy here, which keeps min_kept an image and divides by all"
            )
            return "ce", node, ohem(at.take("thres", 0.7), at.take("min_kept", 100000))
        case "DiceLoss":
            node["_target_"] = "seglit.losses.DiceLoss"
            for key in ("smooth", "exponent"):
                if key in at.values:
                    node[key] = at.take(key)
            at.skip("use_sigmoid", "activate", "eps", "naive_dice", "ignore_index")
            return "dice", node, None
        case "FocalLoss":
            node |= {
                "_target_": "seglit.losses.FocalLoss",
                "gamma": at.take("gamma", 2.0),
                "alpha": at.take("alpha", 0.5),
            }
            at.only("use_sigmoid", True)
            return "focal", node, None
        case "LovaszLoss":
            at.only("loss_type", "multi_class")
            node |= {"_target_": "seglit.losses.LovaszLoss", "classes": at.take("classes", "present")}
            node["per_image"] = at.take("per_image", False)
            return "lovasz", node, None
        case "TverskyLoss":
            at.skip("ignore_index")
            node |= {
                "_target_": "seglit.losses.TverskyLoss",
                "alpha": at.take("alpha", 0.3),
                "beta": at.take("beta", 0.7),
            }
            node["smooth"] = at.take("smooth", 1.0)
            return "tversky", node, None
    raise at.unsupported("type", "has no equal")
