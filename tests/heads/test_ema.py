import torch
import torch.nn.functional as F
from torch.testing import assert_close

from seglit.heads.ema import BasesAttention


def looped(x: torch.Tensor, bases: torch.Tensor, num_stages: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One image's places rebuilt, and its bases, one after the other."""
    places = x.flatten(1).T
    for _ in range(num_stages):
        share = torch.stack([(bases.T @ place).softmax(0) for place in places])
        found = [(share[:, [k]] * places).sum(0) / share[:, k].sum() for k in range(bases.shape[1])]
        bases = torch.stack([base / base.norm() for base in found], dim=1)
    return torch.stack([bases @ weights for weights in share], dim=1).view_as(x), bases


def test_places_are_mixtures_of_the_bases_found_for_their_image():
    attention = BasesAttention(5, num_bases=3, num_stages=2, momentum=0.25).double()
    x = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    before = attention.bases.clone()
    assert_close(before.norm(dim=1), torch.ones(1, 3, dtype=torch.float64), rtol=0, atol=1e-6)
    rebuilt = attention(x)
    expected = [looped(image, before[0], 2) for image in x]
    assert_close(rebuilt, torch.stack([image for image, _ in expected]))

    mean = F.normalize(torch.stack([bases for _, bases in expected]).mean(0), dim=0)
    assert_close(attention.bases[0], 0.75 * before[0] + 0.25 * mean)
    after = attention.bases.clone()
    attention.eval()(x)
    assert torch.equal(attention.bases, after)


def test_processes_agree_on_the_bases(monkeypatch):
    """Another process with the same bases, and one whose bases outweigh ours."""
    summed = []
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.all_reduce", lambda mean: summed.append(mean.mul_(2)))
    attention = BasesAttention(5, num_bases=3, num_stages=1, momentum=1.0)
    x = torch.randn(1, 5, 3, 4)
    _, bases = looped(x[0], attention.bases[0], 1)
    attention(x)
    assert len(summed) == 1
    assert_close(attention.bases[0], bases)
