import numpy as np
import pytest
from fakes import BallPredictor
from image_files import cut, ijk_to_ras, numbered, write_nrrd, write_with_itk

from PromptSegLib.errors import WeightsError
from PromptSegLib.geometry import Grid
from PromptSegLib.io import Segment, read_volume, write_segmentation
from PromptSegLib.io.prompts import write_prompts
from PromptSegLib.prompts import Point

GRID = Grid((10, 12, 14), ijk_to_ras((1, 1, 1), np.eye(3), (0, 0, 0)))


@pytest.fixture
def image(tmp_path):
    return write_with_itk(tmp_path / "image.nrrd", numbered(GRID.shape_kji), GRID.ijk_to_ras)


@pytest.fixture
def refuses(promptseg, image, tmp_path):
    """Segment with these words and return the one line of complaint; nothing may have been written."""

    def run(*words, source=image):
        out = tmp_path / "out.nrrd"
        error = promptseg.refuses("segment", source, "-o", out, "--model", "ball", *words)
        assert not out.exists()
        return error

    return run


def write_mask(path, mask, grid=GRID):
    write_segmentation(path, [Segment("initial", mask)], grid)
    return path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--positive", "100,5,5"], "inside the image (R -0.5 to 13.5, A -0.5 to 11.5, S -0.5 to 9.5 mm, RAS)"),
        (["--positive", "100,5,5", "--frame", "ijk"], "(i 0 to 13, j 0 to 11, k 0 to 9), got (100, 5, 5)"),
        (["--box", "9,9,9,3,3,3"], "from its lowest to its highest corner, got (9, 9, 9) to (3, 3, 3) (ras)"),
        (["--box", "3,3,3,9,1,9", "--frame", "lps"], "got (3, 3, 3) to (9, 1, 9) (lps)"),
        (["--box", "9,9,9,3,3,3", "--frame", "ijk"], "(ijk)"),
        (["--box", "50,50,50,60,60,60"], "expected a box inside the image"),
        (["--box", "3,3,3,3,3,9"], "expected a box of sides >= 0 mm, two of them at least > 0"),
        (["--positive", "5,5"], "expected X,Y,Z for an image of 10 slices, got two coordinates"),
        (["--positive", "5"], "argument --positive: expected 2 or 3 numbers with commas between, got '5'"),
        (["--positive", "nan,5,5"], "got 'nan,5,5'"),
        (["--positive", "a,b,c"], "got 'a,b,c'"),
        (["--box", "1,2,3"], "expected 4 or 6 numbers"),
        (["--window", "240,-160", "--positive", "5,5,5"], "an intensity window from low to high"),
        (["--label", "liver", "--positive", "5,5,5"], "expected NAME=VALUE such as liver=5"),
        (["--label", "liver=0", "--positive", "5,5,5"], "expected NAME=VALUE"),
        (["--label", "a=1", "--label", "b=2", "--positive", "5,5,5"], "one --label for one segment, got a, b"),
        (["--label", "a=1", "--label", "b=1", "--positive", "5,5,5"], "each name and each value once"),
        (["--device", "gpu", "--positive", "5,5,5"], "expected a device: auto, cpu, mps, cuda or such as cuda:0"),
        ([], "expected at least one prompt for segment, got none"),
        (["--positive", "5,5,5", "--time-point", "1"], "from 0 to 0, got 1"),
        (["--positive", "5,5,5", "--series", "1"], "expected a folder with DICOM files"),
        (["--prompts", "nowhere.json"], "expected a readable prompts file, got 'nowhere.json'"),
        (["--initial", "nowhere.nrrd", "--positive", "5,5,5"], "nowhere.nrrd: there is no such file"),
    ],
)  # fmt: skip
def test_prompts_that_make_no_sense_are_refused(refuses, words, message):
    assert message in refuses(*words)


def test_an_unknown_model_is_refused_with_the_nearest_name(promptseg, image, tmp_path):
    words = ("segment", image, "-o", tmp_path / "out.nrrd", "--positive", "5,5,5", "--model", "bal")
    assert "did you mean 'ball'?" in promptseg.refuses(*words)


def test_a_prompt_that_the_model_does_not_take_is_refused(refuses, tmp_path):
    (tmp_path / "p.json").write_text(
        '{"format": "promptseg-prompts", "version": 1, "frame": "RAS", "unit": "mm", '
        '"targets": [{"name": "liver", "prompts": [{"kind": "text", "text": "the liver"}]}]}'
    )
    assert "got text: it does not take that" in refuses("--prompts", tmp_path / "p.json")


def test_a_prompts_file_that_is_none_is_named(refuses, tmp_path):
    (tmp_path / "p.json").write_text("[1, 2")
    assert "p.json: expected prompts as JSON" in refuses("--prompts", tmp_path / "p.json")


def test_clicks_beside_several_segments_are_refused(refuses, tmp_path):
    click = [Point((5, 5, 5))]
    write_prompts(tmp_path / "p.json", {"liver": click, "spleen": click})
    error = refuses("--prompts", tmp_path / "p.json", "--positive", "5,5,5")
    assert "expected prompts of one segment beside --positive and the like, got liver, spleen" in error
    assert "got kidney" in refuses("--prompts", tmp_path / "p.json", "--label", "kidney=3")


def test_an_empty_initial_mask_is_refused(refuses, tmp_path):
    path = write_mask(tmp_path / "mask.nrrd", np.zeros(GRID.shape_kji, dtype=bool))
    assert "got nothing set" in refuses("--initial", path, "--positive", "5,5,5")


@pytest.mark.parametrize(
    "grid",
    [Grid((10, 12, 13), GRID.ijk_to_ras), Grid((10, 12, 14), np.diag([1.0, 1.0, 2.0, 1.0]))],
    ids=["shape", "spacing"],
)
def test_an_initial_mask_on_another_grid_is_refused(refuses, tmp_path, grid):
    path = write_mask(tmp_path / "mask.nrrd", np.ones(grid.shape_kji, dtype=bool), grid)
    assert "expected an initial mask on the image's grid, (10, 12, 14)" in refuses(
        "--initial", path, "--positive", "5,5,5"
    )


def test_a_colour_image_is_no_initial_mask(refuses, tmp_path):
    path = write_with_itk(tmp_path / "rgb.nrrd", np.ones((*GRID.shape_kji, 3), np.uint8), GRID.ijk_to_ras)
    assert "one value a voxel" in refuses("--initial", path, "--positive", "5,5,5")


def test_an_initial_mask_of_nothing_but_nan_is_empty(refuses, tmp_path):
    path = write_with_itk(tmp_path / "nan.nrrd", np.full(GRID.shape_kji, np.nan, np.float32), GRID.ijk_to_ras)
    assert "got nothing set" in refuses("--initial", path, "--positive", "5,5,5")


def test_an_initial_mask_of_another_value_is_refused(refuses, tmp_path):
    one, two = np.zeros((2, *GRID.shape_kji), dtype=bool)
    one[0], two[1] = True, True
    write_segmentation(tmp_path / "m.nrrd", [Segment("a", one, 2), Segment("b", two, 3)], GRID)
    error = refuses("--initial", tmp_path / "m.nrrd", "--positive", "5,5,5", "--label", "liver=5")
    assert "expected 'liver', value 5" in error
    assert "got the values 2, 3" in error


def test_images_that_cannot_be_read_are_refused(refuses, tmp_path):
    click = ("--positive", "5,5,5")
    assert "there is no such file" in refuses(*click, source=tmp_path / "nowhere.nrrd")
    (tmp_path / "empty").mkdir()
    assert "none of its files can be read as DICOM" in refuses(*click, source=tmp_path / "empty")
    (tmp_path / "notes.txt").write_text("hello")
    assert "expected an image file" in refuses(*click, source=tmp_path / "notes.txt")
    noise = np.random.default_rng(0).integers(0, 9, GRID.shape_kji).astype(np.int16)
    write_segmentation(tmp_path / "cut.nii.gz", [Segment("noise", noise > 4)], GRID)
    assert "cut.nii.gz" in refuses(*click, source=cut(tmp_path / "cut.nii.gz", 0.5))


def test_a_flat_affine_is_refused(refuses, tmp_path):
    path = write_nrrd(tmp_path / "f.nrrd", numbered((2, 3, 4)), "domain domain domain", "(1,0,0) (2,0,0) (0,0,1)")
    assert "expected three independent axes" in refuses("--positive", "1,1,1", source=path)


def test_a_4d_image_without_a_time_point_is_refused(refuses, tmp_path):
    path = write_with_itk(tmp_path / "a.mha", numbered((2, 10, 12, 14)), is_vector=False)
    assert "expected a time point, 0 to 1" in refuses("--positive", "5,5,5", source=path)


ODD_VOLUMES = {
    "constant": np.full((10, 12, 14), 7, np.int16),
    "only NaN": np.full((10, 12, 14), np.nan, np.float32),
    "infinite": np.where(numbered((10, 12, 14)) % 7, numbered((10, 12, 14), np.float32), np.inf).astype(np.float32),
    "one slice": numbered((1, 12, 14)),
    "one column": numbered((10, 12, 1)),
    "one voxel": numbered((1, 1, 1)),
    "float64": numbered((10, 12, 14), np.float64),
    "int64": numbered((10, 12, 14), np.int64),
    "huge values": numbered((10, 12, 14), np.float64) * 1e300,
}


@pytest.mark.parametrize("name", ODD_VOLUMES)
@pytest.mark.parametrize("spacing", [(1, 1, 1), (1e-4, 1e-4, 1e-4), (1e5, 1e5, 1e5)], ids=["1 mm", "0.1 um", "100 m"])
def test_an_odd_volume_is_segmented_or_refused_with_a_reason(promptseg, tmp_path, name, spacing):
    array = ODD_VOLUMES[name]
    grid = Grid(array.shape, ijk_to_ras(spacing, np.eye(3), (0, 0, 0)))
    path = write_with_itk(tmp_path / "odd.nrrd", array, grid.ijk_to_ras)
    index = ",".join(str(n // 2) for n in reversed(array.shape))
    outcome = promptseg("segment", path, "-o", tmp_path / "o.nrrd", "--frame", "ijk", "--positive", index)
    if outcome.status == 0:
        written = read_volume(tmp_path / "o.nrrd")
        assert written.grid.matches(grid)
        assert set(np.unique(written.array)) <= {0, 1}
    else:
        assert outcome.status == 2
        assert outcome.err.startswith("promptseg: expected ")
        assert not (tmp_path / "o.nrrd").exists()


def test_an_output_of_an_unknown_format_is_refused_before_anything_is_computed(promptseg, image, monkeypatch):
    monkeypatch.setattr(BallPredictor, "encode", lambda *arguments: pytest.fail("computed"))
    error = promptseg.refuses("segment", image, "-o", "out.png", "--model", "ball", "--positive", "5,5,5")
    assert "expected an output that ends in .seg.nrrd" in error


def test_an_output_that_cannot_be_written_is_refused(promptseg, image, tmp_path):
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "out.nrrd"
    assert "can be written" in promptseg.refuses("segment", image, "-o", out, "--model", "ball", "--positive", "5,5,5")


def test_without_an_image_or_an_output_the_command_says_what_it_needs(promptseg, image):
    assert "expected IMAGE and -o OUT, or --list" in promptseg.refuses("segment", image, "--positive", "5,5,5")


def test_a_predictor_that_raises_is_one_line_with_its_reason(refuses, monkeypatch):
    def fail(self, encoding, state, cancel, progress):
        raise ZeroDivisionError("division by zero\nin two lines")

    monkeypatch.setattr(BallPredictor, "predict", fail)
    assert "'ball' failed with ZeroDivisionError: division by zero in two lines" in refuses("--positive", "5,5,5")


def test_missing_weights_are_one_line(refuses, monkeypatch):
    def fail(self, image, cancel, progress):
        raise WeightsError("expected the weights of ball, got none;\n  promptseg weights get ball")

    monkeypatch.setattr(BallPredictor, "encode", fail)
    assert "expected the weights of ball, got none; promptseg weights get ball" in refuses("--positive", "5,5,5")
