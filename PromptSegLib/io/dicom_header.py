"""The header of a DICOM file: who it is, where its voxels are in it, and what every frame of it is.

By pydicom, whose reading is checked here: GDCM takes the first frame's place, spacing and slope for all frames of a
multi-frame object, in the order in which they are stored.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from PromptSegLib.errors import PromptSegError, VolumeError
from PromptSegLib.io.dicom_structure import check_structure

# pydicom reports a damaged file by whatever the damage leads it to.
_FAILURES: tuple[type[Exception], ...] = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)

_DEFLATED = "1.2.840.10008.1.2.1.99"
_DIRECTORY = "1.2.840.10008.1.3.10"
_PIXELS = {0x7FE00010: "PixelData", 0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData"}
_VRS = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN")
_ALL_ONES = 0xFFFFFFFF


@dataclass(frozen=True)
class PixelElement:
    """Where the pixel data are in the bytes of a file.

    name: the element's keyword. vr: OB, OW and the like, OW where it is implied. length: None for encapsulated
    (compressed) ones.
    """

    name: str
    vr: str
    offset: int
    length: int | None


@dataclass(frozen=True, eq=False)
class DicomFile:
    """A DICOM file whose header was read.

    dataset: pydicom's, without pixel data. pixels: None when it holds no image. syntax: UID of the transfer syntax;
    is_little: its byte order.
    """

    path: Path
    dataset: Any
    pixels: PixelElement | None
    syntax: str
    is_little: bool

    def text(self, name: str) -> str:
        """Return an attribute as text, nothing where it is absent."""
        value = self.dataset.get(name)
        return "" if value is None else str(value).strip(" \0")

    def error(self, reason: str) -> VolumeError:
        return VolumeError(f"expected a readable DICOM file, got {self.path}: {reason}")


def pydicom_module() -> ModuleType:
    """Return pydicom.

    Raises:
        VolumeError: it is not installed; says what to do.
    """
    try:
        import pydicom
    except ImportError as error:
        raise VolumeError(
            f"expected the Python package pydicom, with which DICOM files are read, got none ({error}); Slicer brings "
            "it, elsewhere: pip install pydicom"
        ) from error
    return pydicom


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Turn what goes wrong while pydicom reads into a VolumeError that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except PromptSegError:
        raise
    except _failures() as error:
        reason = " ".join(f"{error}".split())[:200] or type(error).__name__
        raise VolumeError(f"expected a whole DICOM file, got {path}: it was cut, or is damaged: {reason}") from error


def _failures() -> tuple[type[Exception], ...]:
    """Return `_FAILURES` and pydicom's own errors, of which some derive from nothing more telling than Exception."""
    found = vars(import_module("pydicom.errors")).values()
    return (*_FAILURES, *(one for one in found if isinstance(one, type) and issubclass(one, Exception)))


def is_dicom(path: Path) -> bool:
    """Tell whether a file begins as DICOM files do, whatever it is called."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_header(path: Path) -> DicomFile:
    """Read all of a DICOM file but its pixel data; files without the preamble, too.

    Raises:
        VolumeError: it is damaged, or ends before its pixel data do.
    """
    pydicom = pydicom_module()
    check_structure(path)
    with understood(path), path.open("rb") as opened:
        # pydicom takes the first bytes of any file for elements when it is told to, so only what looks like some.
        has_preamble = is_dicom(path)
        if not has_preamble and not _begins_with_elements(opened.read(8)):
            raise VolumeError(f"expected a readable DICOM file, got {path}: it does not begin as one")
        opened.seek(0)
        dataset = pydicom.dcmread(opened, stop_before_pixels=True, force=not has_preamble)
        is_implicit, is_little = _encoding(dataset)
        meta = getattr(dataset, "file_meta", {})
        syntax = str(meta.get("TransferSyntaxUID", "")) or _implied_syntax(is_implicit, is_little)
        pixels = _deflated_element(pydicom, path) if syntax == _DEFLATED else _pixel_element(opened, is_little)
        file = DicomFile(path, dataset, pixels, syntax, is_little)
        _check_end(file)
    return file


def is_directory(file: DicomFile) -> bool:
    """Tell whether it is a DICOMDIR, a list of other files."""
    return str(getattr(file.dataset, "file_meta", {}).get("MediaStorageSOPClassUID", "")) == _DIRECTORY


def _begins_with_elements(head: bytes) -> bool:
    """Tell whether bytes begin with an element of group 2 or 8, as files from before the preamble do."""
    if len(head) < 8:
        return False
    for order in "<>":
        group, element = struct.unpack(order + "HH", head[:4])
        if group in (0x0002, 0x0008) and element < 0x0100:
            (length,) = struct.unpack(order + "I", head[4:])
            return head[4:6].isalpha() or length < 1 << 16
    return False


def _encoding(dataset: Any) -> tuple[bool, bool]:
    """Return whether VRs are implicit, and the order little-endian: pydicom 3 and 2 name it differently."""
    if hasattr(dataset, "original_encoding"):
        is_implicit, is_little = dataset.original_encoding
    else:
        is_implicit, is_little = dataset.read_implicit_vr, dataset.read_little_endian
    return bool(is_implicit), bool(is_little)


def _implied_syntax(is_implicit: bool, is_little: bool) -> str:
    if is_implicit:
        return "1.2.840.10008.1.2"
    return "1.2.840.10008.1.2.1" if is_little else "1.2.840.10008.1.2.2"


def _pixel_element(file: IO[bytes], is_little: bool) -> PixelElement | None:
    """Return the pixel data's element, at which pydicom stopped, or None at the end of the file."""
    order = "<" if is_little else ">"
    head = file.read(8)
    if len(head) < 8:
        return None
    group, element = struct.unpack(order + "HH", head[:4])
    name = _PIXELS.get(group << 16 | element)
    if name is None:
        return None
    # By its bytes and not by the transfer syntax: some writers do not keep to it, and pydicom looks, too.
    is_explicit = head[4:6] in _VRS and head[6:] == bytes(2)
    (length,) = struct.unpack(order + "I", file.read(4) if is_explicit else head[4:])
    vr = head[4:6].decode("ascii") if is_explicit else "OW"
    return PixelElement(name, vr, file.tell(), None if length == _ALL_ONES else length)


def _deflated_element(pydicom: ModuleType, path: Path) -> PixelElement | None:
    """Return the pixel data's element; its offset means nothing, the file has to be inflated."""
    whole = pydicom.dcmread(path)
    for name in _PIXELS.values():
        if name in whole:
            return PixelElement(name, "OW", 0, len(whole[name].value))
    return None


def _check_end(file: DicomFile) -> None:
    """Raise VolumeError when the file ends within its pixel data, or before those that it should have."""
    if file.pixels is None:
        if "Rows" in file.dataset:
            raise VolumeError(
                f"expected a whole DICOM file, got {file.path}: it was cut, or is damaged: it describes an image and "
                "holds none"
            )
        return
    size, end = file.path.stat().st_size, file.pixels.offset + (file.pixels.length or 8)
    if file.syntax != _DEFLATED and end > size:
        raise VolumeError(
            f"expected a whole DICOM file, got {file.path}: it was cut, or is damaged: of {end} bytes, {size} are there"
        )
    if file.syntax != _DEFLATED and file.pixels.length is not None:
        with file.path.open("rb") as opened:
            opened.seek(end)
            check_what_follows(file, opened.read(4))


def check_what_follows(file: DicomFile, tag: bytes) -> None:
    """Raise VolumeError when an element follows the pixel data that belongs before them."""
    if len(tag) == 4:
        group, element = struct.unpack("<HH" if file.is_little else ">HH", tag)
        if group << 16 | element <= max(_PIXELS) and group != 0:
            raise file.error(f"it is damaged: ({group:04x},{element:04x}) follows its pixel data")
