"""Python packages that are installed beside those of the application, and never in their place."""

from __future__ import annotations

from importlib.metadata import distributions
from os import PathLike
from pathlib import Path


def write_constraints(folder: str | PathLike[str]) -> Path:
    """Write a file for pip's --constraint that keeps every package that is here at its version; return its path."""
    versions = {found.name: found.version for found in distributions() if found.name and found.version}
    path = Path(folder) / "promptseg-constraints.txt"
    lines = [f"{name}=={version}\n" for name, version in sorted(versions.items())]
    path.write_text("".join(lines), encoding="utf-8")
    return path
