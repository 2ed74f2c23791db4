"""Cases in order, the current one remembered."""

import pytest

from PromptSegLib.errors import VolumeError
from PromptSegLib.worklist.worklist import Worklist


@pytest.fixture
def folder(tmp_path):
    for name in ("b.nii.gz", "a.nrrd", "c.seg.nrrd", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_images_are_cases_in_order_and_segmentations_and_other_files_are_not(folder):
    assert [case.name for case in Worklist.open(folder).cases] == ["a", "b"]


def test_work_goes_on_where_it_stopped(folder):
    worklist = Worklist.open(folder)
    worklist.go(1)
    again = Worklist.open(folder)
    assert again.current.name == "b"
    assert (again.has_next, again.has_previous) == (False, True)


def test_work_starts_at_the_first_case_that_is_not_done(folder):
    first = Worklist.open(folder).current
    first.segmentation.parent.mkdir()
    first.segmentation.write_bytes(b"")
    worklist = Worklist.open(folder)
    assert (worklist.current.name, worklist.done) == ("b", 1)


def test_a_case_that_is_not_there_is_refused(folder):
    with pytest.raises(IndexError, match="from 0 to 1, got 2"):
        Worklist.open(folder).go(2)


@pytest.mark.parametrize("text", ["", "path\na.nrrd\n", "image\n"])
def test_a_csv_file_without_images_is_refused(tmp_path, text):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(VolumeError, match="expected a column 'image' with at least one row"):
        Worklist.open(tmp_path / "list.csv")


def test_a_path_that_is_neither_folder_nor_csv_is_refused(tmp_path):
    with pytest.raises(VolumeError, match="which is neither"):
        Worklist.open(tmp_path / "nowhere")
