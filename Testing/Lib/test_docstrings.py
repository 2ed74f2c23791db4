"""Docstrings have one dialect: sections as Google's guide has them, so that a reference can be rendered of them."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import PromptSegLib

LIBRARY = Path(PromptSegLib.__file__).parent
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises")
OTHERS = ("Arguments", "Parameters", "Params", "Return", "Raise", "Throws", "Exceptions", "Keyword Args")
# What is raised is a section, not a sentence; a function whose purpose it is says so in the imperative.
PROSE = re.compile(r"(?<![\w`])Raises\s+(?:[A-Z]\w*(?:Error|Exception)|Cancelled|as `|what )")
ENTRY = re.compile(r"    (\*{0,2}[\w.]+)(?: \([^)]*\))?: \S")


def documented():
    """Yield where each class and function with a docstring is, its node, and its docstring."""
    for path in sorted(LIBRARY.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and (text := ast.get_docstring(node, clean=False)):
                yield f"{path.relative_to(LIBRARY)}:{node.lineno} {node.name}", node, inspect.cleandoc(text)


def parameters_of(node):
    if isinstance(node, ast.FunctionDef):
        found = node.args
        named = [*found.posonlyargs, *found.args, *found.kwonlyargs, *filter(None, (found.vararg, found.kwarg))]
        return {each.arg for each in named}
    inits = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
    fields = {each.target.id for each in node.body if isinstance(each, ast.AnnAssign)}
    return fields.union(*map(parameters_of, inits))


def faults_of(node, text):
    """Return what is wrong with a docstring's sections."""
    faults = ["raises in prose"] if PROSE.search(text) else []
    lines, order = text.splitlines(), []
    for number, line in enumerate(lines):
        name = line.removesuffix(":")
        if line.endswith(":") and name in OTHERS:
            faults.append(f"{name} is no section")
        if not (line.endswith(":") and name in SECTIONS):
            continue
        order.append(SECTIONS.index(name))
        if number and lines[number - 1]:
            faults.append(f"no empty line before {name}")
        body = []
        for each in lines[number + 1 :]:
            if each and not each.startswith("    "):
                break
            body.append(each)
        if not any(body):
            faults.append(f"nothing in {name}")
        entries = [each for each in body if each and not each.startswith("     ")]
        if name in ("Args", "Attributes", "Raises"):
            found = [ENTRY.match(each) for each in entries]
            faults += [f"{each.strip()!r} in {name}" for each, match in zip(entries, found, strict=True) if not match]
            if name != "Raises":
                known = {match[1].lstrip("*") for match in found if match}
                is_derived = isinstance(node, ast.ClassDef) and node.bases  # fields may be those of a base
                unknown = set() if is_derived else known - parameters_of(node)
                faults += [f"{one} is no parameter" for one in sorted(unknown)]
    return faults + (["sections in another order"] if order != sorted(order) else [])


def test_every_docstring_has_google_s_sections():
    faults = {where: found for where, node, text in documented() if (found := faults_of(node, text))}
    assert faults == {}


def test_the_check_finds_what_is_wrong():
    def faults(text, arguments="one, two"):
        return faults_of(ast.parse(f"def function({arguments}): ...").body[0], inspect.cleandoc(text))

    assert faults("Do it.\n\nArgs:\n    one: a thing,\n        and more.\n\nRaises:\n    ValueError: it is none.") == []
    assert faults("Do it. Raises ValueError.") == ["raises in prose"]
    assert faults("Do it.\n\nRaises as `other`.") == ["raises in prose"]
    assert faults("Do it.\n\nArgs:\n    three: nothing.") == ["three is no parameter"]
    assert faults("Do it.\nRaises:\n    ValueError: it is none.") == ["no empty line before Raises"]
    assert faults("Do it.\n\nRaises:\n    when it is none.") == ["'when it is none.' in Raises"]
    assert faults("Do it.\n\nRaises:\n    OSError: no.\n\nArgs:\n    one: a.") == ["sections in another order"]
    assert faults("Do it.\n\nReturns:\n") == ["nothing in Returns"]
    assert faults("Do it.\n\nParameters:\n    one: a.") == ["Parameters is no section"]
