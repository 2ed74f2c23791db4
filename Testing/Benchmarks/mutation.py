"""How many small faults the tests find: `python Testing/Benchmarks/mutation.py --count 300 --seed 1 --json OUT.json`.

Faults are those of cosmic-ray's operators (pip install cosmic-ray), one each, in a copy of the sources: a line is
drawn at random, then what is done to it. Only the tests that concern the file are run, to the first that fails.
Places in annotations are left out: nothing evaluates them. OUT.json is gone on with where it is there.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy  # noqa: F401  (this and scipy: the tests start with them there)
import pytest
import scipy.ndimage  # noqa: F401
from cosmic_ray.ast import get_ast, read_python_source
from cosmic_ray.operators.provider import OperatorProvider

ROOT = Path(__file__).parents[2]
# What is mutated, and the tests that concern it.
CONCERNED = {
    "PromptSegLib/session/*.py": ["Testing/Lib/session"],
    "PromptSegLib/geometry.py": ["Testing/Lib/test_geometry.py", "Testing/Lib/imaging/test_aligned_sampling.py"],
    "PromptSegLib/bitmask.py": ["Testing/Lib/test_bitmask.py"],
    "PromptSegLib/mrml/segment*.py": ["Testing/MRML/test_segments.py", "Testing/MRML/test_session_care.py"],
}
OPERATORS = OperatorProvider()
NAMES = [name for name in OPERATORS if name not in ("NoOp", "VariableReplacer", "VariableInserter")]


class Fault(NamedTuple):
    """file: from the root. operator, number: which of its places there. line: counted from 1."""

    file: str
    operator: str
    number: int
    line: int


class _Places:
    """Finds the places of an operator, or changes one of them."""

    def __init__(self, name: str, wanted: int | None = None) -> None:
        self.operator, self.wanted, self.found = OPERATORS[name](), wanted, []

    def visit(self, node):
        if _is_annotation(node):
            return node
        for index, position in enumerate(self.operator.mutation_positions(node)):
            self.found.append(position)
            if self.wanted == len(self.found) - 1:
                return self.operator.mutate(node, index)
        if hasattr(node, "children"):
            node.children[:] = [self.visit(child) for child in node.children]
        return node


def _is_annotation(node) -> bool:
    parent = node.parent
    if parent is None or parent.type not in ("tfpdef", "annassign", "funcdef"):
        return False
    before = parent.children[parent.children.index(node) - 1]
    return before in (":", "->") and node.type != "suite"


def faults_in(file: str) -> Iterator[Fault]:
    source = get_ast(read_python_source(ROOT / file))
    for name in NAMES:
        places = _Places(name)
        places.visit(source)
        for number, (start, _) in enumerate(places.found):
            yield Fault(file, name, number, start[0])


def drawn(count: int, seed: int) -> list[Fault]:
    """Return faults, each at a place of its own as far as there are enough."""
    by_place: dict[tuple[str, int], list[Fault]] = {}
    for pattern in CONCERNED:
        for path in sorted(ROOT.glob(pattern)):
            for fault in faults_in(path.relative_to(ROOT).as_posix()):
                by_place.setdefault((fault.file, fault.line), []).append(fault)
    chance = random.Random(seed)
    places = chance.sample(sorted(by_place), min(count, len(by_place)))
    return [chance.choice(by_place[place]) for place in places]


def outcome(fault: Fault, folder: Path, timeout_s: int) -> str:
    """Return what the tests say of a fault in the copy in `folder`: "found" or "survived"."""
    path = folder / fault.file
    before = path.read_text(encoding="utf-8")
    tree = _Places(fault.operator, fault.number).visit(get_ast(read_python_source(path)))
    try:
        path.write_text(tree.get_code(), encoding="utf-8")
        return "survived" if _passes(_tests_of(fault.file), folder, timeout_s) else "found"
    finally:
        path.write_text(before, encoding="utf-8")


def _tests_of(file: str) -> list[str]:
    return next(tests for pattern, tests in CONCERNED.items() if Path(file).match(pattern))


def _passes(tests: list[str], folder: Path, timeout_s: int) -> bool:
    """Tell whether tests pass, in a process of their own that need not import anew what all of them use."""
    process = os.fork()
    if not process:
        signal.alarm(timeout_s)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        sys.dont_write_bytecode = True
        os._exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]))
    return os.waitpid(process, 0)[1] == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="OUT.json")
    parser.add_argument("--timeout", type=int, default=600, metavar="SECONDS")
    arguments = parser.parse_args()
    known = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in ("PromptSegLib", "PromptSeg", "Testing", "Resources", "pyproject.toml"):
            copy = shutil.copytree if (ROOT / each).is_dir() else shutil.copy
            copy(ROOT / each, folder / each)
        for tests in CONCERNED.values():
            if not _passes(tests, folder, arguments.timeout):
                parser.error(f"expected {', '.join(tests)} to pass without a fault")
        for number, fault in enumerate(drawn(arguments.count, arguments.seed), start=1):
            key = f"{fault.file}:{fault.line} {fault.operator} {fault.number}"
            if key not in known:
                known[key] = outcome(fault, folder, arguments.timeout)
                if arguments.json:
                    arguments.json.write_text(json.dumps(known, indent=1))
            found = sum(value == "found" for value in known.values())
            print(f"{number}: {known[key]} {key}; found {found} of {len(known)}", flush=True)


if __name__ == "__main__":
    main()
