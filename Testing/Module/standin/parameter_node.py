"""`parameterNodeWrapper` and `connectGui`, for the types and widgets that PromptSeg connects.

As Slicer's developer guide has it: a class of annotated fields becomes a view of a vtkMRMLScriptedModuleNode;
nodes are kept as references, everything else as text; `connectGui` binds the widgets whose dynamic property
`SlicerParameterName` names a field, both ways. As Slicer 5.10 was seen to do: values are kept until the node says
that it was modified; the types set what a selector offers and how far a slider goes; `connectGui` has the node hold
the view, and `disconnectGui` does not undo that. One thing is stricter here: a name that is no parameter is refused.
"""

from __future__ import annotations

import functools
import typing
import weakref

import slicer
import vtk
from PySide6 import QtWidgets
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


class WithinRange:
    """Annotates a number that stays between two others, both included."""

    def __init__(self, minimum, maximum):
        self.minimum = minimum
        self.maximum = maximum

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"expected {self.minimum} to {self.maximum}, got {value}")


def parameterNodeWrapper(cls):
    fields = typing.get_type_hints(cls, include_extras=True)
    defaults = {name: getattr(cls, name) for name in fields if hasattr(cls, name)}
    members = {"_fields": fields, "_defaults": defaults}
    members |= {
        name: property(
            lambda self, name=name: self._values[name], lambda self, value, name=name: self._put(name, value)
        )
        for name in fields
    }
    return type(cls.__name__, (_ParameterNode,), members)


def _kind(annotated):
    """Return the type that a field holds, without its annotations."""
    return typing.get_args(annotated)[0] if typing.get_origin(annotated) is typing.Annotated else annotated


def _range(annotated):
    """Return the WithinRange of a field, or None."""
    return next((found for found in typing.get_args(annotated)[1:] if type(found) is WithinRange), None)


def _is_node(kind):
    return issubclass(kind, slicer.vtkMRMLNode)


class _ParameterNode:
    def __init__(self, parameter_node, prefix=None):
        object.__setattr__(self, "parameterNode", parameter_node)
        self._connections = {}
        self._values = {}
        self._read()
        myself = weakref.ref(self)
        self._cache_tag = parameter_node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: myself()._read())

    def __del__(self):
        self.parameterNode.RemoveObserver(self._cache_tag)

    def __setattr__(self, name, value):
        if name not in (*self._fields, "AddObserver") and not name.startswith("_"):
            raise AttributeError(f"{type(self).__name__} has no parameter {name!r}")
        super().__setattr__(name, value)

    def _kind(self, name):
        return _kind(self._fields[name])

    def _read(self):
        for name in self._fields:
            kind = self._kind(name)
            if not self.parameterNode.HasParameter(name):
                self._write(name, self._defaults.get(name, None if _is_node(kind) else kind()))
            text = self.parameterNode.GetParameter(name)
            if _is_node(kind):
                self._values[name] = self.parameterNode.GetNodeReference(name)
            else:
                self._values[name] = text == "True" if kind is bool else kind(text)

    def _put(self, name, value):
        kind = self._kind(name)
        allowed = (int, float) if kind is float else kind
        if not (isinstance(value, allowed) or (_is_node(kind) and value is None)):
            raise TypeError(f"expected {kind.__name__} for {name!r}, got {value!r}")
        if _range(self._fields[name]) is not None:
            _range(self._fields[name]).validate(value)
        with slicer.util.NodeModify(self.parameterNode):
            self._write(name, value)
            self._read()

    def _write(self, name, value):
        if _is_node(self._kind(name)):
            self.parameterNode.SetParameter(name, "")
            self.parameterNode.SetNodeReferenceID(name, value.GetID() if value is not None else None)
        else:
            self.parameterNode.SetParameter(name, str(value))

    def AddObserver(self, event, function, priority=0.0):
        return self.parameterNode.AddObserver(event, function, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)

    def connectGui(self, gui):
        bindings = []
        for widget in vars(gui).values():
            name = widget.property("SlicerParameterName")
            if name:
                bindings.append(_Binding(self, name, widget))
        tag = len(self._connections)
        self._connections[tag] = bindings
        self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._update_widgets())
        return tag

    def disconnectGui(self, tag):
        for binding in self._connections.pop(tag, []):
            binding.disconnect()

    def _update_widgets(self):
        for bindings in list(self._connections.values()):
            for binding in bindings:
                binding.update_widget()


class _Binding:
    """One widget and one parameter."""

    def __init__(self, node, name, widget):
        if name not in node._fields:
            raise ValueError(f"{widget.name}: there is no parameter {name!r}")
        self._node, self._name, self._widget = node, name, widget
        self._put_in_widget, self._signal = self._methods(node._fields[name])
        self._is_updating = False
        self.update_widget()
        if not _connect(widget, self._signal, self._update_node):
            raise RuntimeError(f"{widget.name} has no signal {self._signal}")

    def _methods(self, annotated):
        widget, kind = self._widget, _kind(annotated)
        if type(widget) is qMRMLNodeComboBox and _is_node(kind):
            widget.nodeTypes = (kind().GetClassName(),)
            self._get = widget.currentNode
            return widget.setCurrentNode, "currentNodeChanged(vtkMRMLNode*)"
        for widget_class, parameter_class, name, signal in _BINDINGS:
            if type(widget) is widget_class and kind is parameter_class:
                self._limit(_range(annotated), kind)
                self._get = functools.partial(getattr, widget, name)
                return functools.partial(setattr, widget, name), signal
        raise RuntimeError(f"no connector between {type(widget).__name__} {widget.name} and {kind}")

    def _limit(self, limits, kind):
        """Let the widget go as far as the type of the parameter."""
        if kind not in (int, float):
            return
        if limits is not None:
            self._widget.minimum, self._widget.maximum = limits.minimum, limits.maximum
        elif type(self._widget) is ctkSliderWidget:
            raise RuntimeError(f"ctkSliderWidget {self._widget.name} is bound to a float without bounds")

    def update_widget(self):
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
