"""PNG files: whole or not, and grey ones with transparency, which ITK cannot read."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from PromptSegLib.errors import VolumeError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6


def check_png(path: Path) -> list[tuple[bytes, bytes]]:
    """Return the chunks of a PNG, name and content.

    Raises:
        VolumeError: unless all are there with their checksums, and so are the compressed pixels.
    """
    content = path.read_bytes()
    if not content.startswith(_SIGNATURE):
        raise VolumeError(f"expected a readable PNG file, got {path}: it starts with {content[:8]!r}")
    at, unpacker = len(_SIGNATURE), zlib.decompressobj()
    chunks: list[tuple[bytes, bytes]] = []
    try:
        while not chunks or chunks[-1][0] != b"IEND":
            length, name = struct.unpack_from(">I4s", content, at)
            body = content[at + 8 : at + 8 + length]
            (checksum,) = struct.unpack_from(">I", content, at + 8 + length)
            if zlib.crc32(name + body) != checksum:
                raise ValueError(f"the checksum of its chunk {name!r} is another")
            chunks.append((name, body))
            while name == b"IDAT" and body:
                unpacker.decompress(body, 1 << 22)
                body = unpacker.unconsumed_tail
            at += 12 + length
        if not unpacker.eof:
            raise ValueError("the end of its pixels is missing")
    except (ValueError, struct.error, zlib.error) as error:
        raise VolumeError(f"expected a whole PNG file, got {path}: it is cut or damaged: {error}") from error
    return chunks


def as_itk_reads_it(chunks: list[tuple[bytes, bytes]]) -> tuple[bytes, int] | None:
    """Return a grey PNG with transparency as one that ITK reads, and what its pixels are then; None for others.

    1: grey as they are; 16: grey in the upper byte; 4: the grey's two bytes in the first two of four components.
    Rows are filtered byte by byte at the distance of a pixel, so that grey and alpha of 8 bits each are the bytes of
    a grey pixel of 16 bits, and those of 16 bits each the four components of colour with alpha.
    """
    name, head = chunks[0]
    if name != b"IHDR" or len(head) != 13:
        return None
    bits, colour = head[8], head[9]
    if colour == _GREY and any(name == b"tRNS" for name, _ in chunks):
        new, layout = head, 1
    elif colour == _GREY_ALPHA and bits == 8:
        new, layout = head[:8] + bytes([16, _GREY]) + head[10:], 16
    elif colour == _GREY_ALPHA and bits == 16:
        new, layout = head[:8] + bytes([8, _RGB_ALPHA]) + head[10:], 4
    else:
        return None
    kept = [(b"IHDR", new), *((name, body) for name, body in chunks if name in (b"pHYs", b"IDAT", b"IEND"))]
    packed = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in kept
    )
    return _SIGNATURE + b"".join(packed), layout
