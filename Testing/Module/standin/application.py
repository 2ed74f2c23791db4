"""What a scripted module of 3D Slicer finds around it, without the application: PySide6 that behaves as PythonQt.

`Application` puts it all in place, for one scene at a time: `qt`, `ctk`, the qMRML widgets, `slicer.app`,
`slicer.modules`, `slicer.mrmlScene`, `slicer.ScriptedLoadableModule`, `slicer.parameterNodeWrapper`,
`slicer.packaging` and `slicer.i18n`. MRML is the real one, and so are Slicer's Python files where SLICER_SOURCE names
a checkout of Slicer, see slicer_files.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import slicer
import slicer.util
from PySide6 import QtCore, QtUiTools, QtWidgets
from standin import ctk_widgets, mrml_widgets, pythonqt, slicer_files
from standin.modules import ModuleManager, ModuleParent, ModuleSelector, SegmentEditorModule

from PromptSegLib.mrml.boot import StandaloneScene, start_scene

qt = pythonqt.make_qt()
for _widget in (*ctk_widgets.WIDGETS, *mrml_widgets.WIDGETS):
    if not _widget.__dict__.get("_properties_made"):
        pythonqt._make_properties(_widget)


class Application(QtCore.QObject):
    """A running Slicer, as far as a module can tell; use it in a `with` statement.

    views: slice views by name, as PromptSegLib.mrml.headless.slice_view makes them.
    """

    startupCompleted = QtCore.Signal()
    applicationName = "Slicer"

    def __init__(self) -> None:
        self._qt_app = QtWidgets.QApplication.instance() or QtWidgets.QApplication([])
        super().__init__()
        self._host = start_scene()
        self._layout_manager = LayoutManager()
        self._main_window = MainWindow()
        self._module_manager = ModuleManager()
        self._modules = _reloaded_modules()
        self.is_testing = True
        self._install()

    @property
    def host(self) -> StandaloneScene:
        return self._host

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._module_manager.close()
        mrml_widgets.release_all()
        self._layout_manager.close()
        self._main_window.close()
        self._main_window.deleteLater()
        self._qt_app.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
        self._host.close()
        self._settings_folder.cleanup()
        if sys.modules.get("PromptSegLib") is not self._modules["PromptSegLib"]:  # after a Reload
            for name in _reloaded_modules():
                del sys.modules[name]
            sys.modules.update(self._modules)
        for name in ("app", "mrmlScene", "modules"):
            delattr(slicer, name)

    def _install(self) -> None:
        ctk = types.ModuleType("ctk")
        for place, source in ((ctk, ctk_widgets), (slicer, mrml_widgets)):
            for cls in source.WIDGETS:
                setattr(place, cls.__name__, cls)
            for name in source.NAMES_ONLY:
                setattr(place, name, type(name, (), {}))
        qt.QUiLoader = _UiLoader
        qt.QFileDialog = FileDialog
        FileDialog.answers.clear()
        slicer.qSlicerDICOMExportDialog = DicomExportDialog
        DicomExportDialog.opened.clear()
        self._settings_folder = TemporaryDirectory(prefix="promptseg-")
        QtCore.QCoreApplication.setOrganizationName("PromptSeg tests")
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
        QtCore.QSettings.setPath(
            QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, self._settings_folder.name
        )
        sys.modules |= {"qt": qt, "ctk": ctk}
        slicer.app = self
        slicer.mrmlScene = self._host.scene
        slicer.modules = types.SimpleNamespace(
            **{
                name.lower(): types.SimpleNamespace(name=name, logic=lambda logic=logic: logic)
                for name, logic in self._host.logics.items()
            }
        )
        slicer.modules.segmenteditor = SegmentEditorModule()
        _install_packages()

    # What slicer.app has

    @property
    def temporaryPath(self):
        return self._settings_folder.name

    def layoutManager(self):
        return self._layout_manager

    def processEvents(self):
        self._qt_app.processEvents()

    def setOverrideCursor(self, cursor):
        self._qt_app.setOverrideCursor(cursor)

    def restoreOverrideCursor(self):
        self._qt_app.restoreOverrideCursor()

    def testingEnabled(self):
        return self.is_testing

    def translate(self, context, text):
        return text

    def moduleManager(self):
        return self._module_manager

    def clipboard(self):
        return self._qt_app.clipboard()

    def topLevelWidgets(self):
        return [self._main_window]

    def applicationLogic(self):
        return self._host.application_logic

    # For tests

    def load_module(self, path: Path):
        """Import a scripted module from its file, as Slicer does at start-up; return its Python module."""
        sys.modules.pop(path.stem, None)
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
        parent = ModuleParent(path)
        setattr(slicer.modules, path.stem.lower(), parent)
        self._module_manager.add(parent)
        getattr(module, path.stem)(parent)
        return module

    def open_module(self, path: Path):
        """Load a module, make its panel in the main window, and show it. Returns its widget class's object."""
        self.load_module(path)
        panel = getattr(slicer.modules, path.stem.lower()).widgetRepresentation()
        self._main_window.show_panel(panel)
        panel.enter()
        return panel.self()


class _UiLoader(QtUiTools.QUiLoader):
    """Knows the widgets that PySide6 does not."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        for cls in (*ctk_widgets.WIDGETS, *mrml_widgets.WIDGETS):
            self.registerCustomWidget(cls)

    def load(self, file):
        """Load without the connections: those of scenes are made in Python here, see qMRMLWidget."""
        text = re.sub(rb"<connections>.*</connections>", b"", bytes(file.readAll()), flags=re.DOTALL)
        buffer = QtCore.QBuffer()
        buffer.setData(text)
        return super().load(buffer)


PANEL_WIDTH_PX = 400
"""How wide a module's panel is in Slicer, as it opens."""


class MainWindow(QtWidgets.QMainWindow):
    """Found by `slicer.util.mainWindow`, which looks for its class's name."""

    def __init__(self):
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self._selector = ModuleSelector()
        self._scroll_area = QtWidgets.QScrollArea()
        self._scroll_area.setWidgetResizable(True)
        self._scroll_area.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
        self._scroll_area.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setCentralWidget(self._scroll_area)

    def show_panel(self, panel):
        """Show a module's panel, as narrow as Slicer does."""
        self._scroll_area.setWidget(panel)
        self.resize(PANEL_WIDTH_PX, 900)
        self.show()
        self.activateWindow()

    def moduleSelector(self):
        return self._selector


class LayoutManager(QtCore.QObject):
    """The slice views of the layout."""

    layoutChanged = QtCore.Signal(int)

    def __init__(self):
        super().__init__()
        self._views = {}

    def set_views(self, views: Mapping[str, object]) -> None:
        """Lay out these views, by name; the ones before are closed."""
        self.close()
        self._views = dict(views)
        self.layoutChanged.emit(0)

    def close(self) -> None:
        for view in self._views.values():
            view.close()
        self._views = {}

    def sliceViewNames(self):
        return tuple(self._views)

    def sliceWidget(self, name):
        return SliceWidget(self._views[name])


class SliceWidget:
    def __init__(self, view):
        self._view = view

    def mrmlSliceNode(self):
        return self._view.node

    def sliceView(self):
        return self

    def interactor(self):
        return self._view.interactor

    def scheduleRender(self):
        self._view.render()


class FileDialog:
    """Answers at once with the next of `answers`, "" when there is none."""

    answers: ClassVar[list[str]] = []

    @classmethod
    def getOpenFileName(cls, *arguments):
        return cls.answers.pop(0) if cls.answers else ""

    getSaveFileName = getExistingDirectory = getOpenFileName


class DicomExportDialog:
    """Keeps the subject hierarchy items that it was opened at."""

    opened: ClassVar[list[int]] = []

    def __init__(self, parent=None):
        self._scene = None

    def setMRMLScene(self, scene):
        self._scene = scene

    def execDialog(self, item=0):
        assert self._scene is not None
        self.opened.append(item)


def _reloaded_modules() -> dict[str, types.ModuleType]:
    """Return what the module's Reload imports anew, by name, and what tests made of it."""
    packages = ("PromptSegLib", "PromptSegWidgets", "fakes", "shape_model")
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in packages}


def _install_packages() -> None:
    """Put what a module imports from `slicer` in place."""
    if slicer_files.SOURCE:
        modules = slicer_files.load()
    else:
        from standin import packaging, parameter_node, scripted_module

        i18n = types.ModuleType("slicer.i18n")
        i18n.tr = lambda text: text
        i18n.translate = lambda context, text: text
        modules = {
            "slicer.ScriptedLoadableModule": scripted_module,
            "slicer.parameterNodeWrapper": parameter_node,
            "slicer.packaging": packaging,
            "slicer.i18n": i18n,
        }
    sys.modules |= modules
    for name, module in modules.items():
        setattr(slicer, name.rpartition(".")[2], module)
