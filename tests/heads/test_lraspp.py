import pytest
import torch
from torch import nn

from seglit.features import FeatureSpec
from seglit.heads import LRASPPHead

SPECS = (FeatureSpec(3, 2), FeatureSpec(4, 4), FeatureSpec(8, 8))
DRAW = torch.Generator().manual_seed(0)
FEATURES = tuple(torch.randn(2, spec.channels, 64 // spec.stride, 96 // spec.stride, generator=DRAW) for spec in SPECS)


@pytest.mark.parametrize(
    ("in_index", "branch_channels", "stride"), [((0, 1, -1), (2, 3), 2), ((1, 2), (5,), 4), ((0, -1), (2,), 2)]
)
def test_the_logits_lie_at_the_stride_of_the_finest_feature(in_index, branch_channels, stride):
    head = LRASPPHead(SPECS, 5, channels=6, in_index=in_index, branch_channels=branch_channels)
    assert head.stride == stride
    assert [branch.out_channels for branch in head.branches] == list(branch_channels)
    assert head(FEATURES).shape == (2, 5, 64 // stride, 96 // stride)


@torch.no_grad()
def test_every_feature_is_seen():
    head = LRASPPHead(SPECS, 5, channels=16).eval()
    logits = head(FEATURES)
    for index in range(3):
        changed = [feature + (place == index) * torch.rand_like(feature) for place, feature in enumerate(FEATURES)]
        assert not torch.allclose(head(changed), logits), index
    head.align_corners = True
    assert not torch.allclose(head(FEATURES), logits)


@torch.no_grad()
def test_the_gate_sees_the_average_of_a_wide_window():
    """Of a map that is no larger than the window, the whole; of a larger one, no more than 49 steps of it."""
    head = LRASPPHead((FeatureSpec(2, 4), FeatureSpec(2, 8)), 2, channels=4, in_index=(0, -1), branch_channels=(1,))
    seen = []
    head.gate.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    for size in ((8, 12), (70, 69)):
        head.embed([torch.zeros(2, 2, *(2 * side for side in size)), torch.arange(size[1]).expand(2, 2, *size).float()])
    assert seen[0].shape[2:] == (1, 1)
    assert seen[0].unique().tolist() == [5.5]
    assert seen[1].shape[2:] == (2, 2)
    assert seen[1].unique().tolist() == [24.0, 44.0]


def test_gradients_reach_every_parameter():
    head = LRASPPHead(SPECS, 3, channels=16, out_channels=3, dropout_ratio=0.0, norm=nn.InstanceNorm2d)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in head.modules())
    head([feature.square() for feature in FEATURES]).square().mean().backward()
    assert [name for name, parameter in head.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(("in_index", "branch_channels"), [((0, 1), (2, 3)), ((0, 1, 2), (2,)), ((-1,), ())])
def test_branches_must_fit(in_index, branch_channels):
    with pytest.raises(ValueError, match="in_index must name one feature more than there are branch_channels"):
        LRASPPHead(SPECS, 2, in_index=in_index, branch_channels=branch_channels)
