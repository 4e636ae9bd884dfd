import parity
from parity import Result

PAGE = parity.peers.ROOT / "docs" / "parity.md"
STORED = parity.kept(PAGE.with_suffix(".json"))


def test_every_network_that_could_be_built_keeps_the_bound():
    compared = [entry for entry in STORED.values() if not entry.refused and not entry.failed]
    assert len(compared) > 100
    assert max(entry.relative for entry in compared) <= parity.BOUND
    assert all("mmpretrain" in entry.failed for entry in STORED.values() if entry.failed)


def test_the_page_has_every_configuration():
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in STORED if name.removesuffix(".py") not in text] == []


def test_small_logits_count_absolutely_and_failures_as_infinite():
    assert Result("a", difference=1e-6, largest=0.5).relative == 1e-6
    assert Result("a", difference=1e-6, largest=2.0).relative == 5e-7
    assert Result("a", failed="KeyError").relative == float("inf")


def test_folders_take_turns():
    found = [("a/1", {}), ("a/2", {}), ("b/1", {}), ("a/3", {}), ("b/2", {})]
    assert [name for name, _ in parity.in_turn(found)] == ["a/1", "b/1", "a/2", "b/2", "a/3"]


def test_what_is_kept_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "version", lambda name: "1")
    results = {"f/y.py": Result("f/y.py", 1e-7, 3.0, 10, 0, (64, 128)), "f/x.py": Result("f/x.py", refused="no")}
    parity.write(results, tmp_path / "page.md")
    assert {name: str(entry) for name, entry in parity.kept(tmp_path / "page.json").items()} == {
        name: str(results[name]) for name in sorted(results)
    }
    assert "| f/y | 1.0e-07 | 3 | 64 x 128 | 10 | 0 |" in (tmp_path / "page.md").read_text()
