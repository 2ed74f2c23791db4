import os
import subprocess
import sys
from pathlib import Path

import PromptSegLib
from PromptSegLib.execution.process.handle import environment_with_package


def test_another_process_finds_the_package_wherever_it_starts_and_whatever_else_is_named(tmp_path, monkeypatch):
    # As from a checkout that nothing has installed: -S leaves out what is installed.
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    where = "import importlib.util; print(importlib.util.find_spec('PromptSegLib').origin)"
    command = [sys.executable, "-S", "-P", "-c", where]
    environment = environment_with_package({"ADDED": "1"})
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()) == Path(PromptSegLib.__file__)
    assert environment["ADDED"] == "1"
    assert environment["PYTHONPATH"].split(os.pathsep)[1:] == [str(tmp_path)]
