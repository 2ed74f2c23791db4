"""While a prediction runs, and when something goes wrong: nothing blocks, nothing lands in the wrong place."""

import json
import os
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk
from scenes import add_volume
from shape_model import Prepares, Remote
from standin import slicer_files
from standin.application import qt
from user import MODULE

from PromptSegLib.mrml.headless.slice_view import SliceView
from PromptSegLib.mrml.state_node import StateNode
from PromptSegLib.panel import models
from PromptSegLib.predictors import registry
from PromptSegLib.predictors.nninteractive.server import SERVED
from PromptSegLib.prompts import TextPrompt


@pytest.fixture
def running(user, image, model):
    """A prediction under way for the first segment."""
    user.tool("pointPlus")
    model.gate.clear()
    user.views["Red"].click(user.go_to((20, 15, 10)))
    deadline = time.monotonic() + 5
    while not model.started:
        assert time.monotonic() < deadline
        user.look()
    return user


def let_go(user, model):
    model.gate.set()
    user.wait()
    for _ in range(10):
        time.sleep(0.01)
        user.look()


def voxels(node):
    """Return how many voxels each segment has."""
    ids = node.GetSegmentation().GetSegmentIDs()
    return [int(np.count_nonzero(slicer.util.arrayFromSegmentBinaryLabelmap(node, i))) for i in ids]


def test_the_window_stays_alive_and_the_timer_runs_only_meanwhile(running, model):
    timer = running.widget._yieldTimer
    assert timer.active
    started = time.perf_counter()
    running.look()
    assert time.perf_counter() - started < 0.2
    let_go(running, model)
    assert not timer.active
    assert running.size > 0


def test_a_newer_click_supersedes(running, model):
    running.views["Red"].click(running.go_to((10, 15, 10)))
    let_go(running, model)
    assert running.session.mask_kji[10, 15, 20]
    assert running.session.mask_kji[10, 15, 10]
    assert len(running.session.prompts()) == 2


def test_another_volume_stops_it(running, model, scene):
    node = running.session.segmentation_node
    other = add_volume(scene, np.zeros((10, 10, 10), np.int16), name="other")
    running.show(other)
    let_go(running, model)
    assert voxels(node) == [0]


def test_another_segmentation_stops_it(running, model, scene):
    node = running.session.segmentation_node
    other = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    running.ui.segmentationSelector.setCurrentNode(other)
    running.look()
    let_go(running, model)
    assert voxels(node) == [0]
    assert voxels(other) == []


def test_another_segment_leaves_the_result_where_it_belongs(running, model):
    first = running.session.target
    running.press("addSegment")
    let_go(running, model)
    assert not running.session.mask_kji.any()
    assert running.session.mask(first)[10, 15, 20]


def test_another_model_stops_it(running, model):
    running.ui.modelComboBox.setCurrentIndex(running.ui.modelComboBox.findData("shapes"))
    let_go(running, model)
    assert running.size == 0
    running.click((10, 15, 10))
    assert running.session.mask_kji[10, 15, 10]


def test_a_removed_volume_stops_it_and_leaves_no_orphans(running, model, scene):
    scene.RemoveNode(running.session.volume_node)
    let_go(running, model)
    assert running.session is None
    assert StateNode.find_all(scene) == []
    names = [scene.GetNthNode(n).GetName() or "" for n in range(scene.GetNumberOfNodes())]
    assert [name for name in names if name.startswith("PromptSeg ")] == []


def test_closing_the_scene_stops_it(running, model, scene):
    scene.Clear(False)
    let_go(running, model)
    assert running.session is None
    assert not running.widget._yieldTimer.active
    for _ in range(2):
        running.show(add_volume(scene, np.zeros((10, 20, 20), np.int16)))
        for view in running.views.values():
            view.show(running.ui.volumeSelector.currentNode())
        running.tool("pointPlus")
        running.click((10, 10, 5))
        assert running.session.mask_kji[5, 10, 10]
        scene.Clear(False)
        running.look()


def test_the_panel_can_go_while_it_runs(running, model):
    running.app.moduleManager().unload("PromptSeg")
    model.gate.set()
    running.look()
    assert running.widget.logic.session is None


def test_an_error_is_one_message_and_the_segment_is_as_before(user, image, model, monkeypatch, caplog):
    user.tool("pointPlus")
    user.click((20, 15, 10))
    before = user.session.mask_kji
    monkeypatch.setattr(model, "error", MemoryError("out of memory"))
    user.click((10, 15, 10))
    assert "'shapes' failed with MemoryError: out of memory" in user.status
    np.testing.assert_array_equal(user.session.mask_kji, before)
    assert len(user.session.prompts()) == 1
    assert "MemoryError" in caplog.text
    monkeypatch.setattr(model, "error", None)
    user.click((10, 15, 10))
    assert user.status == ""


def test_a_click_outside_of_the_volume_is_refused_and_its_point_taken_back(user, image):
    user.tool("pointPlus")
    view = user.views["Red"]
    user.go_to((20, 15, 10))
    view.click(view.ras_to_xy(user.world((-6, 15, 10))))
    user.wait()
    assert "inside the image" in user.status
    assert user.session.prompts() == ()
    assert user.session.point_node().GetNumberOfDefinedControlPoints() == 0


def bent():
    """Return a transform that moves one corner of a cube, and not the others."""
    spline = vtk.vtkThinPlateSplineTransform()
    for name, shift in (("Source", 0), ("Target", 3)):
        points = vtk.vtkPoints()
        for corner in np.argwhere(np.ones((2, 2, 2))) * 10.0:
            points.InsertNextPoint(*corner)
        points.SetPoint(0, shift, 0, 0)
        getattr(spline, f"Set{name}Landmarks")(points)
    return spline


def test_a_nonlinear_transform_is_refused_with_what_to_do(user, image, scene):
    user.ui.segmentationSelector.setCurrentNode(scene.AddNewNodeByClass("vtkMRMLSegmentationNode"))
    transform = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    transform.SetAndObserveTransformToParent(bent())
    image.SetAndObserveTransformNodeID(transform.GetID())
    user.press("pointPlus")
    assert "harden it" in user.status
    assert not user.ui.pointPlusButton.checked


def test_the_logic_works_without_a_panel(slicer_app, model):
    module = slicer_app.load_module(MODULE)
    volume_node = add_volume(slicer.mrmlScene, np.zeros((20, 30, 40), np.int16))
    logic = module.PromptSegLogic()
    session = logic.openSession(volume_node)
    session.add_world((20, 15, 10))
    assert session.wait(5)
    assert session.mask_kji[10, 15, 20]
    logic.close()


def test_the_module_tests_itself(slicer_app, model):
    module = slicer_app.load_module(MODULE)
    module.PromptSegTest().runTest()


def test_predictions_run_in_a_thread_of_their_own(running, model):
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("PromptSeg predictions") == 1
    let_go(running, model)


@pytest.fixture
def calls_of_pip(tmp_path, monkeypatch):
    """Words that Slicer's Python was called with, by a program that stands in its place and installs nothing."""
    program, log = tmp_path / "PythonSlicer", tmp_path / "calls"
    program.write_text(f'#!/bin/sh\necho "$@" >> "{log}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    processes, popen = [], subprocess.Popen

    def started(*words, **more):
        processes.append(popen(*words, **more))
        return processes[-1]

    monkeypatch.setattr(subprocess, "Popen", started)
    yield lambda: [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    for process in processes:
        if process.stdout is not None:
            process.stdout.close()  # Slicer leaves it open


def lack(package, model, monkeypatch):
    """Let the model's thread find that a package is missing, which the user is ready to install at the second time."""
    answers = [False, True]
    monkeypatch.setattr(model, "error", ModuleNotFoundError(f"No module named {package!r}", name=package))
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: answers.pop(0))


def test_torch_is_installed_by_its_extension_with_consent(user, image, model, monkeypatch):
    installed = []
    lack("torch", model, monkeypatch)
    logic = types.SimpleNamespace(installTorch=lambda **options: installed.append("torch"))
    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=lambda: logic))
    user.tool("pointPlus")
    user.click((20, 15, 10))
    assert installed == []
    assert "torch" in user.status
    user.click((20, 15, 10))
    assert installed == ["torch"]
    assert user.status == "Installed torch: place the prompt again."


@pytest.mark.parametrize("since_5_11", [True, False])
def test_a_package_is_installed_by_pip_with_consent_on_the_main_thread(
    user, image, model, monkeypatch, calls_of_pip, since_5_11
):
    name = "promptseg-has-no-such-package"
    monkeypatch.setattr(models, "INSTALLABLE", (name,))
    if not since_5_11:
        monkeypatch.setitem(sys.modules, "slicer.packaging", None)
        monkeypatch.setattr(
            slicer.util, "pip_install", lambda words: subprocess.run(["PythonSlicer", *words], check=True)
        )
    user.app.is_testing = False  # Slicer installs nothing while it tests
    lack(name, model, monkeypatch)
    user.tool("pointPlus")
    user.click((20, 15, 10))
    assert calls_of_pip() == []
    assert name in user.status
    user.click((20, 15, 10))
    user.look()
    (call,) = calls_of_pip()
    assert name in call
    option = next(index for index, word in enumerate(call) if word in ("-c", "--constraint"))
    constraints = Path(call[option + 1]).read_text()
    assert f"numpy=={np.__version__}" in constraints
    assert user.status == f"Installed {name}: place the prompt again."


@pytest.mark.skipif(bool(slicer_files.SOURCE), reason="of Slicer 5.12.0; since 5.12.1 it takes a part of the calls")
def test_pip_is_refused_to_other_threads(slicer_app, calls_of_pip):
    errors = []

    def install():
        try:
            slicer.packaging.pip_install("promptseg-has-no-such-package")
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=install)
    thread.start()
    thread.join()
    assert errors == ["pip_install is for the main thread"]
    assert calls_of_pip() == []


def test_a_new_layout_takes_the_tool_over(user, image):
    user.tool("scribblePlus")
    view = SliceView(user.app.host, "Axial", (300, 300), "Red")
    user.app.layoutManager().set_views({"Red": view})
    user.views = {"Red": view}
    user.show(image)
    user.drag([(10, 10, 10), (20, 10, 10)])
    assert [prompt.kind for prompt in user.session.prompts()] == ["scribble"]


def test_models_run_in_a_process_of_their_own_where_that_is_wanted(user, image, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    user.ui.ownProcessCheckBox.checked = True
    user.widget.parameters.model = "worker_fakes:ObedientPredictor"
    user.tool("pointPlus")
    user.click((20, 15, 10), timeout_s=60)
    assert user.status == ""
    assert json.loads(user.session.prediction.note)["pid"] != os.getpid()
    assert user.size > 0
    user.session.add(TextPrompt("crash"))
    user.wait(60)
    assert user.status.startswith("The process of 'obedient' was killed by SIGABRT. The segment is as before.")
    before = user.size
    user.click((10, 15, 10), timeout_s=60)
    assert user.size > before
    prompts = len(user.session.prompts())
    user.ui.ownProcessCheckBox.checked = False
    user.look()
    assert len(user.session.prompts()) == prompts
    user.tool("pointPlus")
    user.click((30, 15, 10))
    assert json.loads(user.session.prediction.note)["pid"] == os.getpid()


def idle(user, duration_s):
    deadline = time.monotonic() + duration_s
    while time.monotonic() < deadline:
        time.sleep(0.005)
        user.look()


def test_while_a_tool_is_in_hand_the_model_prepares_for_the_slice_that_is_looked_at(user, image, monkeypatch):
    monkeypatch.setitem(registry.BUILT_IN, "prepares", "shape_model:Prepares")
    monkeypatch.setattr(Prepares, "views", [])
    user.ui.modelComboBox.addItem("prepares", "prepares")
    user.ui.modelComboBox.setCurrentIndex(user.ui.modelComboBox.findData("prepares"))
    idle(user, 0.6)
    assert Prepares.views == []
    user.tool("pointPlus")
    user.go_to((20, 15, 4))
    user.go_to((20, 15, 12))
    idle(user, 0.8)
    assert [view.center_ras[2] for view in Prepares.views] == [pytest.approx(12, abs=0.5)]
    assert user.status == ""
    user.ui.preparesAheadCheckBox.checked = False
    user.look()
    user.go_to((20, 15, 6))
    idle(user, 0.6)
    assert len(Prepares.views) == 1


@pytest.fixture
def remote(user, image, monkeypatch):
    """The model on a server is chosen; nobody agreed to anything."""
    for variable in (SERVED.server_variable, SERVED.consent_variable, SERVED.key_variable):
        monkeypatch.delenv(variable, raising=False)
    before = os.environ.copy()
    monkeypatch.setitem(registry.BUILT_IN, "remote", "shape_model:Remote")
    Remote.asked.clear()
    Remote.keys.clear()
    user.ui.modelComboBox.addItem("remote", "remote")
    user.ui.modelComboBox.setCurrentIndex(user.ui.modelComboBox.findData("remote"))
    user.look()
    yield Remote
    now = os.environ.copy()
    assert now | {"PYTEST_CURRENT_TEST": ""} == before | {"PYTEST_CURRENT_TEST": ""}


def set_server(user, address, key=""):
    user.ui.serverEdit.text = address
    user.ui.serverKeyEdit.text = key
    user.ui.serverEdit.editingFinished.emit()
    user.look()


def test_a_server_on_another_machine_gets_nothing_before_the_user_agreed(user, remote, monkeypatch):
    questions, answers = [], [False, True]
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: questions.append(text) or answers.pop(0))
    user.ui.modelCollapsibleButton.collapsed = False
    assert user.ui.serverFrame.isVisible()
    set_server(user, "https://gpu.example.org:1527", "secret")
    assert qt.QSettings().value("PromptSeg/server/remote") == "https://gpu.example.org:1527"
    user.press("pointPlus")
    assert remote.asked == []
    assert "gpu.example.org" in questions[0]
    assert not user.ui.pointPlusButton.checked
    user.press("pointPlus")
    assert user.status == "Agreed: place the prompt again."
    user.press("pointPlus")
    user.click((20, 15, 10))
    assert remote.asked == ["https://gpu.example.org:1527"]
    assert remote.keys == ["secret"]
    assert user.size > 0
    assert len(questions) == 2


def test_a_saved_session_with_a_model_that_is_refused_is_told_once(user, scene, image, remote, monkeypatch, caplog):
    questions = []
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: questions.append(text) or False)
    user.tool("pointPlus")
    user.click((20, 15, 10))
    set_server(user, "https://gpu.example.org:1527")
    idle(user, 0.3)
    assert len(questions) == 1
    assert user.session is None
    user.ui.modelComboBox.setCurrentIndex(user.ui.modelComboBox.findData("shapes"))
    user.look()
    assert len(user.session.prompts()) == 1


def test_adding_a_segment_under_a_nonlinear_transform_is_refused_and_told_once(user, image, scene, caplog):
    user.press("addSegment")
    transform = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    transform.SetAndObserveTransformToParent(bent())
    image.SetAndObserveTransformNodeID(transform.GetID())
    user.widget.logic.closeSession()
    user.widget.update()
    idle(user, 0.3)
    assert len(caplog.records) == 1
    user.press("addSegment")
    assert "harden it" in user.status


def test_a_server_without_a_certificate_is_refused(user, remote):
    set_server(user, "http://gpu.example.org:1527")
    assert "expected https://" in user.status.lower()
    user.tool("pointPlus")
    user.click((20, 15, 10))
    assert remote.asked == [SERVED.this_machine]


def test_reloading_drops_all_that_belongs_to_the_module(user, monkeypatch):
    reloaded = []
    monkeypatch.setattr(slicer.ScriptedLoadableModule.ScriptedLoadableModuleWidget, "onReload", reloaded.append)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    user.widget.onReload()
    assert reloaded == [user.widget]
    assert [name for name in sys.modules if name.startswith(("PromptSegLib", "PromptSegWidgets"))] == []
