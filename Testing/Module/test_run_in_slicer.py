"""The script that runs the tests inside Slicer tells by its exit status how they went, and leaves a picture."""

import runpy
import sys
from pathlib import Path

import pytest
import slicer
from PySide6 import QtGui
from user import MODULE

SCRIPT = MODULE.parents[1] / "Testing" / "Slicer" / "run_in_slicer.py"


@pytest.fixture
def run(slicer_app, views, model, monkeypatch):
    """Run the script as Slicer does, with tests of one's own; return its exit status."""
    slicer_app.open_module(MODULE)
    statuses = []
    monkeypatch.setattr(slicer.util, "exit", statuses.append)
    monkeypatch.setattr(slicer.util, "setSliceViewerLayers", lambda background, fit: None)
    monkeypatch.setattr(slicer.util, "forceRenderAllViews", lambda: None)

    def start(tmp_path, tests, *arguments):
        script = tmp_path / SCRIPT.name
        script.write_text(SCRIPT.read_text(encoding="utf-8"), encoding="utf-8")
        (tmp_path / "PromptSegWidgetTest.py").write_text(f"import unittest\nclass T(unittest.TestCase):\n    {tests}\n")
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
        monkeypatch.delitem(sys.modules, "PromptSegWidgetTest", raising=False)
        monkeypatch.setattr(sys, "path", list(sys.path))
        runpy.run_path(str(script), run_name="__main__")
        sys.modules.pop("PromptSegWidgetTest", None)
        [status] = statuses
        return status

    return start


def test_all_that_passes_is_success_and_the_picture_shows_the_panel(run, tmp_path):
    picture = tmp_path / "pictures" / "slicer.png"
    assert run(tmp_path, "def test(self): pass", picture) == slicer.util.EXIT_SUCCESS
    assert QtGui.QImage(str(picture)).width() > 300


@pytest.mark.parametrize(
    "tests", ["def test(self): self.fail()", "def test(self): 1 / 0", "import nothing_like_it", ""]
)
def test_a_failure_an_error_and_no_test_at_all_are_no_success(run, tmp_path, tests):
    assert run(tmp_path, tests or "pass") == slicer.util.EXIT_FAILURE


def test_a_picture_without_a_segment_is_no_success(run, model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(model, "error", ValueError("no such thing"))
    picture = tmp_path / "slicer.png"
    assert run(tmp_path, "def test(self): pass", picture) == slicer.util.EXIT_FAILURE
    assert not Path(picture).exists()
    assert "no such thing" in capsys.readouterr().err
