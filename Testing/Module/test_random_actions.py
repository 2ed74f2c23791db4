"""Two hundred things that a user may do, in any order: the scene stays consistent."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import slicer
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from scenes import add_volume, volume_array
from shape_model import ShapePredictor
from standin import pythonqt
from standin.application import Application, qt
from user import User

from PromptSegLib.mrml.files import open_mrb, save_mrb
from PromptSegLib.mrml.slice_view import SliceView
from PromptSegLib.predictors import registry

SHAPE = (12, 16, 20)
VOXELS = st.tuples(st.integers(3, 16), st.integers(3, 12), st.integers(2, 9))
TOOLS = ("pointPlus", "pointMinus", "box2d", "box3d", "scribblePlus", "scribbleMinus", "lassoPlus", "lassoMinus")
BUTTONS = ("undo", "redo", "reset", "next", "addSegment", "island", "holes", "smooth", "run", "cancel")
SHOWN = ("show3D", "certainty")


class Day(RuleBasedStateMachine):
    """What may change is the chosen segment; everything else of the user's stays as it was."""

    actions = 0
    reloads = imports = closings = 0

    @initialize()
    def open(self):
        self.errors = []
        self.folder = TemporaryDirectory()
        self.saved = Path(self.folder.name, "another.mrb")
        self.hook, sys.excepthook = sys.excepthook, lambda kind, error, trace: self.errors.append(error)
        self.app = Application()
        host = self.app.host
        self.views = {"Red": SliceView(host, "Axial", (120, 120), "Red")}
        self.app.layoutManager().set_views(self.views)
        save_another_scene(self.saved)
        self.user = User(self.app, self.views)
        self.begin()

    def begin(self):
        """Choose a new volume, in an empty scene, and add a segment."""
        array = np.random.default_rng(2).integers(0, 99, SHAPE).astype(np.int16)
        self.user.show(add_volume(self.app.host.scene, array))
        self.volumes = 1
        self.can_undo_all = True
        self.user.press("addSegment")

    def masks(self):
        session = self.user.session
        return {key: session.mask(key) for key in session.targets if key != session.target}

    def act(self, action):
        """Do something that may change the chosen segment only."""
        before = self.masks()
        action()
        self.user.wait()
        session = self.user.session
        for key, mask in before.items():
            if key != session.target:
                np.testing.assert_array_equal(session.mask(key), mask)

    @rule(tool=st.sampled_from(TOOLS))
    def take(self, tool):
        if self.user.is_enabled(tool):
            self.act(lambda: self.user.tool(tool))

    @rule(voxel=VOXELS)
    def click(self, voxel):
        self.act(lambda: self.user.click(voxel))

    @rule(first=VOXELS, second=VOXELS, third=VOXELS)
    def drag(self, first, second, third):
        path = [(i, j, first[2]) for i, j, _ in (first, second, third)]
        self.act(lambda: self.user.drag(path))

    @rule(name=st.sampled_from(BUTTONS + SHOWN))
    def press(self, name):
        if self.user.is_enabled(name):
            before = self.user.session.target
            if name in ("undo", "redo"):
                getattr(self.user.ui, f"{name}Button").click()  # may be in any segment, and selects it
                self.user.wait()
            else:
                self.act(lambda: self.user.press(name))
            assert before in self.user.session.targets

    @precondition(lambda self: len(self.user.session.targets) > 1)
    @rule(data=st.data())
    def choose(self, data):
        key = data.draw(st.sampled_from(self.user.session.targets))
        self.act(lambda: self.user.ui.segmentsTable.setSelectedSegmentIDs([key]))

    @precondition(lambda self: len(self.user.session.prompts()) > 0)
    @rule(data=st.data())
    def delete_prompt(self, data):
        row = data.draw(st.integers(0, len(self.user.session.prompts()) - 1))
        self.user.ui.promptsTable.setCurrentCell(row, 0)
        self.user.ui.promptsTable.cellClicked.emit(row, 0)
        self.act(lambda: self.user.press("deletePrompt"))

    @rule(name=st.sampled_from(("default", "points", "values", "sure")))
    def another_model(self, name):
        models = self.user.ui.modelComboBox
        self.act(lambda: models.setCurrentIndex(models.findData(name)))

    @rule(names=st.sets(st.sampled_from(("liver", "spleen")), min_size=1))
    def ask_by_name(self, names):
        if not self.user.is_enabled("name"):
            return
        for row in range(self.user.ui.namesList.count):
            item = self.user.ui.namesList.item(row)
            item.setCheckState(qt.Qt.Checked if item.text() in names else qt.Qt.Unchecked)
        session = self.user.session
        before = {key: session.mask(key) for key in session.targets if self.name_of(key) not in names}
        self.user.press("name")
        self.user.wait()
        for key, mask in before.items():
            np.testing.assert_array_equal(session.mask(key), mask)

    def name_of(self, key):
        return self.user.session.segmentation_node.GetSegmentation().GetSegment(key).GetName()

    @rule(control=st.sampled_from(("hidePrompts", "outline", "autoJump", "windowAsShown")))
    def tick(self, control):
        self.act(getattr(self.user.ui, f"{control}CheckBox").click)

    @rule(mode=st.integers(0, 2))
    def carry(self, mode):
        self.user.ui.directionComboBox.setCurrentIndex(mode)
        if self.user.is_enabled("propagate"):
            self.act(lambda: self.user.press("propagate"))

    @rule(at_once=st.booleans())
    def collect(self, at_once):
        self.user.ui.runAtOnceCheckBox.checked = at_once
        self.user.look()

    @rule()
    def leave_and_return(self):
        self.user.widget.exit()
        self.user.look()
        self.user.widget.enter()
        self.user.look()

    def everything(self):
        """What is chosen, made and prompted."""
        session = self.user.session
        chosen = session.volume_node, session.segmentation_node, session.target
        prompts = [prompt.kind for prompt in session.prompts()]
        return chosen, prompts, {key: session.mask(key) for key in session.targets}

    def stays(self, action):
        """Do something that makes the session anew, with all that was in it."""
        chosen, prompts, masks = self.everything()
        action()
        self.user.look()
        self.can_undo_all = False
        assert self.everything()[:2] == (chosen, prompts)
        assert list(self.everything()[2]) == list(masks)
        for key, mask in masks.items():
            np.testing.assert_array_equal(self.user.session.mask(key), mask)

    @rule()
    def reload(self):
        Day.reloads += 1
        self.stays(self.user.reload)

    @rule()
    def put_another_scene_in_this_one(self):
        Day.imports += 1
        self.stays(lambda: open_mrb(self.app.host.scene, self.saved, clear=False))
        self.volumes += 1

    @rule()
    def close_the_scene(self):
        Day.closings += 1
        self.app.host.scene.Clear(False)
        self.user.look()
        assert self.user.session is None
        self.begin()

    @invariant()
    def count(self):
        Day.actions += 1

    @invariant()
    def nothing_went_wrong(self):
        if hasattr(self, "user"):
            assert self.errors == []
            assert pythonqt.failed_connections == []

    @invariant()
    def the_panel_shows_the_session(self):
        if hasattr(self, "user"):
            self.user.look()
            session = self.user.session
            assert self.user.ui.promptsTable.rowCount == len(session.prompts())
            assert list(self.user.ui.segmentsTable.selectedSegmentIDs()) == [session.target]

    @invariant()
    def every_helper_node_belongs_to_the_session(self):
        if hasattr(self, "user"):
            scene, session = self.app.host.scene, self.user.session
            prompts = session.prompts()
            names = sum(prompt.kind == "class" for prompt in prompts)
            shapes = sum(prompt.kind not in ("point", "class") for prompt in prompts)
            placing = self.user.widget.logic.tools.tool == "box3d"
            nodes = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
            markups = [node for node in nodes if node.IsA("vtkMRMLMarkupsNode")]
            assert len(markups) == 2 + shapes + placing
            points = sum(session.point_node(sign).GetNumberOfDefinedControlPoints() for sign in (True, False))
            assert points == len(prompts) - shapes - names

    @invariant()
    def how_sure_is_shown_where_an_answer_says_so(self):
        if hasattr(self, "user"):
            scene, session = self.app.host.scene, self.user.session
            node, certainty = session.certainty_node, session.certainty()
            assert (node is not None) == (session.shows_certainty and certainty is not None)
            assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == self.volumes + (node is not None)
            layer = self.views["Red"].logic.GetSliceCompositeNode().GetForegroundVolumeID()
            assert layer == (node.GetID() if node is not None else None)
            if node is not None:
                np.testing.assert_array_equal(volume_array(node), certainty.probability_kji)

    def teardown(self):
        if not hasattr(self, "user"):
            return
        try:
            if self.user.session is not None:
                session = self.user.session
                while session.can_undo:
                    session.undo()
                for key in session.targets if self.can_undo_all else ():
                    assert not session.mask(key).any(), "undo to the start restores every voxel"
        finally:
            self.app.__exit__(None, None, None)
            self.folder.cleanup()
            sys.excepthook = self.hook


def save_another_scene(path):
    """Save a scene with a volume, and a panel in which nothing is chosen."""
    scene = slicer.vtkMRMLScene()
    add_volume(scene, np.zeros((4, 5, 6), np.int16), name="another")
    parameters = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "PromptSeg")
    parameters.SetSingletonTag("PromptSeg")
    save_mrb(scene, path)


def test_two_hundred_random_actions_leave_the_scene_consistent(model, monkeypatch):
    monkeypatch.setitem(registry._PREDICTORS, "values", "fakes:ValuePredictor")
    monkeypatch.setitem(registry._PREDICTORS, "sure", "shape_model:Sure")
    assert ShapePredictor.gate.is_set()
    run_state_machine_as_test(
        Day,
        settings=settings(
            max_examples=10,
            stateful_step_count=50,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert Day.actions >= 200
    assert min(Day.reloads, Day.imports, Day.closings) > 3
