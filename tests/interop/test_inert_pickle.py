"""A pickle runs nothing, whatever is in it."""

import contextlib
import io
import os
import pickle
import pickletools
from collections import Counter, OrderedDict, defaultdict
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seglit.interop.inert_pickle import Global, Made, Persistent, PickleError, UnusualKey, read_pickle


def read(content: bytes):
    return read_pickle(io.BytesIO(content))


class Evil:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


class Harm:
    """Proof: each way to run code would put a word in here."""

    done: list[str] = []  # noqa: RUF012, shared on purpose

    def __new__(cls, *words):
        cls.done.append("new")
        return super().__new__(cls)

    def __setstate__(self, state):
        self.done.append("setstate")


def harm(*words):
    Harm.done.append("called")


HERE = f"{__name__}\n"
ATTACKS = {
    "reduce": pickle.dumps(Evil(harm, ("x",))),
    "system": pickle.dumps(Evil(os.system, ("touch harmed",))),
    "eval": pickle.dumps(Evil(eval, ("open('harmed', 'w')",))),
    "global": f"c{HERE}harm\n(S'x'\ntR.".encode(),
    "stack_global": b"\x8c" + bytes([len(__name__)]) + __name__.encode() + b"\x8c\x04harm\x93)R.",
    "dotted": b"\x8c\x08builtins\x8c\x0deval.__call__\x93\x8c\x0eopen('harmed')\x85R.",
    "inst": f"(S'x'\ni{HERE}Harm\n.".encode(),
    "obj": f"(c{HERE}Harm\nS'x'\no.".encode(),
    "newobj": f"c{HERE}Harm\n)\x81.".encode("latin1"),
    "newobj_ex": b"\x80\x04" + f"c{HERE}Harm\n)}}\x92.".encode("latin1"),
    "build": f"c{HERE}Harm\n)\x81}}b.".encode("latin1"),
    "append": f"c{HERE}Harm\n)\x81S'x'\na.".encode("latin1"),
    "persistent": b"cos\nsystem\nS'touch harmed'\n\x85RQ.",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Harm.done.clear()
    result = read(ATTACKS[name])
    assert isinstance(result, Made | Persistent)
    assert not Harm.done
    assert not any(tmp_path.iterdir())


def test_the_attacks_are_real(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Harm.done.clear()
    pickle.loads(ATTACKS["system"])
    for name in ("reduce", "newobj", "build"):
        pickle.loads(ATTACKS[name].replace(__name__.encode(), Harm.__module__.encode()))
    assert (tmp_path / "harmed").exists()
    assert {"called", "new", "setstate"} <= set(Harm.done)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x82\x01.", "EXT1"),
        (b"\x83\x01\x00.", "EXT2"),
        (b"\x84\x01\x00\x00\x00.", "EXT4"),
        (b"\x97.", "NEXT_BUFFER"),
        (b"cos\nsystem\n}S'__call__'\nNsb.", "sets attributes of Global"),
        (b"]}b.", "sets attributes of list"),
        (b"N}b.", "sets attributes of NoneType"),
        (b"h\x05.", "did not keep"),
        (b"(.", "takes more"),
        (b"0.", "empty list"),
        (b"NN.", "leaves values"),
        (b"NNa.", "appends to NoneType"),
        (b"NNNs.", "puts keys into NoneType"),
        (b"(Nd.", "a key without a value"),
        (b"\x80\x04NN\x93.", "no text"),
        (b"N", "exhausted"),
        (b"", "exhausted"),
        (b"B\xff\xff\xff\x7f", "expected"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "expected"),
    ],
)
def test_refused(content, words):
    with pytest.raises(PickleError, match=words):
        read(content)


def test_too_many_operations(monkeypatch):
    monkeypatch.setattr("seglit.interop.inert_pickle.MAX_OPERATIONS", 10)
    with pytest.raises(PickleError, match="more than 10"):
        read(b"N0" * 10 + b"N.")


def test_nested_keys_are_not_hashed():
    key = ()
    for _ in range(200):
        key = (key, key)
    (found,) = read(b"}" + pickle.dumps(key, 2)[2:-1] + b"Ns.")
    assert isinstance(found, UnusualKey)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(VALUES, st.integers(2, 5))
def test_plain_values_are_themselves(value, protocol):
    def inert(part):
        """Before protocol 3 bytes are made by a call."""
        return isinstance(part, Made) and str(part.by) in ("_codecs.encode", "__builtin__.bytes")

    def same(found, expected):
        if isinstance(expected, dict):
            return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
        if isinstance(expected, list | tuple):
            return type(found) is type(expected) and all(map(same, found, expected)) and len(found) == len(expected)
        return found == expected or (isinstance(expected, bytes) and protocol == 2 and inert(found))

    assert same(read(pickle.dumps(value, protocol)), value)


@pytest.mark.parametrize("protocol", range(6))
def test_objects_are_names(protocol):
    ordered = OrderedDict(a=1)
    ordered.note = "kept by Python, not here"
    content = read(
        pickle.dumps(
            [
                ordered,
                Counter("aa"),
                defaultdict(list, b=2),
                np.float64(3.0),
                np.arange(3),
                datetime(2020, 1, 1),
                {1, 2},
            ],
            protocol,
        )
    )
    assert content[0] == {"a": 1}
    assert [str(part) for part in content[1:3]] == ["collections.Counter", "collections.defaultdict"]
    assert content[2].items == {"b": 2}
    assert all(isinstance(part, Made) for part in content[3:6])


def test_python_2_ordered_dict():
    assert read(b"ccollections\nOrderedDict\n(]](S'a'\nI1\neatR.") == {"a": 1}


def test_one_object_twice():
    first, second = read(pickle.dumps([[], 1, []]))[::2]
    assert first is not second
    shared = []
    first, second = read(pickle.dumps([shared, shared]))
    assert first is second


def test_a_list_in_itself():
    inner: list = []
    inner.append(inner)
    found = read(pickle.dumps(inner))
    assert found[0] is found


def test_what_is_stored_elsewhere():
    stored: list[Persistent] = []
    result = read_pickle(io.BytesIO(b"(S'storage'\ncos\nsystem\ntQ."), stored)
    assert stored == [result]
    assert isinstance(result.identifier[1], Global)


CODES = [code.code.encode("latin1") for code in pickletools.opcodes]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(CODES) | st.binary(max_size=4) | st.just(b"cos\nsystem\n"), max_size=20))
def test_noise_is_refused_or_inert(pieces):
    with contextlib.suppress(PickleError):
        read(b"".join(pieces) + b".")
