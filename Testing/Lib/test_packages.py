"""What is installed counts, not what is left of it; nothing of the application's is replaced by an installation."""

import subprocess
import sys
from importlib.machinery import ModuleSpec
from importlib.metadata import version

import pytest

from PromptSegLib.packages import is_installed, write_constraints
from PromptSegLib.predictors.devices import torch_works


def test_every_package_that_is_here_is_kept_at_its_version(tmp_path):
    path = write_constraints(tmp_path)
    lines = path.read_text().splitlines()
    assert f"numpy=={version('numpy')}" in lines
    assert f"pip=={version('pip')}" in lines


def test_pip_takes_the_file_and_refuses_another_version(tmp_path):
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--no-deps", "numpy==1.0"]
    done = subprocess.run([*command, "--constraint", write_constraints(tmp_path)], capture_output=True, text=True)
    assert done.returncode != 0
    assert "constraint" in done.stdout + done.stderr


def test_what_is_left_of_a_package_is_not_taken_for_it(tmp_path, monkeypatch):
    (tmp_path / "package_of_which_a_folder_is_left" / "lib").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    import package_of_which_a_folder_is_left as left

    assert left.__file__ is None
    assert not is_installed(left.__name__)
    assert not is_installed("package_that_nobody_has")
    assert is_installed("numpy")
    assert is_installed("PromptSegLib")


LEFT_OVER_TORCH = """
import sys
from importlib.machinery import PathFinder

class Left:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            return PathFinder.find_spec(name, path or [{folder!r}])
sys.meta_path.insert(0, Left)

import numpy as np
import PromptSegLib as psl
from PromptSegLib.predictors.devices import devices_here, torch_works
from PromptSegLib.panel.models import missing_package
from PromptSegLib.errors import PredictionError
from PromptSegLib.packages import is_installed

import torch
assert torch.__file__ is None and not torch_works() and devices_here() == ("auto", "cpu"), devices_here()
array = np.zeros((8, 24, 24), np.int16)
array[2:6, 8:16, 8:16] = 200
session = psl.Session(array)
session.add(psl.Point((12, 12, 4)))
assert session.mask_kji.any()
assert session.prediction.device == "cpu"
assert not any(is_installed(name) for name in {names!r})
try:
    from PromptSegLib.predictors.sam import model as sam_model
except ImportError as error:
    assert missing_package(error) == "torch", error
"""


def test_the_default_model_answers_beside_what_an_uninstallation_left_of_torch(tmp_path):
    names = ["torch", "monai", "safetensors", "matplotlib", "yaml"]
    for name in names:
        (tmp_path / name / "lib").mkdir(parents=True)
    code = LEFT_OVER_TORCH.format(names=names, folder=str(tmp_path))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("error", [OSError("libcudart.so"), ImportError("DLL"), AttributeError("no Tensor")])
def test_a_torch_that_cannot_be_loaded_does_not_count(monkeypatch, error):
    class Broken:
        __spec__ = ModuleSpec("torch", None, origin="here")

        def __getattr__(self, name):
            raise error

    monkeypatch.setitem(sys.modules, "torch", Broken())
    assert not torch_works()
