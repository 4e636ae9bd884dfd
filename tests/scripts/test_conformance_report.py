"""The page of who keeps which law, from verdicts; and that the page there is of the laws there are."""

from typing import Any

import pytest

import conformance_peers
import conformance_report
from seglit.testing import LAWS, SAMPLER_LAWS, verdict

PAGE = conformance_report.TARGET.read_text(encoding="utf-8")


def found() -> dict[str, Any]:
    laws = {law.__name__: ["keeps", ""] for law in LAWS}
    broken = laws | {"void_value": ["breaks", "1, not 2\n  on a batch"], "flips": ["raises", "KeyError: 'a|b'"]}
    return {
        "seglit": {"version": "", "verdicts": {"Mine": laws | {"unkept_pixels": ["no claim", "there is no sampler"]}}},
        "torch": {"version": "1.0", "verdicts": {"Theirs": broken | {"saturation": broken["flips"]}}},
        "mmseg": {"missing": "it could not be installed"},
        "smp": {"missing": "ImportError: no such thing"},
    }


def test_a_page() -> None:
    page = conformance_report.page(found())
    assert "| `seglit:Mine` |" + " yes |" * 19 + " - |" in page
    assert "| `torch:Theirs` | **no** |" in page
    assert "**segmentation-models-pytorch is missing here**: ImportError: no such thing" in page
    assert "| 1, not 2 | `python scripts/conformance_report.py --show torch:Theirs void_value` |" in page
    assert r"| KeyError: 'a\|b'; so in 2 laws |" in page
    assert "### seglit\n\nNone.\n" in page
    assert page.count("**not found**") == len(conformance_report.KNOWN)


def test_the_page_is_of_these_laws_and_found_every_known_defect() -> None:
    for number, law in enumerate([*LAWS, *SAMPLER_LAWS], 1):
        assert f"{number}. `{law.__name__}`: " in PAGE
    assert "**not found**" not in PAGE
    assert "is missing here" not in PAGE
    for name in conformance_peers.seglit_losses():
        assert f"| `seglit:{name}` |" in PAGE


@pytest.mark.parametrize("law", ["all_void", "sum_of_batches"])
def test_torch_breaks_what_the_page_says(law: str) -> None:
    subject = conformance_peers.torch_losses()["CrossEntropyLoss"]
    assert verdict(subject, law).state == "breaks"
    assert f"--show torch:CrossEntropyLoss {law}`" in PAGE


def test_a_library_that_is_not_there_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> dict[str, Any]:
        raise ImportError("no module")

    monkeypatch.setitem(conformance_peers.LIBRARIES, "smp", absent)
    assert conformance_peers.judged("smp") == {"missing": "ImportError: no module"}
