"""Files of torch.save, both formats, opened without torch's loader: what they hold, where each storage lies."""

from __future__ import annotations

import struct
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from PromptSegLib.archives import opened_zip
from PromptSegLib.errors import WeightsError
from PromptSegLib.weights.inert_pickle import ITEM_BYTES, LimitedStream, StorageRef, TensorRef, load_inert
from PromptSegLib.weights.layout import Layout

if TYPE_CHECKING:
    import torch

_PICKLE_LIMIT = 16 << 20  # the pickles of real checkpoints have about 1 MB; only the storages are large
_DAMAGE = (zipfile.BadZipFile, struct.error, OSError, EOFError, ValueError, NotImplementedError, LookupError)
"""What opening a damaged file raises; ArchiveError is a ValueError."""
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first object of the format before torch 1.6
_LEGACY_START = b"\x80\x02\x8a\x0a" + _LEGACY_MAGIC.to_bytes(10, "little")
_ZIP_START = b"PK\x03\x04"


def is_torch_file(path: Path) -> bool:
    """Whether the file begins as torch.save's do (or as any other zip archive)."""
    with path.open("rb") as file:
        start = file.read(len(_LEGACY_START))
    return start == _LEGACY_START or start.startswith(_ZIP_START)


@dataclass
class TorchFile:
    """A file of torch.save: `content` as `inert_pickle` describes it; numbers are read when asked for."""

    path: Path
    content: Any
    spans: dict[str, tuple[int, int]]  # storage's key -> (first byte, bytes)
    _read: dict[StorageRef, torch.Tensor] = field(default_factory=dict)

    def state_dict(self, layout: Layout) -> dict[str, TensorRef]:
        """The state dict's tensors by the network's own names, not yet read.

        Raises:
            WeightsError: there is none, or its tensors claim more than the file can hold.
        """
        try:
            refs = layout.select(self.content)
        except WeightsError as error:
            raise WeightsError(f"{self.path} cannot be used: {error}") from error
        self._require_honest_sizes(set(refs.values()))
        return refs

    def tensor(self, ref: TensorRef) -> torch.Tensor:
        """The tensor in memory; tensors of one storage share it, until `forget`."""
        import torch

        if ref.storage not in self._read:
            self._read[ref.storage] = self._bytes(ref.storage)
        numbers = self._read[ref.storage]
        # Of a type with larger elements than the storage's own, the last one may be there in part.
        numbers = numbers[: numbers.numel() // ITEM_BYTES[ref.dtype] * ITEM_BYTES[ref.dtype]]
        numbers = numbers.view(getattr(torch, ref.dtype))
        return numbers.as_strided(ref.shape, ref.stride, ref.offset)

    def forget(self) -> None:
        """Let go of the storages read so far."""
        self._read.clear()

    def _require_honest_sizes(self, refs: set[TensorRef]) -> None:
        """Refuse tensors that together claim more than the file holds (views of one storage may double it)."""
        size = self.path.stat().st_size
        stored = sum(self._span(storage)[1] for storage in {ref.storage for ref in refs})
        claimed = sum(ref.nbytes for ref in refs)
        if stored > size or claimed > 2 * size:
            claimed = max(stored, claimed)
            raise WeightsError(f"{self.path}: its tensors claim {claimed:,} bytes, the file has {size:,}")

    def _span(self, storage: StorageRef) -> tuple[int, int]:
        start, size = self.spans.get(storage.key, (0, -1))
        if size != storage.count * ITEM_BYTES[storage.dtype]:
            raise WeightsError(
                f"{self.path}: storage {storage.key!r} claims {storage.count} elements of {storage.dtype}, "
                + (f"the file has {size} bytes for it" if size >= 0 else "the file has none of that name")
            )
        return start, size

    def _bytes(self, storage: StorageRef) -> torch.Tensor:
        """The storage's bytes, (n,) uint8."""
        import torch

        start, size = self._span(storage)
        buffer = torch.empty(size, dtype=torch.uint8)
        with self.path.open("rb") as file:
            file.seek(start)
            if file.readinto(buffer.numpy().data) != size:
                raise WeightsError(f"{self.path}: storage {storage.key!r} is cut off")
        return buffer


def open_torch_file(path: Path) -> TorchFile:
    """Read a file's description of itself, none of its numbers.

    Raises:
        WeightsError: damaged, no file of torch.save, or malicious; nothing in it was executed.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(len(_ZIP_START)) == _ZIP_START
            file.seek(0)
            return _open_zip(path, file) if zipped else _open_legacy(path, file)
    except WeightsError as error:
        raise WeightsError(f"{path} cannot be used: {error} (nothing in it was executed)") from error
    except _DAMAGE as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error


def _open_zip(path: Path, file: IO[bytes]) -> TorchFile:
    """The format since torch 1.6: a zip archive of data.pkl, byteorder, and data/KEY for each storage."""
    size = path.stat().st_size
    with opened_zip(file) as archive:
        members = archive.infolist()
    pickles = [member for member in members if member.filename.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise WeightsError("it is a zip archive, but not one of torch.save")
    folder = pickles[0].filename.removesuffix("data.pkl")
    ours = (member for member in members if member.filename.startswith(folder))
    inside = {member.filename.removeprefix(folder): _member_span(file, member, size) for member in ours}
    if "byteorder" in inside and _read(file, inside["byteorder"], 16) != sys.byteorder.encode():
        raise WeightsError("it was written on a machine of another byte order")
    start, length = inside["data.pkl"]
    file.seek(start)
    content = load_inert(LimitedStream(file, min(length, _PICKLE_LIMIT)))
    spans = {name.removeprefix("data/"): span for name, span in inside.items() if name.startswith("data/")}
    return TorchFile(path, content, spans)


def _member_span(file: IO[bytes], member: zipfile.ZipInfo, size: int) -> tuple[int, int]:
    """(first byte, bytes) of a member stored plainly: it follows its local header of 30 bytes and two texts."""
    if member.compress_type != zipfile.ZIP_STORED:
        raise WeightsError(f"its entry {member.filename!r} is compressed; torch.save stores plainly")
    header = _read(file, (member.header_offset, 30), 30)
    if len(header) < 30 or header[:4] != _ZIP_START:
        raise WeightsError(f"its entry {member.filename!r} is damaged")
    name_bytes, extra_bytes = struct.unpack("<HH", header[26:30])
    start = member.header_offset + 30 + name_bytes + extra_bytes
    if start + member.file_size > size:
        raise WeightsError(f"its entry {member.filename!r} claims {member.file_size:,} of {size:,} bytes")
    return start, member.file_size


def _read(file: IO[bytes], span: tuple[int, int], limit: int) -> bytes:
    file.seek(span[0])
    return file.read(min(span[1], limit))


def _open_legacy(path: Path, file: IO[bytes]) -> TorchFile:
    """The format before torch 1.6: pickles of magic, version, system, content, keys; then storage by storage."""
    size = path.stat().st_size
    if file.read(len(_LEGACY_START)) != _LEGACY_START:
        raise WeightsError("it is no file of torch.save")
    file.seek(0)
    stream, storages = LimitedStream(file, min(size, _PICKLE_LIMIT)), set[StorageRef]()
    _, _, system, content, keys = (load_inert(stream, storages) for _ in range(5))
    if not isinstance(system, dict) or system.get("little_endian") is not (sys.byteorder == "little"):
        raise WeightsError("it was written on a machine of another byte order")
    item_bytes = {ref.key: ITEM_BYTES[ref.dtype] for ref in storages}
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in item_bytes for key in keys):
        raise WeightsError("its list of storages does not fit its content")
    spans: dict[str, tuple[int, int]] = {}
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8))
        start, stored = file.tell(), count * item_bytes[key]
        if count < 0 or start + stored > size:
            raise WeightsError(f"storage {key!r} claims {stored:,} bytes, the file has {size:,}")
        spans[key] = (start, stored)
        file.seek(stored, 1)
    return TorchFile(path, content, spans)
