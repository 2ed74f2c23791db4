"""A flat `qt` module over PySide6 that does what PythonQt does where the two differ.

Measured on PythonQt: properties are attributes, and are not called; `connect` takes a signature in a string, prints
and returns False when there is no such signal, and drops the arguments that the callable does not take; unknown
attributes of C++ objects cannot be set; an exception in a slot is printed and goes no further.
"""

from __future__ import annotations

import ctypes
import inspect
import re
import sys
import types

from PySide6 import QtCore, QtGui, QtTest, QtUiTools, QtWidgets

_SOURCES = (QtCore, QtGui, QtWidgets, QtUiTools, QtTest)
_qobject_connect = QtCore.QObject.connect
_qobject_getattribute = QtCore.QObject.__getattribute__


class CppLike:
    """Mixed into widgets that are C++ in Slicer, so that their attributes can be no others than C++ has."""


def make_qt() -> types.ModuleType:
    """Return the flat module. PySide6 behaves as PythonQt in the whole process from then on."""
    qt = types.ModuleType("qt")
    for source in _SOURCES:
        for name in dir(source):
            if not name.startswith("_"):
                setattr(qt, name, getattr(source, name))
    qt.QVariant = lambda value=None: value
    if not hasattr(QtCore.QObject, "className"):
        _make_pythonic(qt)
    return qt


def _keep_none_alive() -> None:
    """Make None as immortal as it is from Python 3.12 on: PySide6 6.12 gives a reference to it away with each call.

    A panel's test makes some 100,000 calls; Python 3.11 starts with 5,000 references, and aborts at none.
    """
    if sys.version_info < (3, 12):
        ctypes.c_ssize_t.from_address(id(None)).value += 10**12


def _make_pythonic(qt: types.ModuleType) -> None:
    _keep_none_alive()
    for cls in [value for value in vars(qt).values() if _is_qobject_class(value)]:
        for base in reversed(cls.__mro__):
            if _is_qobject_class(base) and "_properties_made" not in base.__dict__:
                _make_properties(base)
    QtCore.QObject.name = property(
        lambda self: self.property("objectName"), lambda self, value: self.setProperty("objectName", value)
    )
    QtCore.QObject.className = lambda self: self.metaObject().className()
    for cls in (QtWidgets.QDialog, QtWidgets.QMenu, QtCore.QEventLoop):
        cls.exec_ = cls.exec
    QtCore.QObject.__getattribute__ = _getattribute


def _is_qobject_class(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, QtCore.QObject)


def _make_properties(cls: type) -> None:
    cls._properties_made = True
    cls.__setattr__ = _setattr
    meta = getattr(cls, "staticMetaObject", None)
    if meta is None:
        return
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        description = meta.property(index)
        name = description.name()
        if name == "singleShot":  # also QTimer's static function, which is what scripts mean
            continue
        capital = name[:1].upper() + name[1:]
        getter = getattr(cls, name, None) or getattr(cls, f"is{capital}", None)
        if isinstance(getter, (property, QtCore.Property)):
            continue
        setattr(cls, name, _property(name, getter, getattr(cls, f"set{capital}", None), description.isWritable()))


def _property(name, getter, setter, is_writable):
    def get(self):
        return getter(self) if callable(getter) else self.property(name)

    def put(self, value):
        if setter is not None:
            setter(self, value)
        else:
            self.setProperty(name, value)

    return property(get, put if is_writable else None)


def _getattribute(self, name):
    # PySide6 finds `connect` below the class's dictionary, so that replacing it there has no effect.
    if name == "connect":
        return types.MethodType(_connect, self)
    if name == "disconnect":
        return types.MethodType(_disconnect, self)
    return _qobject_getattribute(self, name)


def _setattr(self, name, value):
    cls = type(self)
    is_cpp = cls.__module__.startswith("PySide6") or issubclass(cls, CppLike)
    is_loaded = isinstance(value, QtCore.QObject) and value.property("objectName") == name  # by PySide6's UI loader
    if is_cpp and not is_loaded and not name.startswith("_") and not hasattr(cls, name):
        raise AttributeError(f"{cls.__name__} has no attribute named {name!r}")
    found = inspect.getattr_static(cls, name, None)
    if isinstance(found, QtCore.Property):
        self.setProperty(name, value)
    elif hasattr(type(found), "__set__"):
        found.__set__(self, value)
    else:
        self.__dict__[name] = value


def _signal(self, signature):
    """Return the bound signal that `signature` names, or None."""
    name, _, arguments = signature.partition("(")
    bound = getattr(self, name, None)
    if not hasattr(bound, "emit"):
        return None
    if isinstance(self, CppLike) and name in type(self).__dict__:
        return bound  # declared in Python: its C++ types are not known here
    normalized = bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()
    if self.metaObject().indexOfSignal(normalized) < 0:
        return bound if isinstance(self, CppLike) and arguments and _is_declared(self, name) else None
    overload = tuple(re.findall(r"[^,()]+", normalized[len(name) + 1 : -1]))
    return _overload(bound, overload)


def _is_declared(self, name):
    return any(issubclass(base, CppLike) and name in base.__dict__ for base in type(self).__mro__)


def _overload(bound, types_of_arguments):
    if len(types_of_arguments) == 1 and types_of_arguments[0] in ("int", "bool", "QString"):
        try:
            return bound[{"int": int, "bool": bool, "QString": str}[types_of_arguments[0]]]
        except (IndexError, KeyError):
            return bound
    return bound


def _connect(self, signature, function, *more):
    if isinstance(signature, QtCore.QObject):  # PySide6 itself, for QTimer.singleShot
        return _qobject_connect(signature, function, *more)
    if not isinstance(signature, str):
        raise TypeError(f"connect() takes a signature such as 'clicked(bool)', got {signature!r}")
    bound = _signal(self, signature)
    if bound is None:
        print(f"QObject::connect: No such signal {type(self).__name__}::{signature}", file=sys.stderr)
        failed_connections.append(f"{type(self).__name__}::{signature}")
        return False
    slot = _slot(signature, function)
    self.__dict__.setdefault("_connections", {}).setdefault((signature, function), []).append(slot)
    bound.connect(slot)
    return True


def _disconnect(self, signature, function):
    slots = self.__dict__.get("_connections", {}).get((signature, function), [])
    if not slots:
        return False
    _signal(self, signature).disconnect(slots.pop())
    return True


def _slot(signature, function):
    sent = len([a for a in signature.partition("(")[2].rstrip(")").split(",") if a.strip()])
    count = min(sent, _arity(function))

    def slot(*arguments):
        try:
            function(*arguments[:count])
        except Exception:
            sys.excepthook(*sys.exc_info())

    return slot


def _arity(function):
    """Return how many positional arguments `function` takes, at most."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return sys.maxsize
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return sys.maxsize
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


failed_connections: list[str] = []
"""Class and signature of each `connect` that returned False."""
