"""What the README says is run as it stands there."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from image_files import write_with_itk

from PromptSegLib.evaluation.metrics import dice
from PromptSegLib.evaluation.phantom import make_abdomen
from PromptSegLib.io import Segment, read_volume, write_segmentation
from PromptSegLib.prompt_files import read_prompts, write_prompts

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


def block(language):
    """Return the only code block in this language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return found


@pytest.fixture(scope="module")
def phantom():
    return make_abdomen()


@pytest.fixture
def in_a_folder_with_a_ct(tmp_path, monkeypatch, phantom):
    monkeypatch.chdir(tmp_path)
    write_with_itk(tmp_path / "ct.nii.gz", phantom.volume.array, phantom.volume.ijk_to_ras)
    return tmp_path


def test_the_python_example_segments_the_liver(in_a_folder_with_a_ct, phantom):
    code = block("python")
    assert len([line for line in code.splitlines() if line]) <= 10
    exec(compile(code, "README.md", "exec"), {})
    mask = read_volume("liver.seg.nrrd").array == 1
    assert dice(mask, phantom.mask("liver")) > 0.8
    assert len(read_prompts("liver.json")["liver"]) == 1


def test_the_command_line_examples_run(in_a_folder_with_a_ct, promptseg, phantom):
    picture = np.full((120, 160), 20, np.uint8)
    picture[40:80, 60:100] = 200
    write_with_itk(Path("photo.png"), picture)
    write_prompts("liver.json", {"liver": [phantom.clicks["liver"]]})
    Path("cases.csv").write_text("image,prompts,output\nct.nii.gz,liver.json,out/ct.nii.gz\n", encoding="utf-8")
    for line in block("console").splitlines():
        outcome = promptseg(*shlex.split(line.removeprefix("promptseg ")))
        assert outcome.status == 0, f"{line}: {outcome.err}"
        assert outcome.err == "", line
    assert dice(read_volume("liver.seg.nrrd").array == 5, phantom.mask("liver")) > 0.8
    assert read_volume("cell.nrrd").array[0, 60, 80]
    assert Path("out/ct.nii.gz").exists()


def test_the_measuring_examples_run(in_a_folder_with_a_ct, promptseg, phantom):
    grid, liver = phantom.volume.grid, phantom.mask("liver")
    for month in ("january", "may"):
        Path(f"{month}.nii.gz").write_bytes(Path("ct.nii.gz").read_bytes())
        write_segmentation(f"{month}.seg.nrrd", [Segment("liver tumour", liver)], grid)
    write_segmentation("liver.seg.nrrd", [Segment("liver", liver)], grid)
    Path("measured.csv").write_text("segmentation,image,unit\nliver.seg.nrrd,ct.nii.gz,HU\n")
    for line in block("shell").splitlines():
        outcome = promptseg(*shlex.split(line.removeprefix("promptseg ")))
        assert outcome.status == 0, f"{line}: {outcome.err}"
        assert outcome.err == "", line
    assert "mean_HU" in Path("liver.csv").read_text()
    assert Path("all.csv").read_text().count("liver.seg.nrrd") == 1
    assert Path("page.html").read_text(encoding="utf-8").count("<image ") == 2
    assert dice(read_volume("may-again.seg.nrrd").array == 1, liver) > 0.8


def test_the_example_clicks_are_on_and_beside_the_liver_of_the_phantom(phantom):
    grid, liver = phantom.volume.grid, phantom.mask("liver")
    assert "73.1, 21.8, 56.4" in block("python")
    assert liver[tuple(grid.nearest_kji((73.1, 21.8, 56.4)))]
    assert not liver[tuple(grid.nearest_kji((-60.0, 40.0, 40.0)))]


def test_every_file_that_the_readme_shows_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (Path(__file__).resolve().parents[2] / target).is_file(), target


def test_the_two_commands_are_targets_of_the_makefile():
    makefile = (Path(__file__).resolve().parents[2] / "Makefile").read_text(encoding="utf-8")
    for command in block("sh").splitlines():
        assert re.search(rf"^{command.removeprefix('make ')}:", makefile, re.MULTILINE)
