"""What a segmentation starts from: in files with names the segment of that name, elsewhere values or probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from image_files import ijk_to_ras, numbered, write_nrrd, write_with_itk

from PromptSegLib.errors import PromptError, VolumeError
from PromptSegLib.geometry import Grid
from PromptSegLib.io import Segment, write_segmentation
from PromptSegLib.io.segment_fields import StoredSegment, stored_segments
from PromptSegLib.label_values import as_labels, set_voxels
from PromptSegLib.prompt_files import write_prompts
from PromptSegLib.prompts import MaskPrompt, Point
from PromptSegLib.session import Session
from PromptSegLib.volume import Volume

GRID = Grid((10, 12, 14), ijk_to_ras())
LIVER, SPLEEN = np.zeros((2, *GRID.shape_kji), dtype=bool)
LIVER[1:5, 2:7, 3:9] = True
SPLEEN[4:6, 5:9, 8:12] = True  # they overlap


@pytest.fixture
def start(promptseg, tmp_path):
    """Segment nothing from a mask but the mask itself; return what was taken and the line that says so."""
    image = write_with_itk(tmp_path / "image.nrrd", numbered(GRID.shape_kji), GRID.ijk_to_ras)
    command = ("segment", image, "-o", tmp_path / "out.mha", "--model", "fakes:BallPredictor", "--initial")
    # A negative point; its answer ends 3 slices from it, beyond all that the tests set.
    click = ("--negative", "0,11,9", "--frame", "ijk")

    def run(path, *words):
        outcome = promptseg(*command, path, *click, *words)
        assert outcome.status == 0, outcome.err
        return sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.mha"))), outcome.err

    run.refuses = lambda path, *words: promptseg.refuses(*command, path, *click, *words)
    return run


@pytest.fixture
def named(tmp_path):
    def write(*segments):
        path = tmp_path / "initial.seg.nrrd"
        write_segmentation(path, segments, GRID)
        return path

    return write


def soft(mask):
    """A probability of which few are 1: a half at the mask's faces."""
    return np.where(mask, 0.5 + 0.5 * np.random.default_rng(0).random(mask.shape), 0.49 * (~mask)).astype(np.float32)


@pytest.mark.parametrize("label", ["liver", "Liver", " LIVER ", "hepar"])
def test_names_count_and_not_values(start, named, label):
    path = named(Segment("spleen", SPLEEN & ~LIVER, 1), Segment("liver", LIVER, 2))
    taken, said = start(path, "--label", f"{label}=1")
    assert np.array_equal(taken > 0, LIVER)
    assert f"begins with the segment 'liver', {LIVER.sum()} voxels of {path}" in said


def test_segments_that_overlap_are_taken_whole(start, named):
    path = named(Segment("liver", LIVER, 1), Segment("spleen", SPLEEN, 2))
    assert np.array_equal(start(path, "--label", "spleen=1")[0] > 0, SPLEEN)
    assert np.array_equal(start(path, "--label", "liver=2")[0] > 0, LIVER)


def test_several_targets_take_the_segments_of_their_names(promptseg, named, tmp_path):
    image = write_with_itk(tmp_path / "image.nrrd", numbered(GRID.shape_kji), GRID.ijk_to_ras)
    click = [Point(GRID.to_ras((0, 11, 9)), positive=False)]
    write_prompts(tmp_path / "p.json", {"spleen": click, "liver": click})
    path = named(Segment("liver", LIVER, 1), Segment("spleen", SPLEEN, 2))
    words = ("--prompts", tmp_path / "p.json", "--initial", path, "--model", "ball")
    outcome = promptseg("segment", image, "-o", tmp_path / "out.seg.nrrd", *words)
    assert outcome.status == 0, outcome.err
    assert outcome.err.count("begins with the segment") == 2
    assert [s.name for s in stored_segments(tmp_path / "out.seg.nrrd")] == ["spleen", "liver"]
    layers = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.seg.nrrd")))
    assert np.array_equal(layers[..., 0] == 1, SPLEEN)
    assert np.array_equal(layers[..., 1] == 2, LIVER)


def test_the_only_segment_is_taken_unless_both_were_named_by_somebody(start, named):
    for name, words in (("Segment_1", ("--label", "liver=3")), ("liver", ()), ("segment", ())):
        assert np.array_equal(start(named(Segment(name, LIVER, 7)), *words)[0] > 0, LIVER)
    error = start.refuses(named(Segment("spleen", SPLEEN, 1)), "--label", "liver=1")
    assert "expected a segment named 'liver'" in error
    assert "got 'spleen'" in error


def test_which_of_several_segments_is_meant_has_to_be_said(start, named):
    path = named(Segment("spleen", SPLEEN & ~LIVER, 1), Segment("liver", LIVER, 2))
    assert "got 'spleen', 'liver': say which by --label NAME=VALUE" in start.refuses(path)
    assert "got 'spleen', 'liver'" in start.refuses(path, "--label", "kidney=1")
    assert "got nothing set" in start.refuses(named(Segment("liver", LIVER & False)), "--label", "liver=1")


def test_a_plain_nrrd_with_slicers_names_goes_by_them_too(start, named, tmp_path):
    content = named(Segment("spleen", SPLEEN & ~LIVER, 1), Segment("liver", LIVER, 2)).read_bytes()
    (tmp_path / "renamed.nrrd").write_bytes(content)
    assert np.array_equal(start(tmp_path / "renamed.nrrd", "--label", "liver=1")[0] > 0, LIVER)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_are_set_from_a_half_on(start, tmp_path, dtype):
    values = soft(LIVER).astype(dtype)
    values[0, 0, 0] = np.nan
    path = write_with_itk(tmp_path / "soft.nii.gz", values, GRID.ijk_to_ras)
    taken, said = start(path)
    assert np.array_equal(taken > 0, LIVER)
    assert f"'segment' begins with probabilities of 0.5 and more, {LIVER.sum()} voxels of {path}" in said


def test_labels_that_went_through_floats_and_a_slope_are_labels(start, tmp_path):
    labels = (3 * LIVER + 5 * (SPLEEN & ~LIVER)).astype(np.float32) * np.float32(1.0000004) - np.float32(2e-7)
    labels[0, 0, 0] = np.nan
    path = write_with_itk(tmp_path / "labels.mha", labels, GRID.ijk_to_ras)
    taken, said = start(path, "--label", "liver=3")
    assert np.array_equal(taken == 3, LIVER)
    assert "value 3 out of 2" in said


def test_a_mask_whose_spacing_was_rounded_is_on_the_image_s_grid(start, tmp_path):
    rounded = GRID.ijk_to_ras @ np.diag([1.003, 0.998, 1, 1])
    path = write_with_itk(tmp_path / "mask.nrrd", LIVER.astype(np.uint8), rounded)
    assert np.array_equal(start(path)[0] > 0, LIVER)
    path = write_with_itk(tmp_path / "mask.nrrd", LIVER.astype(np.uint8), GRID.ijk_to_ras @ np.diag([1.02, 1, 1, 1]))
    assert "on the image's grid" in start.refuses(path)


@pytest.mark.parametrize("values", [-4.5, 1.5, 0.25 * 255])
def test_fractions_that_are_no_probabilities_are_refused(start, tmp_path, values):
    path = write_with_itk(tmp_path / "logits.nrrd", (values * LIVER).astype(np.float32), GRID.ijk_to_ras)
    assert "expected labels or probabilities from 0 to 1" in start.refuses(path)


def test_which_value_of_a_labelmap_is_meant_has_to_be_said(start, tmp_path):
    # Probabilities as bytes look like labels: of these, 1 is nothing.
    values = np.rint(255 * soft(LIVER)).astype(np.uint8)
    path = write_with_itk(tmp_path / "bytes.nrrd", values, GRID.ijk_to_ras)
    assert "expected --label NAME=VALUE to say which value" in start.refuses(path)


def test_a_lossy_picture_of_a_mask_is_what_is_nearer_to_white(promptseg, tmp_path):
    mask = np.zeros((60, 80), dtype=np.uint8)
    mask[20:40, 30:60] = 255
    write_with_itk(tmp_path / "photo.png", numbered((60, 80), np.uint8))
    write_with_itk(tmp_path / "mask.jpg", mask)
    out = tmp_path / "out.nrrd"
    words = ("--initial", tmp_path / "mask.jpg", "--negative", "2,2", "--model", "fakes:BallPredictor")
    outcome = promptseg("segment", tmp_path / "photo.png", "-o", out, *words)
    assert outcome.status == 0, outcome.err
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(out)))[0] > 0
    assert np.array_equal(found, mask > 0)


def test_what_a_file_says_of_its_segments_is_read_as_it_was_written(tmp_path):
    names = ["back\\slash", "C:\\new", "key:=value", "肝臓", "Segment_3"]
    masks = np.zeros((len(names), *GRID.shape_kji), dtype=bool)
    for number, mask in enumerate(masks):
        mask[number % 2 + 1, 2, 3] = True
    segments = [Segment(name, mask, n + 1) for n, (name, mask) in enumerate(zip(names, masks, strict=True))]
    write_segmentation(tmp_path / "a.seg.nrrd", segments, GRID)
    assert stored_segments(tmp_path / "a.seg.nrrd") == tuple(
        StoredSegment(name, n + 1, n // 2, name != "Segment_3") for n, name in enumerate(names)
    )
    assert stored_segments(write_nrrd(tmp_path / "b.nrrd", np.zeros((2, 3, 4), np.uint8), "domain domain domain")) == ()
    (tmp_path / "c.nrrd").write_bytes(b"NRRD0004\r\nSegment0_Name:=liver\r\n# x:=y\r\n\r\n\xff\xd8Segment1_Name:=no")
    assert stored_segments(tmp_path / "c.nrrd") == (StoredSegment("liver", 1, 0, True),)


@pytest.mark.parametrize(
    "fields", ["Segment0_LabelValue:=one", "Segmentation_MasterRepresentation:=Fractional labelmap"]
)
def test_fields_that_make_no_mask_are_refused(tmp_path, fields):
    (tmp_path / "a.nrrd").write_text(f"NRRD0004\nSegment0_Name:=liver\n{fields}\n\n")
    with pytest.raises(VolumeError, match=r"a\.nrrd"):
        stored_segments(tmp_path / "a.nrrd")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([True, False], [True, False]),
        ([0, 7], [False, True]),
        ([np.nan, 1.0], [False, True]),
        ([0.49, 0.5], [False, True]),
        ([np.nan, 0.2, 0.7], [False, False, True]),
        ([0.0, 0.004, 0.9999999], [False, False, True]),
        ([-3.0, 2.0], [True, True]),
    ],
)
def test_masks_given_in_python_are_bools_labels_or_probabilities(values, expected):
    mask = np.array(values)[None, None]
    session = Session(Volume(np.zeros(mask.shape)), auto=False)
    session.set_mask(mask)
    assert session.mask_kji.ravel().tolist() == expected
    assert MaskPrompt(mask, np.eye(4)).mask_kji.sum() == sum(expected)


@pytest.mark.parametrize("values", [[0.5, 1.5], [-0.5, 0.5], [np.inf, 0.5]])
def test_other_fractions_are_refused_in_python(values):
    mask = np.array(values)[None, None]
    with pytest.raises(PromptError, match="expected a mask of labels or of probabilities from 0 to 1"):
        Session(Volume(np.zeros(mask.shape)), auto=False).set_mask(mask)
    with pytest.raises(PromptError, match="expected a mask of labels"):
        MaskPrompt(mask, np.eye(4))
    assert as_labels(mask) is None
    assert set_voxels(mask) is None
