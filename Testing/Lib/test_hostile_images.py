"""Small image files that unpack to gigabytes, or that would end the process: refused before anything is unpacked."""

from __future__ import annotations

import logging
import struct
import time
import zlib

import numpy as np
import pytest
import SimpleITK as sitk

from PromptSegLib.errors import VolumeError
from PromptSegLib.io import compression, open_image, read_volume

ZEROS = bytes(1 << 20)
CLAIM = r"whose size explains its voxels, got .*; if that is right, save it uncompressed"


def packed(megabytes, bits):
    packer = zlib.compressobj(1, zlib.DEFLATED, bits)
    return b"".join(packer.compress(ZEROS) for _ in range(megabytes)) + packer.flush()


def nifti(code, slope=1.0):
    """Return the header of 1024 x 1024 x 1024 voxels of the type `code`."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 1024, 1024, 1024, 1, 1, 1, 1)
    struct.pack_into("<h", header, 70, code)
    struct.pack_into("<8f", header, 76, *[1.0] * 8)
    struct.pack_into("<f", header, 108, 352)
    struct.pack_into("<f", header, 112, slope)
    header[344:348] = b"n+1\0"
    return bytes(header)


def gz_nifti(code, slope=1.0):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(nifti(code, slope)) + packer.flush() + packed(8, 31) * 256  # gzip's members add up


def png(side):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed(1, 15)) + chunk(b"IEND", b"")


NRRD = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 1024 1024 1024\nencoding: gzip\nendian: little\n"
MHA = b"ObjectType = Image\nNDims = 3\nDimSize = 1024 1024 1024\nElementType = MET_SHORT\nCompressedData = True\n"
DETACHED = {"bomb.nhdr": NRRD + b"data file: bomb.raw.gz\n", "bomb.mhd": MHA + b"ElementDataFile = bomb.raw.gz\n"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bomb.nrrd", NRRD + b"\n" + packed(9, 31)),
        ("bomb.mha", MHA + b"ElementDataFile = LOCAL\n" + packed(9, 15)),
        ("bomb.png", png(20_000)),
        *DETACHED.items(),
    ],
)
def test_a_header_that_no_file_of_that_size_has_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "bomb.raw.gz").write_bytes(packed(9, 31))
    begun = time.perf_counter()
    with pytest.raises(VolumeError, match=f"{CLAIM}|bytes of voxels are needed"):
        read_volume(tmp_path / name)
    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize(("code", "slope"), [(4, 1.0), (2, 2.0)], ids=["int16", "uint8, scaled to float"])
def test_a_nifti_bomb_is_refused(tmp_path, code, slope):
    (tmp_path / "bomb.nii.gz").write_bytes(gz_nifti(code, slope))
    with pytest.raises(VolumeError, match=CLAIM):
        open_image(tmp_path / "bomb.nii.gz")


@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha"])
def test_an_empty_labelmap_is_read(tmp_path, suffix):
    """It shrinks to a thousandth, as a bomb does, and is right."""
    path = tmp_path / f"empty.{suffix}"
    sitk.WriteImage(sitk.Image([256, 256, 200], sitk.sitkUInt8), str(path), True)
    assert path.stat().st_size < 100_000
    assert read_volume(path).array.shape == (200, 256, 256)


def test_what_is_large_is_said_first(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(compression, "LARGE_BYTES", 1000)
    sitk.WriteImage(sitk.Image([20, 20, 20], sitk.sitkUInt8), str(tmp_path / "a.nrrd"))
    with caplog.at_level(logging.WARNING):
        open_image(tmp_path / "a.nrrd")
    assert "a.nrrd is large" in caplog.text


# DICOM


def element(group, number, vr, value, length=None):
    value += b"\0" * (len(value) % 2)
    length = len(value) if length is None else length
    tag = struct.pack("<HH", group, number) + vr
    if vr in (b"OB", b"OW", b"SQ", b"UN"):
        return tag + b"\0\0" + struct.pack("<I", length) + value
    return tag + struct.pack("<H", length) + value


def dicom(extra=b"", syntax=b"1.2.840.10008.1.2.1", rows=16, columns=16, pixels=None, claimed=None):
    """Return a DICOM file of one slice, with `extra` elements of group 8 or 9."""
    meta = element(2, 2, b"UI", b"1.2.840.10008.5.1.4.1.1.2") + element(2, 3, b"UI", b"1.2.3.4")
    meta += element(2, 0x10, b"UI", syntax)
    data = element(8, 0x16, b"UI", b"1.2.840.10008.5.1.4.1.1.2") + element(8, 0x18, b"UI", b"1.2.3.4") + extra
    data += element(0x20, 0xD, b"UI", b"1.2.3") + element(0x20, 0xE, b"UI", b"1.2.3.5")
    data += element(0x28, 2, b"US", b"\1\0") + element(0x28, 4, b"CS", b"MONOCHROME2")
    data += element(0x28, 0x10, b"US", struct.pack("<H", rows)) + element(0x28, 0x11, b"US", struct.pack("<H", columns))
    for number, value in ((0x100, 16), (0x101, 16), (0x102, 15), (0x103, 0)):
        data += element(0x28, number, b"US", struct.pack("<H", value))
    data += element(0x7FE0, 0x10, b"OW", bytes(2 * rows * columns) if pixels is None else pixels, claimed)
    if syntax.endswith(b".99"):
        packer = zlib.compressobj(1, zlib.DEFLATED, -15)
        data = packer.compress(data) + b"".join(packer.compress(ZEROS) for _ in range(140)) + packer.flush()
    return bytes(128) + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta + data


SEQUENCE = element(8, 0x1140, b"SQ", b"", 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
ENDS = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"


def defined(depth):
    """Return sequences within each other whose lengths are stated."""
    content = b""
    for _ in range(depth):
        content = element(8, 0x1140, b"SQ", b"\xfe\xff\x00\xe0" + struct.pack("<I", len(content)) + content)
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (dicom(SEQUENCE * 100_000), "sequences up to 64 deep"),
        (dicom(defined(70)), "sequences up to 64 deep"),
        (dicom(element(9, 0x10, b"OB", b"x", 0x60000000)), "an element of 1,610,612,736 bytes is claimed"),
        (dicom(claimed=0x60000000), "an element of 1,610,612,736 bytes is claimed"),
        (dicom(rows=60_000, columns=60_000, pixels=bytes(512)), CLAIM),
        (dicom(syntax=b"1.2.840.10008.1.2.1.99"), "at most 134,217,728 bytes unpacked"),
    ],
    ids=["endless sequences", "deep sequences", "long element", "long pixels", "large picture", "deflated"],
)
@pytest.mark.parametrize("is_series", [False, True])
def test_a_dicom_file_that_claims_too_much_is_refused(tmp_path, content, message, is_series):
    (tmp_path / "a.dcm").write_bytes(content)
    begun = time.perf_counter()
    with pytest.raises(VolumeError, match=message):
        read_volume(tmp_path if is_series else tmp_path / "a.dcm")
    assert time.perf_counter() - begun < 10


@pytest.mark.parametrize("extra", [b"", SEQUENCE * 6 + ENDS * 6, defined(6), SEQUENCE + ENDS + SEQUENCE + ENDS])
def test_a_dicom_file_as_scanners_write_them_is_read(tmp_path, extra):
    (tmp_path / "a.dcm").write_bytes(dicom(extra))
    assert read_volume(tmp_path / "a.dcm").array.shape == (1, 16, 16)


def test_a_series_whose_slices_together_claim_too_much_is_refused(tmp_path, monkeypatch):
    image = sitk.Image([600, 600], sitk.sitkInt16)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(3):
        slice_image = sitk.Image(image)
        tags = {"0020|000e": "1.2.3", "0020|0013": str(number), "0020|0032": f"0\\0\\{number}", "0008|0060": "CT"}
        for key, value in tags.items():
            slice_image.SetMetaData(key, value)
        writer.SetFileName(str(tmp_path / f"{number}.dcm"))
        writer.Execute(slice_image)
    file = open_image(tmp_path)
    assert file.volume().array.size == 3 * 600 * 600
    monkeypatch.setattr(compression, "SMALL_BYTES", 1_000_000)
    monkeypatch.setattr(compression, "MOST_RATIO", 0.1)
    with pytest.raises(VolumeError, match=CLAIM):
        file.volume()


def test_voxels_are_scaled_as_before(tmp_path):
    """In place, of which nobody may notice anything."""
    header = bytearray(nifti(4, 0.5))
    struct.pack_into("<8h", header, 40, 3, 4, 3, 2, 1, 1, 1, 1)
    struct.pack_into("<f", header, 116, 7.0)
    voxels = np.arange(24, dtype="<i2")
    (tmp_path / "a.nii").write_bytes(header + voxels.tobytes())
    array = read_volume(tmp_path / "a.nii").array
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array.ravel(), voxels * np.float32(0.5) + np.float32(7))
