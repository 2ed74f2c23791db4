"""What can be told of a compressed picture without decoding it: whether it is whole, and of which size."""

from __future__ import annotations

import struct
from collections.abc import Callable

from PromptSegLib.io.jpeg_scan import check_scans

_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9


def check_codestream(
    stream: bytes, family: str, expected: tuple[int, int, int, int], error: Callable[[str], Exception]
) -> None:
    """Raise `error` when a JPEG, JPEG-LS or JPEG 2000 stream is cut, or not of the size that its file says.

    expected: rows, columns, samples, and the bits at most of a sample.
    """
    try:
        found = _size_of_jpeg2000(stream) if family == "JPEG 2000" else _size_of_jpeg(stream, family)
        if family == "JPEG":
            check_scans(stream)
    except (IndexError, KeyError, ValueError, struct.error) as reason:
        raise error(f"its {family} pixel data are cut or damaged: {reason}") from reason
    if found[:3] != expected[:3] or found[3] > expected[3]:
        raise error(
            f"its {family} pixel data have {found[0]} x {found[1]} pixels of {found[2]} x {found[3]} bits, the file "
            f"says {expected[0]} x {expected[1]} of {expected[2]} x {expected[3]}"
        )


def check_jpeg(content: bytes, error: Callable[[str], Exception]) -> None:
    """Raise `error` when a JPEG file is cut or damaged, as far as that can be told; libjpeg would paint it grey."""
    try:
        _size_of_jpeg(content, "JPEG")
        check_scans(content)
    except (IndexError, KeyError, ValueError, struct.error) as reason:
        raise error(f"it is cut or damaged: {reason}") from reason


def _size_of_jpeg(stream: bytes, family: str) -> tuple[int, int, int, int]:
    """Return rows, columns, components, bits.

    Raises:
        ValueError: unless segments follow each other to the end.
    """
    if stream[:2] != b"\xff\xd8":
        raise ValueError("it does not begin as one")
    at, size = 2, None
    while True:
        if stream[at] != 0xFF:
            raise ValueError(f"byte {at} is no marker")
        marker = stream[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == _END_OF_IMAGE:
            break
        if marker in _WITHOUT_LENGTH:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", stream, at + 2)
        if marker in _START_OF_FRAME:
            bits, rows, columns, components = struct.unpack_from(">BHHB", stream, at + 4)
            size = rows, columns, components, bits
        at += 2 + length
        if marker == _START_OF_SCAN:
            at = _end_of_scan(stream, at, family)
    if size is None:
        raise ValueError("it has no frame")
    return size


def _end_of_scan(stream: bytes, at: int, family: str) -> int:
    """Return where the next marker is. Within a scan, 0xFF is followed by 0 (JPEG-LS: a byte below 0x80)."""
    while True:
        at = stream.find(b"\xff", at)
        if at < 0 or at + 1 >= len(stream):
            raise ValueError("its end is missing")
        following = stream[at + 1]
        is_data = following < 0x80 if family == "JPEG-LS" else following == 0
        if not is_data and not 0xD0 <= following <= 0xD7:
            return at
        at += 2


def _size_of_jpeg2000(stream: bytes) -> tuple[int, int, int, int]:
    """Return rows, columns, components, bits.

    Raises:
        ValueError: unless tile-parts follow each other to the end.
    """
    begin = stream.find(b"\xff\x4f\xff\x51") if stream[:4] == b"\x00\x00\x00\x0c" else 0  # a JP2 file around it
    if stream[begin : begin + 4] != b"\xff\x4f\xff\x51":
        raise ValueError("it does not begin as one")
    x_end, y_end, x_begin, y_begin = struct.unpack_from(">4I", stream, begin + 8)
    (components,) = struct.unpack_from(">H", stream, begin + 40)
    bits = (stream[begin + 42] & 0x7F) + 1
    at = begin + 2
    while stream[at : at + 2] != b"\xff\xd9":
        (marker, length) = struct.unpack_from(">HH", stream, at)
        if marker == 0xFF90:
            (tile_bytes,) = struct.unpack_from(">I", stream, at + 6)
            if tile_bytes == 0:  # to the end
                if b"\xff\xd9" not in stream[-3:]:
                    raise ValueError("its end is missing")
                break
            at += tile_bytes
        elif marker >> 8 == 0xFF:
            at += 2 + length
        else:
            raise ValueError(f"byte {at} is no marker")
    return y_end - y_begin, x_end - x_begin, components, bits
