"""The panel in a stand-in of the application, with real MRML; what goes wrong behind the scenes fails the test."""

import sys

import numpy as np
import pytest
from scenes import add_volume
from shape_model import ShapePredictor
from standin import pythonqt
from standin.application import Application
from user import User

from PromptSegLib.mrml.headless.slice_view import SliceView
from PromptSegLib.predictors import registry


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


@pytest.fixture
def model(monkeypatch):
    """The default model: its answers are known to the voxel, at once unless its gate is closed."""
    shapes = "shape_model:ShapePredictor"
    names = {"default": shapes, "shapes": shapes, "points": "shape_model:PointsOnly"}
    monkeypatch.setattr(registry, "BUILT_IN", names)
    monkeypatch.setattr(ShapePredictor, "error", None)
    ShapePredictor.gate.set()
    ShapePredictor.started.clear()
    yield ShapePredictor
    ShapePredictor.gate.set()


@pytest.fixture
def views(slicer_app):
    """The three slice views of Slicer's layout, by name."""
    orientations = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}
    made = {
        name: SliceView(slicer_app.host, orientation, (300, 300), name) for name, orientation in orientations.items()
    }
    slicer_app.layoutManager().set_views(made)
    return made


@pytest.fixture
def scene(slicer_app):
    return slicer_app.host.scene


@pytest.fixture
def user(model, slicer_app, views):
    """Somebody at the screen, with the panel open."""
    return User(slicer_app, views)


@pytest.fixture
def image(user, scene):
    """A volume of (20, 30, 40) voxels of 1 mm, shown in all views and chosen in the panel."""
    array = np.random.default_rng(1).integers(0, 200, (20, 30, 40)).astype(np.int16)
    node = add_volume(scene, array)
    user.show(node)
    return node
