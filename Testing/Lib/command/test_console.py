import contextlib
import io

import pytest

from PromptSegLib.command import console
from PromptSegLib.command.arguments import with_values_attached


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_appears_where_somebody_waits_and_is_wiped_away(monkeypatch):
    monkeypatch.setattr(console, "_PATIENCE_S", 0.0)
    with contextlib.redirect_stderr(Terminal()) as terminal:
        bar = console.ProgressBar()
        bar.busy_changed(True)
        bar.progress(0.5, "growing")
        assert "[###############...............]  50% growing" in terminal.getvalue()
        bar.busy_changed(False)
        assert terminal.getvalue().endswith("\r\x1b[K")


def test_what_is_quick_shows_no_bar(monkeypatch):
    monkeypatch.setattr(console, "_PATIENCE_S", 60.0)
    with contextlib.redirect_stderr(Terminal()) as terminal:
        bar = console.ProgressBar()
        bar.busy_changed(True)
        bar.progress(0.5, "growing")
        bar.busy_changed(False)
    assert terminal.getvalue() == ""


def test_a_file_gets_no_bar(capsys, monkeypatch):
    monkeypatch.setattr(console, "_PATIENCE_S", 0.0)
    bar = console.ProgressBar()
    bar.progress(0.5, "growing")
    bar.clear()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("given", "attached"),
    [
        ("--positive -1,2,3", "--positive=-1,2,3"),
        ("--positive -.5,2e1,+3 image", "--positive=-.5,2e1,+3 image"),
        ("--positive 1,2,3 -4,5,6 image", "--positive=1,2,3 --positive=-4,5,6 image"),
        ("--window -160,240 -o out", "--window=-160,240 -o out"),
        ("--positive=-1,2,3 -4,5,6", "--positive=-1,2,3 -4,5,6"),
        ("--positive -o out", "--positive -o out"),
        ("-o -1,2,3", "-o -1,2,3"),
        ("--label 5", "--label 5"),
    ],
)
def test_numbers_are_attached_to_the_options_that_take_them(given, attached):
    assert with_values_attached(given.split()) == attached.split()
