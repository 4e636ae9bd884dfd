"""Configuration files of MMSegmentation, 0.x and 1.x, read without running them.

A file is parsed, and the syntax tree is evaluated here: assignments of literals, names, arithmetic, `dict` and few
other calls without side effects. Whatever else a file has is refused with its line. What is read equals what MMEngine's
`Config.fromfile` gives.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

MAX_BYTES = 1 << 20
MAX_FILES = 64
MAX_STEPS = 100_000
MAX_ITEMS = 20_000
MAX_DEPTH = 60
MAX_BITS = 256
PLAIN = (str, int, float, bool, type(None))
"""What has no parts, so that text and hash of it are cheap."""
FILE_VARIABLE = re.compile(r"\{\{\s*(file\w+)\s*\}\}")
RESERVED = ("filename", "text", "pretty_text", "env_variables")
ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
NUMERIC: dict[str, Callable[[Any], Any]] = {"sum": sum, "min": min, "max": max, "abs": abs}
CONVERSIONS: dict[str, Callable[[Any], Any]] = {"int": int, "float": float, "str": str, "bool": bool}
WORDS = {
    ast.Import: "an import",
    ast.ImportFrom: "an import",
    ast.FunctionDef: "a function",
    ast.ClassDef: "a class",
    ast.Lambda: "a function",
    ast.For: "a loop",
    ast.While: "a loop",
    ast.If: "a condition",
    ast.With: "a with statement",
    ast.AugAssign: "an assignment with an operator",
    ast.Set: "a set",
}


class ConfigFileError(ValueError):
    """What cannot be read, as `file:line: what it is`."""


@dataclass(frozen=True)
class ConfigFile:
    """A configuration that was read.

    Attributes:
        path: The file.
        values: Its keys, merged with those of its bases.
        own: The keys that it assigns itself.
        used: The names that it or a base makes use of in other values.
        lost: Where a name got a value that nothing read before it got another: file, line and name.
    """

    path: Path
    values: dict[str, Any]
    own: frozenset[str]
    used: frozenset[str]
    lost: tuple[tuple[Path, int, str], ...] = ()


def read(path: Path) -> ConfigFile:
    """The keys of a configuration file and of those that it inherits from.

    Args:
        path: A `.py` file. Its `_base_` files are read too, wherever they lie.

    Raises:
        ConfigFileError: Names the file and line of what is no literal, is missing, or is too large.
    """
    reader = Reader()
    try:
        values = reader.file(path, ())
    except (RecursionError, MemoryError):
        raise ConfigFileError(f"{path}: is nested too deeply") from None
    shown = {key: value for key, value in values.items() if not key.startswith("__")}
    return ConfigFile(path, shown, frozenset(reader.own), frozenset(reader.used), tuple(reader.lost))


class Reader:
    """Reads a file with its bases; counts what it does, so that no file can keep it busy."""

    def __init__(self) -> None:
        self.files = 0
        self.steps = 0
        self.own: set[str] = set()
        self.used: set[str] = set()
        self.lost: list[tuple[Path, int, str]] = []

    def file(self, path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
        """The merged keys of a file."""
        place = path.resolve()
        self.files += 1
        if place in above:
            raise ConfigFileError(f"{path}: is among its own bases")
        if self.files > MAX_FILES:
            raise ConfigFileError(f"{path}: more than {MAX_FILES} files belong to one configuration")
        tree = parsed(path)
        own = [node for node in tree.body if not is_base(node)]
        bases: dict[str, Any] = {}
        for base in self.bases(path, tree):
            inherited = self.file(base, (*above, place))
            if twice := bases.keys() & inherited.keys():
                raise ConfigFileError(f"{path}: several of its bases have {', '.join(sorted(twice))}")
            bases.update(inherited)
        values = Evaluator(self, path, bases).run(own)
        values.pop("_deprecation_", None)
        self.own = set(values)  # the last to be set is the file that was asked for
        if reserved := [key for key in RESERVED if key in values]:
            raise ConfigFileError(f"{path}: {reserved[0]} is no name for a key")
        return merged(self.copied(values, path), self.copied(bases, path), path)

    def bases(self, path: Path, tree: ast.Module) -> list[Path]:
        """The files that one inherits from."""
        found: list[Path] = []
        for node in tree.body:
            if isinstance(node, ast.Assign) and is_base(node):
                value = Evaluator(self, path, {}).value(node.value)
                names = value if isinstance(value, list | tuple) else [value]
                for name in names:
                    if not isinstance(name, str) or "::" in name or not name.endswith(".py"):
                        raise ConfigFileError(f"{path}:{node.lineno}: _base_ must name .py files, got {str(name)[:80]}")
                    base = path.parent / name
                    if not base.is_file():
                        raise ConfigFileError(f"{path}:{node.lineno}: there is no file {base}")
                    found.append(base)
        return found

    def step(self, count: int = 1) -> None:
        """Count work."""
        self.steps += count
        if self.steps > MAX_STEPS:
            raise OverflowError

    def copied(self, value: Any, path: Path, depth: int = 0) -> Any:
        """The value with nothing in it twice, so that changing one place changes no other."""
        try:
            self.step()
        except OverflowError:
            raise ConfigFileError(f"{path}: has too many values") from None
        if depth > MAX_DEPTH:
            raise ConfigFileError(f"{path}: is nested more than {MAX_DEPTH} deep")
        if isinstance(value, dict):
            return {key: self.copied(inner, path, depth + 1) for key, inner in value.items()}
        if isinstance(value, list | tuple | range | enumerate | zip):
            items = [self.copied(inner, path, depth + 1) for inner in value]
            return tuple(items) if isinstance(value, tuple) else items
        return value


def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    try:
        if not path.is_file():
            raise ConfigFileError(f"{path}: no such file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigFileError(f"{path}: is larger than {MAX_BYTES} bytes")
        return ast.parse(content.decode("utf-8-sig"))
    except SyntaxError as error:
        raise ConfigFileError(f"{path}:{error.lineno}: {error.msg}") from None
    except (RecursionError, MemoryError):
        raise ConfigFileError(f"{path}: is nested too deeply") from None
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigFileError):
            raise
        raise ConfigFileError(f"{path}: cannot be read: {error}") from None


def is_base(node: ast.stmt) -> bool:
    """Whether a statement says what a file inherits from."""
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "_base_"


def merged(new: Mapping[str, Any], old: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """`old` with the keys of `new`; dictionaries of the same key are merged unless the new one has `_delete_`."""
    result = dict(old)
    for key, value in new.items():
        if isinstance(value, dict) and key in result and not value.pop("_delete_", False):
            if not isinstance(result[key], dict):
                kind = type(result[key]).__name__
                raise ConfigFileError(f"{path}: {key} is a dictionary, but {kind} in its base; _delete_=True replaces")
            result[key] = merged(value, result[key], path)
        else:
            result[key] = value
    return result


class Evaluator:
    """Evaluates the statements of one file.

    Args:
        reader: Counts the steps.
        path: The file.
        bases: What its bases say, for `_base_.key` and `{{_base_.key}}`.
    """

    def __init__(self, reader: Reader, path: Path, bases: dict[str, Any]) -> None:
        self.reader = reader
        self.path = path
        self.bases = bases
        self.names: dict[str, Any] = {}
        self.unread: dict[str, int] = {}

    def refuse(self, node: ast.AST, what: str) -> NoReturn:
        """Refuse a part of the file."""
        raise ConfigFileError(f"{self.path}:{getattr(node, 'lineno', 0)}: {what}")

    def run(self, statements: Iterable[ast.stmt]) -> dict[str, Any]:
        """All names that the statements assign."""
        for node in statements:
            if isinstance(node, ast.Assign):
                value = self.value(node.value)
                for target in node.targets:
                    self.assign(target, value)
            elif isinstance(node, ast.Expr):
                self.value(node.value)
            elif not isinstance(node, ast.Pass):
                self.refuse(node, f"{words(node)} is not read; only assignments of literals are")
        return self.names

    def assign(self, target: ast.expr, value: Any) -> None:
        """Put a value at a name or into a dictionary or list."""
        if isinstance(target, ast.Name):
            same = self.names.get(target.id) is value
            self.names[target.id] = value
            if target.id in self.unread and not same:
                self.reader.lost.append((self.path, self.unread[target.id], target.id))
            self.unread[target.id] = target.lineno
        elif isinstance(target, ast.Subscript) and not isinstance(target.slice, ast.Slice):
            container, key = self.value(target.value), self.key(target.slice)
            if not isinstance(container, dict | list):
                self.refuse(target, "only dictionaries and lists can be assigned to")
            try:
                container[key] = value
            except (IndexError, TypeError) as error:
                self.refuse(target, str(error))
        else:
            self.refuse(target, f"{words(target)} cannot be assigned to")

    def value(self, node: ast.expr) -> Any:
        """The value of an expression."""
        try:
            self.reader.step()
        except OverflowError:
            self.refuse(node, "takes too many steps")
        method = getattr(self, f"of_{type(node).__name__.lower()}", None)
        if method is None:
            self.refuse(node, f"{words(node)} is not read; only literals are: {ast.unparse(node)[:60]}")
        value = method(node)
        if isinstance(value, str | list | tuple | dict) and len(value) > MAX_ITEMS:
            self.refuse(node, f"has more than {MAX_ITEMS} items")
        if isinstance(value, int) and value.bit_length() > MAX_BITS:
            self.refuse(node, f"is a number of more than {MAX_BITS} bits")
        return value

    def key(self, node: ast.expr) -> Any:
        """The value of an expression that has no parts."""
        value = self.value(node)
        if not isinstance(value, PLAIN):
            self.refuse(node, f"a key or text is made of {type(value).__name__}")
        return value

    def of_constant(self, node: ast.Constant) -> Any:
        """A literal; `{{ fileDirname }}` and its kin in text are filled in."""
        if not isinstance(node.value, PLAIN):
            self.refuse(node, f"{type(node.value).__name__} is not read")
        if not isinstance(node.value, str) or "{{" not in node.value:
            return node.value
        absolute = self.path.absolute()
        known = {
            "fileDirname": absolute.parent.as_posix(),
            "fileBasename": absolute.name,
            "fileBasenameNoExtension": absolute.stem,
            "fileExtname": absolute.suffix,
        }

        def filled(match: re.Match[str]) -> str:
            if match[1] not in known:
                self.refuse(node, f"{match[0]} is unknown; there are {', '.join(known)}")
            return known[match[1]]

        text = FILE_VARIABLE.sub(filled, node.value)
        if "{{" in text:
            self.refuse(node, f"{text[:60]!r}: a variable of the environment or of a base inside a text is not read")
        return text

    def of_name(self, node: ast.Name) -> Any:
        """A name that was assigned before."""
        if node.id == "_base_":
            return self.bases
        if node.id not in self.names:
            self.refuse(node, f"{node.id} has no value")
        self.reader.used.add(node.id)
        self.unread.pop(node.id, None)
        return self.names[node.id]

    def of_attribute(self, node: ast.Attribute) -> Any:
        """`_base_.model.backbone`."""
        if not begins_with_base(node):
            self.refuse(node, f"attributes are read of _base_ only: {ast.unparse(node)[:60]}")
        value = self.value(node.value)
        if not isinstance(value, dict) or node.attr not in value:
            self.refuse(node, f"no base has {ast.unparse(node)[:60]}")
        return value[node.attr]

    def of_set(self, node: ast.Set) -> Any:
        """`{{_base_.model}}`, which looks like a set in a set."""
        match node.elts:
            case [ast.Set(elts=[ast.Attribute() as inner])] if begins_with_base(inner):
                return self.value(inner)
        return self.refuse(node, "a set is not read")

    def of_list(self, node: ast.List | ast.Tuple) -> list[Any]:
        """A list, with unpacked ones in it."""
        items: list[Any] = []
        for item in node.elts:
            if isinstance(item, ast.Starred):
                items.extend(self.iterated(item.value))
            else:
                items.append(self.value(item))
        return items

    def of_tuple(self, node: ast.Tuple) -> tuple[Any, ...]:
        """A tuple."""
        return tuple(self.of_list(node))

    def of_dict(self, node: ast.Dict) -> dict[Any, Any]:
        """A dictionary, with unpacked ones in it."""
        result: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                result.update(self.mapping(value))
            else:
                result[self.key(key)] = self.value(value)
        return result

    def mapping(self, node: ast.expr) -> dict[Any, Any]:
        """The value of an expression that must be a dictionary."""
        value = self.value(node)
        if not isinstance(value, dict):
            self.refuse(node, f"must be a dictionary, got {type(value).__name__}")
        return value

    def number(self, node: ast.expr) -> int | float:
        """The value of an expression that must be a number."""
        value = self.value(node)
        if not isinstance(value, int | float):
            self.refuse(node, f"must be a number, got {type(value).__name__}")
        return value

    def iterated(self, node: ast.expr) -> Iterable[Any]:
        """The value of an expression, to go through."""
        value = self.value(node)
        if not isinstance(value, list | tuple | dict | range | enumerate | zip | type({}.items())):
            self.refuse(node, f"cannot go through {type(value).__name__}")
        return list(value)

    def of_unaryop(self, node: ast.UnaryOp) -> Any:
        """A sign, or `not`."""
        if isinstance(node.op, ast.Not):
            return not self.value(node.operand)
        value = self.number(node.operand)
        if isinstance(node.op, ast.USub):
            return -value
        if isinstance(node.op, ast.UAdd):
            return +value
        return self.refuse(node, "this operator is not read")

    def of_binop(self, node: ast.BinOp) -> Any:
        """Arithmetic, and `+` and `*` of lists, tuples and texts."""
        left, right = self.value(node.left), self.value(node.right)
        kind = type(node.op)
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        joined = kind is ast.Add and type(left) is type(right) and isinstance(left, str | list | tuple)
        repeated = kind is ast.Mult and any(
            isinstance(one, str | list | tuple) and isinstance(other, int) and len(one) * other <= MAX_ITEMS
            for one, other in ((left, right), (right, left))
        )
        if kind not in ARITHMETIC or not (numbers or joined or repeated):
            self.refuse(node, f"this is not computed: {ast.unparse(node)[:60]}")
        if kind is ast.Pow and (abs(right) > MAX_BITS or abs(left) > 2**32):
            self.refuse(node, f"this power is too large to be meant: {ast.unparse(node)[:60]}")
        try:
            return ARITHMETIC[kind](left, right)
        except (ArithmeticError, ValueError) as error:
            self.refuse(node, str(error))

    def of_subscript(self, node: ast.Subscript) -> Any:
        """An item or a slice."""
        value = self.value(node.value)
        if not isinstance(value, dict | list | tuple | str):
            self.refuse(node, f"{type(value).__name__} has no items")
        try:
            if isinstance(node.slice, ast.Slice):
                bounds = (node.slice.lower, node.slice.upper, node.slice.step)
                first, last, step = (None if bound is None else self.value(bound) for bound in bounds)
                return value[first:last:step]
            return value[self.key(node.slice)]
        except (LookupError, TypeError, ValueError) as error:
            self.refuse(node, f"{type(error).__name__}: {error}")

    def of_joinedstr(self, node: ast.JoinedStr) -> str:
        """An f-string without formats."""
        texts = []
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                if part.format_spec is not None or part.conversion != -1:
                    self.refuse(node, "formats in f-strings are not read")
                texts.append(str(self.key(part.value)))
            else:
                texts.append(str(self.value(part)))
        return "".join(texts)

    def scopes(self, generators: list[ast.comprehension]) -> Iterator[None]:
        """Go through the loops of a comprehension; its names are there meanwhile."""
        if not generators:
            yield
            return
        first, *rest = generators
        if first.ifs or first.is_async:
            self.refuse(first.target, "conditions in comprehensions are not read")
        for item in self.iterated(first.iter):
            targets = first.target.elts if isinstance(first.target, ast.Tuple) else [first.target]
            values = item if isinstance(first.target, ast.Tuple) else [item]
            if not isinstance(values, list | tuple) or len(values) != len(targets):
                self.refuse(first.target, "does not fit the items")
            for target, value in zip(targets, values, strict=True):
                if not isinstance(target, ast.Name):
                    self.refuse(target, "only names may stand here")
                self.names[target.id] = value
            yield from self.scopes(rest)

    def of_listcomp(self, node: ast.ListComp) -> list[Any]:
        """A list comprehension without conditions."""
        outside = dict(self.names)
        items = [self.value(node.elt) for _ in self.scopes(node.generators)]
        self.names = outside
        return items

    def of_dictcomp(self, node: ast.DictComp) -> dict[Any, Any]:
        """A dictionary comprehension without conditions."""
        outside = dict(self.names)
        items = {self.key(node.key): self.value(node.value) for _ in self.scopes(node.generators)}
        self.names = outside
        return items

    def of_call(self, node: ast.Call) -> Any:
        """One of the few calls that only make values."""
        if isinstance(node.func, ast.Attribute):
            return self.method(node, node.func)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in self.names:
            name = ""
        if name == "dict":
            if len(node.args) > 1:
                self.refuse(node, "dict takes one dictionary")
            return dict(self.pairs(node))
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            self.refuse(node, f"this call is not read: {ast.unparse(node)[:60]}")
        match name, node.args:
            case ("list" | "tuple") as kind, []:
                return [] if kind == "list" else ()
            case ("list" | "tuple") as kind, [one]:
                items = self.iterated(one)
                return list(items) if kind == "list" else tuple(items)
            case "range", [_, *_] as bounds if len(bounds) <= 3:
                span = [self.number(bound) for bound in bounds]
                if not all(isinstance(bound, int) for bound in span) or span[2:] == [0]:
                    self.refuse(node, "range takes integers")
                made = range(*span)  # type: ignore[arg-type]
                # The length of a huge range is no machine integer.
                if abs(made.stop - made.start) > MAX_ITEMS * abs(made.step):
                    self.refuse(node, f"has more than {MAX_ITEMS} items")
                return made
            case "enumerate", [one]:
                return list(enumerate(self.iterated(one)))
            case "zip", [_, *_] as several:
                return list(zip(*(self.iterated(one) for one in several), strict=False))
            case "len", [one]:
                value = self.value(one)
                if isinstance(value, list | tuple | dict | str | range):
                    return len(value)
            case ("sum" | "min" | "max") as kind, [one]:
                numbers = list(self.iterated(one))
                if numbers and all(isinstance(number, int | float) for number in numbers):
                    return NUMERIC[kind](numbers)
            case ("min" | "max") as kind, several if several:
                return NUMERIC[kind]([self.number(one) for one in several])
            case "abs", [one]:
                return abs(self.number(one))
            case ("int" | "float" | "str" | "bool") as kind, [one]:
                try:
                    return CONVERSIONS[kind](self.key(one))
                except (TypeError, ValueError, OverflowError) as error:
                    if isinstance(error, ConfigFileError):
                        raise
                    self.refuse(node, str(error))
        return self.refuse(node, f"this call is not read: {ast.unparse(node)[:60]}")

    def pairs(self, node: ast.Call) -> Iterator[tuple[Any, Any]]:
        """What the arguments of `dict` or `update` put into it."""
        for argument in node.args:
            yield from self.mapping(argument).items()
        for keyword in node.keywords:
            if keyword.arg is None:
                yield from self.mapping(keyword.value).items()
            else:
                yield keyword.arg, self.value(keyword.value)

    def method(self, node: ast.Call, called: ast.Attribute) -> Any:
        """A method of a dictionary, list or text."""
        owner = self.value(called.value)
        arguments = [] if called.attr == "update" else [self.value(argument) for argument in node.args]
        match owner, called.attr, arguments:
            case dict(), "update", _ if len(node.args) <= 1:
                new = dict(self.pairs(node))
                if len(new) + len(owner) > MAX_ITEMS:
                    self.refuse(node, f"has more than {MAX_ITEMS} items")
                return owner.update(new)
            case dict(), ("items" | "keys" | "values") as name, [] if not node.keywords:
                return list(getattr(owner, name)())
            case ((dict() | list()), "copy", []) if not node.keywords:
                return owner.copy()
            case list(), ("append" | "extend") as name, [one] if not node.keywords and len(owner) < MAX_ITEMS:
                if name == "append":
                    return owner.append(one)
                if isinstance(one, list | tuple) and len(owner) + len(one) <= MAX_ITEMS:
                    return owner.extend(one)
            case str(), "join", [list() | tuple() as parts] if all(isinstance(part, str) for part in parts):
                if sum(len(part) + len(owner) for part in parts) <= MAX_ITEMS:
                    return owner.join(parts)
        return self.refuse(node, f"this call is not read: {ast.unparse(node)[:60]}")


def begins_with_base(node: ast.expr) -> bool:
    """Whether an expression is `_base_` or something within it."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return isinstance(node, ast.Name) and node.id == "_base_"


def words(node: ast.AST) -> str:
    """What a piece of syntax is called."""
    return WORDS.get(type(node), type(node).__name__)
