"""The bones of a DICOM file, looked at before anything reads it that believes what a file says of itself.

Sequences within sequences, as deep as a file likes, end GDCM and the process with it; a deflated file of 2 MB unpacks
to 2 GB. Elements are not understood here, only stepped over (PS3.5, 7): what cannot be followed is the reader's.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PromptSegLib.errors import VolumeError

_Bytes = bytes | mmap.mmap

_DEEPEST = 64  # sequences within each other; standard ones go to 6
_MOST_ELEMENTS = 5_000_000
_SLACK_BYTES = 16 << 20  # an element may reach beyond the file by that: GDCM says then that it was cut
_MOST_INFLATED = 1 << 27  # of a deflated file; GDCM takes twice that, and 1 s
_UNDEFINED = 0xFFFFFFFF
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_IMPLICIT, _DEFLATED, _BIG_ENDIAN = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.2"


def check_structure(path: Path) -> None:
    """Raise VolumeError for a file that claims what would take GDCM down, or fill the memory; pass any other."""
    with path.open("rb") as file:
        head = file.read(132)
        has_preamble = head[128:] == b"DICM"
        if not has_preamble and head[:2] not in (b"\x02\0", b"\x08\0", b"\0\x08"):
            return  # begins with no group that a DICOM file begins with
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content, suppress(struct.error):
            _check(content, path, has_preamble)


def _check(content: _Bytes, path: Path, has_preamble: bool) -> None:
    """Look at a file's content.

    Raises:
        VolumeError: the image is missing, damaged or does not suit.
        struct.error: it ends in the middle of an element.
    """
    syntax, start = _transfer_syntax(content) if has_preamble else (b"", 0)
    if syntax == _DEFLATED:
        content, start = _inflated(content[start:], path), 0
    is_explicit = content[start + 4 : start + 6].isalpha() if not syntax else syntax != _IMPLICIT
    _Walk(path, content, ">" if syntax == _BIG_ENDIAN else "<", has_preamble).run(start, is_explicit)


def _transfer_syntax(content: _Bytes) -> tuple[bytes, int]:
    """Return the UID in the file's meta information, and where that ends."""
    at, syntax = 132, b""
    while content[at : at + 2] == b"\x02\x00":
        vr = content[at + 4 : at + 6]
        head = 12 if vr in _LONG else 8
        (length,) = struct.unpack_from("<I" if vr in _LONG else "<H", content, at + head - (4 if vr in _LONG else 2))
        if content[at + 2 : at + 4] == b"\x10\x00":
            syntax = content[at + head : at + head + length].rstrip(b"\0 ")
        at += head + length
    return syntax, at


def _inflated(packed: bytes, path: Path) -> bytes:
    try:
        content = zlib.decompressobj(-15).decompress(packed, _MOST_INFLATED + 1)
    except zlib.error as error:
        raise VolumeError(f"expected a whole DICOM file, got {path}: {error}") from error
    if len(content) > _MOST_INFLATED:
        raise VolumeError(f"expected a deflated DICOM file of at most {_MOST_INFLATED:,} bytes unpacked, got {path}")
    return content


@dataclass
class _Walk:
    """Steps over the elements of a data set. order: of the bytes, as struct has it."""

    path: Path
    content: _Bytes
    order: str
    is_sure: bool  # that this is DICOM: only then an element that reaches beyond the end is refused

    def run(self, at: int, is_explicit: bool) -> None:
        short, long = struct.Struct(f"{self.order}H"), struct.Struct(f"{self.order}I")
        inside: list[tuple[int, bool]] = []  # of sequences and items around: where they end, whether VRs are told
        end = len(self.content)
        for _ in range(_MOST_ELEMENTS):
            while inside and at >= inside[-1][0]:
                is_explicit = inside.pop()[1]
            if at + 8 > end:
                return
            group, (element,) = short.unpack_from(self.content, at)[0], short.unpack_from(self.content, at + 2)
            if group == 0xFFFE:
                (length,) = long.unpack_from(self.content, at + 4)
                at += 8
                if element == 0xE000:
                    inside.append((end if length == _UNDEFINED else at + length, is_explicit))
                elif inside:
                    is_explicit = inside.pop()[1]
            else:
                at, length, opens, is_inner_explicit = self._head(at, is_explicit, short, long)
                if (group, element) == (0x7FE0, 0x10) and length == _UNDEFINED:
                    return  # fragments of compressed pixels: nothing is nested in them
                if opens:
                    inside.append((end if length == _UNDEFINED else at + length, is_explicit))
                    is_explicit = is_inner_explicit
                else:
                    at += length
                    if at > end + _SLACK_BYTES and self.is_sure:
                        raise VolumeError(
                            f"expected a whole DICOM file, got {self.path}: an element of {length:,} bytes is claimed, "
                            f"the file has {end:,}"
                        )
            if len(inside) > 2 * _DEEPEST:
                raise VolumeError(f"expected a DICOM file of sequences up to {_DEEPEST} deep, got {self.path}: deeper")

    def _head(
        self, at: int, is_explicit: bool, short: struct.Struct, long: struct.Struct
    ) -> tuple[int, int, bool, bool]:
        """Return where an element's value begins, its length, whether it is a sequence, and whether that has VRs."""
        vr = self.content[at + 4 : at + 6]
        has_vr = is_explicit and vr.isalpha() and vr.isupper()
        if has_vr and vr not in _LONG:
            return at + 8, int(short.unpack_from(self.content, at + 6)[0]), False, is_explicit
        head = 12 if has_vr else 8
        length = int(long.unpack_from(self.content, at + head - 4)[0])
        item = self.content[at + head : at + head + 4]
        opens = vr == b"SQ" if has_vr and vr != b"UN" else item in (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
        # The items of a sequence of unknown kind have no VRs (PS3.5, 6.2.2).
        return at + head, length, opens or length == _UNDEFINED, is_explicit and has_vr and vr != b"UN"
