import numpy as np
import pytest
import SimpleITK as sitk
from image_files import cut, ijk_to_ras, numbered, write_nrrd, write_with_itk

from PromptSegLib.errors import VolumeError
from PromptSegLib.io import open_image, read_volume

MATRIX = ijk_to_ras()


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd"])
def test_an_oblique_anisotropic_image_lies_where_itk_put_it(tmp_path, suffix):
    array = numbered((3, 4, 5))
    volume = read_volume(write_with_itk(tmp_path / f"image{suffix}", array, MATRIX))
    assert np.array_equal(volume.array, array)
    assert np.allclose(volume.ijk_to_ras, MATRIX, atol=1e-9)
    assert volume.name == f"image{suffix}"


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_colour_is_the_last_axis(tmp_path, suffix):
    array = numbered((3, 4, 5, 3), np.uint8)
    volume = read_volume(write_with_itk(tmp_path / f"rgb{suffix}", array, MATRIX))
    assert np.array_equal(volume.array, array)
    assert volume.components == 3


def test_a_sheared_nrrd_is_kept(tmp_path):
    path = write_nrrd(
        tmp_path / "tilted.nrrd", numbered((2, 3, 4)), "domain domain domain", "(1,0,0) (0.5,1,0) (0,0,2)"
    )
    assert np.allclose(read_volume(path).grid.to_ras((1, 2, 1)), [-3, -4, 5])


def test_a_flat_nrrd_names_the_file(tmp_path):
    path = write_nrrd(tmp_path / "flat.nrrd", numbered((2, 3, 4)), "domain domain domain", "(1,0,0) (1,0,0) (0,0,2)")
    with pytest.raises(VolumeError, match=r"flat\.nrrd: expected three independent axes"):
        read_volume(path)


def test_a_sequence_of_slicer_has_time_points_not_colours(tmp_path):
    array = numbered((4, 5, 6, 3))  # k, j, i, time
    path = write_nrrd(tmp_path / "a.seq.nrrd", array, "list domain domain domain", "none (1,0,0) (0,1,0) (0,0,2)")
    with pytest.raises(VolumeError, match="holds 3 volumes"):
        read_volume(path)
    assert np.array_equal(read_volume(path, time_point=1).array, array[..., 1])


def test_of_a_4d_metaimage_the_time_point_that_was_asked_for_is_read(tmp_path):
    array = numbered((2, 3, 4, 5))
    path = write_with_itk(tmp_path / "a.mha", array, is_vector=False)
    assert open_image(path).time_points == 2
    assert np.array_equal(read_volume(path, time_point=1).array, array[1])
    with pytest.raises(VolumeError, match="from 0 to 1, got -1"):
        read_volume(path, time_point=-1)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_a_picture_is_one_slice(tmp_path, suffix, shape):
    array = numbered(shape, np.uint8)
    path = write_with_itk(tmp_path / f"picture{suffix}", array, is_vector=len(shape) == 3)
    assert np.array_equal(read_volume(path).array, array[None])
    assert open_image(path).is_picture


def test_a_jpeg_is_one_slice(tmp_path):
    path = write_with_itk(tmp_path / "picture.JPG", np.full((40, 50, 3), 200, np.uint8), is_vector=True)
    assert read_volume(path).array.shape == (1, 40, 50, 3)


def test_transparency_is_dropped(tmp_path):
    array = numbered((4, 5, 4), np.uint8)
    path = write_with_itk(tmp_path / "picture.png", array, is_vector=True)
    assert np.array_equal(read_volume(path).array, array[None, ..., :3])


@pytest.mark.parametrize("keep", [0.4, 0.97])
@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".png", ".jpg", ".tif"])
def test_a_file_that_was_cut_is_refused(tmp_path, suffix, keep):
    noise = np.random.default_rng(0).integers(0, 255, (60, 80)).astype(np.uint8)
    path = write_with_itk(tmp_path / f"image{suffix}", noise if suffix in (".png", ".jpg", ".tif") else noise[None])
    read_volume(path)
    with pytest.raises(VolumeError, match=rf"got .*image\{suffix}: "):
        read_volume(cut(path, keep))


def test_a_header_without_its_voxels_is_refused(tmp_path):
    path = write_with_itk(tmp_path / "image.mhd", numbered((2, 3, 4)))
    next(tmp_path.glob("*raw")).unlink()
    with pytest.raises(VolumeError, match="expected a readable MetaImage file"):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".png", ".jpg", ".tif", ".dcm"])
@pytest.mark.parametrize("content", [b"", b"hello"])
def test_what_is_no_image_is_refused_by_every_reader(tmp_path, suffix, content):
    path = tmp_path / f"letter{suffix}"
    path.write_bytes(content)
    with pytest.raises(VolumeError, match=rf"expected .*got .*letter\{suffix}"):
        read_volume(path)


def test_a_wrong_suffix_is_refused(tmp_path):
    png = write_with_itk(tmp_path / "picture.png", numbered((4, 5), np.uint8))
    with pytest.raises(VolumeError, match="expected a readable JPEG file"):
        read_volume(png.rename(tmp_path / "picture.jpg"))


def test_an_unknown_suffix_lists_the_known_ones(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(VolumeError, match=r"expected an image file \(\.nii, .*DICOM series\), got .*notes\.txt"):
        read_volume(path)


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(VolumeError, match=r"nowhere\.nrrd: there is no such file"):
        read_volume(tmp_path / "nowhere.nrrd")


def test_complex_numbers_are_refused(tmp_path):
    image = sitk.GetImageFromArray(np.ones((2, 3, 4), np.complex64))
    sitk.WriteImage(image, str(tmp_path / "k-space.nrrd"))
    with pytest.raises(VolumeError, match="got complex numbers"):
        read_volume(tmp_path / "k-space.nrrd")


def test_a_series_cannot_be_chosen_from_a_file(tmp_path):
    path = write_with_itk(tmp_path / "image.nrrd", numbered((2, 3, 4)))
    with pytest.raises(VolumeError, match="expected a folder with DICOM files"):
        read_volume(path, series="1")
