"""What `import PromptSegLib` costs, and what it gives."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import PromptSegLib

HEAVY = {"scipy", "SimpleITK", "pydicom", "torch", "monai", "vtk", "vtkmodules", "slicer", "matplotlib"}


def run_python(code):
    """Run `code` in a fresh interpreter and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", ["PromptSegLib", "PromptSegLib.session.session", "PromptSegLib.predictors.registry"])
def test_nothing_heavy_is_loaded(module):
    loaded = run_python(f"import {module}, sys; print(*sys.modules)").split()
    assert module in loaded
    assert not HEAVY & set(loaded)


def test_the_import_takes_less_than_0_3_seconds():
    code = "import time; t = time.perf_counter(); import PromptSegLib; print(time.perf_counter() - t)"
    # The best of three: the machine may have other things to do.
    seconds = min(float(run_python(code)) for _ in range(3))
    print(f"import PromptSegLib: {1000 * seconds:.1f} ms")
    assert seconds < 0.3


@pytest.mark.parametrize("name", PromptSegLib.__all__)
def test_every_public_name_is_there_and_listed(name):
    value = getattr(PromptSegLib, name)
    assert value.__name__ == name
    assert value.__doc__
    assert name in dir(PromptSegLib)


def test_type_checkers_see_every_public_name_in_the_module_it_comes_from():
    tree = ast.parse(Path(PromptSegLib.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0]
    seen = {
        alias.name: node.module.removeprefix("PromptSegLib.")
        for node in imports
        if node.module.startswith("PromptSegLib.")
        for alias in node.names
    }
    assert seen == PromptSegLib._MODULE_OF
    assert sorted(seen) == PromptSegLib.__all__


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'PromptSegLib' has no attribute 'Sessions'"):
        _ = PromptSegLib.Sessions
