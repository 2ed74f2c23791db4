import numpy as np
import pytest
from image_files import cut, numbered, write_dicom

from PromptSegLib.errors import VolumeError
from PromptSegLib.io import open_image, read_volume

ARRAY = numbered((4, 5, 6)) - 50


def test_a_series_is_a_volume_in_ras(tmp_path):
    write_dicom(tmp_path / "ct", ARRAY)
    volume = read_volume(tmp_path / "ct")
    assert np.array_equal(volume.array, ARRAY)
    assert np.allclose(volume.grid.to_ras((1, 2, 3)), [-10.7, -21.6, 37.5])


def test_slices_are_ordered_by_their_position_and_not_by_their_name(tmp_path):
    paths = write_dicom(tmp_path / "ct", ARRAY)
    paths[0].rename(tmp_path / "ct" / "z.dcm")
    assert np.array_equal(read_volume(tmp_path / "ct").array, ARRAY)


def test_rescaled_values_are_in_hu(tmp_path):
    paths = write_dicom(tmp_path / "ct", ARRAY, intercept="-1024")
    assert (ARRAY[0] + 1024).astype("<i2").tobytes() in paths[0].read_bytes(), "stored as scanners do"
    assert np.array_equal(read_volume(tmp_path / "ct").array, ARRAY)


def test_a_tilted_gantry_shears_the_grid(tmp_path):
    write_dicom(tmp_path / "ct", ARRAY, step_lps=(0, 0.5, 2.5))
    assert np.allclose(read_volume(tmp_path / "ct").grid.to_ras((0, 0, 3)), [-10, -21.5, 37.5])


def test_a_sagittal_series_lies_as_its_slices_say(tmp_path):
    write_dicom(tmp_path / "mr", ARRAY, step_lps=(3, 0, 0), orientation="0\\1\\0\\0\\0\\-1")
    volume = read_volume(tmp_path / "mr")
    assert volume.grid.orientation in ("PIL", "PIR")
    place = np.argwhere(volume.array == ARRAY[1, 2, 3])[0]
    assert np.allclose(volume.grid.to_ras(place[::-1]), [-(10 + 3), -(20 + 3 * 0.7), 30 - 2 * 0.8])


def test_several_series_are_listed_and_one_is_chosen_by_number_or_uid(tmp_path):
    write_dicom(tmp_path / "study", ARRAY, uid="1.2.3.4")
    write_dicom(tmp_path / "study", ARRAY[:2], uid="1.2.3.5", description="scout")
    with pytest.raises(VolumeError) as error:
        read_volume(tmp_path / "study")
    assert "1: CT abdomen 4 files, 1.2.3.4; 2: CT scout 2 files, 1.2.3.5" in str(error.value)
    assert read_volume(tmp_path / "study", series="1").array.shape == (4, 5, 6)
    assert read_volume(tmp_path / "study", series="1.2.3.5").array.shape == (2, 5, 6)
    with pytest.raises(VolumeError, match="expected a series, not '3' out of 2"):
        read_volume(tmp_path / "study", series="3")


def test_a_missing_slice_is_noticed(tmp_path):
    write_dicom(tmp_path / "ct", ARRAY)[1].unlink()
    with pytest.raises(VolumeError, match=r"evenly spaced slices .* steps of 2\.500 to 5\.000 mm"):
        read_volume(tmp_path / "ct")


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_slice_that_was_cut_is_not_just_left_out(tmp_path, number):
    path = write_dicom(tmp_path / "ct", ARRAY)[number]
    cut(path, -30)
    with pytest.raises(VolumeError, match=rf"expected a whole DICOM file, got .*{path.name}"):
        read_volume(tmp_path / "ct")


def test_slices_at_the_same_positions_are_time_points(tmp_path):
    write_dicom(tmp_path / "perfusion", ARRAY)
    write_dicom(tmp_path / "perfusion", ARRAY + 1000, first=5)
    assert open_image(tmp_path / "perfusion").time_points == 2
    with pytest.raises(VolumeError, match="holds 2 volumes"):
        read_volume(tmp_path / "perfusion")
    assert np.array_equal(read_volume(tmp_path / "perfusion", time_point=1).array, ARRAY + 1000)


def test_a_time_point_with_a_slice_less_is_refused(tmp_path):
    write_dicom(tmp_path / "perfusion", ARRAY)
    write_dicom(tmp_path / "perfusion", ARRAY[:3], first=5)
    with pytest.raises(VolumeError, match=r"as many slices at each position .* got 1 to 2"):
        read_volume(tmp_path / "perfusion")


def test_slices_in_different_directions_are_refused(tmp_path):
    write_dicom(tmp_path / "localizer", ARRAY[:1])
    write_dicom(tmp_path / "localizer", ARRAY[:1], first=2, orientation="0\\1\\0\\0\\0\\-1")
    with pytest.raises(VolumeError, match="slices of one size and direction"):
        read_volume(tmp_path / "localizer")


def test_a_single_file_is_read_whatever_it_is_called(tmp_path):
    path = write_dicom(tmp_path / "ct", ARRAY[:1])[0]
    assert np.array_equal(read_volume(tmp_path / "ct").array, ARRAY[:1])
    assert np.array_equal(read_volume(path.rename(tmp_path / "IM0001")).array, ARRAY[:1])


def test_a_folder_without_dicom_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(VolumeError, match="none of its files can be read as DICOM"):
        read_volume(tmp_path)
