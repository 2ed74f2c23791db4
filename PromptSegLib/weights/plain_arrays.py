"""NumPy's numbers and small arrays in pickles, as plain numbers: what plans of trained networks are made of."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

_CODES = {
    "f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b",
    "u8": "Q", "u4": "I", "u2": "H", "u1": "B", "b1": "?",
}  # fmt: skip
_MOST = 1 << 16


@dataclass(frozen=True, slots=True)
class NumberType:
    """A type of numbers by NumPy's code, little-endian, such as "f8"."""

    code: str


@dataclass(eq=False, slots=True)
class PlainArray:
    """An array's numbers, in C order; none where it holds anything else, or more than a plan needs."""

    shape: tuple[int, ...] = ()
    values: tuple[Any, ...] = field(default=())

    def fill(self, state: Any) -> None:
        """Take the state that a pickle gives an array: (version, shape, type, Fortran order, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5:
            return
        _, shape, kind, is_fortran, data = state
        is_shape = isinstance(shape, tuple) and all(isinstance(n, int) and 0 <= n <= _MOST for n in shape)
        if is_shape and isinstance(kind, NumberType) and isinstance(data, bytes) and prod(shape) <= _MOST:
            numbers = _numbers(kind, data)
            if len(numbers) == prod(shape) and (not is_fortran or len(shape) < 2):
                self.shape, self.values = shape, numbers

    def nested(self) -> Any:
        """The numbers as lists within lists."""
        values: list[Any] = list(self.values)
        for length in self.shape[:0:-1]:
            values = [values[at : at + length] for at in range(0, len(values), max(length, 1))]
        return values if self.shape else values[0] if values else None


def number_type(code: Any, *_: Any) -> NumberType:
    return NumberType(str(code)[:8].lstrip("<=|") if isinstance(code, str) else "")


def scalar(kind: Any, data: Any = b"", *_: Any) -> Any:
    numbers = _numbers(kind, data) if isinstance(kind, NumberType) and isinstance(data, bytes) else ()
    return numbers[0] if len(numbers) == 1 else None


def encoded(text: Any = "", codec: Any = "", *_: Any) -> bytes:
    """Bytes that protocol 2 writes as a text."""
    if isinstance(text, str) and codec == "latin1":
        return text.encode("latin1")
    raise ValueError("it encodes a text otherwise than NumPy does")


def empty(*_: Any) -> PlainArray:
    return PlainArray()


BUILDERS: dict[str, Callable[..., Any]] = {
    "numpy.dtype": number_type,
    "_codecs.encode": encoded,
    **{f"{place}.multiarray.scalar": scalar for place in ("numpy.core", "numpy._core")},
    **{f"{place}.multiarray._reconstruct": empty for place in ("numpy.core", "numpy._core")},
}
"""What is called in pickles of NumPy's objects, by its name."""


def _numbers(kind: NumberType, data: bytes) -> tuple[Any, ...]:
    letter = _CODES.get(kind.code)
    if letter is None or len(data) % struct.calcsize(f"<{letter}"):
        return ()
    return struct.unpack(f"<{len(data) // struct.calcsize(f'<{letter}')}{letter}", data)
