"""The panel in a stand-in of the application, with real MRML; what goes wrong behind the scenes fails the test."""

import sys

import pytest
from standin import pythonqt
from standin.application import Application


@pytest.fixture
def behind_the_scenes(monkeypatch):
    """Errors in slots and VTK observers, which print and go no further, and connections that were refused."""
    errors = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: errors.append(error))
    pythonqt.failed_connections.clear()
    yield errors
    assert errors == []
    assert pythonqt.failed_connections == []


@pytest.fixture
def slicer_app(behind_the_scenes):
    with Application() as application:
        yield application
