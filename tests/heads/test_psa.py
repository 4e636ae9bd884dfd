import pytest
import torch
from torch.testing import assert_close

from seglit.heads.psa import spread


def looped(masks: torch.Tensor, mask_size: tuple[int, int]) -> torch.Tensor:
    """Every number of every pixel's mask, put where it belongs."""
    count, _, height, width = masks.shape
    rows, columns = mask_size
    found = masks.new_zeros(count, height, width, height, width)
    for y in range(height):
        for x in range(width):
            for row in range(rows):
                for column in range(columns):
                    there = y + row - (rows - 1) // 2, x + column - (columns - 1) // 2
                    if 0 <= there[0] < height and 0 <= there[1] < width:
                        found[:, there[0], there[1], y, x] = masks[:, row * columns + column, y, x]
    return found.view(count, height * width, height * width)


@pytest.mark.parametrize("mask_size", [(1, 1), (3, 5), (4, 2), (9, 11), (97, 5)])
@pytest.mark.parametrize("size", [(5, 6), (1, 4)])
def test_masks_are_laid_on_the_map(size, mask_size):
    draw = torch.Generator().manual_seed(0)
    masks = torch.randn(2, mask_size[0] * mask_size[1], *size, generator=draw, dtype=torch.float64)
    ours, reference = masks.clone().requires_grad_(), masks.clone().requires_grad_()
    found, expected = spread(ours, mask_size), looped(reference, mask_size)
    assert_close(found, expected, rtol=0, atol=0)
    weights = torch.randn(found.shape, generator=draw, dtype=torch.float64)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    assert_close(ours.grad, reference.grad, rtol=0, atol=0)
