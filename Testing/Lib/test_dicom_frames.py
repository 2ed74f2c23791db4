import warnings

import numpy as np
import pydicom
import pytest
from dicom_files import AXIAL, base_dataset, item, save, write_enhanced

from PromptSegLib.errors import VolumeError
from PromptSegLib.io import open_image, read_volume

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def at_height(z):
    return (10, 20, z)


def planes(volume):
    """Return (S, value) of each slice, read off at a pixel away from the corner."""
    return [
        (round(float(volume.grid.to_ras((1, 2, k))[2]), 3), float(plane[2, 1])) for k, plane in enumerate(volume.array)
    ]


def test_frames_lie_where_their_positions_say_in_whatever_order_they_are_stored(tmp_path):
    order = [3, 0, 4, 1, 2]
    path = write_enhanced(tmp_path / "a.dcm", [100 + k for k in order], [at_height(3.0 * k) for k in order])
    volume = read_volume(path)
    assert planes(volume) == [(3.0 * k, 100 + k) for k in range(5)]
    assert np.allclose(volume.grid.to_ras((1, 2, 3)), [-10.7, -21.6, 9.0])


def test_a_missing_frame_is_named(tmp_path):
    path = write_enhanced(tmp_path / "a.dcm", [1, 2, 4], [at_height(z) for z in (0, 3, 9)])
    with pytest.raises(VolumeError, match=r"steps of 3\.000 to 6\.000 mm, .* frame 2 and a\.dcm frame 3"):
        read_volume(path)


def test_each_frame_has_a_slope_of_its_own(tmp_path):
    slopes = [1, 2, 0.5]
    path = write_enhanced(tmp_path / "a.dcm", [100] * 3, [at_height(z) for z in range(3)], slopes=slopes)
    assert [value for _, value in planes(read_volume(path))] == [100, 199, 48]


def test_a_tilted_gantry_shears_the_grid(tmp_path):
    path = write_enhanced(tmp_path / "a.dcm", [1, 2, 3], [(0, k * 0.5, k * 2.0) for k in range(3)])
    assert np.allclose(read_volume(path).grid.to_ras((0, 0, 2)), [0, -1, 4])


def test_frames_of_several_directions_are_refused(tmp_path):
    path = write_enhanced(
        tmp_path / "a.dcm", [1, 2], [at_height(0), at_height(1)], orientations=[AXIAL, (0, 1, 0, 0, 0, -1)]
    )
    with pytest.raises(VolumeError, match="slices of one size and direction"):
        read_volume(path)


@pytest.mark.parametrize("mark", ["TemporalPositionIndex", "DimensionIndexValues", "nothing"])
def test_several_times_are_as_many_volumes(tmp_path, mark):
    frames = [(t, k) for t in range(3) for k in range(2)]
    if mark != "nothing":
        frames = [frames[number] for number in (5, 2, 0, 3, 4, 1)]
    contents = [
        {"DimensionIndexValues": [1, k + 1, t + 1]} if mark == "DimensionIndexValues" else {mark: t + 1}
        for t, k in frames
    ]
    tags = [0x00209056, 0x00209057, 0x00209128]
    path = write_enhanced(
        tmp_path / "a.dcm",
        [100 * t + k for t, k in frames],
        [at_height(5.0 * k) for _, k in frames],
        contents=None if mark == "nothing" else contents,
        DimensionIndexSequence=[item(DimensionIndexPointer=tag)[0] for tag in tags],
    )
    assert open_image(path).time_points == 3
    for t in range(3):
        assert planes(read_volume(path, t)) == [(0.0, 100.0 * t), (5.0, 100.0 * t + 1)]


def test_frames_that_nothing_tells_apart_are_refused(tmp_path):
    path = write_enhanced(tmp_path / "a.dcm", [1, 2, 3, 4, 5, 6], [at_height(z) for z in (0, 5, 5, 5, 0, 0)])
    with pytest.raises(VolumeError, match="to be told which slices belong together"):
        read_volume(path, 0)


def test_a_frame_too_many_at_a_place_is_named(tmp_path):
    path = write_enhanced(tmp_path / "a.dcm", [1, 2, 3, 4], [at_height(z) for z in (0, 5, 5, 10)])
    with pytest.raises(VolumeError, match=r"got 1 to 2: at \(-10, -20, 5\) RAS, mm are .*frame 2, .*frame 3"):
        read_volume(path)


@pytest.mark.parametrize(
    ("offsets", "expected"), [([0, 5, 10], [7, 12, 17]), ([7, 12, 17], [7, 12, 17]), ([0, -5, -10], [-3, 2, 7])]
)
def test_a_dose_grid_lies_by_its_offsets(tmp_path, offsets, expected):
    frames = np.repeat(np.arange(1, 4, dtype=np.uint32), 20).reshape(3, 4, 5)
    dataset = base_dataset(
        tmp_path / "dose.dcm",
        frames,
        pydicom.uid.RTDoseStorage,
        GridFrameOffsetVector=offsets,
        ImagePositionPatient=[1, 2, 7],
        ImageOrientationPatient=list(AXIAL),
        PixelSpacing=[2, 2],
        DoseGridScaling=0.25,
    )
    save(dataset, tmp_path / "dose.dcm")
    file = open_image(tmp_path / "dose.dcm")
    found = planes(file.volume())
    assert [place for place, _ in found] == expected
    assert [value for _, value in found] == ([1, 2, 3] if offsets[1] > offsets[0] else [3, 2, 1])
    assert "times 0.25 they are the dose" in file.notes[0]


def test_uneven_or_strange_dose_offsets_are_refused(tmp_path):
    for offsets, message in (([0, 5, 11], "evenly spaced"), ([3, 8, 13], "GridFrameOffsetVector begins with 3")):
        dataset = base_dataset(
            tmp_path / "dose.dcm",
            np.zeros((3, 4, 5), np.uint32),
            GridFrameOffsetVector=offsets,
            ImagePositionPatient=[1, 2, 7],
            ImageOrientationPatient=list(AXIAL),
            PixelSpacing=[2, 2],
        )
        save(dataset, tmp_path / "dose.dcm")
        with pytest.raises(VolumeError, match=message):
            read_volume(tmp_path / "dose.dcm")


def test_pictures_with_frames_and_no_position_are_a_stack_with_a_note(tmp_path):
    frames = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    save(base_dataset(tmp_path / "a.dcm", frames, pydicom.uid.SecondaryCaptureImageStorage), tmp_path / "a.dcm")
    file = open_image(tmp_path / "a.dcm")
    assert np.array_equal(file.volume().array, frames)
    assert "no position" in file.notes[0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"NumberOfFrames": 4}, "pixel data have 120 bytes, 160 are needed"),
        ({"NumberOfFrames": 2}, "more frames than named"),
        ({"Rows": 5}, "bytes"),
        ({"BitsAllocated": 12}, "12 bits"),
        ({"TotalPixelMatrixColumns": 10}, "tiles of a whole slide"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "its slope is 0"),
        ({"PixelSpacing": [0, 1]}, "pixel spacing"),
        ({"ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "right angle"),
        ({"ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": list(AXIAL)}, "one position for all"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, values, message):
    frames = np.zeros((3, 4, 5), np.uint16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save(base_dataset(tmp_path / "a.dcm", frames, **values), tmp_path / "a.dcm")
    with pytest.raises(VolumeError, match=rf"a\.dcm.*{message}"):
        read_volume(tmp_path / "a.dcm")


def write_slices(folder, heights, **values):
    """Write a classic series of one slice a height, of value 100, 101, …; values: a list of one for each slice."""
    folder.mkdir(exist_ok=True)
    for number, height in enumerate(heights):
        frames = np.full((1, 4, 5), 100 + number, np.int16)
        own = {name: entries[number] for name, entries in values.items()}
        dataset = base_dataset(
            folder,
            frames,
            pydicom.uid.MRImageStorage,
            ImagePositionPatient=[0, 0, height],
            ImageOrientationPatient=own.pop("axes", list(AXIAL)),
            PixelSpacing=[0.8, 0.7],
            InstanceNumber=number + 1,
        )
        for name, value in own.items():
            setattr(dataset, name, value)
        del dataset.NumberOfFrames
        save(dataset, folder / f"IM{number:03}.dcm")
    return folder


def test_times_whose_positions_are_micrometres_apart_are_times(tmp_path):
    heights = [2.0005 + 3 * k + shift for shift in (-1e-6, 1e-6) for k in range(4)]
    file = open_image(write_slices(tmp_path / "mr", heights))
    assert file.time_points == 2
    assert planes(file.volume(1)) == [(round(2.0005 + 3 * k, 3), 104 + k) for k in range(4)]


def test_echoes_that_were_numbered_anyhow_are_told_apart_by_their_time(tmp_path):
    heights, echoes = [0, 0, 5, 5, 10, 10], [20, 10, 10, 20, 20, 10]
    file = open_image(write_slices(tmp_path / "mr", heights, EchoTime=echoes))
    assert [value for _, value in planes(file.volume(0))] == [101, 102, 105]
    assert [value for _, value in planes(file.volume(1))] == [100, 103, 104]


def test_a_file_that_is_there_twice_is_left_out_once(tmp_path):
    folder = write_slices(tmp_path / "mr", [0, 5, 10])
    (folder / "IM001 (1).dcm").write_bytes((folder / "IM001.dcm").read_bytes())
    file = open_image(folder)
    assert file.volume().array.shape == (3, 4, 5)
    assert file.notes == ("IM001.dcm is a copy of IM001 (1).dcm; it is left out",)


def test_two_files_that_claim_to_be_the_same_are_refused(tmp_path):
    folder = write_slices(tmp_path / "mr", [0, 5, 10], SOPInstanceUID=["1.5", "1.5", "1.6"])
    with pytest.raises(VolumeError, match=r"one file of each SOPInstanceUID .*IM000\.dcm and IM001\.dcm"):
        read_volume(folder)


def test_a_localizer_beside_the_slices_is_a_choice_of_its_own(tmp_path):
    folder = write_slices(tmp_path / "mr", [0, 5, 10, 3], axes=[list(AXIAL)] * 3 + [[0, 1, 0, 0, 0, -1]])
    with pytest.raises(VolumeError, match=r"one size and direction .* 1: MR 3 files, .*2: MR 1 files"):
        read_volume(folder)
    assert planes(read_volume(folder, series="1")) == [(0, 100), (5, 101), (10, 102)]


def test_a_dose_of_one_frame_beside_a_series_is_another_series(tmp_path):
    folder = write_slices(tmp_path / "mr", [0, 5, 10])
    dose = base_dataset(
        folder,
        np.zeros((1, 4, 5), np.uint32),
        pydicom.uid.RTDoseStorage,
        SeriesInstanceUID="1.2.9",
        ImagePositionPatient=[0, 0, 5],
        ImageOrientationPatient=list(AXIAL),
        PixelSpacing=[2, 2],
    )
    save(dose, folder / "dose.dcm")
    assert planes(read_volume(folder, series="1.2.3")) == [(0, 100), (5, 101), (10, 102)]


def test_a_link_to_nowhere_is_named(tmp_path):
    folder = write_slices(tmp_path / "mr", [0, 5, 10])
    (folder / "IM003.dcm").symlink_to("/nowhere")
    with pytest.raises(VolumeError, match=r"IM003\.dcm: a link to /nowhere"):
        read_volume(folder)


def test_without_pydicom_it_is_said_what_is_missing(tmp_path, monkeypatch):
    path = write_enhanced(tmp_path / "a.dcm", [1], [at_height(0)])
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(VolumeError, match="pip install pydicom"):
        read_volume(path)
