"""The faults that the mutation test plants are there to be planted, and the page lists them all."""

import pytest

import mutation_test
from mutation_faults import FAULTS, Fault

ROOT = mutation_test.ROOT


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_fault_can_be_planted(fault: Fault) -> None:
    text = (ROOT / "src" / "seglit" / fault.file).read_text(encoding="utf-8")
    changed = mutation_test.planted(fault, text)
    assert changed != text
    if fault.file.endswith(".py"):
        # C++ that does not compile leaves its tests nothing to catch.
        compile(changed, fault.file, "exec")
    for argument in fault.tests:
        assert not argument.startswith("tests/") or (ROOT / argument).is_file()


def test_there_are_enough_and_each_has_its_name() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert sum(not fault.equivalent for fault in FAULTS) >= 40


def test_the_page_lists_all_faults_and_none_survived() -> None:
    text = mutation_test.PAGE.read_text(encoding="utf-8")
    rows = [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if line.startswith("| ")]
    assert [name for name in rows if name not in ("fault", "---")] == [fault.name for fault in by_file()]
    for fault in FAULTS:
        assert mutation_test.celled(f"| {mutation_test.code(fault.old)} |")[2:-3] in text
    assert "**survived**" not in text


def by_file() -> list[Fault]:
    files = list(dict.fromkeys(fault.file for fault in FAULTS))
    return sorted(FAULTS, key=lambda fault: files.index(fault.file))


def test_what_does_not_occur_once_is_refused() -> None:
    fault = Fault("name", "file.py", "a", "b", ())
    assert mutation_test.planted(fault, "xay") == "xby"
    for text in ("x", "aa"):
        with pytest.raises(ValueError, match=r"'name': 'a' occurs \d times in file\.py; it must occur once"):
            mutation_test.planted(fault, text)


def test_a_page() -> None:
    caught, survived = FAULTS[0], FAULTS[1]
    equivalent = next(fault for fault in FAULTS if fault.equivalent)
    found = {caught: "tests/test_x.py::test_y[a|b]", survived: mutation_test.SURVIVED, equivalent: ""}
    page = mutation_test.page(found)
    assert mutation_test.percent(found) == 50
    assert "**1 of 2 faults are caught, 50.0 %; 1 more" in page
    assert r"| `tests/test_x.py::test_y[a\|b]` |" in page
    assert "| **survived** |" in page
    assert f"| none: {equivalent.equivalent} |" in page


def test_an_update_keeps_the_rows_of_faults_that_were_not_tried() -> None:
    equivalent = next(fault for fault in FAULTS if fault.equivalent)
    first, second, third, *_ = (fault for fault in FAULTS if not fault.equivalent)
    page = mutation_test.page({first: "test_a[x|y]", second: "", equivalent: ""})
    found = mutation_test.updated({second: "test_b", third: "test_c"}, page)
    assert found == {first: "test_a[x|y]", second: "test_b", third: "test_c", equivalent: ""}
    assert mutation_test.updated({}, page) == {first: "test_a[x|y]", second: "", equivalent: ""}
    assert mutation_test.updated({}, page.replace(mutation_test.code(first.old), "`other`")).keys() == {
        second,
        equivalent,
    }
