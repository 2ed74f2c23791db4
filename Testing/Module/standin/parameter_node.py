"""`parameterNodeWrapper` and `connectGui`, for the types and widgets that PromptSeg connects.

As Slicer's developer guide has it: a class of annotated fields becomes a view of a vtkMRMLScriptedModuleNode;
nodes are kept as references, everything else as text; `connectGui` binds the widgets whose dynamic property
`SlicerParameterName` names a field, both ways.
"""

from __future__ import annotations

import functools
import json
import types
import typing

import slicer
import vtk
from PySide6 import QtCore, QtWidgets
from standin.ctk_widgets import ctkSliderWidget
from standin.mrml_widgets import qMRMLNodeComboBox
from standin.pythonqt import _connect, _disconnect

# Widget class, type of the parameter, the property that is bound and the signal that tells of a change.
_BINDINGS = (
    (QtWidgets.QCheckBox, bool, "checked", "toggled(bool)"),
    (QtWidgets.QPushButton, bool, "checked", "toggled(bool)"),
    (QtWidgets.QSpinBox, int, "value", "valueChanged(int)"),
    (QtWidgets.QDoubleSpinBox, float, "value", "valueChanged(double)"),
    (ctkSliderWidget, float, "value", "valueChanged(double)"),
    (QtWidgets.QLineEdit, str, "text", "textChanged(QString)"),
)


def parameterNodeWrapper(cls):
    fields = typing.get_type_hints(cls)
    defaults = {name: getattr(cls, name) for name in fields if hasattr(cls, name)}
    members = {"_fields": fields, "_defaults": defaults}
    members |= {name: _field(name, kind, defaults.get(name)) for name, kind in fields.items()}
    return type(cls.__name__, (_ParameterNode,), members)


def _node_class(kind):
    """Return the MRML class that a field holds, None when it is no node."""
    arguments = typing.get_args(kind) if isinstance(kind, types.UnionType) or typing.get_args(kind) else (kind,)
    for argument in arguments:
        if isinstance(argument, type) and issubclass(argument, slicer.vtkMRMLNode):
            return argument
    return None


def _field(name, kind, default):
    if _node_class(kind) is not None:
        return property(
            lambda self: self.parameterNode.GetNodeReference(name),
            lambda self, node: self._set_reference(name, node, _node_class(kind)),
        )

    def get(self):
        text = self.parameterNode.GetParameter(name)
        return kind(json.loads(text)) if text else kind() if default is None else default

    def put(self, value):
        if not isinstance(value, (int, float) if kind is float else kind):
            raise TypeError(f"expected {kind.__name__} for {name!r}, got {value!r}")
        self.parameterNode.SetParameter(name, json.dumps(kind(value)))

    return property(get, put)


class _ParameterNode:
    def __init__(self, parameter_node, prefix=None):
        object.__setattr__(self, "parameterNode", parameter_node)
        object.__setattr__(self, "_connections", {})

    def __setattr__(self, name, value):
        if name not in self._fields:
            raise AttributeError(f"{type(self).__name__} has no parameter {name!r}")
        super().__setattr__(name, value)

    def _set_reference(self, name, node, cls):
        if node is not None and not isinstance(node, cls):
            raise TypeError(f"expected {cls.__name__} for {name!r}, got {node!r}")
        if node is not self.parameterNode.GetNodeReference(name):
            self.parameterNode.SetNodeReferenceID(name, node.GetID() if node is not None else None)
            self.parameterNode.Modified()

    def AddObserver(self, event, function, priority=0.0):
        return self.parameterNode.AddObserver(event, function, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)

    def connectGui(self, gui):
        bindings = []
        for widget in vars(gui).values():
            name = widget.property("SlicerParameterName") if isinstance(widget, QtCore.QObject) else None
            if name:
                bindings.append(_Binding(self, name, widget))
        tag = len(self._connections)
        self._connections[tag] = bindings
        return tag

    def disconnectGui(self, tag):
        for binding in self._connections.pop(tag, []):
            binding.disconnect()


class _Binding:
    """One widget and one parameter."""

    def __init__(self, node, name, widget):
        if name not in node._fields:
            raise ValueError(f"{widget.name}: there is no parameter {name!r}")
        self._node, self._name, self._widget = node, name, widget
        self._put_in_widget, self._signal = self._methods(node._fields[name])
        self._is_updating = False
        self._update_widget()
        if not _connect(widget, self._signal, self._update_node):
            raise RuntimeError(f"{widget.name} has no signal {self._signal}")
        self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._update_widget)

    def _methods(self, kind):
        widget = self._widget
        if isinstance(widget, qMRMLNodeComboBox) and _node_class(kind) is not None:
            self._get = widget.currentNode
            return widget.setCurrentNode, "currentNodeChanged(vtkMRMLNode*)"
        for widget_class, parameter_class, name, signal in _BINDINGS:
            if isinstance(widget, widget_class) and kind is parameter_class:
                self._get = functools.partial(getattr, widget, name)
                return functools.partial(setattr, widget, name), signal
        raise RuntimeError(f"no connector between {type(widget).__name__} {widget.name} and {kind}")

    def _update_widget(self, *_):
        if self._is_updating:
            return
        self._is_updating = True
        try:
            value = getattr(self._node, self._name)
            if self._get() != value:
                self._put_in_widget(value)
        finally:
            self._is_updating = False

    def _update_node(self):
        if not self._is_updating:
            setattr(self._node, self._name, self._get())

    def disconnect(self):
        _disconnect(self._widget, self._signal, self._update_node)
        self._node.RemoveObserver(self._tag)
