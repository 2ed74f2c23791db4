"""The CTK widgets that PromptSeg uses, as far as it uses them."""

from __future__ import annotations

from PySide6 import QtCore, QtWidgets
from standin.pythonqt import CppLike

_HEADER_PX = 26


class ctkCollapsibleButton(QtWidgets.QWidget, CppLike):
    """A titled section that folds: what is shown or hidden within while it is folded is so once it opens."""

    contentsCollapsed = QtCore.Signal(bool)
    signals = ("contentsCollapsed(bool)",)

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._header = QtWidgets.QPushButton(self)
        self._header.setObjectName("qt_header")
        self._header.setStyleSheet("text-align: left; padding-left: 6px; font-weight: bold;")
        self._is_collapsed = False
        self._is_arranging = False
        self._shown = {}  # whether each child is wanted, by its identity
        self._header.clicked.connect(self._toggle)
        self._title()

    text = QtCore.Property(str, lambda self: self._header.text[2:], lambda self, text: self._title(text))
    collapsed = QtCore.Property(bool, lambda self: self._is_collapsed, lambda self, value: self._collapse(value))

    def setCollapsed(self, value):
        self._collapse(value)

    def _toggle(self):
        self._collapse(not self._is_collapsed)

    def _title(self, text=None):
        text = self._header.text[2:] if text is None else text
        self._header.setText(f"{'▸' if self._is_collapsed else '▾'} {text}")

    def _collapse(self, value):
        changed, self._is_collapsed = value != self._is_collapsed, value
        self._title()
        self._arrange()
        if changed:
            self.contentsCollapsed.emit(value)

    def _arrange(self):
        self._is_arranging = True
        for child in self.children():
            if child.isWidgetType() and child is not self._header:
                is_wanted = self._shown.get(id(child), True)
                child.setVisible(not self._is_collapsed and is_wanted)
                if is_wanted:  # so that Qt tells when it is hidden while it cannot be seen
                    child.setAttribute(QtCore.Qt.WidgetAttribute.WA_WState_ExplicitShowHide, False)
        self._is_arranging = False
        if self.layout() is not None:
            self.layout().setContentsMargins(6, _HEADER_PX + 6, 6, 6 if not self._is_collapsed else 0)
        self.setMaximumHeight(_HEADER_PX if self._is_collapsed else 16777215)
        self.updateGeometry()

    def childEvent(self, event):
        super().childEvent(event)
        if event.type() == QtCore.QEvent.Type.ChildAdded and event.child().isWidgetType():
            event.child().installEventFilter(self)
        QtCore.QTimer.singleShot(0, self, self._arrange)

    def eventFilter(self, child, event):
        kinds = {QtCore.QEvent.Type.ShowToParent: True, QtCore.QEvent.Type.HideToParent: False}
        if event.type() in kinds and child is not self._header and not self._is_arranging:
            self._shown[id(child)] = kinds[event.type()]
            if self._is_collapsed and kinds[event.type()]:
                self._arrange()
        return False

    def setVisible(self, value):
        self._is_arranging = True
        super().setVisible(value)
        self._is_arranging = False

    def showEvent(self, event):
        super().showEvent(event)
        self._arrange()

    def resizeEvent(self, event):
        super().resizeEvent(event)
        self._header.setGeometry(0, 0, self.width, _HEADER_PX)


class ctkSliderWidget(QtWidgets.QWidget, CppLike):
    """A slider with a spin box."""

    valueChanged = QtCore.Signal(float)
    signals = ("valueChanged(double)",)

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._box = QtWidgets.QDoubleSpinBox()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._box)
        self._box.valueChanged.connect(self._box_changed)
        self._slider.valueChanged.connect(lambda steps: self._box.setValue(steps * self._box.singleStep))

    def _box_changed(self, value):
        self._slider.blockSignals(True)
        self._slider.setValue(round(value / self._box.singleStep))
        self._slider.blockSignals(False)
        self.valueChanged.emit(value)

    def _set(self, name, value):
        setattr(self._box, name, value)
        step = self._box.singleStep
        self._slider.setRange(round(self._box.minimum / step), round(self._box.maximum / step))

    value = QtCore.Property(float, lambda s: s._box.value, lambda s, v: s._box.setValue(v), notify=valueChanged)
    minimum = QtCore.Property(float, lambda s: s._box.minimum, lambda s, v: s._set("minimum", v))
    maximum = QtCore.Property(float, lambda s: s._box.maximum, lambda s, v: s._set("maximum", v))
    singleStep = QtCore.Property(float, lambda s: s._box.singleStep, lambda s, v: s._set("singleStep", v))
    decimals = QtCore.Property(int, lambda s: s._box.decimals, lambda s, v: s._set("decimals", v))
    suffix = QtCore.Property(str, lambda s: s._box.suffix, lambda s, v: s._set("suffix", v))

    def setValue(self, value):
        self._box.setValue(value)


WIDGETS = (ctkCollapsibleButton, ctkSliderWidget)

NAMES_ONLY = (
    "ctkCheckBox",
    "ctkCheckablePushButton",
    "ctkColorPickerButton",
    "ctkComboBox",
    "ctkDirectoryButton",
    "ctkDoubleRangeSlider",
    "ctkDoubleSlider",
    "ctkDoubleSpinBox",
    "ctkPathLineEdit",
    "ctkRangeWidget",
)
"""Classes that Slicer's own Python files look up, and PromptSeg has no widget of."""
