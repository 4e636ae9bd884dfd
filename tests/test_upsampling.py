"""Resizing by bands is torch's, forward and transposed."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from seglit.upsampling import Upsampling

SIZES = [
    ((4, 5), (32, 40)),
    ((4, 5), (12, 15)),
    ((4, 5), (4, 10)),
    ((3, 5), (9, 5)),
    ((4, 5), (4, 5)),
    ((5, 7), (33, 51)),
    ((97, 9), (769, 65)),
    ((3, 300), (6, 601)),
    ((8, 9), (5, 4)),
    ((1, 1), (7, 8)),
    ((5, 6), (1, 1)),
]


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("size_in", "size_out"), SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("height", [1, 5, 1000])
def test_bands_are_those_of_torch(
    size_in: tuple[int, int], size_out: tuple[int, int], align_corners: bool, height: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(2, *size_in, dtype=torch.float64, generator=generator).requires_grad_()
    result = F.interpolate(source[None], size_out, mode="bilinear", align_corners=align_corners)[0]
    gradient = torch.randn(result.shape, dtype=torch.float64, generator=generator)
    upsampling = Upsampling(size_in, size_out, align_corners)

    def arranged(maps: Tensor, start: int, stop: int) -> Tensor:
        return torch.stack([upsampling.arranged(rows) for rows in maps[:, start:stop].detach()])

    total = torch.zeros_like(source)
    bands = list(upsampling.bands(height))
    assert [row for start, stop in bands for row in range(start, stop)] == list(range(size_out[0]))
    for start, stop in bands:
        values = upsampling.values(source.detach(), start, stop, torch.float64)
        assert_close(values, arranged(result, start, stop), rtol=0, atol=1e-12)
        with torch.no_grad():
            upsampling.add_transposed(arranged(gradient, start, stop), start, stop, total)
    (expected,) = torch.autograd.grad(result, source, gradient)
    assert_close(total.detach(), expected, rtol=0, atol=1e-11)


def test_half_precision_is_read_in_single() -> None:
    source = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    values = Upsampling((3, 4), (6, 8), False).values(source, 0, 6, torch.float32)
    assert values.dtype == torch.float32
    assert_close(values.sum(), F.interpolate(source[None].float(), scale_factor=2, mode="bilinear").sum())
