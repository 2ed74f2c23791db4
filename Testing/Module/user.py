"""Somebody at the screen: clicks buttons, clicks and drags in slice views, looks at what comes of it."""

from __future__ import annotations

import importlib
import itertools
import sys
import time
from pathlib import Path

import numpy as np
import slicer
from scenes import ijk_to_ras_of

from PromptSegLib.geometry import apply_affine
from PromptSegLib.mrml.transforms import node_to_world
from PromptSegLib.predictors import registry

MODULE = Path(__file__).parents[2] / "PromptSeg" / "PromptSeg.py"


class User:
    def __init__(self, app, views):
        self.app = app
        self.views = views
        self.widget = app.open_module(MODULE)
        self.look()

    @property
    def ui(self):
        return self.widget.ui

    @property
    def session(self):
        return self.widget.logic.session

    def look(self):
        """Wait until nothing moves any more."""
        for _ in range(3):
            self.app.processEvents()

    def wait(self, timeout_s=5.0):
        """Wait until the prediction is done."""
        deadline = time.monotonic() + timeout_s
        self.look()
        while self.widget.logic.isBusy:
            assert time.monotonic() < deadline, "the prediction does not end"
            self.app.processEvents()
            time.sleep(0.001)
        self.look()

    def show(self, volume_node):
        """Show a volume in all views and choose it in the panel."""
        for view in self.views.values():
            view.show(volume_node)
        self.ui.volumeSelector.setCurrentNode(volume_node)
        self.look()

    def reload(self):
        """Press *Reload*, as developers do; the models that can be chosen stay those of the test."""
        reload = slicer.util.reloadScriptedModule
        slicer.util.reloadScriptedModule = reloading_with_models_of_the_test(reload)
        try:
            self.widget.onReload()
        finally:
            slicer.util.reloadScriptedModule = reload
        self.widget = slicer.modules.PromptSegWidget
        self.look()

    def press(self, name):
        """Click a button of the panel, which has to be enabled."""
        self.look()
        button = getattr(self.ui, f"{name}Button")
        assert button.enabled, f"{name} is disabled: {button.toolTip}"
        button.click()
        self.look()

    def is_enabled(self, name):
        self.look()
        return getattr(self.ui, f"{name}Button").enabled

    def go_to(self, point_ijk, view="Red"):
        """Move the slice of a view to a voxel; return the pixel that it is at."""
        point_world = self.world(point_ijk)
        self.views[view].jump_to(point_world)
        self.views[view].render()
        return self.views[view].ras_to_xy(point_world)

    def world(self, point_ijk):
        volume_node = self.ui.volumeSelector.currentNode()
        return node_to_world([apply_affine(ijk_to_ras_of(volume_node), point_ijk)], volume_node)[0]

    def click(self, point_ijk, view="Red", timeout_s=5.0):
        """Click at a voxel and wait for the answer."""
        self.views[view].click(self.go_to(point_ijk, view))
        self.wait(timeout_s)

    def drag(self, points_ijk, view="Red"):
        """Drag through voxels of one slice and wait for the answer."""
        pixels = [self.go_to(points_ijk[0], view)] + [self.views[view].ras_to_xy(self.world(p)) for p in points_ijk[1:]]
        self.views[view].press(pixels[0])
        for start, end in itertools.pairwise(pixels):
            for xy in np.linspace(start, end, 4)[1:]:
                self.views[view].move(xy)
        self.views[view].release(pixels[-1])
        self.wait()

    def tool(self, name):
        """Take a tool in hand."""
        if not getattr(self.ui, f"{name}Button").checked:
            self.press(name)

    @property
    def status(self):
        return self.ui.statusLabel.text

    @property
    def size(self):
        """How many voxels the selected segment has."""
        return int(self.session.mask_kji.sum())


def reloading_with_models_of_the_test(reload):
    """Return what does as `reload`, with the models that can be chosen now."""
    names = registry.BUILT_IN

    def reload_for_test(name):
        anew = importlib.import_module(registry.__name__)
        anew.BUILT_IN = names
        for module in ("shape_model", "fakes"):
            sys.modules.pop(module, None)
        importlib.import_module("shape_model").ShapePredictor.gate.set()
        return reload(name)

    return reload_for_test
