"""The documentation does what it says: the tutorial to the letter, every command, every snippet, every link."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import make_reference
from conftest import tiny_overrides, write_tiny_data
from seglit.check import check
from seglit.config import compose, explain
from seglit.train import run

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMPOSING = ("python -m seglit.train", "python -m seglit.doctor")
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[tuple[str, str, str]]:
    """Language, title and text of each fenced block."""
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        yield match.group(1), match.group(2) or "", match.group(3)


def python(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return started([sys.executable, "-c", text], folder)


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return started([sys.executable if word == "python" else word for word in shlex.split(command)], folder)


def started(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300)


def followed(page: str, folder: Path) -> int:
    """Do what a page says, in a folder: its files, Python and commands. How many commands there were."""
    ran = 0
    for language, title, text in blocks(ROOT / "docs" / page):
        if title:
            (folder / title).parent.mkdir(parents=True, exist_ok=True)
            (folder / title).write_text(text)
        elif language == "python":
            done = python(text, folder)
            assert done.returncode == 0, done.stderr
        elif language == "bash":
            for command in text.splitlines():
                done = shell(command, folder)
                assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
                ran += 1
        else:
            assert language == "console"
            command, _, expected = text.removeprefix("$ ").partition("\n")
            done = shell(command, folder)
            assert done.returncode == 2
            assert done.stderr == expected
            ran += 1
    return ran


@pytest.mark.slow
def test_the_tutorial_to_the_letter(tmp_path: Path) -> None:
    assert followed("tutorial.md", tmp_path) == 8
    assert len(list((tmp_path / "labels").glob("*.png"))) == 12
    for name in ("first", "shapes", "ohem"):
        assert (tmp_path / "runs" / name / "pictures" / "curves.png").is_file()


@pytest.mark.slow
def test_a_head_of_ones_own_to_the_letter(tmp_path: Path) -> None:
    assert followed("adding-a-head.md", tmp_path) == 3
    assert (tmp_path / "runs" / "strips" / "checkpoints" / "last.ckpt").is_file()


def commands() -> list[str]:
    """Every command line that composes a configuration in a shell block, but for those of pages that are followed."""
    found = []
    for page in PAGES:
        for language, _, text in blocks(page):
            if language in {"bash", "console"} and page.name not in {"tutorial.md", "adding-a-head.md"}:
                lines = [line.removeprefix("$ ").split("   #")[0] for line in text.splitlines()]
                found += [
                    line for line in lines if line.startswith(("python -m seglit.train", "python -m seglit.doctor"))
                ]
    return found


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_commands_compose(command: str) -> None:
    words = shlex.split(command)[3:]
    if words == ["+model.optimizer.lrr=0.1"]:
        pytest.skip("an example of a mistake, which the tests of the check have")
    chosen = []
    for word in (word for word in words if word != "-m"):
        name, _, value = word.partition("=")
        # Of a sweep, its last job.
        chosen.append(f"{name}={re.split(r',(?![^[]*])', value)[-1]}" if "-m" in words else word)
    check(compose(["name=x", "output_dir=x", *chosen]))


ROW = re.compile(r"^\| (.+?) \| `(.+)` \|$", re.MULTILINE)
TABLES = (ROOT / "docs" / "mistakes.md").read_text(encoding="utf-8").split("## In the data")
SAID = [(word.strip("`"), answer) for word, answer in ROW.findall(TABLES[0])]
PLANTED = ROW.findall(TABLES[1])


def answer_to(overrides: list[str]) -> str | None:
    with pytest.raises(Exception) as caught:  # noqa: PT011, its words are what is compared
        run(compose(overrides))
    return explain(caught.value)


@pytest.mark.parametrize(("mistake", "answer"), SAID, ids=[mistake for mistake, _ in SAID])
def test_a_mistake_on_the_command_line(mistake: str, answer: str, tmp_path: Path) -> None:
    assert answer_to(["name=x", f"output_dir={tmp_path}/run", mistake]) == answer
    assert not (tmp_path / "run").exists()


def plant(mistake: str, images: Path, masks: Path) -> None:
    """Make the mistake in the files of a split."""
    image, mask = images / "0.png", masks / "0.png"
    labels = np.array(Image.open(mask))
    match mistake:
        case "a mask of 3 classes holds a 9":
            labels[5, 7] = 9
            Image.fromarray(labels).save(mask)
        case "a mask is an RGB picture":
            Image.fromarray(np.zeros((48, 48, 3), np.uint8)).save(mask)
        case "a mask is missing":
            mask.unlink()
        case "a mask has another size than its image":
            Image.fromarray(labels[:, :40]).save(mask)
        case "a mask is a JPEG":
            Image.fromarray(labels).save(mask.with_suffix(".jpg"), quality=40)
            mask.unlink()
        case "an image is cut short":
            image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
        case "an image has 16 bits":
            Image.fromarray(np.full((48, 48), 300, np.uint16)).save(image)
        case "the folder of a split is empty":
            for path in images.iterdir():
                path.unlink()
        case _:
            raise AssertionError(f"the page has a mistake that is not made here: {mistake}")


@pytest.mark.parametrize(("mistake", "answer"), PLANTED, ids=[mistake for mistake, _ in PLANTED])
def test_a_mistake_in_the_data(mistake: str, answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_tiny_data(Path("my_data"))
    plant(mistake, Path("my_data/images/train"), Path("my_data/masks/train"))
    assert answer_to(["name=x", *tiny_overrides(Path("my_data"), Path("run"))]) == answer


def test_the_page_of_mistakes_has_thirty_and_more() -> None:
    assert len(SAID) >= 25
    assert len(PLANTED) == 8


def test_there_are_commands_to_compose() -> None:
    assert len(commands()) >= 6


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_yaml_is_an_overlay_that_composes(page: Path, tmp_path: Path) -> None:
    for place, (language, title, text) in enumerate(blocks(page)):
        if language == "yaml" and not title:
            content = yaml.safe_load(text)
            (tmp_path / "experiment").mkdir(exist_ok=True)
            header = "" if text.startswith("# @package") else "# @package _global_\n"
            (tmp_path / "experiment" / f"snippet{place}.yaml").write_text(header + text)
            cfg = compose([f"+experiment=snippet{place}", "name=x", "output_dir=x"], tmp_path)
            check(cfg)
            assert set(content) <= set(cfg)


def test_python_of_the_pages_runs(tmp_path: Path) -> None:
    ran = 0
    for page in PAGES:
        for language, title, text in blocks(page):
            if language == "python" and not title and page.name == "lightning-cli.md":
                done = python(text, tmp_path)
                assert done.returncode == 0, done.stderr
                ran += 1
    assert ran == 1


def test_the_reference_is_up_to_date() -> None:
    make_reference.main(["--check"])


def test_the_site_builds_and_has_no_dead_link(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the documentation's tools are optional")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "reference" / "index.html").is_file()
