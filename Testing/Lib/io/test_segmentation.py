import os

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import grids

from PromptSegLib.errors import GeometryError, VolumeError
from PromptSegLib.geometry import Grid
from PromptSegLib.io import Segment, flatten, read_volume, segmentation_format, write_segmentation

GRID = Grid((4, 5, 6), np.diag([1.0, 2.0, 3.0, 1.0]))


def masks(*boxes, shape=GRID.shape_kji):
    """Return a mask for each (low, high) along k."""
    made = []
    for low, high in boxes:
        mask = np.zeros(shape, dtype=bool)
        mask[low:high, 1:4, 2:5] = True
        made.append(mask)
    return made


@settings(max_examples=40, deadline=None)
@given(grid=grids(), seed=st.integers(0, 99), suffix=st.sampled_from([".nrrd", ".mha", ".seg.nrrd"]))
def test_a_written_mask_lands_at_the_ras_it_was_predicted_at(tmp_path_factory, grid, seed, suffix):
    path = tmp_path_factory.mktemp("files") / f"mask{suffix}"
    mask = np.random.default_rng(seed).random(grid.shape_kji) > 0.5
    write_segmentation(path, [Segment("liver", mask, 7)], grid)
    volume = read_volume(path)
    assert np.array_equal(volume.array, mask * 7)
    assert volume.grid.matches(grid, tolerance_mm=1e-6)


@settings(max_examples=20, deadline=None)
@given(grid=grids())
def test_nifti_is_as_exact_as_single_precision(tmp_path_factory, grid):
    path = tmp_path_factory.mktemp("files") / "mask.nii"
    write_segmentation(path, [Segment("liver", np.ones(grid.shape_kji, dtype=bool))], grid)
    first = read_volume(path).grid
    assert first.matches(grid, tolerance_mm=1e-4)
    write_segmentation(path, [Segment("liver", np.ones(grid.shape_kji, dtype=bool))], first)
    assert read_volume(path).grid == first, "what came from NIfTI goes back to it exactly"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_labelmap_holds_each_value(tmp_path, suffix):
    one, two = masks((0, 1), (2, 3))
    path = tmp_path / f"labels{suffix}"
    write_segmentation(path, [Segment("liver", one, 5), Segment("spleen", two, 300)], GRID)
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert np.array_equal(array, one * 5 + two * 300)


def test_small_values_take_one_byte_a_voxel(tmp_path):
    write_segmentation(tmp_path / "labels.nrrd", [Segment("liver", masks((0, 1))[0], 255)], GRID)
    assert read_volume(tmp_path / "labels.nrrd").array.dtype == np.uint8


def test_where_segments_overlap_the_later_one_shows_in_a_labelmap():
    one, two = masks((0, 2), (1, 3))
    labels, overlapping = flatten([Segment("liver", one, 1), Segment("tumour", two, 2)], GRID.shape_kji)
    assert overlapping == (one & two).sum() == 9
    assert np.array_equal(labels == 2, two)


def test_a_folder_that_is_not_there_is_made(tmp_path):
    write_segmentation(tmp_path / "a" / "b" / "labels.nii.gz", [Segment("liver", masks((0, 1))[0])], GRID)
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["labels.nii.gz"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "labels.nrrd"
    path.write_text("old")

    def disk_is_full(chunks, gzip):
        yield b"begin"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("PromptSegLib.io.nrrd.compressed", disk_is_full)
    with pytest.raises(VolumeError, match=r"expected a place where .*labels\.nrrd can be written: .*No space left"):
        write_segmentation(path, [Segment("liver", masks((0, 1))[0])], GRID)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_written_file_can_be_read_by_whoever_may_read_others_here(tmp_path):
    (tmp_path / "other").touch()
    write_segmentation(tmp_path / "labels.nrrd", [Segment("liver", masks((0, 1))[0])], GRID)
    assert os.stat(tmp_path / "labels.nrrd").st_mode == os.stat(tmp_path / "other").st_mode


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(VolumeError, match="expected a place where"):
        write_segmentation(tmp_path / "file" / "labels.nrrd", [Segment("liver", masks((0, 1))[0])], GRID)


@pytest.mark.parametrize("name", ["out.png", "out", ".nii.gz", "out.seg"])
def test_an_unknown_format_lists_the_known_ones(name):
    with pytest.raises(VolumeError, match=r"expected an output that ends in \.seg\.nrrd, \.nii\.gz"):
        segmentation_format(name)


@pytest.mark.parametrize("value", [0, -1, 65536])
def test_a_value_that_no_labelmap_can_hold_is_refused(value):
    with pytest.raises(VolumeError, match="expected a label value from 1 to 65535"):
        Segment("liver", masks((0, 1))[0], value)


def test_two_segments_with_one_value_are_refused(tmp_path):
    one, two = masks((0, 1), (2, 3))
    with pytest.raises(VolumeError, match="got 3 for 'liver' and 'spleen'"):
        write_segmentation(tmp_path / "a.nrrd", [Segment("liver", one, 3), Segment("spleen", two, 3)], GRID)


def test_a_mask_of_another_shape_is_refused(tmp_path):
    with pytest.raises(GeometryError, match=r"expected a bool mask of shape \(4, 5, 6\)"):
        write_segmentation(tmp_path / "a.nrrd", [Segment("liver", np.ones((4, 5, 5), dtype=bool))], GRID)
