"""NRRD and MetaImage as other programs write them: axes, packings, places, against ITK and pynrrd."""

import bz2
import gzip
import zlib

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk

from PromptSegLib.errors import VolumeError
from PromptSegLib.io import open_image, read_volume

ARRAY = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
RAW = ARRAY.tobytes()
NRRD = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "6 5 4",
    "space directions": "(2,0,0) (0,3,0) (0,0,4)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(1,2,3)",
}
META = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 0 1 0 -1 0",
    "Offset": "1 2 3",
    "ElementSpacing": "2 3 4",
    "DimSize": "6 5 4",
    "ElementType": "MET_SHORT",
}


def write_nrrd(path, content=RAW, end="\n", tail="", without=(), **fields):
    header = NRRD | {name.replace("_", " "): value for name, value in fields.items()}
    lines = ["NRRD0004", *(f"{name}: {value}" for name, value in header.items() if name not in without)]
    path.write_bytes((end.join(lines) + end + tail + end).encode() + content)
    return path


def write_meta(path, content=RAW, end="\n", data_file="LOCAL", without=(), **fields):
    lines = [f"{name} = {value}" for name, value in (META | fields).items() if name not in without]
    path.write_bytes((end.join([*lines, f"ElementDataFile = {data_file}"]) + end).encode() + content)
    return path


def check_as_itk(path):
    """Check voxels and place against ITK."""
    volume, image = read_volume(path), sitk.ReadImage(str(path))
    assert np.array_equal(np.squeeze(volume.array), np.squeeze(sitk.GetArrayFromImage(image)))
    count = image.GetDimension()
    place = [*image.TransformContinuousIndexToPhysicalPoint((3, 2, 1)[:count]), 0.0][:3]
    assert volume.grid.to_ras((3, 2, 1 if count == 3 else 0)) == pytest.approx([-place[0], -place[1], place[2]])


NO_SPACE = ("space", "space directions", "space origin")
PACKED = gzip.compress(ARRAY.tobytes())


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"space": "right-anterior-superior"},
        {"space": "LAS"},
        {"space": "scanner-xyz"},
        {"space_directions": "(1,0.5,0) (0, 2 ,0) (0,0,-4)"},
        {"without": ["space origin", "kinds"]},
        {"without": NO_SPACE, "spacings": "2 -3 nan", "axis_mins": "1 2 3"},
        {"without": NO_SPACE, "spacings": "2 -3 4", "axis_mins": "1 2 3"},
        {"without": NO_SPACE, "spacings": "2 3 4", "axis_mins": "1 2 3", "centers": "node node cell"},
        {"content": ARRAY.astype(">i2").tobytes(), "endian": "big"},
        {"content": PACKED, "encoding": "gz"},
        {"content": gzip.compress(ARRAY.tobytes()[:99]) + gzip.compress(ARRAY.tobytes()[99:]), "encoding": "gzip"},
        {"content": gzip.compress(b"12345" + ARRAY.tobytes()), "encoding": "gzip", "byte_skip": "5"},
        {"content": b"12345" + ARRAY.tobytes(), "byte_skip": "-1"},
        {"content": b"one\ntwo\n" + ARRAY.tobytes(), "line_skip": "2"},
        {"content": " ".join(map(str, ARRAY.ravel())).encode(), "encoding": "ascii"},
        {"end": "\r\n"},
        {"tail": "# a comment: no field\nkey:=value: text\n"},
        {"dimension": "4", "sizes": "1 6 5 4", "kinds": "list domain domain domain"}
        | {"space_directions": "none (2,0,0) (0,3,0) (0,0,4)"},
        {"dimension": "4", "sizes": "6 5 4 1", "kinds": "domain domain domain vector"}
        | {"space_directions": "(2,0,0) (0,3,0) (0,0,4) none"},
        {"without": [*NO_SPACE, "kinds"], "dimension": "2", "sizes": "6 20", "spacings": "2 3"},
    ],
)
def test_a_nrrd_is_where_and_what_itk_reads(tmp_path, arguments):
    check_as_itk(write_nrrd(tmp_path / "a.nrrd", **arguments))


def test_what_itk_does_not_unpack_is_as_pynrrd_reads_it(tmp_path):
    path = write_nrrd(tmp_path / "a.nrrd", bz2.compress(ARRAY.tobytes()), encoding="bzip2")
    assert np.array_equal(read_volume(path).array, nrrd.read(str(path))[0].T)


@pytest.mark.parametrize("axis", [0, 2, 3])
def test_a_list_is_a_series_on_whichever_axis(tmp_path, axis):
    values = np.arange(240, dtype=np.int16)
    kinds = ["domain"] * 3
    kinds.insert(axis, "list")
    sizes, directions = [6, 5, 4], ["(2,0,0)", "(0,3,0)", "(0,0,4)"]
    sizes.insert(axis, 2)
    directions.insert(axis, "none")
    path = write_nrrd(
        tmp_path / "a.nrrd",
        values.tobytes(),
        dimension="4",
        sizes=" ".join(map(str, sizes)),
        space_directions=" ".join(directions),
        kinds=" ".join(kinds),
    )
    expected = np.moveaxis(nrrd.read(str(path))[0], axis, 0)
    assert open_image(path).time_points == 2
    for number in range(2):
        assert np.array_equal(read_volume(path, number).array, expected[number].T)


def test_slabs_in_files_of_their_own_are_one_volume(tmp_path):
    for number in (0, 1):
        (tmp_path / f"{number}.raw").write_bytes(ARRAY[2 * number : 2 * number + 2].tobytes())
    lines = [f"{name}: {value}" for name, value in NRRD.items()]
    (tmp_path / "a.nhdr").write_text("\n".join(["NRRD0004", *lines, "data file: LIST 3", "0.raw", "1.raw", ""]))
    check_as_itk(tmp_path / "a.nhdr")
    (tmp_path / "1.raw").unlink()
    with pytest.raises(VolumeError, match=r"got .*a\.nhdr: .*1\.raw: there is no such file"):
        read_volume(tmp_path / "a.nhdr")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": "6 5 4x"}, "expected numbers"),
        ({"sizes": "6 5 0"}, "sizes of 1 or more"),
        ({"space_directions": "(2,5,0,0) (0,3,0) (0,0,4)"}, "vectors of two or three numbers"),
        ({"space_directions": "(2,0,0) (0,3,0)"}, "3 directions"),
        ({"space_directions": "(1_0,0,0) (0,3,0) (0,0,4)"}, "expected numbers"),
        ({"tail": "type: short\n"}, "each once"),
        ({"tail": "spbce origin: (5,5,5)\n"}, "the format's fields"),
        ({"without": ["endian"]}, "little or big"),
        ({"encoding": "zip"}, "raw, gzip, bzip2 or text"),
        ({"type": "block"}, "a type of integers"),
        ({"data_file": "LIST"}, "4 files, got"),
        ({"without": NO_SPACE, "axis_maxs": "1 2 3"}, "rather than ends"),
        ({"dimension": "5", "sizes": "5 3 2 2 2", "without": [*NO_SPACE, "kinds"]}, "one other at most"),
    ],
)
def test_a_nrrd_header_that_says_nothing_certain_is_refused(tmp_path, arguments, message):
    with pytest.raises(VolumeError, match=rf"(?s){message}.*a\.nrrd|a\.nrrd.*{message}|{message}"):
        read_volume(write_nrrd(tmp_path / "a.nrrd", **arguments))


ZLIB = zlib.compress(ARRAY.tobytes())


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"without": ["BinaryData", "BinaryDataByteOrderMSB"]},
        {
            "content": ARRAY.astype(">i2").tobytes(),
            "ElementByteOrderMSB": "True",
            "without": ["BinaryDataByteOrderMSB"],
        },
        {"without": ["ElementSpacing"], "ElementSize": "5 6 7"},
        {"without": ["ElementSpacing", "TransformMatrix", "Offset"]},
        {"without": ["Offset"], "Position": "4 5 6"},
        {"without": ["TransformMatrix"], "Orientation": "0 1 0 1 0 0 0 0 1"},
        {"TransformMatrix": "1 0 0 0.5 1 0 0 0 1", "CenterOfRotation": "5 5 5"},
        {"ElementSpacing": "2 -3 4"},
        {"content": ZLIB, "CompressedData": "True", "CompressedDataSize": str(len(ZLIB))},
        {"content": np.arange(120).astype("<i4").tobytes(), "ElementType": "MET_LONG"},
        {"end": "\r\n", "Comment": "a = b"},
    ],
)
def test_a_metaimage_is_where_and_what_itk_reads(tmp_path, arguments):
    check_as_itk(write_meta(tmp_path / "a.mha", **arguments))


def test_a_compressed_metaimage_may_leave_out_its_packed_size(tmp_path):
    assert np.array_equal(read_volume(write_meta(tmp_path / "a.mha", ZLIB, CompressedData="True")).array, ARRAY)


def test_slices_in_files_of_their_own_are_one_metaimage(tmp_path):
    for number, plane in enumerate(ARRAY):
        (tmp_path / f"{number}.raw").write_bytes(plane.tobytes())
    check_as_itk(write_meta(tmp_path / "a.mhd", b"0.raw\n1.raw\n2.raw\n3.raw\n", data_file="LIST"))
    check_as_itk(write_meta(tmp_path / "b.mhd", b"", data_file="%d.raw 0 3 1"))
    with pytest.raises(VolumeError, match="names of 4 files"):
        read_volume(write_meta(tmp_path / "a.mhd", b"0.raw\n1.raw\n", data_file="LIST"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ElementSpacing": "2 0 4"}, "three independent axes"),
        ({"ElementSpacing": "2 3"}, "3 finite numbers"),
        ({"DimSize": "6 5 4x"}, "expected numbers"),
        ({"DimSize": "6 5 5"}, "300 bytes of voxels are needed, 240"),
        ({"ElementType": "MET_OTHER"}, "a type of integers"),
        ({"HeaderSize": "5"}, "no HeaderSize here"),
        ({"content": ZLIB, "CompressedData": "True", "CompressedDataSize": "20"}, "end of the compressed voxels"),
        ({"content": ZLIB, "CompressedData": "perhaps"}, "True or False"),
    ],
)
def test_a_metaimage_header_that_says_nothing_certain_is_refused(tmp_path, arguments, message):
    with pytest.raises(VolumeError, match=message):
        read_volume(write_meta(tmp_path / "a.mha", **arguments))
