"""What holds for all heads with attention; what each of them attends to is compared with numbers of the original."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from seglit import heads
from seglit.blocks import GroupNorm
from seglit.features import FeatureSpec
from seglit.heads.attention import attend

SPECS = (FeatureSpec(4, 4), FeatureSpec(6, 8), FeatureSpec(8, 8))
HEADS = {
    "nl": heads.NLHead,
    "nl-dot": partial(heads.NLHead, mode="dot_product"),
    "dnl": heads.DNLHead,
    "gc": heads.GCHead,
    "gc-all": partial(heads.GCHead, pooling_type="avg", fusion_types=("channel_add", "channel_mul")),
    "cc": heads.CCHead,
    "da": heads.DAHead,
    "ann": heads.ANNHead,
    "isa": partial(heads.ISAHead, down_factor=(3, 2)),
    "psa": partial(heads.PSAHead, mask_size=(5, 3)),
    "ema": partial(heads.EMAHead, num_bases=4),
    "enc": partial(heads.EncHead, num_codes=4),
    "enc-lateral": partial(heads.EncHead, num_codes=4, in_index=(0, 1, 2)),
    "apc": partial(heads.APCHead, pool_scales=(1, 2)),
    "dm": partial(heads.DMHead, filter_sizes=(1, 2, 3), fusion=True),
}
every_head = pytest.mark.parametrize("name", HEADS)


def features(height: int = 5, width: int = 7) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(height)
    sizes = ((2 * height - 1, 2 * width), (height, width), (height, width))
    return [torch.randn(2, s.channels, *size, generator=draw) for s, size in zip(SPECS, sizes, strict=True)]


def stirred(head: nn.Module) -> nn.Module:
    """Without parts that begin switched off or near zero."""
    torch.manual_seed(0)
    for parameter in head.parameters():
        if parameter.ndim < 2:
            nn.init.uniform_(parameter, 0.5, 1.5)
        else:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return head


def made(name: str, **arguments) -> nn.Module:
    return stirred(HEADS[name](SPECS, 3, channels=16, **arguments))


@every_head
@pytest.mark.parametrize("size", [(5, 7), (8, 4), (1, 1)])
def test_logits_have_the_size_of_the_feature(name, size):
    head = made(name).eval()
    assert head.stride == 8
    assert head(features(*size)).shape == (2, 3, *size)


@every_head
def test_every_parameter_has_an_influence(name):
    head = made(name)
    sum(logits.square().mean() for logits in head.outputs(features()).values()).backward()
    trained = {key: parameter.grad for key, parameter in head.named_parameters() if parameter.requires_grad}
    assert [key for key, gradient in trained.items() if gradient is None or not gradient.any()] == []
    frozen = [key for key, parameter in head.named_parameters() if not parameter.requires_grad]
    assert frozen == (["projection.weight", "projection.bias"] if name == "ema" else [])


@every_head
@torch.no_grad()
def test_images_of_a_batch_are_apart_in_evaluation(name):
    head = made(name).eval()
    alone, together = head([x[:1] for x in features()]), head(features())[:1]
    assert_close(alone, together, rtol=0, atol=1e-5 * float(together.abs().max()))


@pytest.mark.parametrize("name", [name for name in HEADS if name != "dm"])
@torch.no_grad()
def test_a_far_pixel_is_seen(name):
    """But by dynamic filters, which reach no further than their size."""
    head = made(name).eval()
    given, changed = features(11, 9), features(11, 9)
    for x in changed:
        x[..., -1, -1] *= -2.0
    assert (head(changed) - head(given))[..., 0, 0].abs().max() > 1e-6


@every_head
@torch.no_grad()
def test_further_outputs_are_those_that_are_named(name):
    head = made(name, dropout_ratio=0.0).eval()
    outputs = head.outputs(features())
    assert set(outputs) == {"", *head.further}
    assert_close(outputs[""], head(features()))
    assert len({logits.shape for logits in outputs.values()}) == 1


@every_head
def test_norm_is_used_throughout(name):
    head = made(name, norm=partial(GroupNorm, num_groups=2))
    assert not any(isinstance(part, nn.BatchNorm2d) for part in head.modules())
    head([x[:1] for x in features()]).sum().backward()


@pytest.mark.parametrize("name", ["nl", "dnl", "gc", "cc"])
def test_blocks_begin_as_their_shortcut(name):
    head = HEADS[name](SPECS, 3, channels=8).eval()
    x = torch.randn(1, 8, 4, 5)
    assert_close(head.body.block(x), x, rtol=0, atol=0)
    assert head.body.fusion is not None
    assert HEADS[name](SPECS, 3, channels=8, concat_input=False).body.fusion is None


CHANGES = [
    ("nl", {"reduction": 4}),
    ("nl", {"mode": "dot_product"}),
    ("nl", {"use_scale": False}),
    ("nl-dot", {"use_scale": False}),
    ("dnl", {"reduction": 4}),
    ("dnl", {"use_scale": False}),
    ("dnl", {"temperature": 1.0}),
    ("gc", {"ratio": 0.5}),
    ("gc", {"pooling_type": "avg"}),
    ("gc", {"fusion_types": ["channel_mul"]}),
    ("cc", {"recurrence": 1}),
    ("da", {"pam_channels": 3}),
    ("ann", {"project_channels": 3}),
    ("ann", {"key_pool_scales": (1, 2)}),
    ("isa", {"isa_channels": 3}),
    ("isa", {"down_factor": (2, 3)}),
    ("psa", {"mask_size": (3, 3)}),
    ("psa", {"psa_type": "collect"}),
    ("psa", {"psa_type": "distribute"}),
    ("psa", {"shrink_factor": 1}),
    ("psa", {"normalization_factor": None}),
    ("psa", {"psa_softmax": False}),
    ("ema", {"ema_channels": 5}),
    ("ema", {"num_bases": 2}),
    ("ema", {"num_stages": 1}),
    ("ema", {"concat_input": False}),
    ("enc", {"num_codes": 3}),
    ("enc", {"in_index": (0, 2)}),
    ("enc-lateral", {"align_corners": True}),
    ("apc", {"pool_scales": (1, 3)}),
    ("apc", {"fusion": False}),
    ("dm", {"filter_sizes": (1, 2, 5)}),
    ("dm", {"fusion": False}),
]


@pytest.mark.parametrize(("name", "arguments"), CHANGES, ids=str)
@torch.no_grad()
def test_arguments_have_an_effect(name, arguments):
    head, changed = made(name).eval(), made(name, **arguments).eval()
    shapes = {key: value.shape for key, value in head.state_dict().items()}
    if shapes == {key: value.shape for key, value in changed.state_dict().items()}:
        changed.load_state_dict(head.state_dict())
        assert not torch.allclose(head(features()), changed(features()), rtol=1e-4, atol=1e-7)


MISTAKES = [
    ("nl", {"mode": "gaussian"}, "mode must be one of"),
    ("nl", {"reduction": 0}, "reduction must be at least 1, got 0"),
    ("dnl", {"temperature": 0.0}, "temperature must be positive, got 0"),
    ("gc", {"ratio": 0.0}, r"ratio must lie in \(0, 1\], got 0"),
    ("gc", {"pooling_type": "max"}, "pooling_type must be one of"),
    ("gc", {"fusion_types": ["add"]}, "fusion_types must be one or more of"),
    ("cc", {"recurrence": 0}, "recurrence must be at least 1, got 0"),
    ("ann", {"in_index": (0, 1, 2)}, "in_index must name two features"),
    ("ann", {"key_pool_scales": ()}, "key_pool_scales must be one or more positive numbers"),
    ("isa", {"down_factor": (8, 0)}, "down_factor must be two positive numbers"),
    ("psa", {"psa_type": "both"}, "psa_type must be one of"),
    ("psa", {"mask_size": (97,)}, "mask_size must be two positive numbers"),
    ("psa", {"shrink_factor": 0}, "shrink_factor must be at least 1, got 0"),
    ("psa", {"normalization_factor": 0.0}, "normalization_factor must be positive"),
    ("ema", {"num_bases": 0}, "num_bases must be at least 1, got 0"),
    ("ema", {"num_stages": 0}, "num_stages must be at least 1, got 0"),
    ("ema", {"momentum": 1.5}, "momentum must lie between 0 and 1, got 1.5"),
    ("enc", {"num_codes": 0}, "num_codes must be at least 1, got 0"),
    ("apc", {"pool_scales": (0,)}, "pool_scales must be one or more positive numbers"),
    ("dm", {"filter_sizes": ()}, "filter_sizes must be one or more positive numbers"),
]


@pytest.mark.parametrize(("name", "arguments", "words"), MISTAKES, ids=str)
def test_mistakes_are_named(name, arguments, words):
    with pytest.raises(ValueError, match=words):
        HEADS[name](SPECS, 3, channels=8, **arguments)


def test_attention_is_a_mean_by_softmax():
    draw = torch.Generator().manual_seed(0)
    query = torch.randn(2, 3, 2, 4, generator=draw, dtype=torch.float64)
    key, value = (torch.randn(2, channels, 5, generator=draw, dtype=torch.float64) for channels in (3, 6))
    found = attend(query, key, value, scale=0.7)
    for image in range(2):
        for row in range(2):
            for column in range(4):
                share = (0.7 * query[image, :, row, column] @ key[image]).softmax(0)
                assert_close(found[image, :, row, column], value[image] @ share)
