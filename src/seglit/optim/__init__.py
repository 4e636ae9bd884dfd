"""What the optimizer sees: parameter groups by name, layer-wise decay, and learning rates per step."""

from seglit.optim.group_descriptions import GroupDescription, describe_groups
from seglit.optim.layer_depths import layer_depths
from seglit.optim.optimizer_defaults import optimizer_defaults
from seglit.optim.parameter_groups import parameter_groups
from seglit.optim.schedule import Schedule
from seglit.optim.schedules import ConstantLR, CosineLR, MultiStepLR, PolyLR

__all__ = [
    "ConstantLR",
    "CosineLR",
    "GroupDescription",
    "MultiStepLR",
    "PolyLR",
    "Schedule",
    "describe_groups",
    "layer_depths",
    "optimizer_defaults",
    "parameter_groups",
]
