"""What the process is told that makes proposals for the panel, and how its end is told."""

import sys

import pytest
from image_files import ijk_to_ras, numbered, write_with_itk

from PromptSegLib.cancel import CancelToken
from PromptSegLib.cli import parsed
from PromptSegLib.command.arguments import server_options
from PromptSegLib.errors import ConsentError
from PromptSegLib.io.prompts import write_prompts
from PromptSegLib.panel.proposing import proposing
from PromptSegLib.predictors.registry import Recipe
from PromptSegLib.predictors.server_access import KEY_VARIABLE
from PromptSegLib.prompts import Point

SERVER = "https://gpu.example:1527"


def done(work):
    return work(lambda fraction, what: None, CancelToken())


@pytest.fixture
def cases(tmp_path):
    write_with_itk(tmp_path / "a.nrrd", numbered((4, 5, 6)), ijk_to_ras())
    write_prompts(tmp_path / "click.json", {"liver": [Point((0.0, 0.0, 0.0))]})
    path = tmp_path / "cases.csv"
    path.write_text("image,prompts\na.nrrd,click.json\n", encoding="utf-8")
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="stands in for the interpreter with a script of a shell")
def test_the_server_and_what_was_agreed_are_said_and_the_key_is_not_on_the_command_line(tmp_path, cases, monkeypatch):
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/words\nprintf %s "${KEY_VARIABLE}" > {tmp_path}/key\n'
    )
    python.chmod(0o755)
    options = {"server": SERVER, "api_key": "secret-1", "consent": True}
    recipe = Recipe("nninteractive-server", "server", options)
    done(proposing(cases, recipe, ["liver"], ["-the left kidney"], str(python)))
    words = (tmp_path / "words").read_text().splitlines()
    assert "secret" not in " ".join(words)
    assert (tmp_path / "key").read_text() == "secret-1"
    arguments = parsed(words[words.index("PromptSegLib") + 1 :])
    assert (arguments.model, arguments.device) == ("nninteractive-server", "server")
    assert [one.text for one in arguments.text] == ["-the left kidney"]
    monkeypatch.setenv(KEY_VARIABLE, "secret-1")
    assert server_options(arguments) == options
    arguments.model = "default"
    assert "api_key" not in server_options(arguments)


def test_a_server_that_the_user_did_not_agree_to_is_asked_about_and_not_passed_over_for_another(cases):
    with pytest.raises(ConsentError, match=f"^expected consent before the image is sent to {SERVER}, got none"):
        done(proposing(cases, Recipe("nninteractive-server", "auto", {"server": SERVER})))
