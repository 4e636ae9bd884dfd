"""Translated networks against numbers of the real MMSegmentation; `scripts/golden_parts.py` makes them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from reference.mmseg_nets import fill, image
from seglit.interop.mmseg.network import network

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
# Those of the fast nets and of transformers are of another form, and have tests of their own.
CASES = {
    name: case
    for path in (GOLDEN / "mmseg_parts.attn.json", GOLDEN / "mmseg_parts.cnn.json")
    for name, case in json.loads(path.read_text()).items()
}


def filled(case: dict[str, Any]) -> torch.nn.Module:
    """The translated network with the weights that the names there stand for."""
    translated = network(case["model"])
    assert translated.settings.untaken() == []
    net = translated.build().double().eval()
    # What a module is called here is seen from one of its parameters; the others keep the last part of their name.
    names = {
        new.rsplit(".", 1)[0]: module
        for module in case["modules"].split()
        for new in translated.renamed({f"{module}.weight": torch.zeros(())})
    }
    own = {new: key for key in case.get("parameters", "").split() for new in translated.renamed({key: torch.zeros(())})}
    with torch.no_grad():
        for key, value in net.state_dict().items():
            module, last = key.rsplit(".", 1)
            value.copy_(fill(own.get(key) or f"{names[module]}.{last}", tuple(value.shape)))
    assert set(names) == {key.rsplit(".", 1)[0] for key in net.state_dict() if key not in own}
    return net


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_logits_are_those_of_the_original(name: str) -> None:
    case = CASES[name]
    expected = case["logits"]
    logits = filled(case)(image(f"img/{name}", tuple(case["size"])))["decode"]
    assert list(logits.shape) == expected["shape"]
    samples = torch.tensor(expected["samples"], dtype=torch.float64)
    places = torch.linspace(0, logits.numel() - 1, len(samples)).long()
    tolerance = {"rtol": 0, "atol": 1e-10 * expected["absmax"]}
    assert_close(logits.flatten()[places], samples, **tolerance)
    assert_close(logits.abs().max().item(), expected["absmax"], **tolerance)
    assert_close(logits.mean().item(), expected["mean"], **tolerance)
