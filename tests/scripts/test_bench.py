"""What the benchmarks share, the page of them, and the comparison with what is recorded; no times."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import bench_loss
import bench_metrics
import benching
import performance

HEADER = "a machine, 2 cores\nPython 3.11\n"


def row(ratio: float, measure: str = "CE", shape: str = "city", **more: Any) -> dict[str, Any]:
    return {"measure": measure, "shape": shape, "ours": 2.0, "peer": 2 * ratio, "unit": "ms", "ratio": ratio} | more


def section(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"command": "python scripts/bench_x.py", "day": "2026-01-01", "header": HEADER.splitlines(), "rows": [*rows]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Scripts, record and page of a project of its own."""
    monkeypatch.setattr(performance, "SCRIPTS", tmp_path)
    monkeypatch.setattr(performance, "ROOT", tmp_path)
    monkeypatch.setattr(performance, "RECORD", tmp_path / "performance.json")
    monkeypatch.setattr(performance, "PAGE", tmp_path / "performance.md")
    return tmp_path


def script(folder: Path, name: str, *rows: dict[str, Any], end: str = "") -> None:
    """A script that writes these rows."""
    (folder / name).write_text(
        f"import sys, json\nprint({HEADER!r})\nprint('a row')\n"
        f"from pathlib import Path\n"
        f"Path(sys.argv[sys.argv.index('--json') + 1]).write_text({json.dumps(rows)!r})\n{end}\n"
    )


def test_only_a_ratio_below_half_has_fallen() -> None:
    known = [row(4.0), row(10.0, shape="ade"), row(3.0, measure="Dice")]
    assert performance.fallen(known, [row(2.0), row(5.0, shape="ade")]) == []
    assert performance.fallen(known, [row(100.0), row(0.1, measure="another")]) == []
    assert performance.fallen(known, [row(1.9), row(4.9, shape="ade")]) == [
        "CE, city: the ratio fell from 4 to 1.9",
        "CE, ade: the ratio fell from 10 to 4.9",
    ]
    assert performance.fallen(known, [row(float("nan"))]) == ["CE, city: the ratio fell from 4 to nan"]


def test_the_better_of_two_runs_counts() -> None:
    best = performance.better([row(1.0), row(5.0, shape="ade")], [row(2.0), row(4.0, shape="ade")])
    assert [found["ratio"] for found in best] == [2.0, 5.0]


def test_a_page() -> None:
    page = performance.page({"bench_x.py": section(row(4.0, note="a | b <c>"))})
    assert "## X\n\n`python scripts/bench_x.py`, 2026-01-01\n\na machine, 2 cores · Python 3.11\n" in page
    assert r"| CE | city | 2 | 8 | ms | **4** | a \| b &lt;c> |" in page
    assert page.endswith("|\n")


def test_the_page_is_of_the_record_and_of_scripts_that_are_there() -> None:
    record = performance.read_record()
    assert record
    assert performance.PAGE.read_text(encoding="utf-8") == performance.page(record)
    for name, known in record.items():
        assert (performance.SCRIPTS / name).is_file()
        assert len({performance.key(found) for found in known["rows"]}) == len(known["rows"]) > 0


def test_all_scripts_are_run_and_recorded(folder: Path) -> None:
    script(folder, "bench_a.py", row(4.0))
    script(folder, "bench_b.py", row(2.0), row(3.0, shape="ade"))
    performance.main([])
    record = performance.read_record()
    assert list(record) == ["bench_a.py", "bench_b.py"]
    assert record["bench_a.py"]["header"] == HEADER.splitlines()
    assert record["bench_b.py"]["rows"] == [row(2.0), row(3.0, shape="ade")]
    assert performance.PAGE.read_text() == performance.page(record)
    script(folder, "bench_a.py", row(5.0))
    script(folder, "bench_b.py", row(7.0))
    performance.main(["--only", "bench_a.py"])
    assert [known["rows"][0]["ratio"] for known in performance.read_record().values()] == [5.0, 2.0]
    performance.main(["--check"])


def test_a_script_that_fails_leaves_what_is_recorded(folder: Path) -> None:
    script(folder, "bench_a.py", row(4.0))
    script(folder, "bench_b.py", row(2.0))
    performance.main([])
    script(folder, "bench_a.py", row(1.0), end="raise KeyError('broken')")
    script(folder, "bench_b.py", row(3.0))
    with pytest.raises(SystemExit, match=r"bench_a\.py: exit status 1: KeyError: 'broken'; what was recorded"):
        performance.main([])
    assert [known["rows"][0]["ratio"] for known in performance.read_record().values()] == [4.0, 3.0]


def test_a_check_names_the_row_that_fell(folder: Path) -> None:
    script(folder, "bench_a.py", row(4.0), row(4.0, shape="ade"))
    performance.main([])
    before = performance.RECORD.read_text()
    script(folder, "bench_a.py", row(1.0), row(3.0, shape="ade"))
    with pytest.raises(SystemExit) as stopped:
        performance.main(["--check"])
    assert stopped.value.code == "bench_a.py: CE, city: the ratio fell from 4 to 1"
    assert performance.RECORD.read_text() == before


def test_a_check_looks_twice(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script(folder, "bench_a.py", row(4.0))
    performance.main([])
    mend = "from pathlib import Path; me = Path(__file__); me.write_text(me.read_text().replace('1.0', '3.0'))"
    script(folder, "bench_a.py", row(1.0), end=mend)
    performance.main(["--check"])
    assert "bench_a.py: a ratio fell; once more" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("end", "arguments", "words"),
    [
        (f"sys.exit(print('no network', file=sys.stderr) or {benching.UNAVAILABLE})", [], "no network"),
        ("", ["--budget", "-1"], "0 s are spent, and the budget is -1 s"),
    ],
)
def test_what_is_not_checked_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], end: str, arguments: list[str], words: str
) -> None:
    script(folder, "bench_a.py", row(4.0))
    performance.main([])
    script(folder, "bench_a.py", row(1.0), end=end)
    performance.main(["--check", *arguments])
    assert f"bench_a.py is not checked: {words}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row(4.0, shape="other")], "its short form has none of the rows that are recorded"),
        ([{"measure": "CE"}], "a row needs measure, shape, ours, peer, unit, ratio, and is"),
    ],
)
def test_a_check_of_other_rows_fails(folder: Path, rows: list[dict[str, Any]], words: str) -> None:
    script(folder, "bench_a.py", row(4.0))
    performance.main([])
    script(folder, "bench_a.py", *rows)
    with pytest.raises(SystemExit, match=words):
        performance.main(["--check"])


def test_a_check_of_nothing_fails(folder: Path) -> None:
    with pytest.raises(SystemExit, match="nothing is recorded"):
        performance.main(["--check"])
    script(folder, "bench_a.py", row(4.0))
    with pytest.raises(SystemExit, match=r"there is no bench_b\.py; there are bench_a\.py"):
        performance.main(["--only", "bench_b.py"])
    performance.main([])
    (folder / "bench_a.py").unlink()
    with pytest.raises(SystemExit, match=r"bench_a\.py: is recorded and is not there"):
        performance.main(["--check"])


def test_contenders_run_in_turn() -> None:
    called: list[str] = []
    times = benching.interleaved({name: lambda name=name: called.append(name) for name in "ab"}, 3)
    assert "".join(called) == "abbaab"
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}


def test_a_row_of_times() -> None:
    found = benching.time_row("CE", "city", [2.0, 1.0, 30.0], [8.0, 7.0, 9.0], "same terms")
    assert found == row(4.0, ours=2.0, peer=8.0, note="same terms; least 1 against 7")
    assert benching.shown(found) == "CE, city: 2 against 8 ms, ratio 4  (same terms; least 1 against 7)"


def test_a_header_has_machine_and_versions() -> None:
    lines = benching.header(2, ("torch", "no-such-package")).splitlines()
    assert "2 threads" in lines[0]
    assert lines[1].endswith(f"torch {torch.__version__.split('+')[0]}")


def test_without_the_other_libraries_a_script_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(_: Path) -> dict[str, str]:
        raise OSError("no network")

    monkeypatch.setattr(sys, "argv", ["bench_x.py", "--environment", str(tmp_path)])
    monkeypatch.setattr(benching.peers, "prepared", refused)
    with pytest.raises(SystemExit) as stopped:
        benching.among_peers(benching.options_of(None), "bench_x.py")
    assert stopped.value.code == benching.UNAVAILABLE


def test_peak_memory_is_that_of_the_call(tmp_path: Path) -> None:
    script = tmp_path / "peak.py"
    lines = [
        "import sys",
        f"sys.path.insert(0, {str(performance.SCRIPTS)!r})",
        "import torch, benching",
        "benching.print_peak(lambda: torch.ones(16 * 2**20, dtype=torch.float32))",
    ]
    script.write_text("\n".join(lines), encoding="utf-8")
    assert 55 < benching.peak_of(str(script)) < 80


@pytest.mark.parametrize("name", bench_loss.SHAPES)
def test_labels_of_the_losses_are_as_described(name: str) -> None:
    shape = bench_loss.SHAPES[name]
    labels = bench_loss.labels_of(shape)
    assert labels.shape == (shape.images, *shape.high)
    assert set(labels.unique().tolist()) == {*range(shape.classes), bench_loss.VOID}
    assert 0.08 < (labels == bench_loss.VOID).float().mean() < 0.12
    assert (labels[:, :, 1:] == labels[:, :, :-1]).float().mean() > 0.9


def test_ours_computes_what_plain_pytorch_does() -> None:
    shape = bench_loss.Shape(2, 5, (8, 16), (32, 64))
    labels = bench_loss.labels_of(shape)
    logits = bench_loss.logits_of(shape, labels, "unsure")
    names = "seglit CE", "plain CE"
    results = {name: bench_loss.stepped(bench_loss.CALLS[name](5), logits, labels) for name in names}
    assert "terms agree" in bench_loss.agreement(*names, results, labels)
    results["plain CE"] = ({"loss_": 2 * results["plain CE"][0]["loss_"]}, results["plain CE"][1])
    assert "terms DIFFER" in bench_loss.agreement(*names, results, labels)


def test_every_measure_has_its_calls() -> None:
    for _, words, ours, peer, sure in bench_loss.MEASURES:
        assert {ours, peer} <= set(bench_loss.CALLS), words
        assert sure in bench_loss.SURE
    for _, words, *calls in bench_loss.PEAKS:
        assert set(calls) <= set(bench_loss.CALLS), words


def test_maps_of_the_metrics_are_as_described() -> None:
    predictions, labels = bench_metrics.maps(19, torch.uint8, "blocks")
    assert predictions.shape == labels.shape == bench_metrics.SHAPE
    known = labels != bench_metrics.VOID
    assert 0.07 < 1 - known.float().mean() < 0.13
    assert 0.78 < (predictions == labels)[known].float().mean() < 0.84


def test_an_environment_that_is_complete_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(*_: Any, **__: Any) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(benching.peers.venv, "create", made)
    stamp = {"wanted": json.dumps([benching.peers.NEEDED, benching.peers.PEERS]), "refused": {"smp": "no wheel"}}
    (tmp_path / "conformance.json").write_text(json.dumps(stamp))
    assert benching.peers.prepared(tmp_path) == {"smp": "no wheel"}
    (tmp_path / "conformance.json").write_text(json.dumps(stamp | {"wanted": "another version"}))
    with pytest.raises(AssertionError, match="made again"):
        benching.peers.prepared(tmp_path)
