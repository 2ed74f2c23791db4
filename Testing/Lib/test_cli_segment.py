import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from fakes import BallPredictor, ball_patch
from image_files import ijk_to_ras, numbered, write_with_itk

from PromptSegLib.geometry import Grid
from PromptSegLib.io import Segment, read_volume, write_segmentation
from PromptSegLib.prompt_files import write_prompts
from PromptSegLib.prompts import Point

GRID = Grid((20, 24, 30), ijk_to_ras((1.03, 1.21, 1.97)))
CENTRE = GRID.to_ras((15, 12, 10))
BESIDE = GRID.to_ras((18, 12, 10))


@pytest.fixture
def image(tmp_path):
    return write_with_itk(tmp_path / "image.nrrd", numbered(GRID.shape_kji), GRID.ijk_to_ras)


@pytest.fixture
def picture(tmp_path):
    return write_with_itk(tmp_path / "picture.png", np.zeros((40, 50), np.uint8))


def text(point):
    return ",".join(f"{value:.9f}" for value in point)


def ball(*prompts, grid=GRID):
    """Return the mask that the fake model answers `prompts` with."""
    mask = np.zeros(grid.shape_kji, dtype=bool)
    patch = ball_patch(grid, prompts, 5.0)
    mask[patch.extent.slices] = patch.mask_kji
    return mask


def test_clicks_become_a_labelmap_on_the_grid_of_the_image(promptseg, image, tmp_path):
    outcome = promptseg(
        "segment", image, "-o", tmp_path / "out.nrrd", "--model", "ball",
        "--positive", text(CENTRE), "--negative", text(BESIDE),
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    written = read_volume(tmp_path / "out.nrrd")
    assert np.array_equal(written.array, ball(Point(CENTRE), Point(BESIDE, positive=False)))
    assert written.grid.matches(GRID, tolerance_mm=1e-6)
    assert "segment = 1:" in outcome.out
    assert outcome.err == ""


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".seg.nrrd", ".mha"])
def test_every_format_is_written_and_read_back(promptseg, image, tmp_path, suffix):
    out = tmp_path / f"out{suffix}"
    assert promptseg("segment", image, "-o", out, "--model", "ball", "--positive", text(CENTRE)).status == 0
    assert np.array_equal(read_volume(out).array, ball(Point(CENTRE)))


@pytest.mark.parametrize(
    "words",
    [
        ["--positive", text(CENTRE)],
        [f"--positive={text(CENTRE)}"],
        ["--positive", text(CENTRE * (-1, -1, 1)), "--frame", "lps"],
        ["--frame", "ijk", "--positive", "15,12,10"],
        ["--positive", text(CENTRE).replace(",", ", ")],
    ],
)
def test_a_position_means_the_same_in_every_frame_and_spelling(promptseg, image, tmp_path, words):
    assert CENTRE[0] < 0 < CENTRE[1], "a coordinate that begins with a minus is among them"
    assert promptseg("segment", image, "-o", tmp_path / "out.nrrd", "--model", "ball", *words).status == 0
    assert np.array_equal(read_volume(tmp_path / "out.nrrd").array, ball(Point(CENTRE)))


def test_several_positions_may_follow_one_option_and_the_image_may_come_last(promptseg, image, tmp_path):
    outcome = promptseg(
        "segment", "--model", "ball", "-o", tmp_path / "out.nrrd", "--positive", text(CENTRE), text(BESIDE), image
    )
    assert outcome.status == 0, outcome.err
    assert np.array_equal(read_volume(tmp_path / "out.nrrd").array, ball(Point(CENTRE), Point(BESIDE)))


def test_prompts_reach_the_model_in_the_order_they_were_given(promptseg, image, tmp_path, monkeypatch):
    seen = []
    predict = BallPredictor.predict
    monkeypatch.setattr(
        BallPredictor, "predict", lambda self, e, state, c, p: seen.append(state) or predict(self, e, state, c, p)
    )
    promptseg(
        "segment", image, "-o", tmp_path / "out.nrrd", "--model", "ball", "--frame", "ijk", "--window=-160,240",
        "--negative", "1,2,3", "--box", "4,4,4,9,9,9", "--positive", "15,12,10", "--negative", "3,2,1",
    )  # fmt: skip
    (state,) = seen
    assert [prompt.kind + prompt.sign for prompt in state.prompts] == ["point-", "box+", "point+", "point-"]
    assert (state.window.low, state.window.high) == (-160, 240)


def test_a_picture_takes_pixels_and_boxes_of_four(promptseg, picture, tmp_path):
    outcome = promptseg(
        "segment", picture, "-o", tmp_path / "out.nrrd", "--model", "ball",
        "--box", "10,5,30,25", "--positive", "20,15", "--json",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    mask = read_volume(tmp_path / "out.nrrd").array
    assert mask.shape == (1, 40, 50)
    assert mask[0, 15, 20]
    assert mask[0, 15, 25]
    assert not mask[0, 15, 26]
    assert outcome.json["segments"][0]["volume_ml"] is None


def test_an_axial_slice_takes_two_coordinates_in_mm(promptseg, tmp_path):
    grid = Grid((1, 40, 50), np.array([[-1, 0, 0, 100], [0, -1, 0, 200], [0, 0, 3, 55.5], [0, 0, 0, 1.0]]))
    image = write_with_itk(tmp_path / "slice.mha", numbered(grid.shape_kji), grid.ijk_to_ras)
    outcome = promptseg("segment", image, "-o", tmp_path / "o.mha", "--model", "ball", "--positive", "80,185")
    assert outcome.status == 0, outcome.err
    assert np.array_equal(read_volume(tmp_path / "o.mha").array, ball(Point((80, 185, 55.5)), grid=grid))


def test_a_box_in_lps_lies_where_it_lies_in_ras(promptseg, image, tmp_path, monkeypatch):
    boxes = []
    monkeypatch.setattr(BallPredictor, "predict", lambda self, e, state, c, p: boxes.append(state.prompts[0]) or ())
    low, high = CENTRE - 4, CENTRE + 5
    run = ("segment", image, "-o", tmp_path / "o.mha", "--model", "ball", "--box")
    assert promptseg(*run, text([*low, *high])).status == 0
    lps = [-high[0], -high[1], low[2], -low[0], -low[1], high[2]]
    assert promptseg(*run, text(lps), "--frame", "lps").status == 0
    assert np.allclose(boxes[0].corners_ras(), boxes[1].corners_ras())


def test_a_prompts_file_of_several_segments_gives_several_segments(promptseg, image, tmp_path):
    targets = {"liver": [Point(CENTRE)], "spleen": [Point(BESIDE)], "kidney": [Point(GRID.to_ras((5, 5, 5)))]}
    write_prompts(tmp_path / "prompts.json", targets)
    outcome = promptseg(
        "segment", image, "-o", tmp_path / "out.nrrd", "--model", "ball",
        "--prompts", tmp_path / "prompts.json", "--label", "spleen=1", "--label", "kidney=300", "--json",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    assert {s["name"]: s["value"] for s in outcome.json["segments"]} == {"liver": 2, "spleen": 1, "kidney": 300}
    labels = read_volume(tmp_path / "out.nrrd").array
    assert np.array_equal(labels == 1, ball(Point(BESIDE)))
    assert (labels == 300).sum() == outcome.json["segments"][2]["voxels"]
    assert "voxels belong to several segments" in outcome.err


def test_clicks_on_the_command_line_join_the_only_segment_of_the_prompts_file(promptseg, image, tmp_path):
    write_prompts(tmp_path / "prompts.json", {"liver": [Point(CENTRE)]})
    outcome = promptseg(
        "segment", image, "-o", tmp_path / "out.nrrd", "--model", "ball",
        "--prompts", tmp_path / "prompts.json", "--negative", text(BESIDE),
    )  # fmt: skip
    assert "liver = 1" in outcome.out
    expected = ball(Point(CENTRE), Point(BESIDE, positive=False))
    assert np.array_equal(read_volume(tmp_path / "out.nrrd").array, expected)


@pytest.mark.parametrize("suffix", [".nrrd", ".seg.nrrd"])
def test_an_initial_mask_is_what_the_model_goes_on_from(promptseg, image, tmp_path, suffix):
    initial = np.zeros(GRID.shape_kji, dtype=bool)
    initial[0, 0, :3] = True
    write_segmentation(tmp_path / f"initial{suffix}", [Segment("liver", initial, 5)], GRID)
    outcome = promptseg(
        "segment", image, "-o", tmp_path / "out.nrrd", "--model", "ball",
        "--initial", tmp_path / f"initial{suffix}", "--positive", text(CENTRE),
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    assert np.array_equal(read_volume(tmp_path / "out.nrrd").array, ball(Point(CENTRE)) | initial)


def test_an_initial_mask_needs_no_prompt_where_the_model_refines_masks(promptseg, tmp_path):
    pytest.importorskip("torch")
    inside = np.zeros(GRID.shape_kji, dtype=bool)
    inside[2:-2, 2:-2, 2:-2] = True
    write_with_itk(tmp_path / "bright.nrrd", (100 * inside).astype(np.int16), GRID.ijk_to_ras)
    rough = inside.copy()
    rough[: GRID.shape_kji[0] // 2] = False
    write_segmentation(tmp_path / "rough.nrrd", [Segment("liver", rough)], GRID)
    words = ("segment", tmp_path / "bright.nrrd", "-o", tmp_path / "out.nrrd", "--initial", tmp_path / "rough.nrrd")
    outcome = promptseg(*words, "--model", "window_fakes:BrightPredictor")
    assert outcome.status == 0, outcome.err
    found = read_volume(tmp_path / "out.nrrd").array > 0
    assert (found & ~rough).sum() > 0.3 * inside.sum()
    # One that works slice by slice has to be told which slice.
    assert "got nothing" in promptseg.refuses(*words, "--model", "slice_phantoms:PerfectPredictor")


def test_slicer_s_cropped_segmentations_serve_as_initial_masks(promptseg, image, tmp_path):
    part = GRID.cropped(GRID.extent.padded(-4))
    write_segmentation(tmp_path / "i.seg.nrrd", [Segment("liver", np.ones(part.shape_kji, dtype=bool))], part)
    outcome = promptseg(
        "segment", image, "-o", tmp_path / "out.nrrd", "--model", "ball",
        "--initial", tmp_path / "i.seg.nrrd", "--positive", text(CENTRE),
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    expected = np.zeros(GRID.shape_kji, dtype=bool)
    expected[4:-4, 4:-4, 4:-4] = True
    answer = ball_patch(GRID, [Point(CENTRE)], 5.0)
    expected[answer.extent.slices] = answer.mask_kji
    assert np.array_equal(read_volume(tmp_path / "out.nrrd").array, expected)


def test_an_initial_mask_may_order_its_axes_otherwise(promptseg, image, tmp_path):
    initial = np.zeros(GRID.shape_kji, dtype=bool)
    initial[0, 1, :3] = True
    turned = GRID.ijk_to_ras[:, [2, 0, 1, 3]].copy()  # i, j, k there are k, i, j here; k turned over
    turned[:, 3] += turned[:, 0] * (GRID.shape_kji[0] - 1)
    turned[:, 0] *= -1
    array = np.moveaxis(initial, 0, -1)[..., ::-1]
    write_with_itk(tmp_path / "initial.nrrd", array.astype(np.uint8), turned)
    outcome = promptseg(
        "segment", image, "-o", tmp_path / "out.nrrd", "--model", "ball",
        "--initial", tmp_path / "initial.nrrd", "--positive", text(CENTRE),
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    assert np.array_equal(read_volume(tmp_path / "out.nrrd").array, ball(Point(CENTRE)) | initial)


def test_of_an_initial_labelmap_each_segment_takes_its_value(promptseg, image, tmp_path):
    one, two = np.zeros((2, *GRID.shape_kji), dtype=bool)
    one[0, 0, :3], two[0, 5, :4] = True, True
    write_segmentation(tmp_path / "i.nrrd", [Segment("liver", one, 5), Segment("spleen", two, 2)], GRID)
    outcome = promptseg(
        "segment", image, "-o", tmp_path / "out.nrrd", "--model", "ball", "--label", "spleen=2",
        "--initial", tmp_path / "i.nrrd", "--positive", text(CENTRE),
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    assert np.array_equal(read_volume(tmp_path / "out.nrrd").array == 2, ball(Point(CENTRE)) | two)


def test_the_report_for_machines_is_complete(promptseg, image, tmp_path):
    outcome = promptseg(
        "segment", image, "-o", tmp_path / "out.nii.gz", "--model", "ball", "--positive", text(CENTRE), "--json",
        "--label", "liver=5",
    )  # fmt: skip
    report = outcome.json
    assert report["image"] == str(image)
    assert report["output"] == str(tmp_path / "out.nii.gz")
    assert report["model"] == "ball"
    (segment,) = report["segments"]
    voxels = int(ball(Point(CENTRE)).sum())
    assert segment["name"] == "liver"
    assert segment["value"] == 5
    assert segment["voxels"] == voxels
    assert segment["volume_ml"] == pytest.approx(voxels * 1.03 * 1.21 * 1.97 / 1000, abs=1e-3)
    assert segment["score"] == 0.9
    assert segment["device"] == "cpu"
    assert {"encode", "balls", "write", "total"} <= set(segment["timings_ms"])


def test_an_output_that_exists_is_replaced(promptseg, image, tmp_path):
    out = tmp_path / "out.nrrd"
    run = ("segment", image, "-o", out, "--model", "ball", "--frame", "ijk", "--positive")
    promptseg(*run, "5,5,5")
    promptseg(*run, "15,12,10")
    assert np.array_equal(read_volume(out).array, ball(Point(CENTRE)))


@pytest.mark.parametrize("option", ["image", "--initial", "--prompts"])
def test_an_input_is_never_replaced(promptseg, image, tmp_path, option):
    other = tmp_path / "other.nrrd"
    other.write_bytes(image.read_bytes())
    before = other.read_bytes()
    words = [other, "-o", other] if option == "image" else [image, "-o", other, option, other]
    assert "other than the inputs" in promptseg.refuses(
        "segment", *words, "--model", "ball", "--positive", text(CENTRE)
    )
    assert other.read_bytes() == before


def test_an_empty_answer_says_so(promptseg, image, tmp_path, monkeypatch):
    monkeypatch.setattr(BallPredictor, "predict", lambda self, e, state, c, p: ())
    outcome = promptseg("segment", image, "-o", tmp_path / "o.mha", "--model", "ball", "--positive", text(CENTRE))
    assert "0 voxels" in outcome.out
    assert "it is empty" in outcome.out


def test_the_same_command_runs_as_a_module(tmp_path, image):
    words = [sys.executable, "-m", "PromptSegLib", "info", str(image), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert '"size_ijk"' in done.stdout
    assert done.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another thing there")
def test_ctrl_c_ends_with_130_and_one_line():
    code = (
        # Whoever runs the tests in the background has SIGINT ignored, and children inherit that.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import sys, PromptSegLib.command.info as info; from PromptSegLib.cli import main\n"
        "import time; info.open_image = lambda *a: (print('ready', flush=True), time.sleep(60))\n"
        "sys.exit(main(['info', 'x']))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == b"promptseg: interrupted\n"


@pytest.mark.parametrize(
    ("window", "colour"), [("50000,60000", "black"), ("-9,-5", "white"), ("14399,1e9", "black"), ("-1e9,0", "white")]
)
def test_a_window_in_which_the_image_shows_nothing_is_noted(promptseg, image, tmp_path, window, colour):
    command = ("segment", image, "-o", tmp_path / "out.nrrd", "--model", "ball", "--positive", text(CENTRE))
    outcome = promptseg(*command, "--window", window)
    assert outcome.status == 0, outcome.err
    assert f"all of {image} is {colour} in the window from" in outcome.err
    assert "its intensities go from 0 to 14399" in outcome.err
    for seen in ("-9,5000", "14398,5e4", "-1e9,1"):
        assert promptseg(*command, "--window", seen).err == ""


def test_a_tilted_image_s_mask_as_nifti_comes_with_a_note_in_one_line(promptseg, tmp_path):
    matrix = GRID.ijk_to_ras.copy()
    matrix[:3, 2] += 0.3 * matrix[:3, 1]
    write_with_itk(tmp_path / "tilted.nrrd", numbered(GRID.shape_kji), matrix)
    command = ("segment", tmp_path / "tilted.nrrd", "--model", "ball", "--positive", "7,6,5", "--frame", "ijk", "-o")
    outcome = promptseg(*command, tmp_path / "out.nii.gz")
    assert outcome.status == 0, outcome.err
    assert outcome.err.startswith(f"promptseg: the axes of {tmp_path / 'out.nii.gz'} are not at right angles")
    assert outcome.err.count("\n") == 1
    assert promptseg(*command, tmp_path / "out.nrrd").err == ""


def test_a_name_that_moves_the_cursor_is_shown_as_a_line(promptseg, image, tmp_path):
    command = ("segment", image, "-o", tmp_path / "out.seg.nrrd", "--model", "ball", "--positive", text(CENTRE))
    outcome = promptseg(*command, "--label", "li\x1b[2Jver\r\n=3")
    assert outcome.status == 0, outcome.err
    assert "li [2Jver = 3: " in outcome.out
