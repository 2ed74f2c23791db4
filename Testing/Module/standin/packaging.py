"""`slicer.packaging` of Slicer 5.11 and later: Python packages are installed by pip in a process of its own."""

from __future__ import annotations

import shutil
import subprocess
from importlib import metadata

import qt
import slicer
from packaging.requirements import Requirement


def pip_check(requirement: str | Requirement) -> bool:
    """Tell whether a package is here in a version that will do."""
    requirement = Requirement(str(requirement))
    try:
        return requirement.specifier.contains(metadata.version(requirement.name), prereleases=True)
    except metadata.PackageNotFoundError:
        return False


def pip_install(requirements, constraints=None, requester=None, show_progress=True):
    """Install packages. Slicer 5.12.0 stops for ever when another thread than the main one asks: refused here."""
    if qt.QThread.currentThread() != slicer.app.thread():
        raise RuntimeError("pip_install is for the main thread")
    arguments = requirements.split() if isinstance(requirements, str) else list(requirements)
    if constraints is not None:
        arguments += ["-c", str(constraints)]
    subprocess.run([shutil.which("PythonSlicer"), "-m", "pip", "install", *arguments], check=True)


def pip_ensure(
    requirements,
    constraints=None,
    prompt_install=True,
    requester=None,
    skip_in_testing=True,
    show_progress=True,
):
    """Install what is missing; nothing while the application runs tests, unless that is wanted."""
    requirements = [requirements] if isinstance(requirements, (str, Requirement)) else requirements
    missing = [str(requirement) for requirement in requirements if not pip_check(requirement)]
    if not missing or (skip_in_testing and slicer.app.testingEnabled()):
        return
    if prompt_install and not slicer.util.confirmOkCancelDisplay("\n".join(missing), requester):
        raise RuntimeError("User declined package installation")
    pip_install(missing, constraints, requester, show_progress)
