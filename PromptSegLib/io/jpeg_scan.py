"""The entropy-coded data of a JPEG, walked through code by code: whether they are what the header promises.

libjpeg goes on after damage, with grey or shifted blocks, and ITK and GDCM do not tell. A JPEG has no checksum, but
most damage leads to a code that does not exist, to a block that is too long, or to an end that comes too early or too
late (ITU T.81, F.2.2). For each bit of the data numpy finds the code that would begin there; then it is a walk along.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

_HUFFMAN_FRAMES = {0xC0: "sequential", 0xC1: "sequential", 0xC3: "lossless"}

# Looked at together; takes about 100 bytes for each.
_WINDOW_BYTES = 1 << 16
# The longest code and the bits that it announces: 16 + 16, and a window has to hold a few blocks.
_MARGIN_BYTES = 64 * 4 * 10


@dataclass(frozen=True)
class _Component:
    """Of a frame: `across` x `down` blocks (lossless: samples) in a unit of interleaved components."""

    across: int
    down: int
    columns: int
    rows: int


def check_scans(content: bytes) -> None:
    """Raise ValueError when the data of a scan are not what the header promises.

    Only of sequential and lossless JPEGs; of progressive and arithmetically coded ones nothing is looked at.
    """
    tables: dict[int, NDArray[np.uint16]] = {}
    frame: tuple[str, dict[int, _Component]] | None = None
    restart = 0
    for marker, body, data in _segments(content):
        if marker == 0xC4:
            tables |= _huffman_tables(body)
        elif marker == 0xDD:
            (restart,) = struct.unpack_from(">H", body)
        elif marker in _HUFFMAN_FRAMES:
            frame = _HUFFMAN_FRAMES[marker], _components(body, 1 if marker == 0xC3 else 8)
        elif marker == 0xDA and frame is not None:
            _check_scan(body, data, frame, tables, restart)


def _segments(content: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield marker, content and, of scans, the data that follow."""
    at = 2
    while at + 4 <= len(content):
        marker = content[at + 1]
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            return
        (length,) = struct.unpack_from(">H", content, at + 2)
        body, end = content[at + 4 : at + 2 + length], at + 2 + length
        begin = end
        if marker == 0xDA:
            while not (content[end] == 0xFF and content[end + 1] != 0 and not 0xD0 <= content[end + 1] <= 0xD7):
                end = content.index(b"\xff", end + 1)
        yield marker, body, content[begin:end]
        at = end


def _components(body: bytes, block: int) -> dict[int, _Component]:
    rows, columns, count = struct.unpack_from(">HHB", body, 1)
    factors = {body[6 + 3 * n]: (body[7 + 3 * n] >> 4, body[7 + 3 * n] & 15) for n in range(count)}
    widest, highest = (max(factor[axis] for factor in factors.values()) for axis in (0, 1))
    return {
        name: _Component(h, v, ceil(ceil(columns * h / widest) / block), ceil(ceil(rows * v / highest) / block))
        for name, (h, v) in factors.items()
    } | {-1: _Component(widest, highest, ceil(columns / (block * widest)), ceil(rows / (block * highest)))}


def _huffman_tables(body: bytes) -> dict[int, NDArray[np.uint16]]:
    """Return, by class and number of the table, for each next 16 bits the code's length << 8 | its value, or 0."""
    tables = {}
    at = 0
    while at < len(body):
        name, counts = body[at], body[at + 1 : at + 17]
        values = body[at + 17 : at + 17 + sum(counts)]
        table = np.zeros(1 << 16, np.uint16)
        code, number = 0, 0
        for length, count in enumerate(counts, start=1):
            for _ in range(count):
                width = 1 << (16 - length)
                table[code * width : (code + 1) * width] = length << 8 | values[number]
                code, number = code + 1, number + 1
            code <<= 1
        tables[name] = table
        at += 17 + sum(counts)
    return tables


def _check_scan(
    body: bytes,
    data: bytes,
    frame: tuple[str, dict[int, _Component]],
    tables: dict[int, NDArray[np.uint16]],
    restart: int,
) -> None:
    kind, components = frame
    chosen = [(components[body[1 + 2 * n]], body[2 + 2 * n]) for n in range(body[0])]
    if len(chosen) == 1:
        units, walked = chosen[0][0].columns * chosen[0][0].rows, [chosen[0][1]]
    else:
        units = components[-1].columns * components[-1].rows
        walked = [selector for component, selector in chosen for _ in range(component.across * component.down)]
    is_lossless = kind == "lossless"
    steps = {name: _steps(table, name < 0x10, is_lossless) for name, table in tables.items()}
    pieces = _between_restarts(data)
    for number, piece in enumerate(pieces):
        left = units - number * restart if restart else units
        count = min(restart, left) if restart else left
        if count <= 0 or (number == len(pieces) - 1 and left > count):
            raise ValueError("its restart markers are not as many as its header says")
        _Walk(piece, steps, is_lossless).units(count, walked)


def _between_restarts(data: bytes) -> list[bytes]:
    """Return the pieces between restart markers, which are numbered 0 to 7 over and over, without stuffed zeros."""
    pieces, begin, at, number = [], 0, data.find(b"\xff"), 0
    while at >= 0:
        if data[at + 1 : at + 2] != b"\0":
            if data[at + 1] != 0xD0 + number % 8:
                raise ValueError("its restart markers are not in order")
            pieces.append(data[begin:at])
            begin, number = at + 2, number + 1
        at = data.find(b"\xff", at + 2)
    return [piece.replace(b"\xff\0", b"\xff") for piece in [*pieces, data[begin:]]]


class _Walk:
    """A walk along the codes of a piece of data."""

    def __init__(self, data: bytes, steps_of_code: dict[int, NDArray[np.uint16]], is_lossless: bool) -> None:
        self.data = data
        self.steps_of_code = steps_of_code
        self.is_lossless = is_lossless
        self._look_from(0)

    def units(self, count: int, walked: list[int]) -> None:
        """Walk `count` units of blocks with the tables `walked`.

        Raises:
            ValueError: the data do not allow it.
        """
        at = 0
        last = 8 * len(self.data)
        for _ in range(count):
            if at - self.first > 8 * _WINDOW_BYTES:
                self._look_from(at // 8)
            for selector in walked:
                at = self._block(at, selector)
                if at > last:
                    raise ValueError("its pixels end too early")
        # What fills the last byte is ones.
        if last - at > 7:
            raise ValueError(f"{(last - at) // 8} bytes of its pixels are left over")

    def _block(self, at: int, selector: int) -> int:
        at -= self.first
        step = self._steps_at(selector >> 4)[at]
        if step == 0:
            raise ValueError("its pixels hold a code that its tables do not know")
        at += step & 63
        if not self.is_lossless:
            steps = self._steps_at(0x10 | selector & 15)
            position = 1
            while position < 64:
                step = steps[at]
                if step == 0:
                    raise ValueError("its pixels hold a code that its tables do not know")
                at += step & 63
                position += step >> 6
            if 64 < position < 128:
                raise ValueError("a block of its pixels is too long")
        return at + self.first

    def _look_from(self, byte: int) -> None:
        """Let the window begin at a byte: find the 16 bits that follow each of its bits."""
        self.first = 8 * byte
        self.windows: dict[int, memoryview] = {}
        window = self.data[byte : byte + _WINDOW_BYTES + _MARGIN_BYTES]
        # Ones behind the end: no code is all ones, so that no walk gets lost there.
        padded = np.frombuffer(window + b"\xff" * 520, np.uint8).astype(np.uint32)
        words = padded[:-2] << 16 | padded[1:-1] << 8 | padded[2:]
        next_16 = (words[:, None] >> np.arange(8, 0, -1, dtype=np.uint32)) & 0xFFFF
        self.next_16 = next_16.ravel().astype(np.uint16)

    def _steps_at(self, name: int) -> memoryview:
        """Return the step of each bit of the window by a table."""
        if name not in self.windows:
            if name not in self.steps_of_code:
                raise ValueError("a table for its pixels is missing")
            self.windows[name] = memoryview(cast("Any", self.steps_of_code[name][self.next_16]))
        return self.windows[name]


def _steps(table: NDArray[np.uint16], is_first: bool, is_lossless: bool) -> NDArray[np.uint16]:
    """Return for each next 16 bits how many to go on (6 bits) and how many coefficients (above); 0 for no code."""
    length, value = table >> 8, table & 0xFF
    if is_first:
        # Lossless: 16 stands for 32768, and no bits follow.
        extra = np.where(value == 16, 0, value) if is_lossless else value
        found = (length + extra) | 1 << 6
    else:
        run, size = value >> 4, value & 15
        # No size: 15 zeros and a further one, or the end of the block (so far on that it ends in any case).
        moves = np.where(size > 0, run + 1, np.where(run == 15, 16, 128))
        found = (length + size) | moves << 6
    return np.where(length > 0, found, 0).astype(np.uint16)
