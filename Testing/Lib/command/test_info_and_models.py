import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from fakes import BallPredictor
from image_files import ijk_to_ras, numbered, write_dicom, write_with_itk

from PromptSegLib.predictors.registry import capabilities_of, predictor_names
from PromptSegLib.weights.catalogue import load_catalogue
from PromptSegLib.weights.instructions import megabytes


def test_info_tells_where_an_image_lies(promptseg, tmp_path):
    matrix = ijk_to_ras((0.5, 0.5, 2.0), np.diag([-1, -1, 1]), (10, 20, 30))
    path = write_with_itk(tmp_path / "image.nrrd", numbered((4, 5, 6)), matrix)
    report = promptseg("info", path, "--json").json
    assert report["format"] == "NRRD"
    assert report["size_ijk"] == [6, 5, 4]
    assert report["spacing_mm"] == [0.5, 0.5, 2.0]
    assert report["orientation"] == "LPS"
    assert report["lowest_ras_mm"] == [7.25, 17.75, 29.0]
    assert report["highest_ras_mm"] == [10.25, 20.25, 37.0]
    assert report["ijk_to_ras"] == matrix.tolist()
    assert report["range"] == [0, 119]
    text = promptseg("info", path).out
    assert "spacing mm     0.5, 0.5, 2" in text
    assert "orientation    LPS" in text


def test_info_counts_time_points_without_a_choice(promptseg, tmp_path):
    path = write_with_itk(tmp_path / "a.mha", numbered((2, 3, 4, 5)), is_vector=False)
    assert promptseg("info", path, "--json").json["time_points"] == 2
    assert promptseg("info", path, "--time-point", "1", "--json").json["range"] == [60, 119]


def test_info_lists_the_series_of_a_folder(promptseg, tmp_path):
    write_dicom(tmp_path / "study", numbered((2, 3, 4)), uid="1.2.3.4")
    write_dicom(tmp_path / "study", numbered((3, 3, 4)), uid="1.2.3.5")
    assert "2: CT abdomen 3 files, 1.2.3.5" in promptseg.refuses("info", tmp_path / "study")
    assert promptseg("info", tmp_path / "study", "--series", "2", "--json").json["size_ijk"] == [4, 3, 3]


def test_info_says_that_pictures_are_counted_in_pixels(promptseg, tmp_path):
    path = write_with_itk(tmp_path / "a.png", numbered((4, 5), np.uint8))
    assert "in pixels" in promptseg("info", path).out


def test_info_describes_an_image_without_a_finite_voxel(promptseg, tmp_path):
    path = write_with_itk(tmp_path / "nan.nrrd", np.full((2, 3, 4), np.nan, np.float32))
    outcome = promptseg("info", path, "--json")
    assert outcome.status == 0
    assert "range" not in outcome.json


def test_models_lists_every_predictor_with_its_terms(promptseg):
    table = promptseg("models").out.splitlines()
    records = {record["name"]: record for record in promptseg("models", "--json").json}
    assert list(records) == list(predictor_names())
    for name, record in records.items():
        capabilities = capabilities_of(name)
        assert set(record["prompts"]) == capabilities.prompts
        assert record["is"] == capabilities.name
        (line,) = [line for line in table if line.split()[0] == name]
        assert capabilities.code_license in line
    assert "point±" in next(line for line in table if line.startswith("ball"))


def test_models_tells_whether_weights_are_here_and_how_large_they_are(promptseg, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PROMPTSEG_WEIGHTS_DIR", raising=False)
    checkpoint = next(c for c in load_catalogue().values() if c.likely_bytes)
    needy = dataclasses.replace(BallPredictor.capabilities, weights=(checkpoint.name,))
    monkeypatch.setattr(BallPredictor, "capabilities", needy)
    record = next(r for r in promptseg("models", "--json").json if r["name"] == "ball")
    expected = {"name": checkpoint.name, "state": "missing", "bytes": checkpoint.likely_bytes}
    assert record["weights"] == [expected]
    assert f"{checkpoint.name} missing, {megabytes(checkpoint.likely_bytes)}" in promptseg("models").out


def test_weights_is_one_of_the_commands(promptseg, tmp_path):
    assert promptseg("weights", "list", "--folder", tmp_path).status == 0


@pytest.mark.parametrize("words", [["--help"], ["segment", "--help"], ["info", "--help"]])
def test_help_is_no_error(promptseg, words):
    outcome = promptseg(*words)
    assert outcome.status == 0
    assert "usage: promptseg" in outcome.out


@pytest.mark.parametrize("words", [[], ["nonsense"], ["info"], ["segment", "--nonsense"], ["models", "x", "y"]])
def test_a_wrong_command_line_is_one_line_that_points_to_the_help(promptseg, words):
    assert "--help" in promptseg.refuses(*words)


def test_a_reader_that_has_seen_enough_gets_no_traceback():
    command = f"{sys.executable} -u -m PromptSegLib weights list | true; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert ended.returncode in (0, 141)
    assert "Traceback" not in ended.stderr


# Which one?


def test_models_for_an_image_are_advised_by_what_one_gives(promptseg, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("PROMPTSEG_WEIGHTS_DIR", raising=False)
    path = write_with_itk(tmp_path / "ct.nii.gz", np.full((4, 5, 6), -1000, np.int16))
    lines = promptseg("models", "--for", path, "--prompt", "click", "--device", "cuda").out.splitlines()
    assert lines[0] == "ct.nii.gz: taken for CT, a volume; on a GPU."
    assert "--kind" in lines[1]
    assert lines[3] == "Clicks, boxes, scribbles"
    assert lines[4].startswith("  * default: ")
    assert any(line.startswith("  better, once here: nninteractive: 3.44 of 4") for line in lines)
    assert max(map(len, lines)) <= 118


def test_the_advice_for_a_file_is_as_json_too(promptseg, tmp_path):
    path = write_with_itk(tmp_path / "a.png", numbered((4, 5), np.uint8))
    report = promptseg("models", "--for", path, "--kind", "us", "--prompt", "name", "--json", "--device", "cpu").json
    assert (report["kind"], report["is_sure"], report["is_volume"], report["advised"]) == ("us", True, False, None)
    assert [group["key"] for group in report["groups"]][:2] == ["names", "text"]
    assert report["groups"][0]["advised"] is None


def test_a_dicom_series_says_itself_what_it_is(promptseg, tmp_path):
    write_dicom(tmp_path / "study", numbered((2, 3, 4)), uid="1.2.3.4")
    report = promptseg("models", "--for", tmp_path / "study", "--json").json
    assert (report["kind"], report["is_sure"]) == ("ct", True)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["stu-net-s", "--for", "a.nii"], "expected a model's name, or --for an image"),
        (["--for", "missing.nii.gz"], "missing.nii.gz"),
        (["--for", "missing.nii.gz", "--device", "tpu"], "expected a device"),
        (["--for", "missing.nii.gz", "--prompt", "wish"], "invalid choice"),
        (["--prompt", "click"], "expected --for IMAGE"),
        (["--kind", "ct"], "expected --for IMAGE"),
    ],
)
def test_advice_that_cannot_be_given_is_refused_in_a_line(promptseg, words, complaint):
    assert complaint in promptseg.refuses("models", *words)
