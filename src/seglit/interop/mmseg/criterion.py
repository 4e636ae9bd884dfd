"""Losses and samplers of MMSegmentation's heads as heads of a criterion."""

from collections.abc import Mapping
from typing import Any

from seglit.interop.mmseg.faults import heads, is_old, training_set
from seglit.interop.mmseg.network import Network
from seglit.interop.mmseg.parts.ddr import SPATIAL
from seglit.interop.mmseg.parts.pid import BOUNDARY
from seglit.interop.mmseg.settings import Node, Settings, UnsupportedError

IGNORED = "${data.ignore_index}"
PROPORTIONAL = "p"
DEFAULT_LOSS = {"type": "CrossEntropyLoss"}
ONE_VOID = "there is one ignore_index for all losses of a head"


def criterion(values: Mapping[str, Any], network: Network, compat: str | None) -> tuple[Node, list[str]]:
    """The node of each head's criterion by the head's name, and what is not quite the same, by key.

    Raises:
        UnsupportedError: Names a loss or a head without equal.
    """
    ours = {place.settings.path: place.ours for place in network.places}
    translation = Translation(values, compat)
    for path, head in heads(values):
        prefix = ours[path]
        name = "decode" if prefix == "decode_head." else prefix.split(".")[1]
        translation.add(Settings(head, path), name)
    known = {"decode", *(network.node.get("auxiliary_heads") or {})}
    if further := known - translation.result.keys():
        raise UnsupportedError(f"losses of {', '.join(sorted(further))}: are not translated")
    result = translation.result
    return {"decode": result.pop("decode"), **result}, translation.remarks


class Translation:
    """The criteria of a configuration, one head after the other.

    Args:
        values: The configuration.
        compat: See `HeadCriterion`.

    Attributes:
        result: What each head learns, by name.
        remarks: What is not quite the same, by key.
    """

    def __init__(self, values: Mapping[str, Any], compat: str | None) -> None:
        self.old = is_old(values)
        self.compat = compat
        steps = training_set(values).get("pipeline") or []
        edges = [step for step in steps if isinstance(step, Mapping) and step.get("type") == "GenerateEdge"]
        self.edge_width = edges[0].get("edge_width", 3) if edges else 3
        self.result: Node = {}
        self.remarks: list[str] = []

    def add(self, head: Settings, name: str) -> None:
        """Add the criterion of a head, and of the further heads that it supervises."""
        given = head.take("loss_decode", DEFAULT_LOSS)
        several = list(given) if isinstance(given, list | tuple) else [given]
        paths = [f"{head.path}.loss_decode{f'[{i}]' if len(several) > 1 else ''}" for i in range(len(several))]
        losses = [Settings(values, path) for values, path in zip(several, paths, strict=True)]
        match head.type:
            case "PIDHead":
                self.expect(head, losses, 4)
                self.result[PROPORTIONAL] = self.of_head(head, PROPORTIONAL, losses[:1])
                self.result[name] = self.of_head(head, name, losses[1:2])
                boundary = self.of_head(head, BOUNDARY, losses[2:3])
                boundary["target"] = {"_target_": "seglit.losses.BoundaryTarget", "width": self.edge_width}
                self.result[BOUNDARY] = boundary
                self.remarks.append(f"{losses[3].path}: the loss near predicted boundaries alone has no equal")
            case "DDRHead":
                self.expect(head, losses, 2)
                self.result[name] = self.of_head(head, name, losses[:1])
                self.result[SPATIAL] = self.of_head(head, SPATIAL, losses[1:])
            case "STDCHead":
                self.result[name] = self.of_head(head, name, losses)
                threshold = head.take("boundary_threshold", 0.1)
                self.result[name]["target"] = {"_target_": "seglit.losses.DetailTarget", "threshold": threshold}
            case "DAHead":
                self.result[name] = self.of_head(head, name, losses)
                for branch in ("pam", "cam"):
                    self.result[f"{name}_{branch}"] = {**self.result[name], "compat": "${..decode.compat}"}
            case kind:
                self.result[name] = self.of_head(head, name, losses)
                if kind == "EncHead" and head.take("use_se_loss", True):
                    self.remarks.append(f"{head.path}.loss_se_decode: the loss of which classes there are has no equal")

    def expect(self, head: Settings, losses: list[Settings], number: int) -> None:
        """Refuse another number of losses than the head's own code takes."""
        if len(losses) != number:
            raise head.unsupported("loss_decode", f"a {head.type} has a list of {number} losses")

    def of_head(self, head: Settings, name: str, given: list[Settings]) -> Node:
        """The criterion of one head."""
        losses: Node = {}
        sampler: Node | None = None
        for at in given:
            kind, node, hard = self.of_loss(at, head)
            if hard is not None and len(given) > 1:
                raise at.unsupported("type", "would choose the pixels of the other losses too")
            sampler = hard or sampler
            title = at.take("loss_name", f"loss_{kind}")
            if "loss" in title and not title.startswith("loss_"):
                title = f"loss_{title}"
            while title in losses:
                title += "_more"
            losses[title] = node
            self.remarks += [f"{key}: has no equal" for key in at.untaken()]
        weight = 1.0
        if name != "decode" and len(losses) == 1 and name != BOUNDARY:
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
            "compat": self.compat if name == "decode" else "${..decode.compat}",
        }

    def of_loss(self, at: Settings, head: Settings) -> tuple[str, Node, Node | None]:
        """A loss: its short name, its node, and a sampler if it brings one."""
        kind = at.type
        at.only("reduction", "mean", "none" if kind == "LovaszLoss" else "mean")
        node: Node = {"loss_weight": float(at.take("loss_weight", 1.0))}
        if at.take("class_weight", None) is not None:
            weight = at.take("class_weight")
            if isinstance(weight, str):
                raise at.unsupported("class_weight", "there are only numbers, no file of them")
            node["class_weight"] = [float(one) for one in weight]
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
                if at.take("ignore_label", 255) != head.take("ignore_index", 255):
                    raise at.unsupported("ignore_label", ONE_VOID)
                node["_target_"] = "seglit.losses.CrossEntropyLoss"
                hard = ohem(at.take("thres", 0.7), max(1, at.take("min_kept", 100000)))
                return "ce", node, {**hard, "per_image": False}
            case "BoundaryLoss":
                node["_target_"] = "seglit.losses.BoundaryLoss"
                return "boundary", node, None
            case "DiceLoss":
                return "dice", {**node, **self.dice(at, head)}, None
            case "FocalLoss":
                at.only("use_sigmoid", True)
                node["_target_"] = "seglit.losses.FocalLoss"
                node |= {"gamma": at.take("gamma", 2.0), "alpha": at.take("alpha", 0.5)}
                return "focal", node, None
            case "LovaszLoss":
                at.only("loss_type", "multi_class")
                node |= {"_target_": "seglit.losses.LovaszLoss", "classes": at.take("classes", "present")}
                node["per_image"] = at.take("per_image", False)
                return "lovasz", node, None
            case "TverskyLoss":
                self.same_void(at, head)
                node["_target_"] = "seglit.losses.TverskyLoss"
                node |= {"alpha": at.take("alpha", 0.3), "beta": at.take("beta", 0.7), "smooth": at.take("smooth", 1.0)}
                return "tversky", node, None
        raise at.unsupported("type", "has no equal")

    def dice(self, at: Settings, head: Settings) -> Node:
        """A Dice loss, whose settings are others in 0.x and 1.x."""
        node: Node = {"_target_": "seglit.losses.DiceLoss"}
        self.same_void(at, head)
        if self.old:
            node |= {"smooth": float(at.take("smooth", 1.0)), "exponent": at.take("exponent", 2)}
            if at.take("class_weight", None) is not None and self.compat is None:
                self.remarks.append(f"{at.path}.class_weight: weighs pixels here, and whole classes there")
            return node
        at.only("activate", True)
        node["use_sigmoid"] = at.take("use_sigmoid", True)
        node["smooth"] = float(at.take("eps", 1e-3))
        node["exponent"] = 1 if at.take("naive_dice", False) else 2
        if self.compat is None:
            self.remarks.append(
                f"{at.path}: is the mean of each class's Dice here, and one Dice of all classes and void pixels there"
            )
        return node

    def same_void(self, at: Settings, head: Settings) -> None:
        """Take the label that a loss has for void by itself, which must be the head's or none of a class."""
        own = at.take("ignore_index", 255)
        if own not in (None, head.take("ignore_index", 255)) and own < head.take("num_classes"):
            raise at.unsupported("ignore_index", ONE_VOID)


def ohem(thresh: float | None, min_kept: int) -> Node:
    """The node of a sampler."""
    return {"_target_": "seglit.losses.OHEMPixelSampler", "thresh": thresh, "min_kept": min_kept}
