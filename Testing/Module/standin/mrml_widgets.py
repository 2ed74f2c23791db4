"""The qMRML widgets that PromptSeg uses, as far as it uses them, over the real MRML."""

from __future__ import annotations

import sys
import weakref

import shiboken6
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from standin.pythonqt import CppLike

_alive: weakref.WeakSet = weakref.WeakSet()
_Rows = QtWidgets.QAbstractItemView.SelectionBehavior.SelectRows


def _stored(kind, name, default):
    """Return a property that is a value and nothing more."""
    key = f"_{name}"
    return QtCore.Property(
        kind, lambda self: self.__dict__.get(key, default), lambda self, v: self.__dict__.__setitem__(key, v)
    )


def _with_node(method):
    """Make a method an observer of a scene that is told the node."""

    def observer(self, *arguments):
        return method(self, *arguments)

    observer.CallDataType = vtk.VTK_OBJECT
    return observer


def release_all() -> None:
    """Let no widget follow a scene any more: observers that outlive both are called while they are torn down."""
    for widget in list(_alive):
        for observed, tag in widget.__dict__["_observed"]:
            observed.RemoveObserver(tag)
        widget.__dict__["_observed"] = []


class qMRMLWidget(QtWidgets.QWidget, CppLike):
    """Hands its scene on to the widgets within."""

    mrmlSceneChanged = QtCore.Signal(object)
    signals = ("mrmlSceneChanged(vtkMRMLScene*)",)

    def setMRMLScene(self, scene):
        self._scene = scene
        for child in slicer.util.findChildren(self):
            if child is not self and hasattr(child, "setMRMLScene"):
                child.setMRMLScene(scene)
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self):
        return self.__dict__.get("_scene")


class qMRMLNodeComboBox(QtWidgets.QComboBox, CppLike):
    """The nodes of some classes in the scene, to choose one.

    As in Slicer, the rows are made anew once an import or a closing is over, and nothing is chosen then.
    """

    currentNodeChanged = QtCore.Signal(object)
    currentNodeIDChanged = QtCore.Signal(str)
    signals = ("currentNodeChanged(vtkMRMLNode*)", "currentNodeIDChanged(QString)")
    noneDisplay = _stored(str, "noneDisplay", "None")
    addEnabled = _stored(bool, "addEnabled", True)
    removeEnabled = _stored(bool, "removeEnabled", True)
    renameEnabled = _stored(bool, "renameEnabled", False)
    selectNodeUponCreation = _stored(bool, "selectNodeUponCreation", True)

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._scene = None
        self._observed = []
        _alive.add(self)
        self._node_types = ()
        self._has_none = False
        self._told = ""
        self.currentIndexChanged.connect(self._tell)

    nodeTypes = QtCore.Property("QStringList", lambda self: self._node_types, lambda self, v: self._set_types(v))
    noneEnabled = QtCore.Property(bool, lambda self: self._has_none, lambda self, value: self._set_none(value))

    def _set_types(self, names):
        self._node_types = tuple(names)
        self._fill(self.currentNodeID)

    def _set_none(self, value):
        self._has_none = value
        self._fill(self.currentNodeID)

    def setMRMLScene(self, scene):
        if scene is self._scene:
            return
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed, self._scene = [], scene
        if scene is not None:
            for event, react, priority in (
                (scene.NodeAddedEvent, self._node_added, 10.0),
                (scene.NodeAboutToBeRemovedEvent, self._node_removed, -10.0),
                (scene.EndImportEvent, lambda *_: self._remake(), 0.0),
                (scene.EndCloseEvent, lambda *_: self._remake(), 0.0),
            ):
                self._observed.append((scene, scene.AddObserver(event, react, priority)))
        self._fill(self.currentNodeID)

    def mrmlScene(self):
        return self._scene

    def currentNode(self):
        node_id = self.itemData(self.currentIndex)
        return self._scene.GetNodeByID(node_id) if self._scene and node_id else None

    def setCurrentNode(self, node):
        self.setCurrentNodeID(node.GetID() if node is not None else "")

    def setCurrentNodeID(self, node_id):
        row = self.findData(node_id) if node_id else -1
        self.setCurrentIndex(row if row >= 0 else 0 if self._has_none else -1)

    currentNodeID = QtCore.Property(
        str, lambda self: self.itemData(self.currentIndex) or "", lambda self, node_id: self.setCurrentNodeID(node_id)
    )

    def _is_offered(self, node):
        return not node.GetHideFromEditors() and any(node.IsA(kind) for kind in self._node_types)

    def _fill(self, node_id):
        """Make all rows, and choose the node that was chosen, without a word."""
        self.blockSignals(True)
        self.clear()
        if self._has_none:
            self.addItem(self.noneDisplay, "")
        for index in range(self._scene.GetNumberOfNodes() if self._scene else 0):
            self._add_row(self._scene.GetNthNode(index))
        self.setCurrentNodeID(node_id)
        self.blockSignals(False)
        self._told = self.currentNodeID

    def _add_row(self, node):
        if self._is_offered(node):
            self.addItem(node.GetName(), node.GetID())
            self._observed.append((node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._node_modified)))

    def _node_modified(self, node, event):
        if shiboken6.isValid(self) and self.findData(node.GetID()) >= 0:
            self.setItemText(self.findData(node.GetID()), node.GetName())

    def _remake(self):
        """Take all nodes out, which leaves none chosen, and put those that are there now in."""
        if shiboken6.isValid(self):
            while self.count > self._has_none:
                self.removeItem(self.count - 1)
            self.setCurrentIndex(0 if self._has_none else -1)
            for index in range(self._scene.GetNumberOfNodes()):
                self._add_row(self._scene.GetNthNode(index))

    @_with_node
    def _node_added(self, scene, event, node):
        if shiboken6.isValid(self) and not scene.IsImporting():
            self._add_row(node)

    @_with_node
    def _node_removed(self, scene, event, node):
        if shiboken6.isValid(self) and not scene.IsClosing() and self.findData(node.GetID()) >= 0:
            self.removeItem(self.findData(node.GetID()))  # Qt chooses the row before it

    def _tell(self):
        if self.currentNodeID != self._told:
            self._told = self.currentNodeID
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(self._told)


class qMRMLSegmentsTableView(qMRMLWidget):  # Slicer's name
    """The segments of a segmentation: colour and name, to choose one."""

    selectionChanged = QtCore.Signal(QtCore.QItemSelection, QtCore.QItemSelection)
    signals = ("selectionChanged(QItemSelection,QItemSelection)",)
    headerVisible = _stored(bool, "headerVisible", True)
    visibilityColumnVisible = _stored(bool, "visibilityColumnVisible", True)
    opacityColumnVisible = _stored(bool, "opacityColumnVisible", True)
    statusColumnVisible = _stored(bool, "statusColumnVisible", True)
    filterBarVisible = _stored(bool, "filterBarVisible", False)
    selectionMode = _stored(int, "selectionMode", 3)

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._node = None
        self._observed = []
        _alive.add(self)
        self._ids = []
        self._table = QtWidgets.QTableWidget(0, 2, self)
        self._table.setHorizontalHeaderLabels(["Color", "Name"])
        self._table.setSelectionBehavior(_Rows)
        self._table.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode.SingleSelection)
        self._table.horizontalHeader().setStretchLastSection(True)
        self._table.verticalHeader().hide()
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._table)
        self._table.itemSelectionChanged.connect(self._tell)
        self._table.itemChanged.connect(self._renamed)

    def _tell(self):
        self.selectionChanged.emit(QtCore.QItemSelection(), QtCore.QItemSelection())

    def setSegmentationNode(self, node):
        if node is self._node:
            return
        for segmentation, tag in self._observed:
            segmentation.RemoveObserver(tag)
        self._observed = []
        self._node = node
        if node is not None:
            segmentation = node.GetSegmentation()
            for event in (segmentation.SegmentAdded, segmentation.SegmentRemoved, segmentation.SegmentModified):
                self._observed.append((segmentation, segmentation.AddObserver(event, lambda *_: self._refresh())))
        self._refresh()

    def segmentationNode(self):
        return self._node

    def setSelectionMode(self, mode):
        self._table.setSelectionMode(mode)

    def tableWidget(self):
        return self._table

    def selectedSegmentIDs(self):
        return tuple(self._ids[index.row()] for index in self._table.selectionModel().selectedRows())

    def setSelectedSegmentIDs(self, segment_ids):
        if tuple(segment_ids) != self.selectedSegmentIDs():
            self._table.clearSelection()
            for segment_id in segment_ids:
                self._table.selectRow(self._ids.index(segment_id))

    def _refresh(self):
        if not shiboken6.isValid(self):
            return
        selected = self.selectedSegmentIDs()
        self._table.blockSignals(True)
        self._ids = list(self._node.GetSegmentation().GetSegmentIDs()) if self._node else []
        self._table.setRowCount(len(self._ids))
        for row, segment_id in enumerate(self._ids):
            segment = self._node.GetSegmentation().GetSegment(segment_id)
            colour = QtWidgets.QTableWidgetItem("")
            colour.setBackground(QtGui.QColor.fromRgbF(*segment.GetColor()))
            self._table.setItem(row, 0, colour)
            self._table.setItem(row, 1, QtWidgets.QTableWidgetItem(segment.GetName()))
        self._table.blockSignals(False)
        self.setSelectedSegmentIDs([segment_id for segment_id in selected if segment_id in self._ids])

    def _renamed(self, item):
        if item.column() == 1:
            self._node.GetSegmentation().GetSegment(self._ids[item.row()]).SetName(item.text())


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The panel of a scripted module: it makes the Python object that fills it, and tells it of coming and going."""

    def __init__(self, path):
        super().__init__()
        self._path = path
        self._is_entered = False
        self._self = None
        self.setLayout(QtWidgets.QVBoxLayout())
        self.setMRMLScene(slicer.mrmlScene)

    isEntered = QtCore.Property(bool, lambda self: self._is_entered)

    def self(self):
        return self._self

    def reload(self):
        """Make the Python object from the module as it is imported now, and let it fill the panel."""
        name = f"{self._path.stem}Widget"
        self._self = getattr(sys.modules[self._path.stem], name)(self)
        setattr(slicer.modules, name, self._self)
        self._self.setup()

    def enter(self):
        self._is_entered = True
        self._self.enter()

    def exit(self):
        self._is_entered = False
        self._self.exit()


WIDGETS = (qMRMLWidget, qMRMLNodeComboBox, qMRMLSegmentsTableView, qSlicerScriptedLoadableModuleWidget)

NAMES_ONLY = ("qMRMLRangeWidget", "qMRMLSliderWidget", "qMRMLSpinBox", "qSlicerWidget")
"""Classes that Slicer's own Python files look up, and PromptSeg has no widget of."""
