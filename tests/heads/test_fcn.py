import pytest
import torch
from torch import nn

from seglit.features import FeatureSpec
from seglit.heads import FCNHead

SPECS = (FeatureSpec(2, 8),)


def reach(head: FCNHead) -> int:
    """How far from a pixel the head still sees it; all weights are made positive, so that nothing cancels."""
    for parameter in head.parameters():
        nn.init.constant_(parameter, 1.0)
    impulse = torch.zeros(1, 2, 41, 41)
    impulse[..., 20, 20] = 1.0
    head = head.eval()
    response = head([impulse]) - head([torch.zeros_like(impulse)])
    rows = response[0, 0].abs().gt(1e-4).nonzero()[:, 0]
    return int(rows.max()) - 20


@pytest.mark.parametrize(
    ("num_convs", "kernel_size", "dilation", "concat_input", "expected"),
    [
        (1, 3, 1, False, 1),
        (2, 3, 1, False, 2),
        (2, 3, 3, False, 6),
        (1, 5, 2, False, 4),
        (2, 1, 1, False, 0),
        (2, 3, 1, True, 3),
        # The last convolution, which joins the input, is not dilated.
        (2, 3, 3, True, 7),
    ],
)
def test_the_field_of_view_follows_the_options(num_convs, kernel_size, dilation, concat_input, expected):
    head = FCNHead(
        SPECS,
        2,
        channels=4,
        num_convs=num_convs,
        kernel_size=kernel_size,
        dilation=dilation,
        concat_input=concat_input,
    )
    assert reach(head) == expected


def test_concat_input_shows_the_input_to_the_last_convolution():
    head = FCNHead(SPECS, 2, channels=4).eval()
    nn.init.zeros_(head.convs[1].norm.weight)
    features = torch.randn(2, 1, 2, 5, 5)
    assert not torch.equal(head([features[0]]), head([features[1]]))
    head = FCNHead(SPECS, 2, channels=4, concat_input=False).eval()
    nn.init.zeros_(head.convs[1].norm.weight)
    assert torch.equal(head([features[0]]), head([features[1]]))


def test_bad_arguments():
    with pytest.raises(ValueError, match="num_convs must not be negative, got -1"):
        FCNHead(SPECS, 2, num_convs=-1)
    with pytest.raises(ValueError, match="num_convs=0 needs channels="):
        FCNHead(SPECS, 2, channels=1, num_convs=0)
    with pytest.raises(ValueError, match=r"kernel_size must be odd .* got 2"):
        FCNHead(SPECS, 2, channels=4, kernel_size=2)
