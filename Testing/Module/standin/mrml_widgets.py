"""The qMRML widgets that PromptSeg uses, as far as it uses them, over the real MRML."""

from __future__ import annotations

import weakref

import shiboken6
import slicer
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


def release_all() -> None:
    """Let no widget follow a scene any more: observers that outlive both are called while they are torn down."""
    for widget in list(_alive):
        for observed, tag in widget.__dict__["_observed"]:
            observed.RemoveObserver(tag)
        widget.__dict__["_observed"] = []


class qMRMLWidget(QtWidgets.QWidget, CppLike):
    """Hands its scene on to the widgets within."""

    mrmlSceneChanged = QtCore.Signal(object)

    def setMRMLScene(self, scene):
        self._scene = scene
        for child in slicer.util.findChildren(self):
            if child is not self and hasattr(child, "setMRMLScene"):
                child.setMRMLScene(scene)
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self):
        return self.__dict__.get("_scene")


class qMRMLNodeComboBox(QtWidgets.QComboBox, CppLike):
    """The nodes of some classes in the scene, to choose one."""

    currentNodeChanged = QtCore.Signal(object)
    currentNodeIDChanged = QtCore.Signal(str)
    nodeTypes = _stored("QStringList", "nodeTypes", [])
    noneEnabled = _stored(bool, "noneEnabled", False)
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
        self._ids = []
        self._current_id = ""
        self.activated.connect(self._activated)

    def setMRMLScene(self, scene):
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []
        self._scene = scene
        if scene is not None:
            for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent):
                self._observed.append((scene, scene.AddObserver(event, lambda *_: self._refresh())))
        self._refresh()

    def mrmlScene(self):
        return self._scene

    def currentNode(self):
        return self._scene.GetNodeByID(self._current_id) if self._scene and self._current_id else None

    def setCurrentNode(self, node):
        self._choose(node.GetID() if node is not None else "")

    def setCurrentNodeID(self, node_id):
        self._choose(node_id)

    currentNodeID = QtCore.Property(str, lambda self: self._current_id, lambda self, node_id: self._choose(node_id))

    def _nodes(self):
        found = []
        for index in range(self._scene.GetNumberOfNodes() if self._scene else 0):
            node = self._scene.GetNthNode(index)
            if not node.GetHideFromEditors() and any(node.IsA(kind) for kind in self.nodeTypes or []):
                found.append(node)
        return found

    def _refresh(self):
        if not shiboken6.isValid(self) or (self._scene is not None and self._scene.IsBatchProcessing()):
            return
        nodes = self._nodes()
        self._ids = ([""] if self.noneEnabled else []) + [node.GetID() for node in nodes]
        self.blockSignals(True)
        self.clear()
        self.addItems(([self.noneDisplay] if self.noneEnabled else []) + [node.GetName() for node in nodes])
        self.blockSignals(False)
        self._choose(self._current_id if self._current_id in self._ids else (self._ids or [""])[0])

    def _choose(self, node_id):
        node_id = node_id or ""
        if node_id and node_id not in self._ids:
            self._ids.append(node_id)
            self.addItem(self._scene.GetNodeByID(node_id).GetName())
        changed, self._current_id = node_id != self._current_id, node_id
        self.blockSignals(True)
        self.setCurrentIndex(self._ids.index(node_id) if node_id in self._ids else -1)
        self.blockSignals(False)
        if changed:
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(node_id)

    def _activated(self, index):
        self._choose(self._ids[index])


class qMRMLSegmentsTableView(qMRMLWidget):  # Slicer's name
    """The segments of a segmentation: colour and name, to choose one."""

    selectionChanged = QtCore.Signal(QtCore.QItemSelection, QtCore.QItemSelection)
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
        return [self._ids[index.row()] for index in self._table.selectionModel().selectedRows()]

    def setSelectedSegmentIDs(self, segment_ids):
        if list(segment_ids) != self.selectedSegmentIDs():
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


WIDGETS = (qMRMLWidget, qMRMLNodeComboBox, qMRMLSegmentsTableView)
