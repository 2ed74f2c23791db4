"""Keys: free ones are taken, others refused, and what was chosen survives."""

import pytest

from PromptSegLib.panel.shortcuts import DEFAULT_KEYS, ShortcutError, Shortcuts


def test_every_action_has_a_key_of_its_own():
    assert len(set(DEFAULT_KEYS.values())) == len(DEFAULT_KEYS)


def test_no_default_is_a_bare_letter_or_one_of_slicer_s():
    assert all(key.startswith("Alt+") for key in DEFAULT_KEYS.values())


def test_a_key_that_means_something_else_is_refused_by_name():
    shortcuts = Shortcuts()
    with pytest.raises(ShortcutError, match=r"Alt\+Z, which stands for 'undo'"):
        shortcuts.bind("run", "Alt+Z")
    assert shortcuts["run"] == DEFAULT_KEYS["run"]


def test_an_action_may_have_no_key_and_its_key_is_then_free():
    shortcuts = Shortcuts()
    shortcuts.bind("undo", "")
    shortcuts.bind("redo", "")
    shortcuts.bind("run", "Alt+Z")
    assert (shortcuts["undo"], shortcuts["run"]) == ("", "Alt+Z")


def test_what_was_chosen_is_kept_and_what_is_unknown_left_out():
    shortcuts = Shortcuts()
    shortcuts.bind("run", "F5")
    assert Shortcuts.from_json(shortcuts.to_json()).items() == shortcuts.items()
    assert Shortcuts.from_json('{"fly": "F6", "run": "F7"}')["run"] == "F7"
    assert "fly" not in dict(Shortcuts.from_json('{"fly": "F6"}').items())
    assert Shortcuts.from_json("{damaged")["run"] == DEFAULT_KEYS["run"]


def test_an_unknown_action_is_refused():
    with pytest.raises(ShortcutError, match=r"expected one of .* got 'fly'"):
        Shortcuts().bind("fly", "F6")
