"""Configuration files are read as MMEngine reads them, and nothing in them runs."""

from textwrap import dedent

import pytest

from seglit.interop.mmseg.config_file import ConfigFileError, read


def written(folder, text, name="config.py"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("dict(a=1, b=[1, (2.5, None)], c={'d': True})", {"a": 1, "b": [1, (2.5, None)], "c": {"d": True}}),
        ("dict({'a': 1}, **base)", {"a": 1, "x": 0}),
        ("{**base, 'x': -2}", {"x": -2}),
        ("[*sizes, 1] + sizes * 2", [3, 4, 1, 3, 4, 3, 4]),
        ("sizes[0] // 2 + 7 % 4 - 2**3 / 4", 2.0),
        ("tuple(sizes[::-1])", (4, 3)),
        ("sum(sizes) + len(base) + int('3') + max(1, 2)", 13),
        ("[dict(i=i) for i in range(2)]", [{"i": 0}, {"i": 1}]),
        ("{f'stage.{i}.{n}': n for i, n in enumerate(sizes)}", {"stage.0.3": 3, "stage.1.4": 4}),
        ("[a * b for a in sizes for b in sizes]", [9, 12, 12, 16]),
        ("'-'.join(['a', 'b']) + 'c'", "a-bc"),
        ("'{{ fileBasenameNoExtension }}.x'", "config.x"),
    ],
)
def test_expressions(tmp_path, expression, value):
    found = read(written(tmp_path, f"base = dict(x=0)\nsizes = [3, 4]\nvalue = {expression}\n")).values["value"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("import os", "import"),
        ("from os import system", "import"),
        ("__import__('os').system('touch ran')", "not read"),
        ("x = open('ran', 'w')", "not read"),
        ("x = eval('1')", "not read"),
        ("x = (lambda: 1)()", "not read"),
        ("x = ().__class__", "attributes"),
        ("x = 'a'.format(1)", "not read"),
        ("x = f'{1:100000000}'", "formats"),
        ("x = 9**9**9", "power"),
        ("x = 2**256 * 2**256", "bits"),
        ("x = 1 / 0", "zero"),
        ("x = [0] * 10**9", "not computed"),
        ("x = 'a' % 1", "not computed"),
        ("x = list(range(10**9))", "items"),
        ("x = [i for i in range(9000) for j in range(9000)]", "steps"),
        ("x = y", "y has no value"),
        ("x = [1][2]", "IndexError"),
        ("x = {1, 2}", "set"),
        ("x = b'a'", "bytes"),
        ("x = [i for i in [1] if i]", "conditions"),
        ("if True: x = 1", "condition"),
        ("for x in [1]: pass", "loop"),
        ("def f(): pass", "function"),
        ("x, y = 1, 2", "assigned"),
        ("x = {(1, 2): 3}", "key"),
        ("x = '{{ _base_.y }}'", "not read"),
        ("x = '{{ $HOME:a }}'", "not read"),
        ("x = _base_.y", "no base"),
        ("x = dict(", "never closed"),
    ],
)
def test_what_is_no_literal_is_refused_with_its_line(tmp_path, monkeypatch, line, word):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigFileError, match=word) as error:
        read(written(tmp_path, f"a = 1\n{line}\n"))
    assert "config.py:2: " in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["config.py"]


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 5000 + "]" * 5000,
        "x = " + "-" * 50000 + "1",
        "x = " + "+".join(["1"] * 50000),
        "x = [0]\n" + "x = [x, x]\n" * 40,
        "x = dict()\nx.update(y=x)\n",
        "#" * (1 << 21),
        "x = '\0'",
    ],
    ids=["brackets", "signs", "sum", "doubling", "cycle", "size", "null"],
)
def test_nothing_keeps_it_busy(tmp_path, text):
    with pytest.raises(ConfigFileError, match="config"):
        read(written(tmp_path, text))


def test_bases_are_merged(tmp_path):
    written(tmp_path, "model = dict(a=dict(x=1, y=2), b=dict(x=1), c=[1, 2])\nsize = (2, 3)\n", "base/one.py")
    written(tmp_path, "steps = 5\n", "base/two.py")
    config = read(
        written(
            tmp_path,
            """
            _base_ = ['base/one.py', './base/two.py']
            model = dict(a=dict(x=3), b=dict(_delete_=True, z=1), c=[3], d=_base_.model.a.y, e={{_base_.size}})
            new = dict(_delete_=True)
            """,
        )
    )
    assert config.values == {
        "model": {"a": {"x": 3, "y": 2}, "b": {"z": 1}, "c": [3], "d": 2, "e": (2, 3)},
        "size": (2, 3),
        "steps": 5,
        "new": {"_delete_": True},
    }
    assert config.own == {"model", "new"}


def test_what_two_keys_share_is_changed_in_one(tmp_path):
    written(tmp_path, "shared = dict(x=1)\na = shared\nb = shared\n", "base.py")
    values = read(written(tmp_path, "_base_ = 'base.py'\na = dict(x=2)\n")).values
    assert (values["a"], values["b"]) == ({"x": 2}, {"x": 1})


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("_base_ = 'config.py'", "own bases"),
        ("_base_ = 'none.py'", "no file"),
        ("_base_ = 'mmseg::x.py'", "must name"),
        ("_base_ = ['one.py', 'one.py']", "several"),
        ("_base_ = 'one.py'\nx = dict(y=1)", "_delete_"),
    ],
)
def test_bases_that_do_not_work(tmp_path, text, word):
    written(tmp_path, "x = 1", "one.py")
    with pytest.raises(ConfigFileError, match=word):
        read(written(tmp_path, text))
