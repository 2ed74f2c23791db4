"""A pickle read without running it: tensors become descriptions of tensors, everything foreign an inert name.

Python's unpickler imports and calls whatever a file names. This one walks through the opcodes itself
(`pickletools.genops` decodes them) and never looks up a global: the few names that describe tensors have a
function here, any other name makes a `Foreign`. So an optimizer object or an argparse.Namespace beside a state
dict does no harm, and os.system would not either; a file with such a name is refused so that its user is warned.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from typing import IO, Any

from PromptSegLib.errors import WeightsError
from PromptSegLib.weights import plain_arrays
from PromptSegLib.weights.plain_arrays import PlainArray

ITEM_BYTES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1,
    "complex64": 8, "complex128": 16, "int64": 8, "int32": 4, "int16": 2, "int8": 1,
    "uint64": 8, "uint32": 4, "uint16": 2, "uint8": 1, "bool": 1,
}  # fmt: skip
"""Bytes of one element, by torch's name of the type."""

_DAMAGE = (
    *(ValueError, TypeError, LookupError, AttributeError, OverflowError, EOFError, RecursionError),
    struct.error,
)
"""What decoding random bytes can raise."""

_MOST_STEPS = 1_000_000
"""Opcodes of a file, and entries of what it hands to calls: 4 s and 200 MB. 1,000 tensors take 47,000.

Without it 16 MB of opcodes took a minute and 1.6 GB, and a list that is handed to a call again and again for ever.
"""

_LONGEST_KEY = 1000

_STORAGE_TYPES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "UntypedStorage": "uint8",
}  # fmt: skip

_HOSTILE_MODULES = {
    "os", "posix", "nt", "posixpath", "ntpath", "sys", "subprocess", "pty", "shutil", "socket", "ctypes",
    "importlib", "runpy", "code", "codeop", "webbrowser", "pip", "imp", "asyncio", "signal", "pdb", "timeit",
    "commands", "popen2",
}  # fmt: skip
_HOSTILE_BUILTINS = {
    "eval",
    "exec",
    "execfile",
    "compile",
    "open",
    "__import__",
    "input",
    "breakpoint",
    "globals",
}


@dataclass(frozen=True, slots=True)
class StorageRef:
    """Where a tensor's numbers are: the storage's key in the file, its type and number of elements."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor not yet read: shape, stride and offset in elements of `dtype`, within a storage."""

    storage: StorageRef
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor when it is written out contiguously."""
        return prod(self.shape) * ITEM_BYTES[self.dtype]


@dataclass(frozen=True, slots=True)
class Foreign:
    """What stands for an object of another library: its name and nothing else."""

    name: str


@dataclass(frozen=True, slots=True)
class _Global:
    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class LimitedStream:
    """A file of which at most `limit` bytes can be read: no length claimed in it can fill the memory.

    Counts the steps that all its pickles take, too. Without `tell`: decoding would ask for it at each opcode.
    """

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file, self._left, self._steps_left = file, limit, _MOST_STEPS

    def spend(self, steps: int) -> None:
        """Count work; refuse a file that makes more of it than any checkpoint does."""
        self._steps_left -= steps
        if self._steps_left < 0:
            raise ValueError(f"it takes more than {_MOST_STEPS:,} steps to read, which no checkpoint needs")

    def read(self, size: int) -> bytes:
        return self._taken(self._file.read(self._allowed(size)))

    def readline(self) -> bytes:
        return self._taken(self._file.readline(self._left))

    def _allowed(self, size: int) -> int:
        if size > self._left:
            raise ValueError(f"{size} bytes are claimed where at most {self._left} can be")
        return size

    def _taken(self, data: bytes) -> bytes:
        self._left -= len(data)
        return data


def load_inert(stream: LimitedStream, storages: set[StorageRef] | None = None) -> Any:
    """The next pickle of the stream, made of dict, list, tuple, str, numbers, TensorRef and Foreign.

    Sets come as lists; dict entries whose key is no plain value are left out; attributes are ignored.
    Every storage that is named goes into `storages` too, whatever object it belongs to.

    Raises:
        WeightsError: damaged, or it names something that no checkpoint needs; nothing was executed.
    """
    try:
        return _Machine(stream, set() if storages is None else storages).run()
    except _DAMAGE as error:
        raise WeightsError(f"its pickle is damaged ({type(error).__name__}: {error})") from error


class _Machine:
    """The pickle machine: a stack, the stacks below its marks, and a memo."""

    def __init__(self, stream: LimitedStream, storages: set[StorageRef]) -> None:
        self.stream = stream
        self.storages = storages
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def call(self, function: Any, arguments: Any) -> Any:
        """What a file wants called, see `_call`; costs what it is given."""
        if isinstance(arguments, tuple):
            self.stream.spend(
                len(arguments) + sum(len(each) for each in arguments if isinstance(each, list | tuple | dict))
            )
        return _call(function, arguments)

    def run(self) -> Any:
        for opcode, argument, _ in pickletools.genops(self.stream):  # type: ignore[arg-type]
            self.stream.spend(1)
            if opcode.name == "STOP":
                return self.stack.pop()
            if opcode.name in _PUSH:
                self.stack.append(argument)
            elif opcode.name in _MAKE:
                self.stack.append(_MAKE[opcode.name]())
            else:
                _OPERATIONS[opcode.name](self, argument)
        raise EOFError("it has no end")

    def marked(self) -> list[Any]:
        """What was pushed since the last mark, which is taken away."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def drop(self, _: object) -> None:
        """Nothing to do: what was taken off the stack, or an opcode of no consequence here."""

    def mark(self, _: object) -> None:
        self.below.append(self.stack)
        self.stack = []

    def pop(self, _: object) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.marked()

    def duplicate(self, _: object) -> None:
        self.stack.append(self.stack[-1])

    def tuple_of(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        if len(items) < count:
            raise IndexError("a tuple lacks items")
        self.stack[-count:] = [items]

    def append(self, items: Iterable[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)

    def append_one(self, _: object) -> None:
        self.append([self.stack.pop()])

    def set_items(self, flat: list[Any]) -> None:
        if isinstance(self.stack[-1], dict):
            self.stack[-1].update(_pairs(zip(flat[::2], flat[1::2], strict=True)))

    def set_one(self, _: object) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def memoize(self, _: object) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def find(self, words: str) -> None:
        module, _, name = words.partition(" ")
        self.stack.append(_named(module, name))

    def find_on_stack(self, _: object) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise TypeError("a global's name is no text")
        self.stack.append(_named(module, name))

    def reduce(self, _: object) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(self.call(function, arguments))

    def new_with_keywords(self, _: object) -> None:
        self.stack.pop()
        self.reduce(None)

    def instance(self, words: str) -> None:
        arguments = self.marked()
        self.find(words)
        self.stack.append(self.call(self.stack.pop(), tuple(arguments)))

    def make_object(self, _: object) -> None:
        function, *arguments = self.marked()
        self.stack.append(self.call(function, tuple(arguments)))

    def build(self, _: object) -> None:
        state = self.stack.pop()  # attributes: descriptions have none, and they could replace their methods
        if self.stack and isinstance(self.stack[-1], PlainArray):
            self.stack[-1].fill(state)

    def persistent(self, _: object) -> None:
        identity = self.stack.pop()
        self.stream.spend(len(identity) if isinstance(identity, tuple) else 0)
        described = _storage(identity)
        if isinstance(described, StorageRef):
            self.storages.add(described)
        self.stack.append(described)

    def refuse(self, _: object) -> None:
        raise ValueError("it uses what torch.save never writes")


_PUSH = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip

_MAKE: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": list, "EMPTY_TUPLE": tuple,
}  # fmt: skip

_OPERATIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.drop,
    "FRAME": _Machine.drop,
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": lambda machine, _: machine.drop(machine.marked()),
    "DUP": _Machine.duplicate,
    "TUPLE": lambda machine, _: machine.push(tuple(machine.marked())),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "LIST": lambda machine, _: machine.push(machine.marked()),
    "FROZENSET": lambda machine, _: machine.push(machine.marked()),
    "DICT": lambda machine, _: machine.push(_dict(machine.marked())),
    "APPEND": _Machine.append_one,
    "APPENDS": lambda machine, _: machine.append(machine.marked()),
    "ADDITEMS": lambda machine, _: machine.append(machine.marked()),
    "SETITEM": _Machine.set_one,
    "SETITEMS": lambda machine, _: machine.set_items(machine.marked()),
    "MEMOIZE": _Machine.memoize,
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.find,
    "STACK_GLOBAL": _Machine.find_on_stack,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.reduce,
    "NEWOBJ_EX": _Machine.new_with_keywords,
    "INST": _Machine.instance,
    "OBJ": _Machine.make_object,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
    "PERSID": _Machine.refuse,
    "EXT1": _Machine.refuse,
    "EXT2": _Machine.refuse,
    "EXT4": _Machine.refuse,
    "NEXT_BUFFER": _Machine.refuse,
    "READONLY_BUFFER": _Machine.refuse,
}


def _named(module: str, name: str) -> _Global:
    top = module.partition(".")[0]
    builtin = top in ("builtins", "__builtin__", "io", "_io")
    if top in _HOSTILE_MODULES or (builtin and name.partition(".")[0] in _HOSTILE_BUILTINS):
        raise WeightsError(f"it names {module}.{name}, which no checkpoint needs: do not trust this file")
    return _Global(module, name)


def _call(function: Any, arguments: Any) -> Any:
    """What a file wants called: a description where it is one of the few known names, else a Foreign."""
    if not isinstance(arguments, tuple):
        raise TypeError("the arguments of a call are no tuple")
    builder = _BUILDERS.get(str(function)) if isinstance(function, _Global) else None
    if builder is None:
        return Foreign(str(function) if isinstance(function, _Global) else "an object made by an object")
    return builder(*arguments)


def _pairs(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """Entries whose key is a short plain value.

    A deeply nested key could exhaust the stack when it is hashed; a number of megabytes is hashed at each use.
    """
    return {key: value for key, value in pairs if _is_plain(key)}


def _is_plain(key: Any) -> bool:
    if isinstance(key, str | bytes):
        return len(key) <= _LONGEST_KEY
    return key is None or isinstance(key, float) or (isinstance(key, int) and key.bit_length() <= 64)


def _dict(flat: list[Any]) -> dict[Any, Any]:
    return _pairs(zip(flat[::2], flat[1::2], strict=True))


def _ordered_dict(pairs: Iterable[Any] = ()) -> dict[Any, Any]:
    return _pairs((key, value) for key, value in pairs)


def _storage(identity: Any) -> Any:
    """A persistent id as torch writes it: ("storage", type, key, device, elements[, view])."""
    if not isinstance(identity, tuple) or not identity or identity[0] != "storage":
        return Foreign("a persistent object")
    _, kind, key, _, count, *view = identity
    dtype = _STORAGE_TYPES.get(kind.name) if isinstance(kind, _Global) else None
    if dtype is None or not isinstance(key, str) or not _natural(count) or any(view):
        raise ValueError("a storage is not described as torch.save does it")
    return StorageRef(key, dtype, count)


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> TensorRef:
    """torch._utils._rebuild_tensor and _v2 (offset, shape and stride in elements of the storage's type)."""
    return _checked(storage, storage.dtype if isinstance(storage, StorageRef) else "", offset, shape, stride)


def _tensor_v3(storage: Any, offset: Any, shape: Any, stride: Any, *more: Any) -> TensorRef:
    """torch._utils._rebuild_tensor_v3: as v2, of a type that has no storage class of its own."""
    dtype = more[2]  # after requires_grad and the hooks
    return _checked(storage, dtype.name if isinstance(dtype, _Global) else "", offset, shape, stride)


def _checked(storage: Any, dtype: str, offset: Any, shape: Any, stride: Any) -> TensorRef:
    """A tensor that lies within its storage."""
    if not isinstance(storage, StorageRef) or dtype not in ITEM_BYTES:
        raise ValueError("a tensor has no storage or an unknown type")
    if len(shape) != len(stride) or len(shape) > 64 or not all(map(_natural, (offset, *shape, *stride))):
        raise ValueError("a tensor's shape, stride and offset do not go together")
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if 0 not in shape and (last + 1) * ITEM_BYTES[dtype] > storage.count * ITEM_BYTES[storage.dtype]:
        raise ValueError(f"a tensor of shape {tuple(shape)} reaches beyond its storage ({storage.count} elements)")
    return TensorRef(storage, dtype, offset, tuple(shape), tuple(stride))


def _natural(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 60


def _typed(function: Any, kind: Any, arguments: Any, *_: Any) -> Any:
    """A tensor of a class or with attributes of its own: just the tensor."""
    known = isinstance(function, _Global) and str(function) in _TENSOR_BUILDERS
    return _call(function, arguments) if known else Foreign("a tensor of another library")


_TENSOR_BUILDERS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
}

_BUILDERS: dict[str, Callable[..., Any]] = {
    **_TENSOR_BUILDERS,
    **plain_arrays.BUILDERS,
    "collections.OrderedDict": _ordered_dict,
    "torch.Size": lambda sizes=(): tuple(sizes),
    "torch._tensor._rebuild_from_type": _typed,
    "torch._tensor._rebuild_from_type_v2": _typed,
    "torch.tensor._rebuild_from_type": _typed,
}
