import pytest
from console import Console


@pytest.fixture
def promptseg(monkeypatch, capsys):
    """The command line: `promptseg("info", path)` returns its outcome."""
    return Console(monkeypatch, capsys)
