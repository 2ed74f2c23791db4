"""Nothing that the application has is replaced when a package is installed."""

import subprocess
import sys
from importlib.metadata import version

from PromptSegLib.packages import write_constraints


def test_every_package_that_is_here_is_kept_at_its_version(tmp_path):
    path = write_constraints(tmp_path)
    lines = path.read_text().splitlines()
    assert f"numpy=={version('numpy')}" in lines
    assert f"pip=={version('pip')}" in lines


def test_pip_takes_the_file_and_refuses_another_version(tmp_path):
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--no-deps", "numpy==1.0"]
    done = subprocess.run([*command, "--constraint", write_constraints(tmp_path)], capture_output=True, text=True)
    assert done.returncode != 0
    assert "constraint" in done.stdout + done.stderr
