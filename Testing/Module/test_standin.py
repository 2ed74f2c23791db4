"""The stand-in does what PythonQt was measured to do."""

import sys
from types import SimpleNamespace
from typing import Annotated

import pytest
import slicer
from standin import pythonqt, slicer_files
from standin.application import Application, qt


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


def test_a_node_selector_follows_the_scene(app):
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    seen = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    selector.setMRMLScene(slicer.mrmlScene)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    assert selector.currentNode() is node
    slicer.mrmlScene.RemoveNode(node)
    assert seen == [node, None]


def parameter_class():
    """Make a class of parameters, by the wrapper that is in place."""
    from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

    class Parameters:
        volume: slicer.vtkMRMLScalarVolumeNode
        isFast: bool = True
        name: str = "one"
        size_mm: Annotated[float, WithinRange(0.5, 50.0)] = 2.5

    return parameterNodeWrapper(Parameters)


@pytest.fixture
def parameters(app):
    return parameter_class()(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))


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


def test_widgets_and_parameters_follow_each_other_until_disconnected(parameters):
    box = qt.QCheckBox()
    box.setProperty("SlicerParameterName", "isFast")
    tag = parameters.connectGui(SimpleNamespace(box=box))
    assert box.checked
    parameters.isFast = False
    assert not box.checked
    box.checked = True
    assert parameters.isFast
    parameters.disconnectGui(tag)
    box.checked = False
    assert parameters.isFast


def test_nothing_is_left_when_the_application_ends():
    with Application():
        pass
    assert not hasattr(slicer, "app")
    assert not hasattr(slicer, "mrmlScene")
