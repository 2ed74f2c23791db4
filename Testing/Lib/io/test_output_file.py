"""A file that is written appears whole, where it was asked for, or not at all; what cannot be is found out at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from fakes import BallPredictor
from image_files import ijk_to_ras, numbered, write_with_itk

from PromptSegLib.errors import VolumeError
from PromptSegLib.geometry import Grid
from PromptSegLib.io import Segment, read_volume, write_segmentation
from PromptSegLib.io.output_file import check_can_be_written, replacing

GRID = Grid((10, 12, 14), ijk_to_ras())
MASK = np.ones(GRID.shape_kji, dtype=bool)
CLICK = ("--positive", "7,6,5", "--frame", "ijk")


@pytest.fixture
def image(tmp_path):
    return write_with_itk(tmp_path / "image.nrrd", numbered(GRID.shape_kji), GRID.ijk_to_ras)


@pytest.mark.parametrize("length", [239, 240, 250, 255])
@pytest.mark.parametrize("suffix", [".nii.gz", ".seg.nrrd", ".mha"])
def test_a_name_as_long_as_the_file_system_takes_is_written(tmp_path, length, suffix):
    path = tmp_path / ("é" + "n" * (length - len(suffix) - 2) + suffix)
    check_can_be_written(path)
    write_segmentation(path, [Segment("liver", MASK)], GRID)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


PLACES = {
    "a name too long": "n" * 256 + ".nrrd",
    "a folder's name too long": f"new/{'n' * 256}/out.nrrd",
    "a folder": "folder.nrrd",
    "below a file": "file/out.nrrd",
    "a circle of links": "one/out.nrrd",
    "a link to itself": "self.nrrd",
    "a folder that is no more": "gone/out.nrrd",
    "no name of a file": "a\0b.nrrd",
    "a file system that takes none": "/proc/nowhere/out.nrrd",
}


@pytest.mark.skipif(sys.platform != "linux", reason="the places are Linux'")
@pytest.mark.parametrize("place", PLACES)
def test_a_place_where_nothing_can_be_written_is_found_out_before_the_prediction(
    promptseg, image, tmp_path, monkeypatch, place
):
    (tmp_path / "file").touch()
    (tmp_path / "folder.nrrd").mkdir()
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    (tmp_path / "self.nrrd").symlink_to("self.nrrd")
    (tmp_path / "gone").symlink_to("nowhere")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(BallPredictor, "encode", lambda *_: pytest.fail("a prediction was begun"))
    path = tmp_path / PLACES[place]
    error = promptseg.refuses("segment", image, "-o", path, "--model", "ball", *CLICK)
    assert "expected a place where" in error
    assert len(error) < 600
    assert sorted(tmp_path.rglob("*")) == before


def test_looking_whether_a_file_can_be_written_leaves_nothing(tmp_path):
    check_can_be_written(tmp_path / "new" / "folder" / "out.nrrd")
    (tmp_path / "old.nrrd").write_text("old")
    check_can_be_written(tmp_path / "old.nrrd")
    assert [path.name for path in tmp_path.iterdir()] == ["old.nrrd"]
    assert (tmp_path / "old.nrrd").read_text() == "old"


@pytest.mark.parametrize("is_there", [True, False])
def test_a_symbolic_link_is_followed_and_stays(tmp_path, is_there):
    (tmp_path / "disk").mkdir()
    real, link = tmp_path / "disk" / "real.nrrd", tmp_path / "link.nrrd"
    if is_there:
        real.write_text("old")
    link.symlink_to("disk/real.nrrd")
    check_can_be_written(link)
    write_segmentation(link, [Segment("liver", MASK, 7)], GRID)
    assert link.is_symlink()
    assert not real.is_symlink()
    assert (read_volume(real).array == 7).all()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["disk", "link.nrrd", "real.nrrd"]


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX'")
def test_who_is_terminated_while_writing_leaves_the_old_file_and_nothing_else(image, tmp_path):
    out = tmp_path / "out.nrrd"
    out.write_text("old")
    program = textwrap.dedent(f"""
        import os, sys, time
        from PromptSegLib.cli import main
        from PromptSegLib.predictors import registry
        import PromptSegLib.io.nrrd as nrrd

        def slow(chunks, gzip):
            yield b"begin"
            print("writing", flush=True)
            time.sleep(60)

        nrrd.compressed = slow
        registry.BUILT_IN["ball"] = "fakes:BallPredictor"
        sys.exit(main({["segment", str(image), "-o", str(out), "--model", "ball", *CLICK]!r}))
    """)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    with run:
        assert run.stdout.readline() == b"writing\n"
        run.send_signal(signal.SIGTERM)
        assert run.wait(20) == 143
    assert out.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.nrrd", "out.nrrd"]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere nobody can be asked whether he runs")
def test_what_a_killed_process_left_is_cleared_and_what_a_running_one_writes_stays(tmp_path):
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as ended:
        ended.wait()
    with replacing(tmp_path / "out.nrrd") as mine:
        (part,) = tmp_path.glob(".promptseg-*.part")
        running, left = (
            part.with_name(part.name.replace(str(os.getpid()), str(number))) for number in (os.getppid(), ended.pid)
        )
        running.touch()
        left.touch()
        mine.write(b"content")
    write_segmentation(tmp_path / "out.nrrd", [Segment("liver", MASK)], GRID)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([running.name, "out.nrrd"])


def test_what_the_body_raises_passes_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="mine"), replacing(tmp_path / "out.nrrd"):
        raise ValueError("mine")
    with pytest.raises(VolumeError, match="holds no NUL"), replacing(tmp_path / "a\0b.nrrd"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--json", "--report", "--picture"])
def test_a_benchmark_s_output_that_cannot_be_written_is_found_out_at_once(promptseg, tmp_path, option):
    (tmp_path / "file").touch()
    (tmp_path / "data").mkdir()
    error = promptseg.refuses("benchmark", tmp_path / "data", option, tmp_path / "file" / "out")
    assert "expected a place where" in error


def test_a_demo_s_folder_that_cannot_be_written_is_found_out_at_once(promptseg, image, tmp_path):
    (tmp_path / "file").touch()
    error = promptseg.refuses("demo", image, *CLICK, "-o", tmp_path / "file" / "demo")
    assert "expected a place where" in error
