import pytest
from tiny_voxtell import save_tiny_voxtell, use_tiny_voxtell


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_voxtell(tmp_path_factory.mktemp("model") / "voxtell")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    use_tiny_voxtell(monkeypatch)
