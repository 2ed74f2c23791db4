import gzip

import numpy as np
import pytest
import SimpleITK as sitk
from image_files import cut, ijk_to_ras, nifti_bytes, numbered

from PromptSegLib.errors import FormatWarning, VolumeError
from PromptSegLib.geometry import Grid
from PromptSegLib.io import Segment, open_image, read_volume, write_segmentation

AFFINE = ijk_to_ras().astype(np.float32).astype(np.float64)


@pytest.fixture
def nifti(tmp_path):
    def write(array, name="image.nii.gz", **fields):
        path = tmp_path / name
        content = nifti_bytes(array, **fields)
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "f4", "f8"])
@pytest.mark.parametrize("big_endian", [False, True])
def test_voxels_and_affine_come_back_as_they_are(nifti, dtype, big_endian):
    array = numbered((3, 4, 5), dtype)
    volume = read_volume(nifti(array, affine=AFFINE, big_endian=big_endian))
    assert np.array_equal(volume.array, array)
    assert volume.array.dtype == np.dtype(dtype)
    assert np.array_equal(volume.ijk_to_ras, AFFINE)


def test_the_grid_agrees_with_itk_to_single_precision(nifti):
    path = nifti(numbered((3, 4, 5)), affine=AFFINE, pixdim=[1, 0.7, 0.8, 2.5, 1, 1, 1, 1])
    image, grid = sitk.ReadImage(str(path)), read_volume(path).grid
    for ijk in ((0, 0, 0), (4, 3, 2), (4, 0, 1)):
        x, y, z = image.TransformIndexToPhysicalPoint(ijk)
        assert grid.to_ras(ijk) == pytest.approx([-x, -y, z], abs=1e-4)


def test_a_rescaled_image_has_its_real_values(nifti):
    volume = read_volume(nifti(numbered((2, 3, 4), np.int16), affine=AFFINE, scl_slope=2, scl_inter=-1024))
    assert volume.array.dtype == np.float32
    assert volume.array[0, 0, 1] == -1022


@pytest.mark.parametrize(
    ("sform", "qform", "expected"), [(1, 1, "s"), (2, 1, "q"), (2, 0, "s"), (0, 1, "q"), (4, 2, "q"), (1, 4, "s")]
)
def test_the_affine_is_the_one_that_itk_takes(nifti, sform, qform, expected):
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = 10, 20, 30
    path = nifti(numbered((2, 3, 4)), "image.nii", affine=affine, sform_code=sform, qform_code=qform, qoffset=(1, 2, 3))
    origin = read_volume(path).ijk_to_ras[:3, 3]
    assert origin.tolist() == ([10, 20, 30] if expected == "s" else [1, 2, 3])
    assert sitk.ReadImage(str(path)).GetOrigin()[2] == origin[2]


def test_a_quaternion_turns_and_mirrors(nifti):
    half = np.sqrt(0.5)  # a quarter turn about z: i points anterior, j left
    path = nifti(
        numbered((2, 3, 4)), qform_code=1, quatern=(0, 0, half), qoffset=(5, 6, 7), pixdim=[-1, 2, 3, 4, 1, 1, 1, 1]
    )
    expected = [[0, -3, 0, 5], [2, 0, 0, 6], [0, 0, -4, 7], [0, 0, 0, 1]]
    assert np.allclose(read_volume(path).ijk_to_ras, expected, atol=1e-6)


def test_without_any_form_it_lies_as_slicer_would_show_it(nifti):
    path = nifti(numbered((2, 3, 4)), "image.nii", pixdim=[1, 2, 3, 4, 1, 1, 1, 1])
    assert np.array_equal(read_volume(path).ijk_to_ras, np.diag([-2, -3, 4, 1]))
    assert sitk.ReadImage(str(path)).GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)


def test_a_sheared_affine_is_kept(nifti):
    affine = np.array([[1, 0.3, 0, 5], [0, 1, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1.0]])
    volume = read_volume(nifti(numbered((2, 3, 4)), affine=affine))
    assert np.allclose(volume.grid.to_ras((1, 2, 1)), [6.6, 8, 9], atol=1e-6)


def test_metres_become_millimetres(nifti):
    volume = read_volume(nifti(numbered((2, 3, 4)), affine=np.diag([0.001, 0.002, 0.003, 1]), xyzt_units=1))
    assert volume.grid.spacing_mm == pytest.approx([1, 2, 3])


def test_a_flat_affine_names_the_file(nifti):
    path = nifti(numbered((2, 3, 4)), affine=np.diag([1.0, 0.0, 1.0, 1.0]))
    with pytest.raises(VolumeError, match=r"image\.nii\.gz: expected three independent axes"):
        read_volume(path)


def test_of_a_series_the_time_point_that_was_asked_for_is_read(nifti):
    array = numbered((3, 2, 4, 5))
    path = nifti(array, affine=AFFINE)
    assert open_image(path).time_points == 3
    assert np.array_equal(read_volume(path, time_point=2).array, array[2])


def test_of_a_series_none_is_read_unasked(nifti):
    path = nifti(numbered((3, 2, 4, 5)), affine=AFFINE)
    with pytest.raises(VolumeError, match=r"expected a time point, 0 to 2: .*image\.nii\.gz holds 3 volumes"):
        read_volume(path)
    with pytest.raises(VolumeError, match="from 0 to 2, got 3"):
        read_volume(path, time_point=3)


def test_colour_is_the_last_axis(nifti):
    rgb = numbered((2, 3, 4, 3), np.uint8)
    path = nifti(rgb, datatype=128, dim=[3, 4, 3, 2, 1, 1, 1, 1])
    assert np.array_equal(read_volume(path).array, rgb)


def test_vectors_are_the_last_axis(nifti):
    array = numbered((2, 1, 3, 4, 5))  # component, time, k, j, i
    assert np.array_equal(read_volume(nifti(array)).array, np.moveaxis(array[:, 0], 0, -1))


@pytest.mark.parametrize("keep", [0.3, 0.5, 0.9, -1])
@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz"])
def test_a_file_that_was_cut_is_refused_and_not_filled_with_zeros(nifti, name, keep):
    noise = np.random.default_rng(0).integers(0, 1000, (20, 30, 40)).astype(np.int16)
    with pytest.raises(VolumeError, match=r"image\.nii"):
        read_volume(cut(nifti(noise, name, affine=AFFINE), keep))


def test_damage_within_a_compressed_file_is_noticed(nifti):
    path = nifti(np.random.default_rng(0).integers(0, 1000, (20, 30, 40)).astype(np.int16))
    content = bytearray(path.read_bytes())
    content[-6] ^= 255  # within the checksum
    path.write_bytes(content)
    with pytest.raises(VolumeError, match="expected a whole NIfTI file"):
        read_volume(path)


def test_a_header_that_promises_too_much_is_refused_before_memory_is_taken(nifti):
    path = nifti(numbered((2, 3, 4)), dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])
    with pytest.raises(VolumeError, match="the file was cut, or its header is wrong"):
        read_volume(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dim": [0] * 8}, "2 to 5 dimensions"),
        ({"dim": [3, 4, -3, 2, 1, 1, 1, 1]}, "2 to 5 dimensions"),
        ({"datatype": 32}, "NIfTI type 32"),
        ({"magic": b"ni1\0"}, "in one piece"),
    ],
)
def test_an_odd_header_is_refused_with_a_reason(nifti, fields, message):
    with pytest.raises(VolumeError, match=message):
        read_volume(nifti(numbered((2, 3, 4)), **fields))


def test_another_format_under_this_name_is_refused(tmp_path):
    path = tmp_path / "picture.nii.gz"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    with pytest.raises(VolumeError, match=r"expected a readable NIfTI file, got .*picture\.nii\.gz"):
        read_volume(path)


@pytest.mark.parametrize(
    "directions", [np.eye(3), np.diag([-1, -1, 1]), np.diag([1, -1, 1]), ijk_to_ras((1, 1, 1))[:3, :3]]
)
def test_what_is_written_is_read_alike_by_itk(tmp_path, directions):
    grid = Grid((4, 5, 6), ijk_to_ras((0.7, 0.8, 2.5), directions))
    mask = np.random.default_rng(1).random(grid.shape_kji) > 0.5
    write_segmentation(tmp_path / "mask.nii.gz", [Segment("liver", mask, 5)], grid)
    image = sitk.ReadImage(str(tmp_path / "mask.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(image), mask * 5)
    x, y, z = image.TransformIndexToPhysicalPoint((5, 4, 3))
    assert grid.to_ras((5, 4, 3)) == pytest.approx([-x, -y, z], abs=2e-4)


def sheared(degrees, count=60):
    matrix = ijk_to_ras((0.5, 0.5, 3.0))
    matrix[:3, 2] += 3 * np.tan(np.radians(degrees)) * matrix[:3, 1] / 0.5
    return Grid((count, 8, 9), matrix)


@pytest.mark.parametrize("degrees", [0.001, 0.006, 0.02])
def test_positions_that_were_rounded_give_a_file_that_itk_opens_without_a_word(tmp_path, degrees):
    grid = sheared(degrees)
    write_segmentation(tmp_path / "mask.nii.gz", [Segment("liver", np.ones(grid.shape_kji, dtype=bool))], grid)
    image = sitk.ReadImage(str(tmp_path / "mask.nii.gz"))
    for ijk in ((0, 0, 0), (8, 7, 0), (0, 0, 59), (8, 7, 59)):
        x, y, z = image.TransformIndexToPhysicalPoint(ijk)
        assert grid.to_ras(ijk) == pytest.approx([-x, -y, z], abs=0.05)


@pytest.mark.parametrize("turned", [1, -1])
def test_of_a_tilted_image_the_sform_is_exact_and_the_qform_the_nearest_rotation(tmp_path, turned):
    grid = sheared(15)
    grid = Grid(grid.shape_kji, grid.ijk_to_ras @ np.diag([1, 1, turned, 1]))
    path = tmp_path / "mask.nii"
    with pytest.warns(FormatWarning, match=r"not at right angles.* show voxels up to \d+ mm from their place"):
        write_segmentation(path, [Segment("liver", np.ones(grid.shape_kji, dtype=bool))], grid)
    assert read_volume(path).grid.matches(grid, tolerance_mm=1e-3)
    header = np.fromfile(path, dtype="<f4", count=86, offset=0)
    assert np.fromfile(path, dtype="<i2", count=2, offset=252).tolist() == [1, 1]
    assert header[20:23] == pytest.approx(grid.spacing_mm)
    image = sitk.ReadImage(str(path))
    rotation = np.diag([-1, -1, 1]) @ np.reshape(image.GetDirection(), (3, 3))
    assert rotation.T @ rotation == pytest.approx(np.eye(3), abs=1e-5)
    # Half of the tilt lies on either of the two axes, and the middle is where it was.
    assert np.degrees(np.arccos((rotation * grid.directions).sum(axis=0))) == pytest.approx([0, 7.5, 7.5], abs=0.1)
    x, y, z = image.TransformContinuousIndexToPhysicalPoint((4, 3.5, 29.5))
    assert grid.to_ras((4, 3.5, 29.5)) == pytest.approx([-x, -y, z], abs=1e-3)


def test_what_nifti_cannot_count_is_refused(tmp_path):
    grid = Grid((1, 1, 40000), np.eye(4))
    segment = Segment("line", np.ones(grid.shape_kji, dtype=bool))
    with pytest.raises(VolumeError, match=r"no more than 32767 voxels .* for NIfTI, got \(1, 1, 40000\)"):
        write_segmentation(tmp_path / "mask.nii.gz", [segment], grid)
    for suffix in (".nrrd", ".seg.nrrd", ".mha"):
        write_segmentation(tmp_path / f"mask{suffix}", [segment], grid)
        assert sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"mask{suffix}"))).shape == grid.shape_kji
