"""Python packages: which are here, and what is installed beside those of the application, never in their place."""

from __future__ import annotations

from importlib.metadata import distributions
from importlib.util import find_spec
from os import PathLike
from pathlib import Path


def is_installed(name: str) -> bool:
    """Tell whether a package is here; not what a broken uninstallation left of its folder, which can be imported, too.

    Does not load it; whether it works shows when it is used.
    """
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:  # not even what it would be a part of
        return False
    except ValueError:  # loaded by something that says nothing of where it came from
        return True
    return spec is not None and spec.origin is not None


def write_constraints(folder: str | PathLike[str]) -> Path:
    """Write a file for pip's --constraint that keeps every package that is here at its version; return its path."""
    versions = {found.name: found.version for found in distributions() if found.name and found.version}
    path = Path(folder) / "promptseg-constraints.txt"
    lines = [f"{name}=={version}\n" for name, version in sorted(versions.items())]
    path.write_text("".join(lines), encoding="utf-8")
    return path
