"""Predictors that other packages bring along, by entry points."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from PromptSegLib.errors import UnknownPredictorError
from PromptSegLib.execution.process.executor import ProcessExecutor
from PromptSegLib.predictors import registry
from PromptSegLib.predictors.registry import capabilities_of, create_predictor, predictor_names, usable_predictors
from PromptSegLib.prompts import Point
from PromptSegLib.session.session import Session

ROOT = Path(__file__).parents[3]

MODULE = '''
import numpy as np

from PromptSegLib.bitmask import Patch
from PromptSegLib.geometry import Extent, flip_axes
from PromptSegLib.predictors.base import Capabilities, Prediction
from PromptSegLib.predictors.registry import Entry


class Voxel:
    """Answers with the voxel that was clicked last, or with as many around it as `reach` says."""

    capabilities = Capabilities(
        name="voxel", title="Voxel", summary="", dimensions=frozenset({3}), prompts=frozenset({"point+"}),
        code_license="MIT",
    )

    def __init__(self, reach=0, capabilities=None):
        self.reach = reach
        self.capabilities = capabilities or self.capabilities

    def encode(self, image, cancel, progress):
        return image.grid

    def predict(self, grid, state, cancel, progress):
        at = flip_axes(grid.to_ijk(state.prompts[-1].position_ras)).round().astype(int)
        extent = Extent(tuple(at), tuple(at + 1)).padded(self.reach).intersection(grid.extent)
        yield Prediction({state.target: Patch(extent, np.ones(extent.shape_kji, dtype=bool))})


def cube():
    capabilities = Capabilities(
        name="cube", title="Cube", summary="", dimensions=frozenset({3}), prompts=frozenset({"point+"}),
        code_license="MIT",
    )
    return Entry(capabilities, lambda: Voxel(1, capabilities))


CUBE = cube()
NOTHING = object()
'''
ENTRY_POINTS = """[promptseg.predictors]
voxel = other_models:Voxel
cube = other_models:CUBE
missing = other_models_not_there:Voxel
nothing = other_models:NOTHING
renamed = other_models:Voxel
broken = other_models_broken:Voxel
default = other_models:Voxel
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder in which a package with predictors is installed, good ones and broken ones."""
    folder = tmp_path_factory.mktemp("site")
    wheel = folder / "other_models-1.0-py3-none-any.whl"
    files = {
        "other_models.py": MODULE,
        "other_models_broken.py": "raise RuntimeError('no luck')\n",
        "other_models-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: other-models\nVersion: 1.0\n",
        "other_models-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
        "other_models-1.0.dist-info/entry_points.txt": ENTRY_POINTS,
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr("other_models-1.0.dist-info/RECORD", "".join(f"{name},,\n" for name in files))
    with zipfile.ZipFile(wheel) as archive:  # to install a wheel of pure Python is to unpack it
        archive.extractall(folder / "packages")
    return folder / "packages"


@pytest.fixture
def installed(site, monkeypatch):
    monkeypatch.syspath_prepend(str(site))
    registry._installed.cache_clear()
    yield
    registry._installed.cache_clear()


@pytest.mark.usefixtures("installed")
def test_predictors_of_other_packages_are_listed_after_those_of_the_library_and_made_by_name():
    names = predictor_names()
    assert names[0] == "default"
    assert names[-6:] == ("broken", "cube", "missing", "nothing", "renamed", "voxel")
    assert capabilities_of("voxel").title == "Voxel"
    assert type(create_predictor("voxel", reach=2)).__name__ == "Voxel"
    session = Session(np.zeros((5, 5, 5)), "cube")
    session.add(Point((2, 2, 2)))
    assert session.mask_kji.sum() == 27


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "package other-models to be a predictor, got ModuleNotFoundError: No module named"),
        ("nothing", "package other-models to be a predictor, got ValueError: expected a class with capabilities"),
        ("renamed", "package other-models to go by that name, got 'voxel' in its capabilities"),
        ("broken", "package other-models to be a predictor, got RuntimeError: no luck"),
    ],
)
def test_a_broken_one_says_why_and_leaves_the_others_alone(name, reason):
    with pytest.raises(UnknownPredictorError, match=reason):
        capabilities_of(name)
    assert name not in usable_predictors()
    assert {"default", "sam-vit-b", "voxel", "cube"} <= usable_predictors().keys()


@pytest.mark.usefixtures("installed")
def test_no_package_takes_the_place_of_one_of_the_library_s():
    assert capabilities_of("default").title.startswith("Default")


def test_the_command_line_lists_them_with_what_is_wrong_and_uses_them(site, tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(site)]), "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "PromptSegLib", "models"]
    table = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=True).stdout
    assert "\nvoxel" in table
    assert "broken cannot be used: expected 'broken' of the package other-models to be a predictor" in table
    records = subprocess.run(
        [*command, "--json"], env=environment, capture_output=True, encoding="utf-8", check=True
    ).stdout
    assert {record["name"] for record in json.loads(records) if "broken" in record} == {
        "broken",
        "missing",
        "nothing",
        "renamed",
    }


@pytest.mark.usefixtures("installed")
def test_the_process_executor_makes_them_too(site, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(site))
    session = Session(np.zeros((5, 5, 5)), "cube", executor=ProcessExecutor())
    try:
        session.add(Point((2, 2, 2)))
        assert session.wait(60)
        assert session.mask_kji.sum() == 27
    finally:
        session.close()
