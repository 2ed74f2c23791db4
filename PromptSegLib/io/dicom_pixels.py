"""The pixels of DICOM frames: stored values out of native and compressed data, and real values out of these."""

from __future__ import annotations

import itertools
import struct
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.errors import VolumeError
from PromptSegLib.io.codestreams import check_codestream
from PromptSegLib.io.compression import check_claim
from PromptSegLib.io.dicom_frames import Frame, Scale
from PromptSegLib.io.dicom_header import DicomFile, PixelElement, check_what_follows, pydicom_module, understood
from PromptSegLib.io.itk import read_array, read_header

_NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"}
_DEFLATED = "1.2.840.10008.1.2.1.99"
_RLE = "1.2.840.10008.1.2.5"
# Transfer syntaxes that GDCM decodes, and the family of their codestreams.
_COMPRESSED = {
    "1.2.840.10008.1.2.4.50": "JPEG",
    "1.2.840.10008.1.2.4.51": "JPEG",
    "1.2.840.10008.1.2.4.57": "JPEG",
    "1.2.840.10008.1.2.4.70": "JPEG",
    "1.2.840.10008.1.2.4.80": "JPEG-LS",
    "1.2.840.10008.1.2.4.81": "JPEG-LS",
    "1.2.840.10008.1.2.4.90": "JPEG 2000",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
}
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"


def read_stack(stack: Sequence[Frame]) -> NDArray[Any]:
    """Return the real values of `stack`: (k, j, i), or (k, j, i, 3) for colour.

    Whole numbers stay whole where slopes and intercepts are.

    Raises:
        VolumeError: pixel data are cut or damaged.
    """
    stored: list[NDArray[Any]] = []
    for _, run in itertools.groupby(stack, key=lambda frame: frame.file.path):
        frames = list(run)
        with understood(frames[0].file.path):
            stored.extend(_Pixels(frames[0].file).read([frame.index for frame in frames]))
    return _real(stored, [frame.scale for frame in stack])


def _real(stored: list[NDArray[Any]], scales: Sequence[Scale]) -> NDArray[Any]:
    if any(scale.table is not None for scale in scales):
        stored = [_looked_up(values, scale) for values, scale in zip(stored, scales, strict=True)]
    if all(scale.slope == 1.0 and scale.intercept == 0.0 for scale in scales):
        return np.stack(stored)
    is_whole = all(scale.slope % 1 == 0 and scale.intercept % 1 == 0 for scale in scales)
    if stored[0].dtype.kind in "iu" and is_whole:
        ends = [
            int(end) * int(scale.slope) + int(scale.intercept)
            for values, scale in zip(stored, scales, strict=True)
            for end in (values.min(), values.max())
        ]
        for dtype in (stored[0].dtype, np.dtype(np.int16), np.dtype(np.int32), np.dtype(np.int64)):
            if np.iinfo(dtype).min <= min(ends) and max(ends) <= np.iinfo(dtype).max:
                # int64 in between: neither the factor nor the product may wrap.
                return np.stack(
                    [
                        (values.astype(np.int64) * int(scale.slope) + int(scale.intercept)).astype(dtype)
                        for values, scale in zip(stored, scales, strict=True)
                    ]
                )
    is_small = stored[0].dtype.itemsize <= 2 or stored[0].dtype == np.float32
    return np.stack(
        [
            (values.astype(np.float64) * scale.slope + scale.intercept).astype(np.float32 if is_small else np.float64)
            for values, scale in zip(stored, scales, strict=True)
        ]
    )


def _looked_up(values: NDArray[Any], scale: Scale) -> NDArray[Any]:
    if scale.table is None:
        return values
    index = np.clip(values.astype(np.int64) - scale.first, 0, len(scale.table) - 1)
    return np.asarray(scale.table[index])


class _Pixels:
    """The pixel data of a file."""

    def __init__(self, file: DicomFile) -> None:
        self.file = file
        dataset = file.dataset
        self.rows, self.columns = int(dataset.Rows), int(dataset.Columns)
        self.frames = int(dataset.get("NumberOfFrames") or 1)
        self.samples = int(dataset.get("SamplesPerPixel") or 1)
        self.bits = int(dataset.BitsAllocated)
        self.is_signed = int(dataset.get("PixelRepresentation") or 0) == 1
        self.photometric = str(dataset.get("PhotometricInterpretation") or "MONOCHROME2")
        if self.samples not in (1, 3):
            raise file.error(f"its pixels have {self.samples} samples; 1 or 3 are needed")

    def read(self, indices: Sequence[int]) -> list[NDArray[Any]]:
        """Return the frames `indices`, each (j, i) or (j, i, 3)."""
        element = self.file.pixels
        if element is None:
            raise self.file.error("it holds no image")
        frame_bits = self.rows * self.columns * self.samples * self.bits
        check_claim(self.file.path, len(indices) * frame_bits // 8, self.file.path.stat().st_size)
        if self.file.syntax in _NATIVE and element.length is not None:
            decoded = self._native(element, indices)
        elif self.file.syntax in _COMPRESSED or self.file.syntax == _RLE:
            packed = _frames_in(self._fragments(element), self.frames, self.file)
            decoded = self._compressed([packed[index] for index in indices])
        else:
            name = pydicom_module().uid.UID(self.file.syntax).name
            raise self.file.error(f"its pixels are in {name}, which cannot be decoded here")
        return [self._coloured(values) for values in decoded]

    def _native(self, element: PixelElement, indices: Sequence[int]) -> list[NDArray[Any]]:
        dtype = self._dtype(element.name).newbyteorder("<" if self.file.is_little else ">")
        is_subsampled = self.photometric == "YBR_FULL_422"
        count = self.rows * self.columns * (2 if is_subsampled else self.samples)
        total_bytes = (count * self.bits * self.frames + 7) // 8
        length = element.length or 0
        if length < total_bytes:
            raise self.file.error(f"its pixel data have {length} bytes, {total_bytes} are needed")
        if length - total_bytes >= max(2, (count * self.bits + 7) // 8):
            raise self.file.error(
                f"its pixel data have {length} bytes, {total_bytes} are needed: more frames than named"
            )
        read = self._reader(element)
        if self.bits == 1:
            return [self._bits(read, index, count) for index in indices]
        frames = []
        for index in indices:
            values = np.frombuffer(read(index * count * dtype.itemsize, count * dtype.itemsize), dtype)
            values = values.astype(dtype.newbyteorder("="))
            frames.append(self._shaped(_upsampled(values) if is_subsampled else values))
        return frames

    def _reader(self, element: PixelElement) -> Callable[[int, int], bytes]:
        """Return a function that reads bytes of the pixel data, by where they begin in it and how many."""
        if self.file.syntax == _DEFLATED:
            whole = bytes(pydicom_module().dcmread(self.file.path)[element.name].value)
            return lambda begin, count: whole[begin : begin + count]
        if self.bits == 8 and element.vr == "OW" and not self.file.is_little:
            # Words of two pixels, the second first.
            with self.file.path.open("rb") as opened:
                opened.seek(element.offset)
                words = np.frombuffer(opened.read((element.length or 0) // 2 * 2), ">u2").astype("<u2").tobytes()
            return lambda begin, count: words[begin : begin + count]

        def read(begin: int, count: int) -> bytes:
            with self.file.path.open("rb") as opened:
                opened.seek(element.offset + begin)
                return opened.read(count)

        return read

    def _bits(self, read: Callable[[int, int], bytes], index: int, count: int) -> NDArray[Any]:
        begin = index * count
        packed = np.frombuffer(read(begin // 8, (begin % 8 + count + 7) // 8), np.uint8)
        values = np.unpackbits(packed, bitorder="little")[begin % 8 : begin % 8 + count]
        return values.reshape(self.rows, self.columns)

    def _dtype(self, name: str) -> np.dtype[Any]:
        if name != "PixelData":
            return np.dtype(np.float32 if name == "FloatPixelData" else np.float64)
        if self.bits == 1:
            return np.dtype(np.uint8)
        if self.bits not in (8, 16, 32, 64):
            raise self.file.error(f"its pixels take {self.bits} bits; 1, 8, 16, 32 or 64 are needed")
        return np.dtype(f"{'i' if self.is_signed else 'u'}{self.bits // 8}")

    def _shaped(self, values: NDArray[Any]) -> NDArray[Any]:
        if self.samples == 1:
            return values.reshape(self.rows, self.columns)
        is_planar = int(self.file.dataset.get("PlanarConfiguration") or 0) == 1 and self.photometric != "YBR_FULL_422"
        if is_planar:
            return np.moveaxis(values.reshape(self.samples, self.rows, self.columns), 0, -1)
        return values.reshape(self.rows, self.columns, self.samples)

    def _fragments(self, element: PixelElement) -> list[bytes]:
        """Return the items of encapsulated pixel data, the offset table first (PS3.5, A.4)."""
        with self.file.path.open("rb") as opened:
            opened.seek(element.offset)
            content = opened.read()
        items, at = [], 0
        while content[at : at + 4] == _ITEM:
            (length,) = struct.unpack_from("<I", content, at + 4)
            items.append(content[at + 8 : at + 8 + length])
            at += 8 + length
        if content[at : at + 8] != _DELIMITER or len(items) < 2:
            raise self.file.error("its compressed pixel data are cut or damaged: their end is not where it should be")
        check_what_follows(self.file, content[at + 8 : at + 12])
        return items

    def _compressed(self, packed: Sequence[bytes]) -> list[NDArray[Any]]:
        pydicom = pydicom_module()
        family = _COMPRESSED.get(self.file.syntax)
        if family is not None:
            for stream in packed:
                check_codestream(stream, family, (self.rows, self.columns, self.samples, self.bits), self.file.error)
        frames = []
        with tempfile.TemporaryDirectory() as folder:
            for stream in packed:
                small = self._one_frame(pydicom, stream)
                if family is None:
                    frames.append(_decoded_rle(small))
                else:
                    frames.append(self._decoded_by_gdcm(small, Path(folder) / "frame.dcm"))
        for values in frames:
            if values.shape[:2] != (self.rows, self.columns):
                raise self.file.error(f"its frames unpack to {values.shape}")
        return frames

    def _one_frame(self, pydicom: Any, stream: bytes) -> Any:
        """Return a dataset with one compressed frame, and nothing that would change its values."""
        meta = pydicom.dataset.FileMetaDataset()
        # Explicit, as compressed syntaxes are: pydicom 2 would write it otherwise, on which GDCM spends 10 s.
        small = pydicom.dataset.FileDataset("", {}, preamble=bytes(128), file_meta=meta, is_implicit_VR=False)
        small.file_meta.TransferSyntaxUID = pydicom.uid.UID(self.file.syntax)
        small.file_meta.MediaStorageSOPClassUID = small.SOPClassUID = _SECONDARY_CAPTURE
        small.file_meta.MediaStorageSOPInstanceUID = small.SOPInstanceUID = "1.2.3"
        small.Rows, small.Columns, small.SamplesPerPixel = self.rows, self.columns, self.samples
        for name in ("BitsAllocated", "BitsStored", "HighBit", "PlanarConfiguration", "PixelRepresentation"):
            if (value := self.file.dataset.get(name)) is not None:
                setattr(small, name, value)
        is_rle = self.file.syntax == _RLE
        small.PhotometricInterpretation = "MONOCHROME2" if self.samples == 1 else "RGB" if is_rle else self.photometric
        small.PixelData = pydicom.encaps.encapsulate([stream])
        small["PixelData"].VR = "OB"
        small["PixelData"].is_undefined_length = True
        return small

    def _decoded_by_gdcm(self, small: Any, path: Path) -> NDArray[Any]:
        small.save_as(path)
        try:
            array = read_array(read_header(path), path, "DICOM")
        except VolumeError as error:
            raise self.file.error(
                f"its compressed pixel data cannot be decoded ({str(error).split(': ')[-1]})"
            ) from error
        return array[0] if array.shape[0] == 1 else array

    def _coloured(self, values: NDArray[Any]) -> NDArray[Any]:
        if self.photometric == "PALETTE COLOR":
            return _from_palette(values, self.file.dataset)
        # Where it is compressed as JPEG, the decoder turns it into RGB.
        if self.photometric in ("YBR_FULL", "YBR_FULL_422") and self.file.syntax not in _COMPRESSED:
            return _rgb_of(values)
        return values


def _frames_in(items: list[bytes], count: int, file: DicomFile) -> list[bytes]:
    """Return the codestream of each frame out of the offset table and the fragments."""
    table, *fragments = items
    if len(fragments) == count:
        return fragments
    if count == 1:
        return [b"".join(fragments)]
    offsets = list(struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4]))
    if not offsets and (extended := file.dataset.get("ExtendedOffsetTable")):
        offsets = list(struct.unpack(f"<{len(extended) // 8}Q", extended))
    if offsets:
        begins = list(itertools.accumulate((len(fragment) + 8 for fragment in fragments), initial=0))[:-1]
        firsts = [begins.index(offset) if offset in begins else -1 for offset in offsets]
    else:  # a frame begins as a codestream does: JPEG, JPEG-LS or JPEG 2000
        firsts = [at for at, fragment in enumerate(fragments) if fragment[:2] in (b"\xff\xd8", b"\xff\x4f")]
    if len(firsts) != count or -1 in firsts or firsts != sorted(set(firsts)) or firsts[0] != 0:
        raise file.error(f"its {len(fragments)} pieces of pixel data do not tell its {count} frames apart")
    return [b"".join(fragments[a:b]) for a, b in itertools.pairwise([*firsts, len(fragments)])]


def _decoded_rle(small: Any) -> NDArray[Any]:
    return np.asarray(small.pixel_array)


def _upsampled(values: NDArray[Any]) -> NDArray[Any]:
    """Return Y, Cb, Cr of each pixel out of Y Y Cb Cr of each two (PS3.3, C.7.6.3.1.2)."""
    pairs = values.reshape(-1, 4)
    full = np.empty((len(pairs), 2, 3), values.dtype)
    full[:, :, 0] = pairs[:, :2]
    full[:, :, 1:] = pairs[:, None, 2:]
    return full.reshape(-1)


def _from_palette(values: NDArray[Any], dataset: Any) -> NDArray[Any]:
    return np.asarray(_of_pydicom("apply_color_lut")(values, dataset))[..., :3]


def _rgb_of(values: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(_of_pydicom("convert_color_space")(values, "YBR_FULL", "RGB"))


def _of_pydicom(name: str) -> Callable[..., Any]:
    """Return a function for pixels, which pydicom 3 has at another place than pydicom 2."""
    try:
        module = import_module("pydicom.pixels.processing")
    except ImportError:
        module = import_module("pydicom.pixel_data_handlers.util")
    return cast("Callable[..., Any]", getattr(module, name))
