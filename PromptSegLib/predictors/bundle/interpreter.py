"""A bundle's configuration read without running what it says: what MONAI's model zoo needs, and nothing else.

References, paths, constants, `torch.device`, `.to(device)`, arithmetic, and MONAI's own networks, transforms and
inferers (see `known`) are understood. Whatever else is met raises `NotUnderstoodError` with the expression; MONAI
itself would run it as Python.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from PromptSegLib.errors import WeightsError
from PromptSegLib.predictors.bundle.known import class_named

_REFERENCE = re.compile(r"@([\w#:]+)")
_SEPARATORS = re.compile(r"::|#")
_DEEPEST = 60
_MOST_STEPS = 100_000
_LONGEST = 2000
_LARGEST = 1 << 16
_SIZES = {"spatial_size", "spatial_border", "roi_size", "img_size", "k"}
"""Arguments that say how large images and tiles become."""
_MOST_VOXELS = 1 << 28

_OPERATIONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.Gt: lambda a, b: a > b,
    ast.LtE: lambda a, b: a <= b,
    ast.GtE: lambda a, b: a >= b,
}
_PLAIN = (str, int, float, bool, list, tuple, type(None))
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "len": len, "int": int, "float": float, "str": str, "bool": bool, "list": list, "tuple": tuple, "dict": dict,
    "min": min, "max": max, "sum": sum, "abs": abs, "sorted": sorted,
}  # fmt: skip


class NotUnderstoodError(WeightsError):
    """A configuration says something that would have to be run as code."""


class Interpreter:
    """The entries of a configuration by their names, resolved when they are asked for.

    entries: the configuration. given: values that take an entry's place, such as the device.
    """

    def __init__(self, entries: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        self._entries = entries
        self._made: dict[str, Any] = dict(given)
        self._under_way: list[str] = []
        self._steps = 0

    def has(self, name: str) -> bool:
        return name in self._entries

    def raw(self, name: str) -> Any:
        """Return an entry as it is written."""
        return self._entries.get(name)

    def resolve(self, name: str) -> Any:
        """Return what the entry `name` stands for; "a::b", or "a#b", is an entry within another.

        Raises:
            NotUnderstoodError: it would have to be run.
            WeightsError: there is no such entry, or it refers to itself.
        """
        name = _SEPARATORS.sub("::", name)
        if name in self._made:
            return self._made[name]
        if name in self._under_way or len(self._under_way) > _DEEPEST:
            raise WeightsError(f"the configuration's entry {name!r} refers to itself")
        self._under_way.append(name)
        try:
            first, *inner = name.split("::")
            if not first:
                raise NotUnderstoodError(f"a relative reference {name!r}")
            if first not in self._entries and first not in self._made:
                raise WeightsError(f"expected an entry {first!r} in the configuration, got none")
            if first in self._made:
                value = self._made[first]
                for key in inner:
                    value = _within(value, key, name)
            else:
                value = self._entries[first]
                for key in inner:
                    value = _within(value, key, name)
                value = self._value(value)
            self._made[name] = value
        finally:
            self._under_way.pop()
        return value

    def value(self, written: Any) -> Any:
        """Return what `written` stands for, as an entry would."""
        return self._value(written)

    def _value(self, written: Any) -> Any:
        self._step()
        if isinstance(written, str):
            return self._text(written)
        if isinstance(written, list):
            return [self._value(one) for one in written if not _is_disabled(one)]
        if isinstance(written, dict):
            if "_target_" in written:
                return self._component(written)
            return {str(key): self._value(value) for key, value in written.items()}
        return written

    def _step(self) -> None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise WeightsError("the configuration takes too long to read")

    def _text(self, text: str) -> Any:
        if text.startswith("%"):
            raise NotUnderstoodError(f"a macro {text[:80]!r}")
        if text.startswith("@") and _REFERENCE.fullmatch(text):
            return self.resolve(text[1:])
        if not text.startswith("$"):
            return text
        return self._expression(text)

    def _component(self, written: Mapping[str, Any]) -> Any:
        """Return an object of one of the classes that are known."""
        target = written["_target_"]
        known = class_named(target) if isinstance(target, str) else None
        if known is None or written.get("_mode_", "default") != "default" or "_requires_" in written:
            raise NotUnderstoodError(f"{str(target)[:100]!r}")
        arguments = {str(key): self._value(value) for key, value in written.items() if not str(key).startswith("_")}
        _check_arguments(str(target), arguments)
        try:
            return known(**arguments)
        except WeightsError:
            raise
        except Exception as error:
            why = " ".join(str(error).split())[:300]
            raise WeightsError(f"expected arguments of {target}, got {type(error).__name__}: {why}") from error

    def _expression(self, text: str) -> Any:
        names: dict[str, str] = {}

        def placed(match: re.Match[str]) -> str:
            names[f"_at_{len(names)}"] = match.group(1)
            return f"_at_{len(names) - 1}"

        written = _REFERENCE.sub(placed, text[1:])
        try:
            if len(written) > _LONGEST:
                raise ValueError("it is too long")
            tree = ast.parse(written.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise NotUnderstoodError(f"{text[:100]!r}") from error
        try:
            return self._node(tree, names, text)
        except (TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
            raise WeightsError(f"the configuration's expression {text[:100]!r} has no value: {error}") from error

    def _node(self, node: ast.expr, names: Mapping[str, str], text: str) -> Any:
        def of(inner: ast.expr) -> Any:
            self._step()
            return self._node(inner, names, text)

        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name) if name in names:
                return self.resolve(names[name])
            case ast.Attribute() if (found := _torch_constant(node)) is not None:
                return found
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                found = [of(element) for element in elements]
                return found if isinstance(node, ast.List) else tuple(found)
            case ast.Dict(keys=keys, values=values) if all(key is not None for key in keys):
                return {of(key): of(value) for key, value in zip(keys, values, strict=True) if key is not None}
            case ast.IfExp(test=test, body=body, orelse=other):
                return of(body) if of(test) else of(other)
            case ast.BoolOp(op=operation, values=values):
                results = [of(value) for value in values]
                return all(results) if isinstance(operation, ast.And) else any(results)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -of(operand)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not of(operand)
            case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _OPERATIONS:
                return _computed(_OPERATIONS[type(operation)], of(left), of(right))
            case ast.Compare(left=left, ops=[operation], comparators=[right]) if type(operation) in _OPERATIONS:
                return _computed(_OPERATIONS[type(operation)], of(left), of(right))
            case ast.Subscript(value=value, slice=index) if not isinstance(index, ast.Slice):
                return of(value)[of(index)]
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
                return _FUNCTIONS[name](*(_plain(of(argument), text) for argument in arguments))
            case ast.Call(func=ast.Attribute() as function, args=arguments, keywords=[]):
                return self._call(function, [of(argument) for argument in arguments], names, text)
        raise NotUnderstoodError(f"{text[:100]!r}")

    def _call(self, function: ast.Attribute, arguments: list[Any], names: Mapping[str, str], text: str) -> Any:
        import torch

        written = ast.unparse(function)
        if written == "torch.device" and len(arguments) == 1:
            return torch.device(self._made.get("device", "cpu"))
        if written == "torch.cuda.is_available" and not arguments:
            return torch.cuda.is_available()
        if written == "torch.cuda.device_count" and not arguments:
            return torch.cuda.device_count()
        if written == "os.path.join" and all(isinstance(argument, str) for argument in arguments):
            return "/".join(argument.rstrip("/") for argument in arguments)
        if function.attr in ("to", "eval", "cuda", "cpu"):  # where it runs is the user's to say
            owner = self._node(function.value, names, text)
            if isinstance(owner, torch.nn.Module):
                return owner
        raise NotUnderstoodError(f"{text[:100]!r}")


def _torch_constant(node: ast.Attribute) -> Any:
    """A type of numbers, such as torch.float32 or np.uint8; None for all else."""
    match node:
        case ast.Attribute(value=ast.Name(id="torch"), attr=attr):
            import torch

            found = getattr(torch, attr, None)
            return found if isinstance(found, torch.dtype) else None
        case ast.Attribute(value=ast.Name(id="np" | "numpy"), attr=attr):
            import numpy as np

            found = getattr(np, attr, None)
            return found if isinstance(found, type) and issubclass(found, np.generic) else None
    return None


def _computed(operation: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    for value in (left, right):
        if not isinstance(value, _PLAIN):
            raise TypeError(f"expected numbers or texts, got {type(value).__name__}")
    # A text times a number, a number times itself, or a text and itself over and over could fill the memory.
    size = _size(left) + _size(right)
    numbers = [abs(value) for value in (left, right) if isinstance(value, int | float)]
    if numbers and any(isinstance(value, str | list | tuple) for value in (left, right)):
        size *= max(1, int(max(numbers)))
    if size > _LARGEST:
        raise ValueError("it is too long")
    if any(isinstance(n, int) and n.bit_length() > 256 for n in numbers):
        raise ValueError("it is too large")
    return operation(left, right)


def _plain(value: Any, text: str) -> Any:
    if not isinstance(value, (*_PLAIN, dict)):
        raise NotUnderstoodError(f"{text[:100]!r}")
    _size(value)
    return value


def _size(value: Any) -> int:
    """How many letters and elements a value has, those within others counted as often as they are met.

    Raises:
        ValueError: more than are ever needed. Lists that hold one another twice and twice again take no memory until
            they are written out or compared.
    """
    total, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        total += len(one) if isinstance(one, str) else 1
        if isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple):
            waiting += one
        if total + len(waiting) > _LARGEST:
            raise ValueError("it is too long")
    return total


def _check_arguments(target: str, arguments: Mapping[str, Any]) -> None:
    """Refuse what would fill the memory when it is made or used.

    Raises:
        WeightsError: then.
    """
    try:
        _size(arguments)
    except ValueError as error:
        raise WeightsError(f"expected arguments of {target}, got too many of them") from error
    for name in _SIZES.intersection(arguments):
        value = arguments[name]
        sides = [abs(one) for one in (value if isinstance(value, list | tuple) else [value] * 3) if _is_number(one)]
        if math.prod(max(1, side) for side in sides) > _MOST_VOXELS:
            raise WeightsError(f"expected {name!r} of {target} to have at most {_MOST_VOXELS:,} voxels, got {value}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_disabled(written: Any) -> bool:
    return isinstance(written, dict) and written.get("_disabled_") in (True, "true", "True")


def _within(value: Any, key: str, name: str) -> Any:
    try:
        return value[int(key)] if isinstance(value, list | tuple) else value[key]
    except (LookupError, ValueError, TypeError) as error:
        raise WeightsError(f"expected an entry {name!r} in the configuration, got none") from error
