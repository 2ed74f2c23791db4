"""Slicer's own Python files, from the checkout that SLICER_SOURCE names, in place of what stands in for them."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

SOURCE = os.environ.get("SLICER_SOURCE", "")
"""A checkout of Slicer's repository; empty when Slicer's own files are not wanted."""

_FOLDER = Path(SOURCE, "Base", "Python", "slicer")
_FILES = ("util.py", "i18n.py", "packaging.py", "parameterNodeWrapper/__init__.py", "ScriptedLoadableModule.py")
_SINCE_5_11 = "packaging.py"


def paths() -> list[Path]:
    """Return Slicer's files that a module is used with, in the order in which they import one another."""
    found = [_FOLDER / name for name in _FILES if name != _SINCE_5_11 or (_FOLDER / name).exists()]
    for path in found:
        if not path.is_file():
            raise FileNotFoundError(f"SLICER_SOURCE is to name a checkout of Slicer, with {path}; got {SOURCE!r}")
    return found


@functools.cache
def load() -> dict[str, ModuleType]:
    """Import Slicer's own files, once; `qt` and `ctk` are there. Return the modules by their names."""
    return {name: _import(name, path) for path in paths() for name in [_name(path)]}


def _name(path: Path) -> str:
    return f"slicer.{path.parent.name if path.stem == '__init__' else path.stem}"


def _import(name: str, path: Path) -> ModuleType:
    import slicer

    for old in [old for old in sys.modules if old == name or old.startswith(f"{name}.")]:
        del sys.modules[old]
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    setattr(slicer, name.rpartition(".")[2], module)
    spec.loader.exec_module(module)
    return module
