"""The places of the library, and which may use which: arrows point downward, and never back."""

from __future__ import annotations

import ast
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import PromptSegLib

LIBRARY = Path(PromptSegLib.__file__).parent
# From the bottom up. A place may use itself and those of lower floors; of one floor, none uses another.
FLOORS = (
    {"errors"},
    {"cancel", "geometry", "packages", "span"},
    {"archives", "bitmask", "view", "structures"},
    {"label_values"},
    {"prompts"},
    {"certainty", "volume", "weights"},
    {"imaging", "io"},
    {"worklist"},
    {"predictors"},
    {"predictors.cubes", "predictors.names", "predictors.slices"},
    {"predictors.*"},  # the systems
    {"execution"},
    {"execution.process", "session"},
    {"evaluation", "measurement", "panel", "training"},
    {"mrml"},
    {"mrml.headless"},
    {"command"},
    {"cli"},
    {"__main__"},
)
# A system that another one is built of.
PARTS = {("predictors.sam2", "predictors.sam"), ("predictors.sam_med3d", "predictors.sam")} | {
    ("predictors.sam_unet", "predictors.sam"),
    ("predictors.scribbleprompt", "predictors.sam"),
    ("predictors.sam3", "predictors.sam"),
    ("predictors.sam3", "predictors.sam2"),
}
# The package tokenizers comes with transformers.
NETWORKS_MAY_USE = {"torch", "transformers", "tokenizers", "monai", "PromptSegLib.errors"}
MOST_LINES = 500
MOST_PUBLIC_METHODS = 25
MORE_METHODS = {"Session"}  # the public face: what it does is in the objects that it hands it on to
SHELLS = Path(PromptSegLib.__file__).parents[1] / "PromptSeg"
MOST_FILES_AT_THE_TOP = 15


def name_of(path):
    """Return the dotted name of a module's file, from PromptSegLib on."""
    parts = path.relative_to(LIBRARY.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(LIBRARY.rglob("*.py")) if path != LIBRARY / "__init__.py"}


@cache
def tree_of(name):
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


@cache
def imports_of(name):
    """Return the names of all modules that a module imports, wherever in it; of packages what is taken from them."""
    found = set()
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {module if module in FILES else node.module for module in whole}
    return found - {name}


def place_of(name):
    """Return the folder that a module lies in, or its own name at the top."""
    _, *inner = name.split(".")
    return ".".join(inner) if FILES[name].name == "__init__.py" or len(inner) == 1 else ".".join(inner[:-1])


def floor_of(place):
    for number, places in enumerate(FLOORS):
        if place in places or (f"{place.partition('.')[0]}.*" in places and "." in place and not _is_named(place)):
            return number
    return None


def _is_named(place):
    return any(place in places for places in FLOORS)


def test_every_place_is_on_a_floor():
    assert [name for name in FILES if floor_of(place_of(name)) is None] == []


def test_every_part_of_another_is_used():
    used = {(place_of(name), place_of(other)) for name in FILES for other in imports_of(name) & FILES.keys()}
    assert PARTS - used == set()


def test_arrows_point_downward():
    upward = []
    for name in FILES:
        here = place_of(name)
        for other in imports_of(name) & FILES.keys():
            there = place_of(other)
            if there != here and (here, there) not in PARTS and floor_of(there) >= floor_of(here):
                upward.append(f"{name} -> {other}")
    assert upward == []


def test_no_module_needs_itself_by_way_of_others():
    graph = {name: imports_of(name) & FILES.keys() for name in FILES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


def networks():
    """Return the modules that define networks, and all of the library that they use."""
    found = [
        name
        for name in FILES
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).split(".")[-1] == "Module" for base in node.bases)
    ]
    for name in found:
        found += [other for other in imports_of(name) & FILES.keys() if other not in (*found, "PromptSegLib.errors")]
    return set(found)


def test_networks_use_torch_and_one_another_alone():
    own = networks()
    allowed = NETWORKS_MAY_USE | set(sys.stdlib_module_names) | own
    assert len(own) > 15
    others = {
        f"{name} -> {module}"
        for name in own
        for module in imports_of(name)
        if not allowed & {module, module.partition(".")[0]}
    }
    assert others == set()


def test_nothing_lives_off_another_s_underscore():
    """A name with an underscore belongs to its file: no other takes it, nor reaches for it in an object."""
    reached = []
    for name in FILES:
        foreign = {module.partition(".")[0] for module in imports_of(name)} - {"PromptSegLib"}
        nodes = list(ast.walk(tree_of(name)))
        own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        own |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("PromptSegLib"):
                reached += [f"{name}: {alias.name}" for alias in node.names if alias.name.startswith("_")]
            elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                of = ast.unparse(node.value)
                if node.attr not in own and of not in {"self", "cls", "super()", *foreign}:
                    reached.append(f"{name}: {of}.{node.attr}")
    assert reached == []


def test_no_file_is_long():
    files = [*FILES.values(), *sorted(SHELLS.rglob("*.py"))]
    assert len(files) > len(FILES) + 10
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_no_class_but_the_session_has_many_public_methods():
    many = {}
    for name in FILES:
        for node in ast.walk(tree_of(name)):
            if isinstance(node, ast.ClassDef) and node.name not in MORE_METHODS:
                methods = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
                public = [method for method in methods if not method.startswith("_")]
                if len(public) > MOST_PUBLIC_METHODS:
                    many[f"{name}.{node.name}"] = len(public)
    assert many == {}


def test_a_scene_s_session_overrides_what_is_named_for_that():
    """No method with an underscore: those of `Session` are its own."""
    session, scene = (
        {
            each.name
            for node in tree_of(name).body
            if isinstance(node, ast.ClassDef)
            for each in node.body
            if isinstance(each, ast.FunctionDef)
        }
        for name in ("PromptSegLib.session.session", "PromptSegLib.mrml.scene_session")
    )
    assert {"before_change", "before_look"} <= session & scene
    assert [name for name in session & scene if name.startswith("_") and name != "__init__"] == []


def test_the_top_is_short():
    assert len(list(LIBRARY.glob("*.py"))) <= MOST_FILES_AT_THE_TOP
