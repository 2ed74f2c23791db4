"""What the pages tell users to type is run as it stands there, page by page, on small files made for it.

Blocks in `bash`: lines of `promptseg` run here; of other programs it is checked that what they name is there. Blocks in
`python`: run in their order as one script a page, with a scene where they name nodes. Blocks in `json`, `yaml`, `toml`:
are read. A block after `<!-- not run: REASON -->` is checked, and not run.
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import page_data
import pytest
from page_data import make_what_is_named
from pages import DOCS, README, ROOT, Page, all_pages

from PromptSegLib.cli import main, parsed
from PromptSegLib.evaluation.metrics import dice
from PromptSegLib.evaluation.phantom import make_abdomen
from PromptSegLib.io import read_volume
from PromptSegLib.io.prompts import read_prompts
from PromptSegLib.weights.catalogue import load_catalogue

LANGUAGES = {"bash", "python", "json", "yaml", "toml", "csv", "text"}

# Commands that examples do not run, and where else they run.
CHECKED_ONLY = {
    ("demo",): "minutes: make demo; Testing/Lib/command/test_demo.py",
    ("benchmark",): "minutes: Testing/Lib/command/test_benchmark.py",
    ("train-default",): "a GPU: Testing/Lib/training",
    ("weights", "get"): "the network: Testing/Lib/weights",
    ("weights", "import"): "files of gigabytes: Testing/Lib/weights",
    ("weights", "verify"): "as above",
    ("weights", "remove"): "as above",
}
OTHER_PROGRAMS = {"make", "pip", "python", ".venv/bin/python", "git", "cd", "ssh", "nninteractive-server"} | {
    "voxtell-server"
}


def with_examples():
    return [page for page in all_pages() if page.blocks]


@pytest.mark.parametrize("page", with_examples(), ids=str)
def test_every_block_says_in_a_language_that_is_checked_what_it_is(page):
    for block in page.blocks:
        assert block.language in LANGUAGES, f"{block}: expected one of {', '.join(sorted(LANGUAGES))}"
        if block.language == "json":
            json.loads(block.code)
        elif block.language == "toml":
            tomllib.loads(block.code)
        elif block.language == "yaml":
            pytest.importorskip("yaml").safe_load(block.code)


@pytest.mark.parametrize("page", [page for page in with_examples() if page.path != README], ids=str)
@pytest.mark.usefixtures("stand_in_models")
def test_what_a_page_tells_to_type_runs(page, in_an_empty_folder, capsys):
    namespace = {"__name__": "__page__"}
    nodes = Nodes(page, namespace)
    for block in page.blocks:
        if block.language == "bash":
            for line in commands(block.code):
                run_command(line, block, in_an_empty_folder, capsys)
        elif block.language == "python":
            code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
            if not block.not_run:
                make_what_is_named(block.code, in_an_empty_folder)
                nodes.make_what_is_named(block.code)
                exec(code, namespace)
    nodes.close()
    CHECKS.get(page.path.name, lambda namespace: None)(namespace)


def commands(code):
    """Return the lines of a block for a shell, joined where they go on, without comments."""
    joined = re.sub(r"\\\n\s*", " ", code)
    found = [re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines()]
    return [line for line in found if line]


def run_command(line, block, folder, capsys):
    words = shlex.split(line)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    if words[:1] != ["promptseg"]:
        check_other_program(words, block)
        return
    argv = words[1:]
    arguments = parsed(argv)
    if argv[0] == "weights":
        for name in getattr(arguments, "names", None) or []:
            assert name in load_catalogue(), f"{block}: {line}: there are no weights {name!r}"
    if block.not_run or any(tuple(argv[: len(command)]) == command for command in CHECKED_ONLY):
        return
    make_what_is_named(line, folder)
    capsys.readouterr()
    status = main(argv)
    said = capsys.readouterr()
    assert status == 0, f"{block}: {line}: {said.err}"
    assert said.err == "", f"{block}: {line}"


def check_other_program(words, block):
    program, *rest = words
    assert program in OTHER_PROGRAMS, f"{block}: expected promptseg or one of {', '.join(sorted(OTHER_PROGRAMS))}"
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        missing = [word for word in rest if "=" not in word and word not in targets]
        assert not missing, f"{block}: the Makefile has no {', '.join(missing)}"
    if program.endswith("python") and rest[0].endswith(".py") and "/" in rest[0]:
        assert (ROOT / rest[0]).is_file(), f"{block}: there is no {rest[0]}"
    if program == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = project["optional-dependencies"]
        for extra in re.findall(r"\[([\w,-]+)\]", " ".join(rest)):
            assert set(extra.split(",")) <= extras.keys(), f"{block}: there is no extra {extra}"


class Nodes:
    """A scene with what examples for Slicer's console name, made when the first of them names it."""

    def __init__(self, page, namespace):
        self._namespace = namespace
        self._scene = None

    def make_what_is_named(self, code):
        if self._scene is not None or not re.search(r"\bvolumeNode\b", code):
            return
        pytest.importorskip("slicer")
        from PromptSegLib.mrml.boot import start_scene
        from PromptSegLib.mrml.volumes import add_volume_node

        self._started = start_scene()
        self._scene = self._started.__enter__().scene
        phantom = page_data.abdomen()
        points = self._scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "F")
        points.AddControlPointWorld(phantom.clicks["spleen"].position_ras)
        self._namespace["volumeNode"] = add_volume_node(self._scene, phantom.volume)
        self._namespace["pointListNode"] = points

    def close(self):
        if self._scene is not None:
            session = self._namespace.get("session")
            self._namespace["answered"] = {name: session.mask(name) for name in session.targets}
            session.close()
            self._started.__exit__(None, None, None)


def check_clicks(namespace):
    assert dice(read_volume("liver.seg.nrrd").array == 5, page_data.abdomen().mask("liver")) > 0.8
    assert read_volume("cell.nrrd").array[0, 60, 80]
    assert Path("out/ct.nii.gz").exists()


def check_measures(namespace):
    assert "mean_HU" in Path("liver.csv").read_text(encoding="utf-8")
    assert Path("all.csv").read_text(encoding="utf-8").count("liver.seg.nrrd") == 1
    assert Path("page.html").read_text(encoding="utf-8").count("<image ") == 2
    assert dice(read_volume("may-again.seg.nrrd").array == 1, page_data.abdomen().mask("liver")) > 0.8


def check_console(namespace):
    liver, lesion = list(namespace["answered"].values())[:2]
    assert dice(liver, page_data.abdomen().mask("liver")) > 0.8
    assert lesion.any()


# What examples leave behind, by page.
CHECKS = {
    "segment-by-clicks.md": check_clicks,
    "measure-and-follow-up.md": check_measures,
    "python.md": check_console,
}


def test_every_page_with_a_check_is_there():
    assert all((DOCS / name).is_file() for name in CHECKS)


def test_the_first_example_segments_the_liver_in_ten_lines(in_an_empty_folder):
    (block,) = [block for block in Page(README).blocks if block.language == "python"]
    phantom = make_abdomen()
    page_data.write_with_itk(Path("ct.nii.gz"), phantom.volume.array, phantom.volume.ijk_to_ras)
    assert len([line for line in block.code.splitlines() if line]) <= 10
    exec(compile(block.code, "README.md", "exec"), {})
    assert dice(read_volume("liver.seg.nrrd").array == 1, phantom.mask("liver")) > 0.8
    assert len(read_prompts("liver.json")["liver"]) == 1


def test_the_readme_s_commands_are_there(capsys, in_an_empty_folder):
    for block in Page(README).blocks:
        if block.language == "bash":
            for line in commands(block.code):
                run_command(line, block, in_an_empty_folder, capsys)


@pytest.mark.parametrize("phantom", [make_abdomen(), page_data.abdomen()], ids=["full", "small"])
def test_the_example_clicks_are_on_and_beside_the_liver_of_the_phantom(phantom):
    grid, liver = phantom.volume.grid, phantom.mask("liver")
    assert "73.1, 21.8, 56.4" in Page(README).text
    assert liver[tuple(grid.nearest_kji((73.1, 21.8, 56.4)))]
    assert not liver[tuple(grid.nearest_kji((-60.0, 40.0, 40.0)))]
