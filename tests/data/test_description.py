import json
from pathlib import Path

import pytest

from seglit.data.description import read_description
from seglit.data.errors import DataError
from seglit.data.normalise import IMAGENET_MEAN, IMAGENET_STD
from seglit.data.palette import checked_palette, default_palette
from seglit.data.roots import resolved_root

WHOLE = {
    "name": "mine",
    "classes": ["sky", "road"],
    "palette": [[1, 2, 3], [4, 5, 6]],
    "ignore_index": 254,
    "mean": [1.0, 2.0, 3.0],
    "std": [4.0, 5.0, 6.0],
}


def described(folder: Path, contents: object):
    (folder / "classes.json").write_text(json.dumps(contents), encoding="utf-8")
    return read_description(folder)


def test_reads_what_is_there(tmp_path):
    description = described(tmp_path, WHOLE)
    assert description.classes_and_palette(2, None, None) == (["sky", "road"], [(1, 2, 3), (4, 5, 6)])
    assert (description.ignore_index, description.mean, description.std) == (254, (1, 2, 3), (4, 5, 6))


def test_makes_up_what_is_not(tmp_path):
    for description in (read_description(tmp_path), described(tmp_path, {})):
        names, palette = description.classes_and_palette(3, None, None)
        assert names == ["class_0", "class_1", "class_2"]
        assert palette == default_palette(3)
        assert (description.ignore_index, description.mean, description.std) == (None, IMAGENET_MEAN, IMAGENET_STD)


def test_what_is_given_wins(tmp_path):
    description = described(tmp_path, WHOLE)
    names, palette = description.classes_and_palette(3, ["a", "b", "c"], None)
    assert (names, palette) == (["a", "b", "c"], default_palette(3))  # the file's colours are not theirs
    assert description.classes_and_palette(2, None, [[9, 9, 9], [8, 8, 8]])[1] == [(9, 9, 9), (8, 8, 8)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, None, None), r"num_classes=3, but classes of .*classes.json has 2 entries"),
        ((3, ["a", "b"], None), r"num_classes=3, but classes has 2 entries"),
        ((2, None, [[0, 0, 0]]), r"num_classes=2, but palette has 1 entries"),
        ((2, ["a", "a"], None), r"classes: every class needs a name of its own, got \['a'\] more than once"),
        ((2, None, [[0, 0, 0], [0, 0, -1]]), r"palette: a colour is three whole numbers .* got \[0, 0, -1\]"),
    ],
)
def test_disagreement_is_refused_with_both_numbers(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        described(tmp_path, WHOLE).classes_and_palette(*arguments)


def test_another_ignore_index_is_refused_unless_mapped(tmp_path):
    description = described(tmp_path, WHOLE)
    with pytest.raises(DataError, match=r"ignore_index=255, but .*classes.json says 254; .*\{254: 255\}"):
        description.check_ignore_index(255, {0: 0})
    description.check_ignore_index(255, {254: 255})
    description.check_ignore_index(254, None)
    described(tmp_path, {}).check_ignore_index(7, None)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ([], "must hold a JSON object"),
        ({"classes": "sky"}, "classes: must be a list of names, got 'sky'"),
        ({"classes": ["sky", 3]}, "classes: must be a list of names"),
        ({"classes": ["sky", ""]}, "classes: must be a list of names"),
        ({"classes": None}, "classes: must be a list of names, got None"),
        ({"palette": 7}, "palette: must be a list of colours, got 7"),
        ({"palette": [7]}, "palette: a colour is three whole numbers from 0 to 255, got 7"),
        ({"palette": [[0, 0]]}, "palette: a colour is three whole numbers"),
        ({"palette": [["a", 0, 0]]}, "palette: a colour is three whole numbers"),
        ({"ignore_index": "255"}, "ignore_index: must be a whole number, got '255'"),
        ({"ignore_index": True}, "ignore_index: must be a whole number"),
        ({"mean": "1, 2, 3"}, "mean: must be three numbers"),
        ({"mean": [1.0, 2.0]}, "mean: must be three numbers"),
        ({"mean": [1.0, 2.0, float("nan")]}, "mean: must be three numbers"),
        ({"std": [1.0, 0.0, 1.0]}, "std: must be positive"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, contents, message):
    with pytest.raises(DataError, match=f"classes.json: {message}"):
        described(tmp_path, contents)


def test_a_file_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "classes.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"classes.json: cannot be read as JSON"):
        read_description(tmp_path)


def test_default_palette_is_that_of_pascal_voc_and_never_repeats():
    assert default_palette(5) == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]
    assert default_palette(22)[20:] == [(0, 64, 128), (128, 64, 128)]
    assert len(set(default_palette(1000))) == 1000
    assert checked_palette(default_palette(300), "palette") == default_palette(300)


def test_a_root_is_a_path_or_an_embedded_set(tmp_path, monkeypatch):
    assert resolved_root(tmp_path) == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolved_root("~/data") == tmp_path / "data"
    with pytest.raises(ValueError, match=r"seglit:nope: no data set of that name comes with seglit; there are \["):
        resolved_root("seglit:nope")
    (tmp_path / "toy" / "images").mkdir(parents=True)
    monkeypatch.setattr("seglit.data.roots.__file__", str(tmp_path / "roots.py"))
    assert resolved_root("seglit:toy") == tmp_path / "toy"


def test_a_key_that_is_nearly_read_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"'clases' is not read; did you mean 'classes'"):
        described(tmp_path, {"clases": ["sky", "road"]})
    assert described(tmp_path, {"licence": "CC0", "source": "here"}).classes is None
