"""A flat `qt` module over PySide6 that does what PythonQt does where the two differ.

Measured on PythonQt: properties are attributes, and are not called; `connect` takes a signature in a string, prints
and returns False when there is no such signal, and drops the arguments that the callable does not take; unknown
attributes of C++ objects cannot be set; an exception in a slot is printed and goes no further; lists of strings come
back as tuples; numbers of numpy are taken, and integers for enumerations; an object is an instance of its own class
and of no base of that in C++.
"""

from __future__ import annotations

import ctypes
import enum
import functools
import inspect
import re
import sys
import types
from typing import ClassVar

import numpy as np
from PySide6 import QtCore, QtGui, QtTest, QtUiTools, QtWidgets

_SOURCES = (QtCore, QtGui, QtWidgets, QtUiTools, QtTest)
_qobject_connect = QtCore.QObject.connect
_qobject_getattribute = QtCore.QObject.__getattribute__


class CppLike:
    """Mixed into widgets that are C++ in Slicer, so that their attributes can be no others than C++ has.

    signals: signatures of the signals that the class has in C++, as its header declares them; no other connects.
    """

    signals: ClassVar[tuple[str, ...]] = ()


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
    type(QtCore.QObject).__instancecheck__ = _is_instance


def _is_instance(cls, value):
    """Tell whether `value` is of `cls`; the wrappers of C++ classes are no bases of one another in PythonQt."""
    found = type(value)
    if not (_is_qobject_class(cls) and _is_cpp(cls)):
        return issubclass(found, cls)
    return cls is next((base for base in found.__mro__ if _is_cpp(base)), None)


def _is_cpp(cls):
    return cls.__module__.startswith("PySide6") or CppLike in cls.__mro__


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
        enumeration = _enumeration(cls, description)
        setter = getattr(cls, f"set{capital}", None)
        if setter is not None and not any(hasattr(base, f"set{capital}") for base in cls.__bases__):
            # PySide6 takes a Python function that stands before another one of its name for an override in C++.
            setattr(cls, f"set{capital}", _tolerant(setter, enumeration))
        setattr(cls, name, _property(name, getter, setter, description.isWritable(), enumeration))


def _enumeration(cls, description):
    """Return the Python class of a property's enumeration, None when it is of another kind or elsewhere."""
    if not description.isEnumType():
        return None
    found = getattr(cls, description.typeName().rpartition("::")[2], None)
    return found if isinstance(found, enum.EnumType) else None


def _property(name, getter, setter, is_writable, enumeration):
    def get(self):
        value = getter(self) if callable(getter) else self.property(name)
        return tuple(value) if isinstance(value, list) else value

    def put(self, value):
        value = _converted(value, enumeration)
        if setter is not None:
            setter(self, value)
        else:
            self.setProperty(name, value)

    return property(get, put if is_writable else None)


def _converted(value, enumeration=None):
    """Return `value` as PySide6 takes it, where PythonQt takes more."""
    if isinstance(value, np.generic):
        value = value.item()
    if enumeration is not None and isinstance(value, int) and not isinstance(value, enumeration):
        value = enumeration(value)
    return value


def _tolerant(setter, enumeration):
    @functools.wraps(setter, assigned=("__name__", "__doc__"))
    def put(self, *values, **more):
        return setter(self, *[_converted(value, enumeration) for value in values], **more)

    return put


def _getattribute(self, name):
    # PySide6 finds `connect` below the class's dictionary, so that replacing it there has no effect.
    if name == "connect":
        return types.MethodType(_connect, self)
    if name == "disconnect":
        return types.MethodType(_disconnect, self)
    found = _qobject_getattribute(self, name)
    return _Signal(self, found) if type(found) is QtCore.SignalInstance else found


class _Signal:
    """A signal as an attribute: it holds what is connected, and errors of that go no further."""

    def __init__(self, owner, bound):
        self._owner = owner
        self._bound = bound

    def __getitem__(self, kind):
        return _Signal(self._owner, self._bound[kind])

    def emit(self, *arguments):
        self._bound.emit(*arguments)

    def connect(self, function, *more):
        self._bound.connect(_hold(self._owner, self._name, function, sys.maxsize), *more)
        return True

    def disconnect(self, function=None):
        return _let_go(self._owner, self._name, function, self._bound)

    @property
    def _name(self):
        return str(self._bound).partition("(")[0].rpartition(" ")[2]


def _hold(owner, signal, function, sent):
    """Return a slot that calls `function` with as many of the `sent` arguments as it takes; `owner` keeps both."""
    slot = _slot(sent, function)
    owner.__dict__.setdefault("_connections", {}).setdefault((signal, function), []).append(slot)
    return slot


def _let_go(owner, signal, function, bound):
    """Take back one connection of `function`, or all of the signal when None; return whether there was one."""
    held = owner.__dict__.get("_connections", {})
    keys = [key for key in held if key[0] == signal and function in (None, key[1])]
    for key in keys:
        for slot in list(held[key]) if function is None else held[key][-1:]:
            bound.disconnect(slot)
            held[key].remove(slot)
        if not held[key]:
            del held[key]  # and with it the function, and all that this holds
    return bool(keys)


def _setattr(self, name, value):
    cls = type(self)
    is_loaded = _is_qobject_class(type(value)) and value.property("objectName") == name  # by PySide6's UI loader
    if _is_cpp(cls) and not is_loaded and not name.startswith("_") and not hasattr(cls, name):
        raise AttributeError(f"{cls.__name__} has no attribute named {name!r}")
    found = inspect.getattr_static(cls, name, None)
    if isinstance(found, QtCore.Property):
        self.setProperty(name, list(value) if isinstance(value, tuple) else _converted(value))
    elif hasattr(type(found), "__set__"):
        found.__set__(self, value)
    else:
        self.__dict__[name] = value


def _signal(self, signature):
    """Return the bound signal that `signature` names, or None."""
    signature = _OF_QT5.get(signature, signature)
    name = signature.partition("(")[0]
    bound = _qobject_getattribute(self, name) if hasattr(type(self), name) else None
    if type(bound) is not QtCore.SignalInstance:
        return None
    normalized = bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()
    declared = [found for base in type(self).__mro__ if CppLike in base.__mro__ for found in base.signals]
    if normalized in declared:
        return bound
    if any(found.partition("(")[0] == name for found in declared):
        return None  # of this name, with other arguments
    if self.metaObject().indexOfSignal(normalized) < 0:
        return None
    return _overload(bound, tuple(re.findall(r"[^,()]+", normalized[len(name) + 1 : -1])))


_OF_QT5 = {"currentIndexChanged(QString)": "currentTextChanged(QString)"}
"""Signals that Slicer's Qt 5 has and Qt 6 has not, with what takes their place here."""


def _overload(bound, types_of_arguments):
    if len(types_of_arguments) == 1 and types_of_arguments[0] in ("int", "bool", "QString"):
        try:
            return bound[{"int": int, "bool": bool, "QString": str}[types_of_arguments[0]]]
        except (IndexError, KeyError):
            return bound
    return bound


def _connect(self, signature, function, *more):
    if _is_qobject_class(type(signature)):  # PySide6 itself, for QTimer.singleShot
        return _qobject_connect(signature, function, *more)
    if not isinstance(signature, str):
        raise TypeError(f"connect() takes a signature such as 'clicked(bool)', got {signature!r}")
    bound = _signal(self, signature)
    if bound is None:
        print(f"QObject::connect: No such signal {type(self).__name__}::{signature}", file=sys.stderr)
        failed_connections.append(f"{type(self).__name__}::{signature}")
        return False
    sent = len([a for a in signature.partition("(")[2].rstrip(")").split(",") if a.strip()])
    bound.connect(_hold(self, signature, function, sent))
    return True


def _disconnect(self, signature, function=None):
    return _let_go(self, signature, function, _signal(self, signature))


def _slot(sent, function):
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
