"""Slips in headers that ITK and Slicer forgive: read as they read them, with a note."""

import gzip
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from image_files import ijk_to_ras, numbered

from PromptSegLib.errors import PromptError, VolumeError
from PromptSegLib.io import open_image, read_volume
from PromptSegLib.prompt_files import read_prompts, write_prompts
from PromptSegLib.prompts import Point

ARRAY = numbered((4, 5, 6))
MATRIX = np.diag([2.0, 3.0, 4.0, 1.0])
MATRIX[:3, 3] = 10, 20, 30


def nifti(path, *edits, sform=MATRIX, codes=(1, 1), shape=None):
    """Write a NIfTI by nibabel; edits: (offset, struct format, values…) in its header. codes: of sform and qform."""
    image = nibabel.Nifti1Image(ARRAY.T.reshape(shape or ARRAY.T.shape), MATRIX)
    image.set_sform(sform, codes[0])
    image.set_qform(MATRIX, codes[1])
    nibabel.save(image, path)
    content = bytearray(path.read_bytes())
    for offset, form, *values in edits:
        struct.pack_into(form, content, offset, *values)
    path.write_bytes(content)
    return path


def check_as_itk(path):
    """Check that the file lies where ITK puts it, and return its notes."""
    file = open_image(path)
    volume = file.volume()
    assert np.array_equal(volume.array, ARRAY)
    image = sitk.ReadImage(str(path))
    place = image.TransformIndexToPhysicalPoint([int(index) for index in (5, 4, 3, 0)[: image.GetDimension()]])
    assert volume.grid.to_ras((5, 4, 3)) == pytest.approx([-place[0], -place[1], place[2]], abs=1e-4)
    return file.notes


@pytest.mark.parametrize(
    ("edits", "codes", "note"),
    [
        ([(280, "<12f", *[0.0] * 12)], (1, 1), "sform is no affine"),
        ([(280, "<f", np.inf)], (2, 1), "sform is no affine"),
        ([(80, "<3f", 0, 0, 0)], (0, 0), "no size counts as 1 mm"),
        ([(84, "<f", np.nan)], (0, 1), "no size counts as 1 mm"),
        ([(40, "<8h", 5, 6, 5, 4, 0, 0, 0, 0)], (1, 1), "a size of 0 counts as 1"),
        ([(0, "<i", 0)], (1, 1), "sizeof_hdr is 0"),
        ([(72, "<h", 8)], (1, 1), ""),
        ([(76, "<f", 0)], (0, 1), ""),
    ],
)
def test_slips_of_a_nifti_header(tmp_path, edits, codes, note):
    notes = check_as_itk(nifti(tmp_path / "a.nii", *edits, codes=codes))
    assert bool(notes) == bool(note)
    assert note in " ".join(notes)


@pytest.mark.parametrize("offset", [0.0, -352.0, 100.0, float("nan"), float("inf"), 348.0])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_voxels_begin_behind_the_header_wherever_vox_offset_points(tmp_path, offset, name):
    path = nifti(tmp_path / "a.nii", (108, "<f", offset))
    if name.endswith(".gz"):
        (tmp_path / name).write_bytes(gzip.compress(path.read_bytes()))
    file = open_image(tmp_path / name)
    assert np.array_equal(file.volume().array, ARRAY)
    assert "the voxels are read from 352 on" in file.notes[0]


def test_a_vox_offset_that_says_nothing_is_refused_when_the_voxels_could_begin_anywhere(tmp_path):
    path = nifti(tmp_path / "a.nii", (108, "<f", 0.0))
    path.write_bytes(path.read_bytes()[:352] + bytes(64) + path.read_bytes()[352:])
    with pytest.raises(VolumeError, match=r"expected a vox_offset .* 64 bytes more"):
        read_volume(path)


def test_a_scale_without_a_finite_shift_is_refused(tmp_path):
    with pytest.raises(VolumeError, match="finite scl_inter"):
        read_volume(nifti(tmp_path / "a.nii", (112, "<2f", 2, np.inf)))


def test_a_sheared_sform_is_kept_and_it_is_said_that_slicer_shows_the_qform(tmp_path):
    sheared = MATRIX.copy()
    sheared[0, 2] = 1.0
    path = nifti(tmp_path / "a.nii", sform=sheared)
    file = open_image(path)
    assert np.allclose(file.volume().ijk_to_ras, sheared)
    assert "Slicer, which goes by the qform and the voxel sizes, shows its voxels up to 3 mm" in file.notes[0]
    assert sitk.ReadImage(str(path)).GetDirection() == (-1, 0, 0, 0, -1, 0, 0, 0, 1), "Slicer's own reader drops it"


def test_a_sform_to_another_space_gives_way_to_the_qform_with_a_note(tmp_path):
    turned = ijk_to_ras((2, 3, 4))
    notes = check_as_itk(nifti(tmp_path / "a.nii", sform=turned, codes=(4, 1)))
    assert "its sform, which leads to another space" in notes[0]


def test_voxel_sizes_that_differ_from_the_sform_are_told(tmp_path):
    file = open_image(nifti(tmp_path / "a.nii", (80, "<f", 2.5), codes=(1, 0)))
    assert np.array_equal(file.volume().ijk_to_ras, MATRIX), "as nibabel reads it"
    assert "Slicer" in file.notes[0]


def test_a_file_without_slips_has_no_notes(tmp_path):
    assert open_image(nifti(tmp_path / "a.nii")).notes == ()


def test_a_note_is_logged_when_the_volume_is_read(tmp_path, caplog):
    read_volume(nifti(tmp_path / "a.nii", (0, "<i", 0)))
    assert "a.nii: sizeof_hdr is 0, not 348" in caplog.text


def test_prompts_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "prompts.json"
    write_prompts(path, {"liver": (Point((1, 2, 3)),)})
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_prompts(path) == {"liver": (Point((1, 2, 3)),)}
    path.write_bytes(b"\xff\xfe" + path.read_text(encoding="utf-8-sig").encode("utf-16-le"))
    with pytest.raises(PromptError):
        read_prompts(path)
