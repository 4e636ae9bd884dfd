import math
from functools import partial

import pytest
import timm
import torch
from torch import nn
from torch.testing import assert_close

from seglit.backbones import ResNet
from seglit.blocks import GroupNorm
from seglit.features import FeatureSpec

narrow = partial(ResNet, base_channels=8, stem_channels=8)


def statistics(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in net.named_buffers() if "running" in name}


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (1, 7)])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize(("depth", "variant"), [(18, "v1c"), (18, "v1d"), (50, "v1b"), (50, "v1d"), (50, "resnest")])
@torch.no_grad()
def test_features_are_as_described(depth, variant, output_stride, size):
    net = narrow(depth, variant=variant, output_stride=output_stride).eval()
    features = net(torch.zeros(1, 3, *size))
    for feature, spec in zip(features, net.feature_specs, strict=True):
        assert feature.shape == (1, spec.channels, *(math.ceil(side / spec.stride) for side in size))
    assert net.feature_specs[-1].stride == output_stride
    assert net.feature_specs[0].stride == 4


def test_channels_double_from_stage_to_stage():
    assert ResNet(18).feature_specs == tuple(map(FeatureSpec, [64, 128, 256, 512], [4, 8, 8, 8]))
    assert ResNet(50).feature_specs == tuple(map(FeatureSpec, [256, 512, 1024, 2048], [4, 8, 8, 8]))


@pytest.mark.parametrize(("depth", "blocks"), [(18, 8), (34, 16), (50, 16), (101, 33), (152, 50)])
def test_depth_counts_the_convolutions(depth, blocks):
    """The stem's first, those in blocks of two or three, and the classifier's layer."""
    with torch.device("meta"):
        net = narrow(depth)
    convolutions = [
        name
        for name, part in net.named_modules()
        if isinstance(part, nn.Conv2d) and "layer" in name and "downsample" not in name
    ]
    assert len(convolutions) == depth - 2 == blocks * (2 if depth < 50 else 3)


@pytest.mark.parametrize(
    ("name", "build", "timm_stride"),
    [
        ("resnet18", partial(ResNet, 18, variant="v1b", output_stride=32), 32),
        ("resnet18d", partial(ResNet, 18, variant="v1d", output_stride=32), 32),
        ("resnet50c", partial(ResNet, 50, output_stride=16), 16),
        ("resnet50c", partial(ResNet, 50, output_stride=8), 8),
    ],
)
@torch.no_grad()
def test_equals_timm(name, build, timm_stride):
    """Not so, by intent, where a dilated stage has basic blocks or pooled shortcuts: see the tests below."""
    theirs = timm.create_model(name, features_only=True, out_indices=(1, 2, 3, 4), output_stride=timm_stride).double()
    ours = build().double()
    draw = torch.Generator().manual_seed(0)
    theirs_state = theirs.state_dict()
    for key, value in theirs_state.items():
        if value.ndim == 1:
            theirs_state[key] = 0.5 + torch.rand(value.shape, generator=draw, dtype=torch.float64)
    # Both list their parameters in the order of the computation.
    state = dict(zip(ours.state_dict(), theirs_state.values(), strict=True))
    ours.load_state_dict(state)
    theirs.load_state_dict(theirs_state)
    image = torch.randn(1, 3, 65, 97, generator=draw, dtype=torch.float64)
    for our_map, their_map in zip(ours.eval()(image), theirs.eval()(image), strict=True):
        assert_close(our_map, their_map, rtol=0, atol=1e-12 * float(their_map.abs().max()))


def test_only_the_first_convolution_of_a_basic_block_is_dilated():
    """As in MMSegmentation; timm dilates the second too."""
    net = narrow(18)
    assert [net.layer3[1].conv1.dilation, net.layer4[1].conv1.dilation] == [(2, 2), (4, 4)]
    assert [net.layer3[1].conv2.dilation, net.layer4[1].conv2.dilation] == [(1, 1), (1, 1)]


def test_only_strided_shortcuts_pool():
    """As in MMSegmentation; where a stage is dilated, timm pools 2 x 2 with stride 1 as well."""
    net = narrow(50, variant="v1d", output_stride=16)
    shortcuts = [layer[0].downsample for layer in (net.layer1, net.layer2, net.layer3, net.layer4)]
    assert ["pool" in dict(s.named_children()) for s in shortcuts] == [False, True, True, False]


@pytest.mark.parametrize(("contract_dilation", "first"), [(True, (2, 2)), (False, (4, 4))])
def test_contract_dilation_halves_that_of_the_first_block(contract_dilation, first):
    layer = narrow(50, contract_dilation=contract_dilation).layer4
    assert [block.conv2.dilation for block in layer] == [first, (4, 4), (4, 4)]


def test_dilations_need_not_make_up_for_strides():
    net = narrow(50, output_stride=32, dilations=(1, 1, 2, 4), contract_dilation=False)
    assert [layer[0].conv2.dilation for layer in (net.layer1, net.layer2, net.layer3, net.layer4)] == [
        (1, 1),
        (1, 1),
        (2, 2),
        (4, 4),
    ]
    assert [spec.stride for spec in net.feature_specs] == [4, 8, 16, 32]


def test_multi_grid_dilates_the_last_stage_block_by_block():
    net = narrow(50, multi_grid=(1, 2, 4))
    assert [block.conv2.dilation for block in net.layer4] == [(1, 1), (2, 2), (4, 4)]
    assert [block.conv2.dilation for block in net.layer3] == [(1, 1)] + 5 * [(2, 2)]


@torch.no_grad()
def test_split_attention_is_a_weighted_mean_of_two_halves():
    attention = narrow(50, variant="resnest").layer1[0].conv2.eval()
    for parameter in (attention.scores.weight, attention.scores.bias):
        nn.init.zeros_(parameter)
    x = torch.randn(2, 8, 6, 6)
    first, second = attention.norm(attention.conv(x)).relu().chunk(2, dim=1)
    assert_close(attention(x), (first + second) / 2)
    nn.init.constant_(attention.scores.bias[:8], 50.0)
    assert_close(attention(x), first)


def test_of_resnest_the_stride_averages_after_the_convolution():
    layer = narrow(50, variant="resnest", output_stride=16).layer3
    assert [(type(block.pool).__name__, block.conv2.conv.stride) for block in layer][:2] == [
        ("AvgPool2d", (1, 1)),
        ("Identity", (1, 1)),
    ]


@pytest.mark.parametrize("frozen_stages", range(-1, 5))
def test_frozen_stages_neither_learn_nor_gather_statistics(frozen_stages):
    net = narrow(18, frozen_stages=frozen_stages)
    frozen = tuple(f"{part}." for part in ["stem", "layer1", "layer2", "layer3", "layer4"][: frozen_stages + 1])
    assert {name for name, p in net.named_parameters() if not p.requires_grad} == {
        name for name, _ in net.named_parameters() if name.startswith(frozen)
    }
    before = statistics(net)
    for training in (net, net.eval().train()):
        training(torch.randn(2, 3, 32, 32))
    after = statistics(net)
    for name, value in before.items():
        assert torch.equal(value, after[name]) == name.startswith(frozen), name


def test_norm_eval_keeps_the_statistics_and_still_learns():
    net = narrow(18, norm_eval=True, zero_init_residual=False)
    before = statistics(net)
    sum(feature.square().mean() for feature in net(torch.randn(2, 3, 32, 32))).backward()
    assert all(torch.equal(value, before[name]) for name, value in statistics(net).items())
    assert all(parameter.grad.any() for parameter in net.parameters())
    assert net.training


def test_frozen_and_norm_eval_survive_synchronised_norms():
    net = nn.SyncBatchNorm.convert_sync_batchnorm(narrow(18, frozen_stages=1)).train()
    training = {name: part.training for name, part in net.named_modules() if isinstance(part, nn.SyncBatchNorm)}
    assert training == {name: not name.startswith(("stem", "layer1")) for name in training}
    net = nn.SyncBatchNorm.convert_sync_batchnorm(narrow(18, norm_eval=True)).train()
    assert not any(part.training for part in net.modules() if isinstance(part, nn.SyncBatchNorm))


@pytest.mark.parametrize("depth", [18, 50])
def test_blocks_begin_as_their_shortcuts_where_asked(depth):
    x = torch.rand(2, narrow(depth).feature_specs[0].channels, 8, 8)
    assert_close(narrow(depth).layer1[1](x), x)
    assert not torch.allclose(narrow(depth, zero_init_residual=False).layer1[1](x), x, atol=1e-3)


def test_norm_is_used_throughout():
    net = narrow(18, norm=partial(GroupNorm, num_groups=4))
    assert not any(isinstance(part, nn.BatchNorm2d) for part in net.modules())
    assert sum(isinstance(part, nn.GroupNorm) for part in net.modules()) == 3 + 2 * 8 + 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 20}, r"depth must be one of \[18, 34, 50, 101, 152\], got 20"),
        ({"variant": "v1e"}, r"variant must be one of \['v1b', 'v1c', 'v1d', 'resnest'\], got 'v1e'"),
        ({"variant": "resnest"}, "variant='resnest' needs a depth of 50 or more, got 18"),
        ({"dilations": (1, 1, 2)}, r"dilations must be a positive number for each of the 4 stages, got \[1, 1, 2\]"),
        ({"dilations": (1, 1, 2, 0)}, r"dilations must be .* got \[1, 1, 2, 0\]"),
        ({"multi_grid": (1, 2, 4)}, r"multi_grid must be .* each of the 2 blocks .* got \[1, 2, 4\]"),
        ({"multi_grid": (0, 2)}, r"multi_grid must be .* got \[0, 2\]"),
        ({"output_stride": 4}, r"output_stride must be one of \[8, 16, 32\], got 4"),
        ({"stem_channels": 9}, r"stem_channels must be even, .* got 9"),
        ({"frozen_stages": 5}, r"frozen_stages must lie between -1 .* got 5"),
        ({"frozen_stages": -2}, r"frozen_stages must lie between -1 .* got -2"),
        ({"norm_eval": True, "norm": partial(GroupNorm, num_groups=2)}, "norm_eval=True has no effect"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        narrow(**{"depth": 18, **options})
