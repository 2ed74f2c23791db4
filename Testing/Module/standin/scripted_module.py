"""The four base classes of a scripted module, as Slicer's developer guide describes them."""

from __future__ import annotations

import unittest
from pathlib import Path

import slicer
from PySide6 import QtWidgets


class ModuleParent:
    """Stands for the module in the module manager: what a module's constructor fills in."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.name = path.stem
        self.title = ""
        self.categories: list[str] = []
        self.dependencies: list[str] = []
        self.contributors: list[str] = []
        self.helpText = ""
        self.acknowledgementText = ""
        self.hidden = False


class ScriptedLoadableModule:
    def __init__(self, parent):
        self.parent = parent
        self.moduleName = type(self).__name__

    def getDefaultModuleDocumentationLink(self):
        return ""


class ScriptedLoadableModuleWidget:
    """parent: the panel's own widget; a new one when None, as when tests make a module's widget."""

    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.logic = None
        if parent is None:
            parent = slicer.qMRMLWidget()
            parent.setLayout(QtWidgets.QVBoxLayout())
            parent.setMRMLScene(slicer.mrmlScene)
        self.parent = parent
        self.layout = parent.layout()

    def setup(self):
        """Make the panel."""

    def cleanup(self):
        """Let go of everything before the panel goes."""

    def onReload(self):
        """Run the module's file anew and make its panel again; not done here."""

    def resourcePath(self, name):
        folder = Path(getattr(slicer.modules, self.moduleName.lower()).path).parent
        return str(folder / "Resources" / name)


class ScriptedLoadableModuleLogic:
    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self):
        """Return the node that keeps the module's parameters; it is saved with the scene."""
        scene = slicer.mrmlScene
        node = scene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = scene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(self.moduleName)
            node.SetModuleName(self.moduleName)
            node.SetName(self.moduleName)
            node = scene.AddNode(node)
        return node

    def resourcePath(self, name):
        folder = Path(getattr(slicer.modules, self.moduleName.lower()).path).parent
        return str(folder / "Resources" / name)


class ScriptedLoadableModuleTest(unittest.TestCase):
    def delayDisplay(self, message, msec=None):
        slicer.app.processEvents()
