"""Damage that a checksum or the format's own structure tells is refused, in every format that is read."""

import gzip
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_files import base_dataset
from image_files import cut, write_with_itk
from PIL import Image

from PromptSegLib.errors import VolumeError
from PromptSegLib.io import read_volume

SMOOTH = np.random.default_rng(0).normal(0, 20, (6, 40, 40)).astype(np.int16)
PICTURE = (128 + SMOOTH[0]).clip(0, 255).astype(np.uint8)
COMPRESSED = [".nii.gz", ".nrrd", ".mha", ".mhd"]


def written(tmp_path, suffix, array=SMOOTH):
    """Write `array` and return the path of the image, and of the file with its voxels."""
    path = write_with_itk(tmp_path / f"image{suffix}", array)
    return path, next(tmp_path.glob("*.zraw"), path)


def damage(path, at, content):
    data = bytearray(path.read_bytes())
    data[at : at + len(content)] = content
    path.write_bytes(data)


@pytest.mark.parametrize("suffix", COMPRESSED)
@pytest.mark.parametrize("size", [1, 64, 512])
def test_zeros_within_compressed_voxels_are_noticed(tmp_path, suffix, size):
    path, voxels = written(tmp_path, suffix)
    damage(voxels, voxels.stat().st_size // 2, bytes(size))
    with pytest.raises(VolumeError, match=rf"expected a .*, got .*image\{suffix}"):
        read_volume(path)


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_a_wrong_checksum_is_noticed(tmp_path, suffix):
    path, voxels = written(tmp_path, suffix)
    # The CRC of gzip is 8 bytes before the end, the Adler sum of zlib 4.
    at = voxels.stat().st_size - (8 if suffix in (".nii.gz", ".nrrd") else 4)
    damage(voxels, at, bytes([voxels.read_bytes()[at] ^ 1]))
    with pytest.raises(VolumeError, match="check"):
        read_volume(path)


def test_a_gzip_stream_that_grew_longer_is_compared_to_its_end(tmp_path):
    path, _ = written(tmp_path, ".nii.gz")
    longer = bytearray(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(3 << 20)))
    path.write_bytes(longer)
    assert np.array_equal(read_volume(path).array, SMOOTH), "bytes after the voxels are no damage"
    longer[-8] ^= 1
    path.write_bytes(longer)
    with pytest.raises(VolumeError, match="CRC"):
        read_volume(path)


def test_bytes_without_end_after_the_voxels_are_not_read_for_ever(tmp_path):
    path, _ = written(tmp_path, ".nii.gz")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(70 << 20), 1))
    with pytest.raises(VolumeError, match="more than 64 MiB follow"):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_more_voxels_than_the_header_says_are_refused(tmp_path, suffix):
    path, _ = written(tmp_path, suffix)
    path.write_bytes(path.read_bytes().replace(b"40 40 6", b"40 40 5"))
    with pytest.raises(VolumeError, match="more than 16000 bytes"):
        read_volume(path)


def test_damage_is_never_read_as_whatever_lay_in_memory(tmp_path):
    path, _ = written(tmp_path, ".mha")
    whole = path.read_bytes()
    begin = whole.index(b"LOCAL") + 6
    for at in range(begin, len(whole), 97):
        path.write_bytes(whole)
        damage(path, at, bytes([whole[at] ^ 0x10]))
        with pytest.raises(VolumeError):
            read_volume(path)


def test_a_chunk_of_a_png_with_a_wrong_checksum_is_refused(tmp_path):
    path = write_with_itk(tmp_path / "picture.png", PICTURE)
    whole = path.read_bytes()
    for name in (b"IHDR", b"IDAT", b"IEND"):
        path.write_bytes(whole)
        at = whole.index(name) + 4
        damage(path, at, bytes([whole[at] ^ 1]))
        with pytest.raises(VolumeError, match=r"picture\.png"):
            read_volume(path)


def png(path, colour, bits, rows, chunks=()):
    """Write a PNG by hand; rows: the bytes of each row. colour: 0 grey, 2 RGB, 3 palette, 4 grey with alpha."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    width = len(rows[0]) * 8 // (bits * {0: 1, 2: 3, 3: 1, 4: 2}[colour])
    head = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    content = [chunk(b"IHDR", head), *(chunk(*one) for one in chunks)]
    content += [chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(content))
    return path


@pytest.mark.parametrize(
    ("colour", "rows", "chunks"),
    [
        (4, [bytes([10, 255, 20, 0]), bytes([30, 7, 40, 255])], []),
        (0, [bytes([10, 20]), bytes([30, 40])], [(b"tRNS", b"\0\x14")]),
        (0, [bytes([10, 20]), bytes([30, 40])], [(b"gAMA", struct.pack(">I", 45455))]),
    ],
)
def test_grey_pictures_stay_grey_whatever_their_transparency(tmp_path, colour, rows, chunks):
    volume = read_volume(png(tmp_path / "grey.png", colour, 8, rows, chunks))
    assert volume.array.tolist() == [[[10, 20], [30, 40]]]


def test_grey_of_16_bits_stays_whole_beside_its_transparency(tmp_path):
    values = np.array([[[1000, 7], [65535, 9]], [[0, 65535], [258, 0]]], ">u2")
    rows = [row.tobytes() for row in values]
    volume = read_volume(png(tmp_path / "grey.png", 4, 16, rows))
    assert volume.array.tolist() == [values[..., 0].tolist()]


def test_a_palette_with_transparency_is_colour(tmp_path):
    chunks = [(b"PLTE", bytes([1, 2, 3, 4, 5, 6])), (b"tRNS", b"\x80")]
    volume = read_volume(png(tmp_path / "palette.png", 3, 8, [bytes([0, 1])], chunks))
    assert volume.array.tolist() == [[[[1, 2, 3], [4, 5, 6]]]]


def jpeg_in_dicom(tmp_path):
    """Write a picture as JPEG within DICOM. Returns the paths of both."""
    jpeg = write_with_itk(tmp_path / "picture.jpg", PICTURE)
    dataset = base_dataset(tmp_path, PICTURE[None], pydicom.uid.SecondaryCaptureImageStorage)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    content = jpeg.read_bytes()
    dataset.PixelData = pydicom.encaps.encapsulate([content + bytes(len(content) % 2)])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(tmp_path / "jpeg.dcm")
    return jpeg, tmp_path / "jpeg.dcm"


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_jpeg_is_refused_alone_and_in_dicom(tmp_path):
    jpeg, dicom = jpeg_in_dicom(tmp_path)
    whole, inside = jpeg.read_bytes(), dicom.read_bytes()
    assert np.array_equal(read_volume(dicom).array, read_volume(jpeg).array)
    first = inside.index(whole[:20])
    for at, content in ((len(whole) - 2, b"\0\0"), (len(whole) // 2, b"\xff\xc0"), (2, b"\0\0")):
        for path, original, offset in ((jpeg, whole, 0), (dicom, inside, first)):
            path.write_bytes(original)
            damage(path, offset + at, content)
            with pytest.raises(VolumeError, match=r"cut or damaged|cannot be decoded|expected a readable JPEG"):
                read_volume(path)


def sequential_jpeg(path, values, **options):
    """Write a JPEG whose scan is not progressive, by Pillow, and return where its pixels begin."""
    Image.fromarray(values).save(path, "JPEG", quality=90, **options)
    return path.read_bytes().index(b"\xff\xda") + 14


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"restart_marker_rows": 1}, {"progressive": True}])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("shape", [(37, 91), (1, 1), (64, 40, 3), (21, 33, 3)])
def test_a_whole_jpeg_is_read_however_it_was_packed(tmp_path, shape, subsampling, options):
    values = np.random.default_rng(1).integers(0, 255, shape).astype(np.uint8)
    path = tmp_path / "picture.jpg"
    colour = {"subsampling": subsampling} if len(shape) == 3 else {}
    sequential_jpeg(path, values, **colour, **options)
    assert read_volume(path).array.shape == (1, *shape)


@pytest.mark.parametrize("shape", [(64, 80), (64, 80, 3)])
def test_pixels_of_a_jpeg_that_lead_nowhere_are_refused(tmp_path, shape):
    values = np.random.default_rng(1).integers(0, 255, shape).astype(np.uint8)
    path = tmp_path / "picture.jpg"
    begin = sequential_jpeg(path, values)
    whole = path.read_bytes()
    for content in (whole[:begin] + bytes(64) + whole[begin + 64 :], whole[: begin + 500] + whole[begin + 600 :]):
        path.write_bytes(content)
        assert sitk.ReadImage(str(path)).GetSize() == (80, 64), "libjpeg reads it all the same"
        with pytest.raises(VolumeError, match=r"expected a whole JPEG file, got .*picture\.jpg: it is cut or damaged"):
            read_volume(path)


@pytest.mark.filterwarnings("ignore")
def test_compressed_pixels_of_another_size_than_the_file_says_are_refused(tmp_path):
    _, dicom = jpeg_in_dicom(tmp_path)
    dataset = pydicom.dcmread(dicom)
    dataset.Rows = 20
    dataset.save_as(dicom)
    with pytest.raises(VolumeError, match=r"have 40 x 40 pixels .* says 20 x 40"):
        read_volume(dicom)


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("JPEG2000.dcm", 1),
        ("JPEG2000.dcm", 200),
        ("MR_small_RLE.dcm", 200),  # 138 bytes of padding follow its pixels
        ("SC_rgb_jpeg_gdcm.dcm", 1),
        ("SC_rgb_jpeg_gdcm.dcm", 200),
        ("693_J2KI.dcm", 200),
    ],
)
def test_compressed_dicom_that_was_cut_is_refused(tmp_path, name, missing):
    path = tmp_path / name
    path.write_bytes(Path(pydicom.data.get_testdata_file(name)).read_bytes())
    read_volume(path)
    with pytest.raises(VolumeError, match=rf"expected a .* DICOM file, got .*{name}"):
        read_volume(cut(path, -missing))


def test_a_message_names_no_place_in_memory(tmp_path):
    for suffix in (".png", ".tif", ".jpg"):
        path = write_with_itk(tmp_path / f"picture{suffix}", PICTURE)
        cut(path, 0.3)
        with pytest.raises(VolumeError) as error:
            read_volume(path)
        assert "0x" not in str(error.value)
        assert "\n" not in str(error.value)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "image.nii")
    with pytest.raises(VolumeError, match="it is a pipe or a device"):
        read_volume(tmp_path / "image.nii")


@pytest.fixture(scope="module")
def comma_locale(tmp_path_factory):
    """The environment of a process under a locale with decimal comma."""
    folder = tmp_path_factory.mktemp("locale")
    try:
        subprocess.run(
            ["localedef", "-i", "de_DE", "-f", "UTF-8", str(folder / "de_DE.UTF-8")], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no locale with decimal comma can be made here: {error}")
    return {**os.environ, "LOCPATH": str(folder)}


@pytest.mark.filterwarnings("ignore")
def test_a_decimal_comma_of_the_host_changes_no_place(tmp_path, comma_locale):
    matrix = np.diag([-1.5, -2.75, 1.25, 1.0])
    matrix[:3, 3] = -10.5, 2.25, 7.125
    paths = [write_with_itk(tmp_path / f"image{suffix}", SMOOTH, matrix) for suffix in (".nrrd", ".mha", ".nii.gz")]
    dataset = base_dataset(tmp_path, SMOOTH[:1], pydicom.uid.MRImageStorage)
    dataset.ImagePositionPatient, dataset.PixelSpacing = [10.5, -2.25, 7.125], [2.75, 1.5]
    dataset.ImageOrientationPatient, dataset.SliceThickness = [1, 0, 0, 0, 1, 0], 1.25
    dataset.save_as(tmp_path / "image.dcm")
    code = (
        "import locale, sys, numpy\n"
        "locale.setlocale(locale.LC_ALL, 'de_DE.UTF-8')\n"
        "assert locale.localeconv()['decimal_point'] == ','\n"
        "from PromptSegLib.io import read_volume\n"
        "for path in sys.argv[1:]: print(read_volume(path).ijk_to_ras.round(5).tolist())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths), str(tmp_path / "image.dcm")],
        env=comma_locale,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [str(matrix.tolist())] * 4, done.stderr


def test_itk_would_have_been_believed(tmp_path):
    """Why none of this is left to ITK: it reads what is damaged here without an error."""
    path, _ = written(tmp_path, ".nrrd")
    damage(path, path.stat().st_size // 2, bytes(64))
    assert not np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), SMOOTH)
