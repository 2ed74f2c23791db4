import functools
import hashlib
import http.server
import re
import sys
import threading

import numpy as np
import pytest
from image_files import ijk_to_ras, numbered, write_with_itk

from PromptSegLib.command import sample_image
from PromptSegLib.command.demo_scene import deepest_soft_tissue
from PromptSegLib.evaluation.phantom import make_abdomen
from PromptSegLib.geometry import Grid
from PromptSegLib.io import read_volume
from PromptSegLib.io.prompts import read_prompts
from PromptSegLib.prompts import Point

GRID = Grid((10, 12, 14), ijk_to_ras())


@pytest.fixture(autouse=True)
def an_empty_cache_and_no_network(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sample_image, "URL", "http://127.0.0.1:9/CTChest.nrrd")


@pytest.fixture
def a_small_phantom(monkeypatch):
    monkeypatch.setattr(
        "PromptSegLib.command.demo_scene.make_abdomen", lambda: make_abdomen((24, 48, 48), (7.6, 7.6, 9.6))
    )


@pytest.fixture
def image(tmp_path):
    return write_with_itk(tmp_path / "image.nrrd", numbered(GRID.shape_kji), GRID.ijk_to_ras)


@pytest.fixture
def url_of():
    """Return the address of a file, from a server on the loopback."""
    servers = []

    def serve(path):
        handler = functools.partial(Quiet, directory=str(path.parent))
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/{path.name}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_the_demo_leaves_segmentation_prompts_pictures_and_scene(promptseg, tmp_path):
    folder = tmp_path / "demo"
    outcome = promptseg("demo", "--phantom", "-o", folder)
    assert outcome.status == 0, outcome.err
    names = {path.name for path in folder.iterdir()}
    files = {"segmentation.seg.nrrd", "segmentation.nii.gz", "prompts.json", "demo.png", "scene.mrb", "views.png"}
    assert names == files
    mask = read_volume(folder / "segmentation.seg.nrrd")
    assert np.array_equal(mask.array, read_volume(folder / "segmentation.nii.gz").array)
    assert mask.grid.matches(make_abdomen().volume.grid)
    prompts = read_prompts(folder / "prompts.json")["liver"]
    assert len(prompts) == len(re.findall(r"^click \d +[\d.]+ s  [+-] at R", outcome.out, re.MULTILINE)) >= 1
    assert float(re.findall(r"Dice ([\d.]+) with the truth", outcome.out)[-1]) > 0.8


def test_the_demo_takes_an_image_with_a_click(promptseg, image, tmp_path):
    click = GRID.to_ras((7, 6, 5))
    words = [image, "--positive", ",".join(map(str, click)), "--model", "ball", "-o", tmp_path / "demo"]
    outcome = promptseg("demo", *words)
    assert outcome.status == 0, outcome.err
    assert read_prompts(tmp_path / "demo" / "prompts.json") == {"segment": (Point(tuple(click)),)}
    assert read_volume(tmp_path / "demo" / "segmentation.seg.nrrd").array[5, 6, 7]


def test_the_demo_looks_at_a_ct_through_the_window_of_soft_tissue_and_says_so(promptseg, tmp_path):
    path = write_with_itk(tmp_path / "ct.nrrd", numbered(GRID.shape_kji) - 1000, GRID.ijk_to_ras)
    click = ",".join(map(str, GRID.to_ras((7, 6, 5))))
    run = ("demo", path, "--positive", click, "--model", "ball", "-o", tmp_path / "demo")
    assert "taken for a CT, with the window -160,240" in promptseg(*run).err
    assert promptseg(*run, "--window", "-1000,0").err == ""


def test_the_demo_takes_a_picture_with_a_click_in_pixels(promptseg, tmp_path):
    picture = write_with_itk(tmp_path / "p.png", np.zeros((40, 50), np.uint8))
    outcome = promptseg("demo", picture, "--positive", "20,15", "--model", "ball", "-o", tmp_path / "demo")
    assert outcome.status == 0, outcome.err
    assert (tmp_path / "demo" / "demo.png").stat().st_size > 1000


@pytest.mark.parametrize("words", [["image.nrrd"], ["image.nrrd", "--negative", "1,2,3"], ["--positive", "1,2,3"]])
def test_the_demo_says_which_click_it_misses(promptseg, words):
    assert "see promptseg demo --help" in promptseg.refuses("demo", *words)


def test_without_a_network_the_demo_says_so_and_takes_the_phantom(promptseg, tmp_path, a_small_phantom):
    outcome = promptseg("demo", "--model", "ball", "-o", tmp_path / "demo")
    assert outcome.status == 0
    assert "no sample CT, going on with a phantom" in outcome.err
    assert "http://127.0.0.1:9/CTChest.nrrd" in outcome.err
    assert "abdomen phantom" in outcome.out


def test_the_sample_is_fetched_once_checked_and_segmented(promptseg, tmp_path, monkeypatch, url_of):
    phantom = make_abdomen((24, 48, 48), (7.6, 7.6, 9.6))
    source = write_with_itk(tmp_path / "source.nrrd", phantom.volume.array, phantom.volume.ijk_to_ras)
    monkeypatch.setattr(sample_image, "URL", url_of(source))
    monkeypatch.setattr(sample_image, "SHA256", hashlib.sha256(source.read_bytes()).hexdigest())
    outcome = promptseg("demo", "--model", "ball", "-o", tmp_path / "demo")
    assert outcome.status == 0
    assert outcome.err == ""
    assert "Volume(CTChest.nrrd: 24x48x48" in outcome.out
    source.unlink()
    assert "CTChest.nrrd" in promptseg("demo", "--model", "ball", "-o", tmp_path / "demo").out


def test_another_file_than_the_sample_is_not_used(promptseg, image, tmp_path, monkeypatch, url_of, a_small_phantom):
    monkeypatch.setattr(sample_image, "URL", url_of(image))
    outcome = promptseg("demo", "--model", "ball", "-o", tmp_path / "demo")
    assert "expected SHA-256 4507b664" in outcome.err
    assert "abdomen phantom" in outcome.out
    assert not list((tmp_path / "cache").rglob("*.nrrd*"))


def test_without_matplotlib_the_demo_still_leaves_the_segmentation(promptseg, image, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    click = ",".join(map(str, GRID.to_ras((7, 6, 5))))
    outcome = promptseg("demo", image, "--positive", click, "--model", "ball", "-o", tmp_path / "demo")
    assert outcome.status == 0
    assert "pip install 'promptseg[plot]'" in outcome.err
    assert (tmp_path / "demo" / "segmentation.seg.nrrd").exists()
    assert not (tmp_path / "demo" / "demo.png").exists()


def test_the_click_that_suits_any_ct_lies_deep_in_soft_tissue():
    phantom = make_abdomen()
    click = deepest_soft_tissue(phantom.volume)
    k, j, i = phantom.volume.grid.nearest_kji(click.position_ras)
    assert phantom.mask("liver")[k, j, i]
