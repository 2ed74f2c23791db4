"""The pages hold together: nothing that a user can name is left out, no page is long, no link is dead."""

from __future__ import annotations

import argparse
import re
import xml.etree.ElementTree as ElementTree
from urllib.parse import urlsplit

import pytest
from pages import DOCS, README, ROOT, Page, all_pages, user_pages

import PromptSegLib
from PromptSegLib.cli import _parser
from PromptSegLib.predictors.registry import BUILT_IN

MOST_LINES = {README: 250}
MOST_LINES_OF_A_PAGE = 400


@pytest.mark.parametrize("page", all_pages(), ids=str)
def test_no_page_is_too_long_to_be_read(page):
    most = MOST_LINES.get(page.path, MOST_LINES_OF_A_PAGE)
    assert len(page.lines) - 1 <= most, f"{page}: expected {most} lines at most; make two pages of it"


@pytest.mark.parametrize("page", all_pages(), ids=str)
def test_no_link_is_dead(page):
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme in ("https", "mailto"), f"{page}: {link}: expected https"
            assert parts.scheme == "mailto" or "." in parts.netloc, f"{page}: {link}: expected a host"
            continue
        target = (page.path.parent / parts.path).resolve() if parts.path else page.path
        assert target.exists(), f"{page}: there is no {link}"
        assert target.is_relative_to(ROOT), f"{page}: {link} leaves the repository"
        if parts.fragment:
            anchors = Page(target).anchors
            assert parts.fragment in anchors, f"{page}: {link}: expected one of {', '.join(sorted(anchors))}"


def test_the_index_leads_to_every_page():
    index = Page(DOCS / "index.md")
    reached = {(DOCS / link.partition("#")[0]).resolve() for link in index.links}
    left_out = [page.path.name for page in user_pages() if page.path not in reached | {index.path}]
    assert not left_out, f"{index} has no link to {', '.join(left_out)}: add a line to the table of its task"


def parsers(parser, words=()):
    """Yield the words of each command and sub-command, and its parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield (*words, name), child
                yield from parsers(child, (*words, name))


COMMANDS = dict(parsers(_parser()))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_and_option_is_on_a_page(words):
    """An option counts where its command is spoken of: on any page with `promptseg COMMAND`."""
    command = f"promptseg {' '.join(words)}"
    about = [page.text for page in user_pages() if re.search(rf"{command}(?![\w-])", page.text)]
    assert about, f"{command} is on no page: give it a heading in Resources/Docs/command-line.md, or a page of its task"
    options = [max(action.option_strings, key=len) for action in COMMANDS[words]._actions if action.option_strings]
    missing = [
        option
        for option in options
        if option != "--help" and not any(re.search(rf"{option}(?![\w-])", text) for text in about)
    ]
    assert not missing, (
        f"{', '.join(missing)} of {command}: on no page that speaks of the command; "
        "add a row to its table in Resources/Docs/command-line.md, or use it on the page of its task"
    )


@pytest.mark.parametrize("name", PromptSegLib.__all__)
def test_every_public_name_is_on_a_page(name):
    texts = [page.text for page in user_pages()]
    assert any(f"psl.{name}" in text for text in texts), (
        f"psl.{name} is on no page: add a row to the table of names in Resources/Docs/python.md"
    )


def test_every_model_is_in_the_table_of_models():
    table = Page(DOCS / "models-and-weights.md").text
    missing = [name for name in BUILT_IN if f"`{name}`" not in table]
    assert not missing, f"{', '.join(missing)}: add to the table in Resources/Docs/models-and-weights.md"


def controls():
    """Yield (section, name, what a user calls it) of each control of the panel."""
    section, label = "", ""
    for widget in ElementTree.parse(ROOT / "PromptSeg" / "Resources" / "UI" / "PromptSeg.ui").iter("widget"):
        texts = {p.get("name"): "".join(p.itertext()).strip() for p in widget.findall("property")}
        kind, name, text = widget.get("class"), widget.get("name"), texts.get("text", "")
        if kind == "ctkCollapsibleButton":
            section = text
            yield section, name, text
        elif kind == "QLabel":
            label = text.rstrip(":")
        elif kind in ("QPushButton", "QCheckBox"):
            yield section, name, text
        elif kind not in ("QFrame", "qMRMLWidget", "QWidget"):
            yield section, name, UNLABELLED.get(name) or label


# What users call those controls that have no words of their own, nor beside them.
UNLABELLED = {
    "segmentsTable": "Segments",
    "serverKeyEdit": "Key",
    "namesList": "Names",
    "progressBar": "Progress",
    "promptsTable": "List of prompts",
    "reachSpinBox": "How far",
    "measureTable": "Table of measurements",
    "stateComboBox": "Which cases",
    "orderComboBox": "In which order",
    "readerEdit": "Reader",
    "casesTable": "List of cases",
    "commentEdit": "Comment",
    "readingComboBox": "Other reading",
    "readingsTable": "Agreement",
    "shortcutsTable": "Keys",
    "timingsText": "Timings",
}


@pytest.mark.parametrize(("section", "name", "called"), list(controls()), ids=lambda value: value)
def test_every_control_of_the_panel_is_on_a_page(section, name, called):
    assert called, f"{name} has no words: say in UNLABELLED what users call it"
    called = called.replace("\n", " ")
    assert any(f"*{called}*" in page.text for page in user_pages()), (
        f"*{called}* ({name}, section {section}) is on no page: "
        "add a row to the table of its section in Resources/Docs/panel.md"
    )
