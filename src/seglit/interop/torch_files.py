"""Files of `torch.save` read without executing anything: the zip form of torch 1.6 and later, and the one before it."""

import io
import mmap
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from seglit.config import ConfigError
from seglit.interop.inert_pickle import Global, Made, Persistent, PickleError, read_pickle

MEND = "give a .pth that torch.save wrote, whole"
MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MAX_PICKLE_BYTES = 256 * 2**20
MAX_MEMBERS = 100_000
MAX_DIMENSIONS = 16
DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
STORAGE_MODULES = ("torch", "torch.cuda", "torch.storage")
REBUILT = ("_rebuild_tensor_v2", "_rebuild_tensor")
WRAPPED = ("_rebuild_parameter", "_rebuild_parameter_with_state")
ReadStorage = Callable[[str, int, torch.dtype], bytes]


@dataclass(frozen=True)
class TorchFile:
    """What a file holds.

    Attributes:
        path: The file.
        content: All of it but the numbers of tensors, in which classes are names, see `seglit.interop.inert_pickle`.
        storage: Reads the bytes of a storage by its key, its number of entries and their type.
    """

    path: Path
    content: Any
    storage: ReadStorage

    def tensors(self, nodes: Mapping[Any, Any]) -> dict[str, Tensor]:
        """The tensors that stand in a dict; those that share memory there do here.

        Raises:
            ConfigError: Names what is no tensor, or none that the file really holds.
        """
        storages: dict[str, Tensor] = {}
        found = {}
        for name, node in nodes.items():
            if not isinstance(name, str):
                raise ConfigError(f"{self.path}: among its weights is one whose name is no text; {MEND}")
            try:
                found[name] = self._tensor(node, storages)
            except (PickleError, RuntimeError) as error:
                raise ConfigError(f"{self.path}: {name}: {error}; {MEND}") from error
        return found

    def _tensor(self, node: Any, storages: dict[str, Tensor]) -> Tensor:
        for _ in range(2):
            # A parameter is a call around the call that makes its tensor.
            if is_call(node, WRAPPED) and isinstance(node.arguments, tuple) and node.arguments:
                node = node.arguments[0]
        if not is_call(node, REBUILT):
            raise PickleError(f"is {described(node)}, not a tensor")
        arguments = node.arguments
        if not isinstance(arguments, tuple) or len(arguments) < 4:
            raise PickleError("is a tensor without size or stride")
        source, offset, size, stride = arguments[:4]
        if not (is_sizes(size) and is_sizes(stride) and is_sizes((offset,)) and len(size) == len(stride)):
            raise PickleError("is a tensor whose size, stride or offset are no lists of numbers from 0 on")
        key, count, dtype = storage_of(source)
        entries = 1
        for length in size:
            entries *= length
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if entries > count or (entries and last >= count):
            raise PickleError(f"is a tensor of size {tuple(size)}, which its {count} numbers do not fill")
        if key not in storages:
            content = self.storage(key, count, dtype)
            storages[key] = (
                torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)
            )
        memory = storages[key]
        if memory.dtype != dtype or len(memory) != count:
            raise PickleError(f"is a tensor whose storage {key} is of two types or sizes")
        return memory.as_strided(size, stride, offset)


def is_call(node: Any, names: tuple[str, ...]) -> bool:
    """Whether torch would have called one of these functions of `torch._utils` for it."""
    return (
        isinstance(node, Made)
        and isinstance(node.by, Global)
        and node.by.module == "torch._utils"
        and node.by.name in names
    )


def is_sizes(value: Any) -> bool:
    """Whether these are few enough numbers from 0 on."""
    return (
        isinstance(value, tuple | list)
        and len(value) <= MAX_DIMENSIONS
        and all(type(entry) is int and 0 <= entry < 2**62 for entry in value)
    )


def described(node: Any) -> str:
    """What stands where a tensor should, in words."""
    if isinstance(node, Made | Global):
        # By repr, as a name may be anything, also what a terminal obeys.
        return f"the object {str(node)[:100]!r}"
    return "a storage" if isinstance(node, Persistent) else f"of type {type(node).__name__}"


def storage_of(source: Any) -> tuple[str, int, torch.dtype]:
    """Key, number of entries and their type of what a tensor is stored in."""
    identifier = source.identifier if isinstance(source, Persistent) else None
    if not isinstance(identifier, tuple) or len(identifier) not in (5, 6) or identifier[0] != "storage":
        raise PickleError("is a tensor without a storage")
    kind, key, count = identifier[1], identifier[2], identifier[4]
    if not isinstance(kind, Global) or kind.module not in STORAGE_MODULES or kind.name not in DTYPES:
        raise PickleError(f"is a tensor of {described(kind)}, whose kind of numbers no weights have")
    if not isinstance(key, str) or not is_sizes((count,)):
        raise PickleError("is a tensor whose storage has no name or no size")
    if len(identifier) == 6 and identifier[5] is not None:
        raise PickleError("is a tensor in a part of a storage, as torch wrote it before 0.4")
    return key, count, DTYPES[kind.name]


@contextmanager
def open_torch_file(path: Path) -> Iterator[TorchFile]:
    """What a file holds; tensors are read from it while it is open.

    Raises:
        ConfigError: Names the file and what is wrong with it.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; {MEND}")
    if not path.stat().st_size:
        raise ConfigError(f"{path}: is empty; {MEND}")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        try:
            zipped = memory[:4] == b"PK\x03\x04"
            content, storage = read_zip(file, len(memory)) if zipped else read_legacy(memory)
        except PickleError as error:
            raise ConfigError(f"{path}: cannot be read as a checkpoint ({error}); {MEND}") from error
        yield TorchFile(path, content, storage)


def read_zip(file: BinaryIO, size: int) -> tuple[Any, ReadStorage]:
    """The content of the zip form, and the reader of its storages.

    No member is ever written to a file, so that it does not matter where its name points to.
    """
    try:
        archive = zipfile.ZipFile(file)
        members = archive.infolist()
    except Exception as error:
        raise PickleError(f"its list of contents is broken: {error}") from error
    by_name = {member.filename: member for member in members}
    if len(members) > MAX_MEMBERS or len(by_name) < len(members):
        raise PickleError(f"has {len(members)} members, of which {len(by_name)} have a name of their own")
    if any(member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 for member in members):
        raise PickleError("has compressed or encrypted members, which torch does not write")
    if sum(member.file_size for member in members) > size:
        raise PickleError("has members that are larger than the file")
    roots = [name.removesuffix("data.pkl") for name in by_name if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise PickleError("has no data.pkl" if not roots else "has more than one data.pkl")

    def member(name: str) -> bytes:
        try:
            return archive.read(by_name[roots[0] + name])
        except KeyError as error:
            raise PickleError(f"has no member {name}") from error
        except Exception as error:
            raise PickleError(f"its member {name} is broken: {error}") from error

    def storage(key: str, count: int, dtype: torch.dtype) -> bytes:
        content = member(f"data/{key}")
        if len(content) != count * dtype.itemsize:
            raise PickleError(f"its storage {key} has {len(content)} bytes, not {count * dtype.itemsize}")
        return content

    if f"{roots[0]}byteorder" in by_name and member("byteorder") != b"little":
        raise PickleError("its numbers are in the other byte order")
    if by_name[f"{roots[0]}data.pkl"].file_size > MAX_PICKLE_BYTES:
        raise PickleError(f"its data.pkl is larger than {MAX_PICKLE_BYTES} bytes")
    return read_pickle(io.BytesIO(member("data.pkl"))), storage


def read_legacy(memory: mmap.mmap) -> tuple[Any, ReadStorage]:
    """The content of the form before torch 1.6, and the reader of its storages.

    It is five pickles: a magic number, a version, the machine, the content and the keys of the storages; behind them
    each storage, its number of entries first.
    """
    if read_pickle(memory) != MAGIC:
        raise PickleError("is not torch's")
    if read_pickle(memory) != LEGACY_PROTOCOL:
        raise PickleError("is of a version that no torch wrote")
    machine = read_pickle(memory)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise PickleError("its numbers are in the other byte order")
    stored: list[Persistent] = []
    content = read_pickle(memory, stored)
    keys = read_pickle(memory)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or len(keys) != len(set(keys)):
        raise PickleError("its list of storages is none")
    # The type of a storage's entries is known from its tensors only, and with it where the next one begins.
    types = {key: dtype for key, _, dtype in map(storage_of, stored)}
    places: dict[str, tuple[int, int, torch.dtype]] = {}
    place = memory.tell()
    for key in keys:
        if key not in types:
            raise PickleError(f"its storage {key} belongs to no tensor")
        if place + 8 > len(memory):
            raise PickleError("ends before its last storage")
        (count,) = struct.unpack("<q", memory[place : place + 8])
        end = place + 8 + count * types[key].itemsize
        if count < 0 or end > len(memory):
            raise PickleError("ends before its last storage")
        places[key] = place + 8, count, types[key]
        place = end

    def storage(key: str, count: int, dtype: torch.dtype) -> bytes:
        if key not in places or places[key][1:] != (count, dtype):
            raise PickleError(f"its storage {key} is not what its tensor says")
        start = places[key][0]
        return memory[start : start + count * dtype.itemsize]

    return content, storage
