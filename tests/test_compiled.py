"""How the C++ of the package is compiled, and what happens where it cannot be."""

import logging
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from seglit import compiled, counting
from seglit.losses import CrossEntropyLoss, HeadCriterion, native, proof

SOURCES = [native.SOURCE, counting.SOURCE]
needs_compiler = pytest.mark.skipif(shutil.which("c++") is None or os.name != "posix", reason="needs c++")


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, as if nobody had asked for anything in this process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    forget = compiled._compiled.cache_clear, proof.kernel_for.cache_clear
    for each in forget:
        each()
    yield tmp_path
    for each in forget:
        each()


@needs_compiler
def test_it_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    folder = tmp_path / "a folder"
    first = compiled.library(counting.SOURCE, folder)
    assert [path.name for path in folder.iterdir()] == [first.name]
    calls: list[list[str]] = []
    run = compiled._run
    monkeypatch.setattr(compiled, "_run", lambda command: (calls.append(command), run(command))[1])
    assert compiled.library(counting.SOURCE, folder) == first
    assert [command[1:] for command in calls] == [["--version"]]
    # Another processor has another.
    monkeypatch.setattr(compiled, "processor", lambda: "flags: none")
    assert compiled.library(counting.SOURCE, folder) != first


def test_the_cache_is_where_caches_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert compiled.cache() == Path("/somewhere/seglit")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert compiled.cache() == Path.home() / ".cache" / "seglit"


@pytest.mark.parametrize("trouble", ["no compiler", "it refuses", "it hangs", "no folder"])
def test_without_it_the_work_is_done_all_the_same(
    trouble: str, fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With one line in the log for each file, however much work there is."""
    said = {
        "no compiler": "no compiler nowhere; install one, or name it by the variable CXX",
        "it refuses": "unrecognized|unknown|unsupported|no compiler",
        "it hangs": "timed out after|no compiler",
        "no folder": "Not a directory|File exists|cannot find|no compiler",
    }[trouble]
    if trouble == "no compiler":
        monkeypatch.setenv("CXX", "nowhere")
    elif trouble == "it refuses":
        monkeypatch.setattr(compiled, "OPTIONS", ("--no-such-option",))
    elif trouble == "it hangs":
        monkeypatch.setattr(compiled, "SECONDS", 0.001)
    else:
        (fresh / "seglit").write_text("in the way")
    head = HeadCriterion({"loss_ce": CrossEntropyLoss()})
    logits, labels = torch.zeros(1, 3, 2, 2), torch.zeros(1, 4, 4, dtype=torch.long)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert head.path(3, torch.device("cpu")) == "tiles"
            head(logits, labels)
            assert counting.image_matrices(labels, labels, 3, 255).sum() == labels.numel()
    for record, source in zip(caplog.records, SOURCES, strict=True):
        assert record.message.startswith(f"{source.name} cannot be compiled, so what it does takes longer: ")
        assert re.search(said, record.message), record.message


@needs_compiler
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_the_compiler_has_nothing_to_say(source: Path, tmp_path: Path) -> None:
    options = [*compiled.OPTIONS, "-Wall", "-Wextra", "-Werror"]
    command = ["c++", *options, "-o", str(tmp_path / "library.so"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
