"""The modules of the application, as far as another module sees them."""

from __future__ import annotations

import types
from pathlib import Path

import slicer
from PySide6 import QtCore
from standin.pythonqt import CppLike


class ModuleParent:
    """Stands for the module in the module manager: what a module's constructor fills in, and its panel."""

    __slots__ = (
        "_panel",
        "acknowledgementText",
        "categories",
        "contributors",
        "dependencies",
        "helpText",
        "hidden",
        "icon",
        "name",
        "path",
        "title",
    )

    def __init__(self, path: Path) -> None:
        self._panel = None
        self.path = str(path)
        self.name = path.stem
        self.title = self.helpText = self.acknowledgementText = ""
        self.categories = self.dependencies = self.contributors = ()
        self.hidden = False

    def __setattr__(self, name, value):
        object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)

    def widgetRepresentation(self):
        """Return the module's panel, made when it is asked for first."""
        if self._panel is None:
            self._panel = slicer.qSlicerScriptedLoadableModuleWidget(Path(self.path))
            self._panel.reload()
        return self._panel


class ModuleManager(QtCore.QObject, CppLike):
    """The modules that are loaded."""

    moduleAboutToBeUnloaded = QtCore.Signal(str)
    signals = ("moduleAboutToBeUnloaded(QString)",)

    def __init__(self):
        super().__init__()
        self._modules = {}

    def add(self, parent):
        self._modules[parent.name] = parent

    def module(self, name):
        return self._modules.get(name)

    def unload(self, name):
        """Tell that a module goes, as Slicer does when it ends."""
        parent = self._modules.pop(name)
        self.moduleAboutToBeUnloaded.emit(name)
        if parent._panel is not None:
            parent._panel.hide()
            parent._panel.deleteLater()

    def close(self):
        for name in list(self._modules):
            self.unload(name)


class ModuleSelector:
    def __init__(self):
        self.selectedModule = ""

    def selectModule(self, name):
        self.selectedModule = name


class SegmentEditorModule:
    """Keeps what the Segment Editor was told to edit."""

    def __init__(self):
        self.editor = self
        self.edited = {}

    def widgetRepresentation(self):
        return types.SimpleNamespace(self=lambda: self)

    def setSegmentationNode(self, node):
        self.edited["segmentation"] = node

    def setSourceVolumeNode(self, node):
        self.edited["volume"] = node

    def setCurrentSegmentID(self, segment_id):
        self.edited["segment"] = segment_id
