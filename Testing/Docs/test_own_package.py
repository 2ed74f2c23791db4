"""The example of a model of one's own, as the library's README has it, installed as a package of its own."""

import json
import tomllib
from pathlib import Path

import page_data
import pytest
from pages import ROOT, Page

from PromptSegLib.cli import main
from PromptSegLib.io import read_volume
from PromptSegLib.predictors import registry

PAGE = Page(ROOT / "PromptSegLib" / "README.md")
MOST_LINES = 40


def the_model():
    return next(block.code for block in PAGE.blocks if block.language == "python")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package: what `pip install` would leave of the example and of its pyproject.toml."""
    (block,) = [block for block in PAGE.blocks if block.language == "toml"]
    project = tomllib.loads(block.code)["project"]
    packages = tmp_path / "packages"
    about = packages / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    (group, points) = next(iter(project["entry-points"].items()))
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (about / "entry_points.txt").write_text("\n".join(lines))
    for value in points.values():
        module = packages.joinpath(*value.split(":")[0].split(".")).with_suffix(".py")
        module.parent.mkdir(parents=True)
        module.write_text(the_model())
    monkeypatch.syspath_prepend(str(packages))
    registry._installed.cache_clear()
    yield points
    registry._installed.cache_clear()


def test_the_example_is_short():
    assert len([line for line in the_model().splitlines() if line.strip()]) <= MOST_LINES


def test_the_example_s_package_adds_its_model(installed, in_an_empty_folder, capsys):
    page_data.make_what_is_named("ct.nii.gz", in_an_empty_folder)
    assert main(["models", "--json"]) == 0
    (name,) = installed
    assert name in [record["name"] for record in json.loads(capsys.readouterr().out)]
    click = ["--positive", "73,22,56"]
    assert main(["segment", "ct.nii.gz", "-o", "bright.nii.gz", "--model", name, *click]) == 0
    mask = read_volume(Path("bright.nii.gz")).array > 0
    liver = page_data.abdomen().mask("liver")
    assert (mask & liver).sum() > 0.5 * liver.sum()
