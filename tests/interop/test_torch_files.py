"""Files of torch in both forms, honest ones, broken ones and malicious ones."""

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from seglit.config import ConfigError
from seglit.interop.torch_files import LEGACY_PROTOCOL, MAGIC, open_torch_file

FORMS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


class HistoryBuffer:
    """In the place of a logging library's class, with an array and a function."""

    def __init__(self):
        self.values, self.method = np.arange(3.0), os.system


def content():
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.rand(2, 3, 4, 4)).sum().backward()
    optimizer.step()
    shared = torch.arange(12.0).reshape(3, 4)
    strange = {
        "turned": shared.t(),
        "row": shared[1],
        "whole": shared,
        "parameter": nn.Parameter(torch.rand(2)),
        "none": torch.empty(0, 3),
        "one": torch.tensor(3, dtype=torch.int32),
        "half": torch.ones(2, dtype=torch.float16),
        "brain": torch.ones(2, dtype=torch.bfloat16),
        "truth": torch.tensor([True, False]),
    }
    log = {"loss": HistoryBuffer(), "scalar": np.float64(1.5)}
    return {"state_dict": {**net.state_dict(), **strange}, "optimizer": optimizer.state_dict(), "message_hub": log}


def saved(path: Path, value, *, zipped: bool) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return path


@FORMS
def test_every_tensor(tmp_path, zipped):
    expected = content()
    with open_torch_file(saved(tmp_path / "a b ü.pth", expected, zipped=zipped)) as file:
        found = file.tensors(file.content["state_dict"])
    assert list(found) == list(expected["state_dict"])
    for name, value in expected["state_dict"].items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)
    assert found["turned"].untyped_storage().data_ptr() == found["whole"].untyped_storage().data_ptr()


@FORMS
def test_an_object_among_the_weights_is_named(tmp_path, zipped):
    path = saved(tmp_path / "x.pth", {"state_dict": {"a": HistoryBuffer(), "b": os.system, "c": 1.0}}, zipped=zipped)
    with open_torch_file(path) as file:
        for name, words in {"a": "HistoryBuffer", "b": "posix.system", "c": "float"}.items():
            with pytest.raises(ConfigError, match=rf"x\.pth: {name}: is .*{words}"):
                file.tensors({name: file.content["state_dict"][name]})
        with pytest.raises(ConfigError, match="whose name is no text"):
            file.tensors({1: None})


@FORMS
def test_truncated(tmp_path, zipped):
    whole = saved(tmp_path / "whole.pth", content(), zipped=zipped).read_bytes()
    path = tmp_path / "part.pth"
    for length in {*range(0, len(whole), len(whole) // 60), *range(1, 6), len(whole) - 1}:
        path.write_bytes(whole[:length])
        with pytest.raises(ConfigError, match=r"part\.pth: .*; give a \.pth"), open_torch_file(path) as file:
            file.tensors(file.content["state_dict"])


@FORMS
def test_a_file_of_one_byte_changed_is_refused_or_read(tmp_path, zipped):
    whole = saved(tmp_path / "whole.pth", {"state_dict": {"a": torch.ones(3)}}, zipped=zipped).read_bytes()

    @settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.integers(0, len(whole) - 1), st.integers(0, 255))
    def changed(place, byte):
        path = tmp_path / "part.pth"
        path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
        try:
            with open_torch_file(path) as file:
                if isinstance(file.content, dict) and isinstance(file.content.get("state_dict"), dict):
                    file.tensors(file.content["state_dict"])
        except ConfigError:
            pass

    changed()


def test_no_file(tmp_path):
    with pytest.raises(ConfigError, match="no such file"), open_torch_file(tmp_path / "x.pth"):
        pass


class Call:
    """Pickled as a call with anything as its arguments."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


class Stored:
    """Pickled as something stored elsewhere."""

    def __init__(self, *identifier):
        self.identifier = identifier


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.identifier if isinstance(value, Stored) else None


def pickled(value) -> bytes:
    buffer = io.BytesIO()
    Pickler(buffer, 2).dump(value)
    return buffer.getvalue()


def archive(path: Path, members: dict[str, bytes], compression=zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, value in members.items():
            file.writestr(name, value)
    return path


def tensor(storage=None, offset=0, size=(2,), stride=(1,)):
    storage = storage or Stored("storage", torch.FloatStorage, "0", "cpu", 4)
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, None)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (tensor(offset=-1), "from 0 on"),
        (tensor(offset=3), "do not fill"),
        (tensor(stride=(-1,)), "from 0 on"),
        (tensor(size=(-2,)), "from 0 on"),
        (tensor(size=(5,), stride=(0,)), "do not fill"),
        (tensor(size=(2**40,), stride=(0,)), "do not fill"),
        (tensor(size=(2**70,), stride=(0,)), "from 0 on"),
        (tensor(size=(1,) * 17, stride=(1,) * 17), "from 0 on"),
        (tensor(size=(2, 2)), "from 0 on"),
        (tensor(size=(True,)), "from 0 on"),
        (tensor(size="ab"), "from 0 on"),
        (Call(torch._utils._rebuild_tensor_v2, None), "without size"),
        (tensor(Stored("storage", torch.FloatStorage, "../../etc/passwd", "cpu", 4)), "has no member"),
        (tensor(Stored("storage", torch.FloatStorage, "0", "cpu", 2**61)), "16 bytes"),
        (tensor(Stored("storage", torch.DoubleStorage, "0", "cpu", 4)), "16 bytes, not 32"),
        (tensor(Stored("storage", torch.FloatStorage, "0", "cpu", -4)), "no size"),
        (tensor(Stored("storage", torch.FloatStorage, 0, "cpu", 4)), "no name"),
        (tensor(Stored("storage", os.system, "0", "cpu", 4)), "posix.system"),
        (tensor(Stored("module", torch.FloatStorage, "0", "cpu", 4)), "without a storage"),
        (tensor(Stored("storage", torch.FloatStorage, "0", "cpu", 4, ("v", 0, 2))), "before 0.4"),
        (tensor(Stored(os.system)), "without a storage"),
        (Stored("storage", torch.FloatStorage, "0", "cpu", 4), "is a storage, not"),
        (Call(os.system, "touch harmed"), "posix.system"),
        (Call(torch.load, "other.pth"), "torch.serialization.load"),
        (Call(torch._utils._rebuild_parameter, Call(os.system, "touch harmed"), False, None), "posix.system"),
    ],
)
def test_tensors_that_lie(tmp_path, monkeypatch, node, words):
    monkeypatch.chdir(tmp_path)
    path = archive(tmp_path / "x.pth", {"x/data.pkl": pickled({"a": node}), "x/data/0": bytes(16)})
    with open_torch_file(path) as file, pytest.raises(ConfigError, match=words):
        file.tensors(file.content)
    assert [path] == [*tmp_path.iterdir()]


def test_one_storage_of_two_types(tmp_path):
    other = tensor(Stored("storage", torch.IntStorage, "0", "cpu", 4))
    path = archive(tmp_path / "x.pth", {"x/data.pkl": pickled({"a": tensor(), "b": other}), "x/data/0": bytes(16)})
    with open_torch_file(path) as file, pytest.raises(ConfigError, match="two types"):
        file.tensors(file.content)


GOOD = pickled({"a": 1})


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"x/data/0": b""}, "no data.pkl"),
        ({"x/data.pkl": GOOD, "y/data.pkl": GOOD}, "more than one"),
        ({"../../x/data.pkl": GOOD}, "no data.pkl"),
        ({"x/data.pkl": GOOD, "x/byteorder": b"big"}, "byte order"),
        ({"x/data.pkl": b""}, "exhausted"),
    ],
)
def test_archives_that_are_none(tmp_path, members, words):
    with pytest.raises(ConfigError, match=words), open_torch_file(archive(tmp_path / "x.pth", members)):
        pass


def test_bombs(tmp_path, monkeypatch):
    path = archive(tmp_path / "x.pth", {"x/data.pkl": GOOD, "x/data/0": bytes(10**6)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ConfigError, match="compressed"), open_torch_file(path):
        pass
    # Members that lie about their size: the central list says a gigabyte.
    honest = archive(tmp_path / "x.pth", {"x/data.pkl": GOOD, "x/data/0": bytes(16)}).read_bytes()
    place = honest.rindex(b"PK\x01\x02")
    path.write_bytes(honest[: place + 20] + struct.pack("<II", 2**30, 2**30) + honest[place + 28 :])
    with pytest.raises(ConfigError, match="larger than the file"), open_torch_file(path):
        pass
    path.write_bytes(honest)
    monkeypatch.setattr("seglit.interop.torch_files.MAX_PICKLE_BYTES", 3)
    with pytest.raises(ConfigError, match="larger than 3 bytes"), open_torch_file(path):
        pass
    monkeypatch.setattr("seglit.interop.torch_files.MAX_MEMBERS", 1)
    with pytest.raises(ConfigError, match="has 2 members"), open_torch_file(path):
        pass


def test_names_that_are_there_twice(tmp_path):
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x/data.pkl", GOOD)
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("x/data.pkl", GOOD)
    with pytest.raises(ConfigError, match="name of their own"), open_torch_file(path):
        pass


BEHIND = struct.pack("<q", 4) + bytes(16)


def legacy(content, keys=("0",), behind=BEHIND, machine=None, protocol=LEGACY_PROTOCOL):
    machine = {"little_endian": True} if machine is None else machine
    return b"".join(map(pickled, (MAGIC, protocol, machine, content, list(keys)))) + behind


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (legacy({"a": tensor()}, keys=()), "not what its tensor says"),
        (legacy({"a": tensor()}, keys=("0", "0")), "list of storages"),
        (legacy({"a": tensor()}, keys=("0", "1")), "belongs to no tensor"),
        (legacy({"a": tensor()}, keys=(0,)), "list of storages"),
        (legacy({"a": tensor()}, behind=b""), "ends before"),
        (legacy({"a": tensor()}, behind=struct.pack("<q", 5) + bytes(16)), "ends before"),
        (legacy({"a": tensor()}, behind=struct.pack("<q", -1) + bytes(16)), "ends before"),
        (legacy({"a": tensor()}, behind=struct.pack("<q", 3) + bytes(16)), "not what its tensor says"),
        (legacy({"a": Stored("x")}), "without a storage"),
        (legacy({"a": tensor()}, machine={"little_endian": False}), "byte order"),
        (legacy({"a": tensor()}, machine=Call(os.system, "touch harmed")), "byte order"),
        (legacy({"a": tensor()}, protocol=7), "version"),
        (pickled(Call(os.system, "touch harmed")), "not torch's"),
        (b"hello", "cannot be read"),
    ],
)
def test_legacy_files_that_lie(tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words), open_torch_file(path) as file:
        file.tensors(file.content)
    assert [path] == [*tmp_path.iterdir()]
