"""The transformers and ConvNeXt: what they have in common, then what is each one's own."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from reference.swin import attended
from seglit.backbones import MSCAN, BEiT, ConvNeXt, MixVisionTransformer, SwinTransformer, VisionTransformer
from seglit.backbones.beit import index_of
from seglit.backbones.mit import ReducedAttention
from seglit.backbones.swin import PatchMerging, WindowAttention
from seglit.backbones.transformer import DropPath, attention, drop_path_rates
from seglit.blocks import GroupNorm
from seglit.features import FeatureSpec
from seglit.heads import FCNHead
from seglit.optim.layer_depths import layer_depths
from seglit.segmentor import Segmentor

MIT = partial(MixVisionTransformer, embed_dims=4, num_layers=(1, 1, 2, 1), num_heads=(1, 2, 2, 4), mlp_ratio=2)
SWIN = partial(SwinTransformer, embed_dims=4, depths=(2, 1, 2, 1), num_heads=(1, 2, 2, 4), window_size=3)
VIT = partial(
    VisionTransformer, image_size=(32, 48), patch_size=8, embed_dims=8, num_layers=5, num_heads=2, out_indices=(1, 2, 4)
)
CONVNEXT = partial(ConvNeXt, depths=(1, 1, 2, 1), channels=(4, 4, 6, 8), layer_scale_init_value=1.0)
SEGNEXT = partial(MSCAN, embed_dims=(4, 4, 6, 8), depths=(1, 1, 2, 1), mlp_ratios=(2, 2, 2, 2))
BEIT = partial(
    BEiT,
    image_size=(32, 48),
    patch_size=8,
    embed_dims=8,
    num_layers=4,
    num_heads=2,
    out_indices=(0, 3),
    init_values=1.0,
)
MAE = partial(BEIT, variant="mae")
NETS = {"beit": BEIT, "mae": MAE, "mit": MIT, "swin": SWIN, "vit": VIT, "convnext": CONVNEXT, "mscan": SEGNEXT}
every = pytest.mark.parametrize("make", NETS.values(), ids=NETS)


@every
@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 97), (39, 130)])
@torch.no_grad()
def test_features_of_any_size_are_as_described(make, height, width):
    net = make().eval()
    rounded = math.floor if make is CONVNEXT else math.ceil
    for feature, spec in zip(net(torch.randn(2, 3, height, width)), net.feature_specs, strict=True):
        sides = (rounded(side / spec.stride) for side in (height, width))
        assert feature.shape == (2, spec.channels, *sides)


@pytest.mark.parametrize("make", [BEIT, MAE, MIT, SWIN, VIT, SEGNEXT])
@torch.no_grad()
def test_a_pixel_is_an_image_too(make):
    net = make().eval()
    assert all(feature.shape[2:] == (1, 1) for feature in net(torch.randn(1, 3, 1, 1)))


@every
def test_gradients_reach_all_parameters(make):
    net = make(drop_path_rate=0.0).double()
    sum(feature.square().sum() for feature in net(torch.randn(2, 3, 65, 97, dtype=torch.float64))).backward()
    assert not [name for name, value in net.named_parameters() if value.grad is None or not value.grad.any()]


@every
def test_precision_may_be_mixed(make):
    net = make()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = net(torch.randn(2, 3, 65, 97))
    assert all(feature.isfinite().all() for feature in features)


@every
@torch.no_grad()
def test_images_of_a_batch_do_not_meet(make):
    net = make().eval().double()
    images = torch.randn(2, 3, 65, 97, dtype=torch.float64)
    for together, alone in zip(net(images), net(images[1:]), strict=True):
        assert_close(together[1:], alone)


@every
@torch.no_grad()
def test_stochastic_depth_is_for_training_alone(make):
    torch.manual_seed(0)
    image = torch.randn(2, 3, 64, 96)
    for rate, varies in ((0.9, True), (0.0, False)):
        net = make(drop_path_rate=rate)
        for _ in range(4):
            alike = all(torch.equal(a, b) for a, b in zip(net(image), net(image), strict=True))
            if not alike:
                break
        assert alike is not varies
        net.eval()
        assert all(torch.equal(a, b) for a, b in zip(net(image), net(image), strict=True))
        rates = [part.rate for part in net.modules() if isinstance(part, DropPath)]
        assert_close(rates, torch.linspace(0, rate, len(rates)).tolist())


@pytest.mark.parametrize("make", [BEIT, MIT, SWIN, VIT, CONVNEXT])
@torch.no_grad()
def test_a_larger_epsilon_calms(make):
    torch.manual_seed(0)
    nets = [make(norm_eps=eps).eval() for eps in (1e-6, 1e6)]
    nets[1].load_state_dict(nets[0].state_dict())
    calm, calmer = (net(torch.randn(1, 3, 64, 96))[-1].abs().max() for net in nets)
    assert calmer < calm


@every
def test_weights_begin_small_and_norms_as_nothing(make):
    net = make()
    for name, part in net.named_modules():
        if isinstance(part, nn.Linear):
            assert 0.01 < part.weight.std() < 0.03, name
            assert part.bias is None or part.bias.abs().max() < 1e-4, name
        if isinstance(part, nn.LayerNorm):
            assert part.weight.eq(1).all()
            assert not part.bias.any()


@every
def test_layers_are_told_by_name(make):
    with torch.device("meta"):
        net = Segmentor(make(), partial(FCNHead, num_classes=2))
    depths = layer_depths([name for name, _ in net.named_parameters()])
    stages = 5 if make is VIT else 4  # of BEiT as many blocks
    stem = make not in (MIT, SEGNEXT)
    assert set(depths.values()) == set(range(stages + 1 + stem))
    for name, depth in depths.items():
        if "blocks" in name or "downsample" in name:
            number = int(name.split(".")[2])
            assert depth == number + stem, name
        elif name.startswith(("backbone.norms.", "backbone.norm.", "decode_head.")):
            assert depth == max(depths.values())


@every
@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_rates_are_probabilities(make, rate):
    with pytest.raises(ValueError, match=r"drop_path_rate must lie in \[0, 1\)"):
        make(drop_path_rate=rate)


@pytest.mark.parametrize(
    ("make", "arguments", "words"),
    [
        (MIT, {"num_layers": (1, 1, 1)}, "num_layers must have one value for each of the 4 stages"),
        (MIT, {"num_layers": (1, 1, 0, 1)}, "each stage needs a block"),
        (MIT, {"num_heads": (1, 2, 2)}, "num_heads must have one value for each of the 4 stages"),
        (MIT, {"sr_ratios": (8, 4, 2, 0)}, "sr_ratios must be at least 1"),
        (SWIN, {"num_heads": (1, 2)}, "num_heads must have one value for each of the 4 stages"),
        (SWIN, {"depths": (2, 0, 2, 1)}, "each stage needs a block"),
        (SWIN, {"num_heads": (3, 2, 2, 4)}, "num_heads must divide the 4 channels of its stage, got 3"),
        (SWIN, {"window_size": 0}, "window_size must be at least 1"),
        (BEIT, {"num_heads": 3}, "num_heads must divide the 8 channels"),
        (BEIT, {"variant": "dino"}, "variant must be one of"),
        (BEIT, {"image_size": 4}, "image_size must be two numbers, at least patch_size=8"),
        (BEIT, {"out_indices": (4,)}, "out_indices must be increasing numbers of the 4 blocks"),
        (VIT, {"num_heads": 3}, "num_heads must divide the 8 channels"),
        (VIT, {"image_size": (4, 32)}, "image_size must be two numbers, at least patch_size=8"),
        (VIT, {"out_indices": (2, 1)}, "out_indices must be increasing numbers of the 5 blocks"),
        (VIT, {"out_indices": (2, 5)}, "out_indices must be increasing numbers of the 5 blocks"),
        (VIT, {"out_indices": ()}, "out_indices must be increasing numbers of the 5 blocks"),
        (VIT, {"out_indices": (1, 2), "final_norm": True}, "final_norm=True has no effect"),
        (VIT, {"interpolate_mode": "area"}, "interpolate_mode must be one of"),
        (SEGNEXT, {"mlp_ratios": (2, 2)}, "mlp_ratios must have one value for each of the 4 stages"),
        (CONVNEXT, {"channels": (4, 4)}, "channels must have one value for each of the 4 stages"),
    ],
)
def test_what_cannot_be_is_told(make, arguments, words):
    with pytest.raises(ValueError, match=words):
        make(**arguments)


@torch.no_grad()
def test_a_residual_is_kept_on_average():
    torch.manual_seed(0)
    dropped = DropPath(0.25)(torch.ones(4000, 2, 3))
    assert_close(dropped.unique(), torch.tensor([0.0, 4 / 3]))
    assert (dropped == dropped[:, :1, :1]).all()
    assert_close(dropped.mean().item(), 1.0, rtol=0.05, atol=0)


def test_rates_grow_over_all_stages():
    assert drop_path_rates(0.4, [2, 3]) == [pytest.approx([0.0, 0.1]), pytest.approx([0.2, 0.3, 0.4])]


@torch.no_grad()
def test_attention_is_the_papers():
    query, key, value = (torch.randn(2, tokens, 6, dtype=torch.float64) for tokens in (4, 5, 5))
    bias = torch.randn(1, 2, 4, 5, dtype=torch.float64)
    found = attention(query, key, value, 2, bias)
    for head in range(2):
        own = slice(3 * head, 3 * head + 3)
        scores = torch.einsum("bqc,bkc->bqk", query[..., own], key[..., own]) / 3**0.5 + bias[:, head]
        assert_close(found[..., own], scores.softmax(-1) @ value[..., own])


@pytest.mark.parametrize(("height", "width"), [(6, 9), (4, 5), (2, 7)])
@pytest.mark.parametrize(("size", "shift"), [(3, 0), (3, 1), (4, 2)])
@torch.no_grad()
def test_windows_are_the_papers(height, width, size, shift):
    torch.manual_seed(0)
    layer = WindowAttention(4, 2, size, shift).double()
    layer.relative_position_bias_table.normal_()
    x = torch.randn(2, height, width, 4, dtype=torch.float64)
    found = layer(x)
    for index in range(2):
        expected = attended(
            x[index].numpy(),
            layer.qkv.weight.numpy(),
            layer.out.weight.numpy(),
            layer.relative_position_bias_table.numpy(),
            size=size,
            shift=shift,
            num_heads=2,
        )
        assert_close(found[index], torch.from_numpy(expected))


@torch.no_grad()
def test_merging_puts_neighbours_of_a_channel_side_by_side():
    merging = PatchMerging(8, 1e-5).double()
    x = torch.randn(1, 5, 6, 4, dtype=torch.float64)
    around = F.pad(x, (0, 0, 0, 0, 0, 1))
    neighbours = torch.stack([around[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], dim=-1)
    assert_close(merging(x), merging.reduction(merging.norm(neighbours.flatten(-2))))


@torch.no_grad()
def test_a_smaller_map_is_padded_for_reduction():
    layer = ReducedAttention(4, 1, 4, 1e-6).eval()
    x = torch.randn(1, 3, 9, 4)
    assert layer.reduction(x).shape == (1, 1, 2, 4)
    assert layer(x).shape == x.shape


@torch.no_grad()
def test_positions_are_resized_where_the_grid_differs():
    net = VIT().eval().double()
    assert net.positions(4, 6) is net.pos_embed
    for height, width in ((6, 4), (8, 12)):
        resized = net.positions(height, width)
        assert resized.shape == (1, 1 + height * width, 8)
        assert_close(resized[:, 0], net.pos_embed[:, 0])
    modes = [VIT(interpolate_mode=mode).eval().double() for mode in ("bicubic", "bilinear", "nearest")]
    for other in modes:
        other.load_state_dict(net.state_dict())
    maps = [other(torch.ones(1, 3, 64, 64, dtype=torch.float64))[0] for other in modes]
    assert len({round(feature.sum().item(), 9) for feature in maps}) == 3


@torch.no_grad()
def test_options_of_the_plain_transformer():
    assert VIT(image_size=32).grid == (4, 4)
    assert VIT(out_indices=(-1,)).out_indices == (4,)
    assert len(VIT(out_indices=(1, 2)).blocks) == 3
    assert VIT().patch_embed.conv.bias is None
    assert VIT(patch_bias=True).patch_embed.conv.bias is not None
    assert VIT().feature_specs == 3 * (FeatureSpec(8, 8),)
    image = torch.randn(1, 3, 32, 48)
    last = VIT(final_norm=True).eval()(image)[-1]
    assert_close(last.mean(1), torch.zeros(1, 4, 6), atol=1e-5, rtol=0)
    net = VIT(with_cls_token=False).eval()
    before = net(image)
    net.cls_token.add_(1)
    assert all(torch.equal(a, b) for a, b in zip(before, net(image), strict=True))
    net = VIT(drop_rate=0.5)
    assert not torch.equal(net(image)[0], net(image)[0])


@torch.no_grad()
def test_what_goes_by_position_is_resized_in_beit():
    torch.manual_seed(0)
    table = BEIT().blocks[0].attn.relative_position_bias_table
    assert table.shape == (7 * 11 + 3, 2)
    assert 0.01 < table.std() < 0.03
    net = MAE(init_values=0.5).eval()
    assert not net.blocks[0].attn.relative_position_bias_table.any()
    assert not net.pos_embed.any()
    assert net.blocks[0].gamma1.eq(0.5).all()
    assert BEIT().pos_embed is None
    # A constant stays one at any size: as long as nothing but the grid differs, all patches look alike.
    nn.init.constant_(net.pos_embed, 0.3)
    feature = net(torch.ones(1, 3, 80, 64))[-1]
    assert_close(feature, feature[..., :1, :1].expand_as(feature))


@pytest.mark.parametrize(("height", "width"), [(2, 3), (1, 4)])
def test_tokens_of_one_offset_have_one_share(height, width):
    index = index_of(height, width)
    at = [(i, j) for i in range(height) for j in range(width)]
    shares = {}
    for a, first in enumerate(at):
        for b, second in enumerate(at):
            offset = first[0] - second[0], first[1] - second[1]
            assert shares.setdefault(offset, index[1 + a, 1 + b].item()) == index[1 + a, 1 + b]
    assert len(set(shares.values())) == len(shares) == (2 * height - 1) * (2 * width - 1)
    assert index[0, 0] == index[1:, 0].unique() + 1 == index[0, 1:].unique() + 2 == len(shares) + 2


def test_the_defaults_are_the_smallest_published():
    with torch.device("meta"):
        counts = [sum(p.numel() for p in make().parameters()) for make in (MixVisionTransformer, SwinTransformer)]
        assert [spec.channels for spec in ConvNeXt().feature_specs] == [96, 192, 384, 768]
        assert ConvNeXt().stages[0].blocks[0].gamma.shape == (96,)
    assert [round(count / 1e6, 1) for count in counts] == [3.3, 27.5]
    assert ConvNeXt(depths=[1], channels=[4]).stages[0].blocks[0].gamma.eq(1e-6).all()


@torch.no_grad()
def test_the_norm_of_mscan_can_be_another():
    net = SEGNEXT(norm=partial(GroupNorm, num_groups=2))
    assert not any(isinstance(part, nn.BatchNorm2d) for part in net.modules())
