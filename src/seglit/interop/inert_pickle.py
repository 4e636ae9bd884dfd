"""A pickle read as data: nothing that it names is imported, looked up or called.

Python's own unpickler calls what a file tells it to, and torch's safe one refuses each class that it does not know, as
those in MMEngine's logs. This is a machine that only ever builds dicts, lists, tuples and texts; a class becomes a
`Global`, that is its name, and an instance a `Made`, that is the name with what it was made from.
"""

import io
import mmap
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any, cast

MAX_OPERATIONS = 5_000_000
"""Some ten times those of the largest checkpoints, whose tensors are outside of the pickle."""


class PickleError(ValueError):
    """Bytes that are no pickle, or none of the kind that checkpoints are."""


@dataclass(eq=False, slots=True)
class Global:
    """The name of a class or function."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, slots=True)
class Made:
    """What a class or function would have been called with.

    Attributes:
        by: What would have been called, a `Global` in honest files.
        arguments: With what; a tuple in honest files.
        state: What its attributes would have been set from.
        items: What would have been put into it by keys.
        members: What would have been appended to it.
    """

    by: Any
    arguments: Any
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    members: list[Any] = field(default_factory=list)

    def __str__(self) -> str:
        return str(self.by) if isinstance(self.by, Global) else "an object"


@dataclass(eq=False, slots=True)
class Persistent:
    """What is stored outside of the pickle, by its identifier."""

    identifier: Any


@dataclass(eq=False, slots=True)
class UnusualKey:
    """A key of a dict that is no text, number or None."""

    value: Any


class Mark:
    """Where the members of a container begin on the stack."""


MARK = Mark()
ORDERED_DICT = ("collections", "OrderedDict")
VALUES = re.compile(r"(BIN)?INT[12]?|LONG[14]?|(SHORT_)?(BIN)?(STRING|BYTES|UNICODE)8?|BYTEARRAY8|(BIN)?FLOAT")
"""Operations that push the value that stands behind them."""
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


def read_pickle(source: io.BytesIO | mmap.mmap, stored: list[Persistent] | None = None) -> Any:
    """The content of the pickle at which `source` stands, and leave `source` behind its end.

    Args:
        source: What to read; in memory, as a broken pickle may ask for more than there is.
        stored: A list to which all is added that the pickle says to be stored elsewhere.

    Raises:
        PickleError: Where there is none, or one with what no checkpoint has.
    """
    machine = Machine([] if stored is None else stored)
    try:
        for count, (operation, argument, _) in enumerate(pickletools.genops(cast(IO[bytes], source))):
            if count == MAX_OPERATIONS:
                raise PickleError(f"has more than {MAX_OPERATIONS} operations")
            machine.run(operation.name, argument)
    except PickleError:
        raise
    except Exception as error:
        # genops has no error of its own, and what a broken file makes it raise is anything from ValueError on.
        raise PickleError(" ".join(str(error).split()) or type(error).__name__) from error
    return machine.result


class Machine:
    """The stack and the memory of a pickle.

    Attributes:
        stored: What is stored elsewhere.
        result: What the pickle holds, once it was read to its end.
    """

    def __init__(self, stored: list[Persistent]) -> None:
        self.stored = stored
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}
        self.result: Any = None

    def run(self, name: str, argument: Any) -> None:
        """Do one operation.

        Raises:
            PickleError: On one that no checkpoint has.
            IndexError: On an empty stack.
        """
        if VALUES.fullmatch(name):
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in OPERATIONS:
            OPERATIONS[name](self, argument)
        else:
            raise PickleError(f"has the operation {name}, which no checkpoint has")

    def pop(self) -> Any:
        """The uppermost value, taken away."""
        value = self.stack.pop()
        if value is MARK:
            raise PickleError("takes more from its stack than is there")
        return value

    def popped(self, count: int) -> tuple[Any, ...]:
        """The uppermost values, taken away, in the order in which they came."""
        return tuple(reversed([self.pop() for _ in range(count)]))

    def since_mark(self) -> list[Any]:
        """All values since the last mark, taken away with it."""
        values = []
        while (value := self.stack.pop()) is not MARK:
            values.append(value)
        return values[::-1]

    def top(self) -> Any:
        """The uppermost value, which stays."""
        return self.stack[-1]

    def remember(self, index: int | None) -> None:
        """Keep the uppermost value under a number, by default the next."""
        self.memory[len(self.memory) if index is None else index] = self.top()

    def recall(self, index: int) -> None:
        """Push what is kept under a number."""
        if index not in self.memory:
            raise PickleError(f"asks for a value {index} that it did not keep")
        self.stack.append(self.memory[index])

    def add(self, values: list[Any]) -> None:
        """Append to the list that is uppermost."""
        target = self.top()
        members = target.members if isinstance(target, Made) else target
        if not isinstance(members, list):
            raise PickleError(f"appends to {type(members).__name__}")
        members.extend(values)

    def put(self, pairs: list[Any]) -> None:
        """Put keys and values in turn into the dict that is uppermost."""
        target = self.top()
        items = target.items if isinstance(target, Made) else target
        if not isinstance(items, dict):
            raise PickleError(f"puts keys into {type(items).__name__}")
        items.update(paired(pairs))

    def make(self, by: Any, arguments: Any) -> None:
        """Push what stands for an instance; that is a dict for an OrderedDict."""
        ordered = isinstance(by, Global) and (by.module, by.name) == ORDERED_DICT
        if ordered and arguments == ():
            self.stack.append({})
        elif ordered and is_pairs(arguments):
            self.stack.append(paired([value for pair in arguments[0] for value in pair]))
        else:
            self.stack.append(Made(by, arguments))

    def build(self) -> None:
        """Note the attributes of an instance; those of a dict, as a state dict's own notes, are let go."""
        state = self.pop()
        if isinstance(self.top(), Made):
            self.top().state = state
        elif not isinstance(self.top(), dict):
            raise PickleError(f"sets attributes of {type(self.top()).__name__}")

    def name(self) -> None:
        """Push the name whose two halves are on the stack."""
        module, name = self.popped(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError("has a name that is no text")
        self.stack.append(Global(module, name))

    def instance(self, by: Any = None) -> None:
        """Push what stands for an instance, made from all since the mark."""
        values = self.since_mark()
        if by is None:
            by, *values = values
        self.make(by, tuple(values))

    def refer(self, identifier: Any) -> None:
        """Push what is stored elsewhere."""
        self.stored.append(Persistent(identifier))
        self.stack.append(self.stored[-1])

    def stop(self) -> None:
        """Take the result."""
        self.result = self.pop()
        if self.stack:
            raise PickleError("leaves values on its stack")


def is_pairs(arguments: Any) -> bool:
    """Whether they are those of an OrderedDict as Python 2 wrote it: a list of keys with their values."""
    return (
        isinstance(arguments, tuple)
        and len(arguments) == 1
        and isinstance(arguments[0], list)
        and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in arguments[0])
    )


def paired(values: list[Any]) -> dict[Any, Any]:
    """A dict of keys and values that come in turn."""
    if len(values) % 2:
        raise PickleError("has a key without a value")
    return {hashable(key): value for key, value in zip(values[::2], values[1::2], strict=True)}


def hashable(key: Any) -> Any:
    """A key that is hashed at once, unlike tuples of tuples, which can take for ever."""
    return key if key is None or type(key) in (str, int, float, bool, bytes) else UnusualKey(key)


def global_of(argument: str) -> Global:
    """The name in the argument of an operation."""
    module, _, name = argument.partition(" ")
    return Global(module, name)


Operation = Callable[[Machine, Any], object]
OPERATIONS: dict[str, Operation] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "STOP": lambda machine, _: machine.stop(),
    "MARK": lambda machine, _: machine.stack.append(MARK),
    "POP": lambda machine, _: machine.stack.pop(),
    "POP_MARK": lambda machine, _: machine.since_mark(),
    "DUP": lambda machine, _: machine.stack.append(machine.top()),
    "PUT": Machine.remember,
    "BINPUT": Machine.remember,
    "LONG_BINPUT": Machine.remember,
    "MEMOIZE": Machine.remember,
    "GET": Machine.recall,
    "BINGET": Machine.recall,
    "LONG_BINGET": Machine.recall,
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "LIST": lambda machine, _: machine.stack.append(machine.since_mark()),
    "APPEND": lambda machine, _: machine.add([machine.pop()]),
    "APPENDS": lambda machine, _: machine.add(machine.since_mark()),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.stack.append(machine.popped(1)),
    "TUPLE2": lambda machine, _: machine.stack.append(machine.popped(2)),
    "TUPLE3": lambda machine, _: machine.stack.append(machine.popped(3)),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "DICT": lambda machine, _: machine.stack.append(paired(machine.since_mark())),
    "SETITEM": lambda machine, _: machine.put(list(machine.popped(2))),
    "SETITEMS": lambda machine, _: machine.put(machine.since_mark()),
    # A set is of no use here, and its members would have to be hashed.
    "EMPTY_SET": lambda machine, _: machine.stack.append([]),
    "ADDITEMS": lambda machine, _: machine.add(machine.since_mark()),
    "FROZENSET": lambda machine, _: machine.stack.append(machine.since_mark()),
    "GLOBAL": lambda machine, argument: machine.stack.append(global_of(argument)),
    "STACK_GLOBAL": lambda machine, _: machine.name(),
    "INST": lambda machine, argument: machine.instance(global_of(argument)),
    "OBJ": lambda machine, _: machine.instance(),
    "REDUCE": lambda machine, _: machine.make(*machine.popped(2)),
    "NEWOBJ": lambda machine, _: machine.make(*machine.popped(2)),
    "NEWOBJ_EX": lambda machine, _: machine.make(*machine.popped(3)[:2]),
    "BUILD": lambda machine, _: machine.build(),
    "PERSID": Machine.refer,
    "BINPERSID": lambda machine, _: machine.refer(machine.pop()),
}
