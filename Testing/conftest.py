"""Settings of all tests: the same examples on every run, however slow the machine; and tests without torch."""

import sys
from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, settings
from without_torch import FileWithoutTorch

settings.register_profile("promptseg", derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("promptseg")

if sys.platform != "linux":

    @pytest.fixture(autouse=True)
    def a_home_of_its_own(monkeypatch, tmp_path_factory):
        """XDG_CACHE_HOME, which tests set, says where caches are on Linux only."""
        home = str(tmp_path_factory.mktemp("home"))
        for name in ("HOME", "USERPROFILE", "LOCALAPPDATA"):
            monkeypatch.setenv(name, home)


def pytest_addoption(parser):
    parser.addoption("--without-torch", action="store_true", help="skip the files that need torch, which is missing")


def pytest_configure(config):
    """Refuse what would skip more or less than is meant."""
    asked, found = config.getoption("without_torch"), find_spec("torch") is not None
    if asked and found:
        raise pytest.UsageError("--without-torch: expected an environment without torch, found torch")
    if not asked and not found:
        raise pytest.UsageError("torch is missing: pip install '.[test]', or skip what needs it: --without-torch")


def pytest_pycollect_makemodule(module_path, parent):
    if parent.config.getoption("without_torch"):
        return FileWithoutTorch.from_parent(parent, path=module_path)
    return None
