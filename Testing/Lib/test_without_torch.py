"""What can be had without torch: all modules but these, and all tests but those of these."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from without_torch import TORCH

ROOT = Path(__file__).parents[2]
SUPPORT = ROOT / "Testing" / "support"

NEED_TORCH = {
    "": """bundles closed_folders device_models key_made_weights nninteractive_model nninteractive_server nnunet_folders
    tiny_class_networks tiny_networks tiny_sam3 tiny_sat tiny_vista3d tiny_voxtell untrained_networks version1_folders
    window_fakes""",
    "PromptSegLib.predictors": "published torch_device",
    "PromptSegLib.predictors.default": "network_torch prompt_features prompt_unet",
    "PromptSegLib.predictors.names": "label_export model plain_unet slab_masks tiling",
    "PromptSegLib.predictors.bundle": "budget model parts",
    "PromptSegLib.predictors.nnunet": "architecture folds layers model",
    "PromptSegLib.predictors.nninteractive": "local",
    "PromptSegLib.predictors.sam": """decoder encoder layers medsam_transforms model network
    prompt_encoder transforms""",
    "PromptSegLib.predictors.sam2": "model network transforms",
    "PromptSegLib.predictors.sam3": "concepts_model model names network transforms",
    "PromptSegLib.predictors.sam_med3d": "decoder encoder model network prompt_encoder",
    "PromptSegLib.predictors.sam_unet": "model network resnet",
    "PromptSegLib.predictors.sat": "model network text_network",
    "PromptSegLib.predictors.scribbleprompt": "model network transforms",
    "PromptSegLib.predictors.stu_net": "network",
    "PromptSegLib.predictors.uniseg": "network",
    "PromptSegLib.predictors.vista3d": "model",
    "PromptSegLib.predictors.voxtell": "local",
    "PromptSegLib.training": """draws fields held_out inflation label_maps pool prompt_simulation ranks rendering
    sample_sheet slots targets trainer vessels views""",
}
"""By package, and of `Testing/support`. A module that joins them takes the tests that import it out of those that run
without torch."""

WITHOUT = f"""
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, *where):
        return None if name.partition(".")[0] in {sorted(TORCH)} else super().find_spec(name, *where)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""


def run_without_torch(code, *arguments):
    """Run `code` in a process that has no torch, in the repository, and return its exit status and what it prints."""
    paths = [str(ROOT), str(SUPPORT)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTEST_ADDOPTS": ""}
    command = [sys.executable, "-c", WITHOUT + code, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def names_of(folder, prefix=""):
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(folder).with_suffix("").parts
        yield ".".join((*prefix.split(), *(parts[:-1] if parts[-1] == "__init__" else parts)))


def test_these_modules_need_torch_and_no_others():
    modules = [*names_of(ROOT / "PromptSegLib", "PromptSegLib"), *names_of(SUPPORT)]
    modules.remove("PromptSegLib.__main__")
    code = """
import importlib, json
failed = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        failed[name] = error.name
print(json.dumps(failed))
"""
    status, printed = run_without_torch(code, *modules)
    assert status == 0, printed
    failed = json.loads(printed)
    assert {name.partition(".")[0] for name in failed.values()} <= TORCH
    named = {f"{package}.{name}".lstrip(".") for package, names in NEED_TORCH.items() for name in names.split()}
    assert set(failed) == named


FILES = {
    "test_torch.py": "import torch\ndef test(): pass",
    "test_through_another.py": "import tiny_networks\ndef test(): pass",
    "test_other.py": "import no_such_package\ndef test(): pass",
    "test_wrong.py": "import torch_like\ndef test(): pass",
    "test_plain.py": "def test(): pass",
    "test_later.py": "def test(): import torch",
}

PYTEST = "import pytest; sys.exit(pytest.main(['-p', 'no:cacheprovider', *sys.argv[1:]]))"
IN_ROOT = ("-c", ROOT / "pyproject.toml")


@pytest.fixture
def folder(tmp_path):
    """A folder with the settings of all tests."""
    shutil.copy(ROOT / "Testing" / "conftest.py", tmp_path)
    return tmp_path


def test_files_that_cannot_be_imported_without_torch_are_skipped_and_nothing_else_is(folder):
    for name, text in FILES.items():
        (folder / name).write_text(text)
    status, printed = run_without_torch(PYTEST, *IN_ROOT, "--without-torch", "--continue-on-collection-errors", folder)
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 1 passed, 2 skipped, 2 errors" in printed
    for name in ("test_other.py", "test_wrong.py"):
        assert f"ERROR {name}" in printed


def test_without_torch_pytest_says_what_to_do(folder):
    status, printed = run_without_torch(PYTEST, *IN_ROOT, folder)
    assert status == pytest.ExitCode.USAGE_ERROR
    assert "torch is missing: pip install '.[test]', or skip what needs it: --without-torch" in printed


def test_nothing_is_skipped_where_torch_is_found(pytestconfig):
    if pytestconfig.getoption("without_torch"):
        assert not any(sys.modules.get(name) for name in TORCH)
        return
    command = [sys.executable, "-m", "pytest", "--without-torch", "--collect-only", __file__]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--without-torch: expected an environment without torch, found torch" in done.stderr
