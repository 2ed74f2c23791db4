"""The stand-in does what PythonQt was measured to do."""

import sys
from types import SimpleNamespace
from typing import Annotated

import numpy as np
import pytest
import slicer
from standin import pythonqt, slicer_files
from standin.application import Application, qt

from PromptSegLib.mrml.files import open_mrb, save_mrb


@pytest.fixture
def app(monkeypatch):
    with Application() as application:
        yield application
    pythonqt.failed_connections.clear()


@pytest.fixture
def button(app):
    return qt.QPushButton("Run")


def test_properties_are_attributes_and_setters_stay(button):
    button.enabled = False
    button.setToolTip("why")
    assert (button.enabled, button.text, button.toolTip) == (False, "Run", "why")
    assert not button.isEnabled()


def test_a_property_that_is_called_raises(button):
    with pytest.raises(TypeError, match="not callable"):
        button.enabled()


def test_an_attribute_that_cpp_lacks_cannot_be_set(button):
    with pytest.raises(AttributeError, match="no attribute named 'colour'"):
        button.colour = "red"
    with pytest.raises(AttributeError, match="no attribute named 'colour'"):
        slicer.qMRMLNodeComboBox().colour = "red"


def test_a_signal_that_is_not_there_is_refused_by_false(button, capsys):
    assert button.connect("pressedd()", lambda: None) is False
    assert button.connect("clicked(QString)", lambda: None) is False
    assert "No such signal QPushButton::pressedd()" in capsys.readouterr().err
    assert pythonqt.failed_connections == ["QPushButton::pressedd()", "QPushButton::clicked(QString)"]


def test_arguments_that_the_callable_does_not_take_are_dropped(button):
    got = []
    assert button.connect("clicked(bool)", lambda: got.append("none"))
    assert button.connect("clicked(bool)", lambda checked: got.append(checked))
    assert button.connect("clicked()", lambda *all_of_them: got.append(all_of_them))
    button.click()
    assert got == ["none", False, ()]


def test_an_exception_in_a_slot_is_told_and_goes_no_further(button, monkeypatch):
    errors = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: errors.append(error))
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    assert [type(error) for error in errors] == [ZeroDivisionError]


def test_a_bound_method_keeps_its_object_alive(button):
    class Listener:
        heard = 0

        def listen(self):
            Listener.heard += 1

    button.connect("clicked()", Listener().listen)
    button.click()
    assert Listener.heard == 1


def test_what_was_connected_can_be_disconnected_once(button):
    got = []

    def listen():
        got.append(1)

    button.connect("clicked()", listen)
    assert button.disconnect("clicked()", listen) is True
    assert button.disconnect("clicked()", listen) is False
    button.click()
    assert got == []


def test_overloads_are_chosen_by_signature(app):
    box, got = qt.QComboBox(), []
    assert box.connect("currentTextChanged(QString)", got.append)
    assert box.connect("currentIndexChanged(int)", got.append)
    box.addItems(["a", "b"])
    box.currentIndex = 1
    assert got == ["a", 0, "b", 1] or got == [0, "a", 1, "b"]


def test_names_are_object_names(button):
    button.name = "run"
    assert (button.objectName, button.className()) == ("run", "QPushButton")


def test_lists_of_strings_come_back_as_tuples(app):
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    assert selector.nodeTypes == ("vtkMRMLScalarVolumeNode",)
    table = slicer.qMRMLSegmentsTableView()
    assert table.selectedSegmentIDs() == ()
    assert app.layoutManager().sliceViewNames() == ()


def test_an_object_is_an_instance_of_its_own_class_and_of_no_base(button):
    assert isinstance(button, qt.QPushButton)
    assert not isinstance(button, qt.QAbstractButton)
    assert not isinstance(button, qt.QWidget)
    assert button.isWidgetType()

    class Own(qt.QWidget):
        pass

    assert isinstance(Own(), qt.QWidget)
    assert not isinstance(slicer.qMRMLNodeComboBox(), slicer.qMRMLWidget)


def test_a_signal_of_a_qmrml_widget_is_there_with_its_own_arguments_only(app):
    selector = slicer.qMRMLNodeComboBox()
    assert selector.connect("currentNodeChanged(vtkMRMLNode*)", print) is True
    assert selector.connect("currentNodeChanged()", print) is False
    assert slicer.qMRMLSegmentsTableView().connect("selectionChanged()", print) is False
    assert pythonqt.failed_connections == [
        "qMRMLNodeComboBox::currentNodeChanged()",
        "qMRMLSegmentsTableView::selectionChanged()",
    ]


def test_numbers_are_taken_in_any_type(app, button):
    button.enabled = np.bool_(False)
    button.setCheckable(np.bool_(True))
    assert (button.enabled, button.checkable) == (False, True)
    timer = qt.QTimer()
    timer.interval = np.int64(20)
    assert timer.interval == 20
    table = qt.QTableWidget()
    table.setSelectionMode(1)
    table.selectionBehavior = 1
    assert table.selectionMode == qt.QAbstractItemView.SingleSelection
    table.setColumnCount(2)
    table.setHorizontalHeaderLabels(("Action", "Key"))
    assert table.horizontalHeaderItem(1).text() == "Key"


def test_qt5s_signals_are_there(app):
    box, got = qt.QComboBox(), []
    assert box.connect("currentIndexChanged(QString)", got.append)
    box.addItems(["a", "b"])
    box.currentIndex = 1
    assert got == ["a", "b"]


def test_all_that_is_connected_to_a_signal_can_be_disconnected(button):
    got = []
    button.connect("clicked()", lambda: got.append(1))
    button.connect("clicked()", lambda: got.append(2))
    assert button.disconnect("clicked()") is True
    button.click()
    assert got == []


def test_a_signal_is_an_attribute_as_well(button, monkeypatch):
    errors, got = [], []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: errors.append(error))

    class Listener:
        def listen(self):
            got.append(1)
            raise ValueError("told")

    button.clicked.connect(Listener().listen)
    button.click()
    assert (got, [str(error) for error in errors]) == ([1], ["told"])
    button.clicked.disconnect()
    button.click()
    assert got == [1]


# Node selectors


@pytest.fixture
def selector(app):
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.noneEnabled = True
    selector.setMRMLScene(slicer.mrmlScene)
    return selector


def add_volumes(*names):
    return [slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name) for name in names]


def test_a_node_selector_follows_the_scene(app, selector):
    selector.noneEnabled = False
    seen = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    (node,) = add_volumes("one")
    assert selector.currentNode() is node
    node.SetName("another name")
    assert selector.currentText == "another name"
    slicer.mrmlScene.RemoveNode(node)
    assert seen == [node, None]


def test_a_node_selector_chooses_the_node_before_one_that_is_removed(selector):
    first, second = add_volumes("first", "second")
    selector.setCurrentNode(second)
    slicer.mrmlScene.RemoveNode(second)
    assert selector.currentNode() is first
    slicer.mrmlScene.RemoveNode(first)
    assert selector.currentNode() is None


def test_a_node_selector_keeps_its_node_while_many_nodes_are_added(selector):
    (node,) = add_volumes("one")
    selector.setCurrentNode(node)
    slicer.mrmlScene.StartState(slicer.vtkMRMLScene.BatchProcessState)
    add_volumes("two", "three")
    assert selector.count == 4
    slicer.mrmlScene.EndState(slicer.vtkMRMLScene.BatchProcessState)
    assert selector.currentNode() is node


def test_a_node_selector_is_empty_once_a_scene_was_put_in_its_own(selector, tmp_path):
    other = slicer.vtkMRMLScene()
    other.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "other")
    save_mrb(other, tmp_path / "other.mrb")
    (node,) = add_volumes("one")
    selector.setCurrentNode(node)
    seen = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    open_mrb(slicer.mrmlScene, tmp_path / "other.mrb", clear=False)
    assert seen == [None]
    assert (selector.currentNode(), selector.count) == (None, 3)


def test_a_node_selector_is_empty_once_its_scene_is_closed(selector):
    selector.setCurrentNode(add_volumes("one")[0])
    slicer.mrmlScene.Clear(False)
    assert (selector.currentNode(), selector.count) == (None, 1)


# Sections that fold


def test_what_is_shown_in_a_folded_section_is_seen_once_it_opens(app):
    section = sys.modules["ctk"].ctkCollapsibleButton()
    layout = qt.QVBoxLayout(section)
    labels = [qt.QLabel("one"), qt.QLabel("two")]
    for label in labels:
        layout.addWidget(label)
    section.show()
    section.collapsed = True
    labels[0].setVisible(True)
    labels[1].setVisible(False)
    assert [label.isVisible() for label in labels] == [False, False]
    section.collapsed = False
    assert [label.isVisible() for label in labels] == [True, False]
    section.hide()
    section.show()
    assert [label.isVisible() for label in labels] == [True, False]


# Modules


def test_a_module_widget_without_a_parent_makes_and_fills_its_own(app):
    from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget

    class OwnWidget(ScriptedLoadableModuleWidget):
        isSetUp = False

        def setup(self):
            self.isSetUp = True

        def cleanup(self):
            self.isSetUp = None

    assert OwnWidget().isSetUp
    parent = slicer.qMRMLWidget()
    parent.setLayout(qt.QVBoxLayout())
    widget = OwnWidget(parent)
    assert (widget.isSetUp, widget.parent) == (False, parent)
    for _ in range(2):
        app.moduleManager().moduleAboutToBeUnloaded.emit("Own")
    assert widget.isSetUp is None


MODULE = """
import slicer
from slicer.ScriptedLoadableModule import *

class Small(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.categories = ["Tests"]

    def runTest(self):
        pass

class SmallWidget(ScriptedLoadableModuleWidget):
    calls = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.calls.append("setup")

    def enter(self):
        self.calls.append("enter")

    def exit(self):
        self.calls.append("exit")

    def cleanup(self):
        self.calls.append("cleanup")
"""


def test_reload_makes_the_panel_anew_and_does_not_enter_it(app, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "Small.py").write_text(MODULE)
    first = app.open_module(tmp_path / "Small.py")
    panel = slicer.modules.small.widgetRepresentation()
    assert slicer.modules.small.categories == ("Tests",)
    assert (panel.isEntered, first.parent) == (True, panel)
    first.onReload()
    second = slicer.modules.SmallWidget
    assert second is panel.self()
    assert type(second) is not type(first)
    assert (first.calls, second.calls) == (["setup", "enter", "cleanup"], ["setup"])
    assert panel.isEntered


# Parameters


def wrapped(cls):
    """Return parameters of a class of annotated fields, on a node of their own."""
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    return parameterNodeWrapper(cls)(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))


@pytest.fixture
def parameters(app):
    from slicer.parameterNodeWrapper import WithinRange

    class Parameters:
        volume: slicer.vtkMRMLScalarVolumeNode
        isFast: bool = True
        name: str = "one"
        size_mm: Annotated[float, WithinRange(0.5, 50.0)] = 2.5

    return wrapped(Parameters)


def test_parameters_live_in_the_node(parameters):
    assert (parameters.volume, parameters.isFast, parameters.size_mm) == (None, True, 2.5)
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    parameters.volume, parameters.isFast = volume, False
    again = type(parameters)(parameters.parameterNode)
    assert (again.volume, again.isFast) == (volume, False)
    assert parameters.parameterNode.GetNodeReferenceID("volume") == volume.GetID()


def test_parameters_refuse_other_types_and_values_out_of_bounds(parameters):
    with pytest.raises(TypeError, match="bool"):
        parameters.isFast = "yes"
    with pytest.raises(ValueError, match=r"0\.5.*50"):
        parameters.size_mm = 0.0
    assert (parameters.isFast, parameters.size_mm) == (True, 2.5)


@pytest.mark.skipif(bool(slicer_files.SOURCE), reason="Slicer takes any name without a word; the stand-in does not")
def test_parameters_refuse_other_names(parameters):
    with pytest.raises(AttributeError, match="no parameter 'isSlow'"):
        parameters.isSlow = True


def named(widget, name):
    """Return what `connectGui` takes, with one widget that shows one parameter."""
    widget.setProperty("SlicerParameterName", name)
    return SimpleNamespace(widget=widget)


def test_widgets_and_parameters_follow_each_other_until_disconnected(parameters):
    box = qt.QCheckBox()
    tag = parameters.connectGui(named(box, "isFast"))
    assert box.checked
    parameters.isFast = False
    assert not box.checked
    box.checked = True
    assert parameters.isFast
    parameters.disconnectGui(tag)
    box.checked = False
    assert parameters.isFast


def test_a_slider_goes_as_far_as_its_parameter(parameters):
    slider = sys.modules["ctk"].ctkSliderWidget()
    slider.maximum = 7.0
    parameters.connectGui(named(slider, "size_mm"))
    assert (slider.minimum, slider.maximum, slider.value) == (0.5, 50.0, 2.5)


def test_a_slider_is_not_connected_to_a_number_without_bounds(app):
    class Parameters:
        size_mm: float = 2.5

    made = wrapped(Parameters)
    with pytest.raises(RuntimeError, match=r"unbounded|without bounds"):
        made.connectGui(named(sys.modules["ctk"].ctkSliderWidget(), "size_mm"))


def test_a_selector_offers_what_its_parameter_holds(parameters, selector):
    selector.nodeTypes = ["vtkMRMLModelNode"]
    parameters.connectGui(named(selector, "volume"))
    assert selector.nodeTypes == ("vtkMRMLScalarVolumeNode",)
    (node,) = add_volumes("one")
    selector.setCurrentNode(node)
    assert parameters.volume is node


def test_a_selector_is_not_connected_to_an_abstract_class(app, selector):
    class Parameters:
        volume: slicer.vtkMRMLVolumeNode

    with pytest.raises(TypeError, match="abstract"):
        wrapped(Parameters).connectGui(named(selector, "volume"))


def test_connecting_leaves_an_observer_on_the_node(parameters):
    added = []
    add = parameters.AddObserver
    parameters.AddObserver = lambda event, function, priority=0.0: added.append(add(event, function)) or added[-1]
    parameters.connectGui(named(qt.QCheckBox(), "isFast"))
    assert len(added) == 1


def test_values_are_kept_until_the_node_says_that_it_was_modified(parameters):
    node = parameters.parameterNode
    before = node.StartModify()
    node.SetParameter("name", "two")
    assert parameters.name == "one"
    node.EndModify(before)
    assert parameters.name == "two"


@pytest.mark.skipif(not slicer_files.SOURCE, reason="SLICER_SOURCE names no checkout of Slicer: its stand-ins are used")
def test_slicers_own_python_files_are_used(app):
    for name, path in zip(slicer_files.load(), slicer_files.paths(), strict=True):
        assert sys.modules[name].__file__ == str(path)
        assert path.is_relative_to(slicer_files.SOURCE)


def test_a_folder_that_is_no_checkout_of_slicer_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(slicer_files, "_FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match="checkout of Slicer"):
        slicer_files.paths()


def test_nothing_is_left_when_the_application_ends():
    with Application():
        pass
    assert not hasattr(slicer, "app")
    assert not hasattr(slicer, "mrmlScene")
