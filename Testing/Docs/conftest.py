import pytest
from page_models import put_in_place


@pytest.fixture
def in_an_empty_folder(tmp_path, monkeypatch):
    """The folder that examples run in, with no weights but those that ship."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def stand_in_models(monkeypatch):
    put_in_place(monkeypatch)
