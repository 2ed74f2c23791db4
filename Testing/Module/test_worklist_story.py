"""Six cases in the panel: proposed, accepted, rejected, corrected, looked at where unsure, read twice, compared."""

import os
import shutil
import time
from pathlib import Path

import fakes
import numpy as np
import pytest
import slicer
from image_files import write_with_itk
from shape_model import ShapePredictor
from standin.application import FileDialog, qt

from PromptSegLib.certainty import Certainty
from PromptSegLib.geometry import Grid
from PromptSegLib.io import Segment, write_segmentation
from PromptSegLib.io.certainty_file import write_certainties
from PromptSegLib.io.prompts import write_prompts
from PromptSegLib.panel import proposing
from PromptSegLib.predictors import registry
from PromptSegLib.prompts import Point
from PromptSegLib.worklist.case import CaseState
from PromptSegLib.worklist.worklist import Worklist

GRID = Grid((16, 24, 24), np.diag([-1.0, -1.0, 1.0, 1.0]))
NAMES = "abcdef"


@pytest.fixture(autouse=True)
def as_on_a_new_computer(monkeypatch):
    """No reader is known yet; proposals are made at this process's own priority, as other tests leave no time."""
    monkeypatch.setattr(proposing, "_NICENESS", 0)
    qt.QSettings().remove("PromptSeg/reader")
    yield
    qt.QSettings().remove("PromptSeg/reader")


def ball(middle_kji, radius):
    index = np.indices(GRID.shape_kji)
    return sum((axis - at) ** 2 for axis, at in zip(index, middle_kji, strict=True)) <= radius**2


@pytest.fixture
def sure(model, monkeypatch, tmp_path):
    """A model of somebody's own package, for this process and for others; made before the panel."""
    monkeypatch.setitem(registry.BUILT_IN, "ball", "fakes:SureBallPredictor")
    package = tmp_path / "packages" / "sure-1.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: sure\nVersion: 1\n")
    (package / "entry_points.txt").write_text(f"[{registry.GROUP}]\nball = fakes:SureBallPredictor\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package.parent), str(Path(fakes.__file__).parent)]))
    return "ball"


@pytest.fixture
def cases(tmp_path):
    """A list of six images of a ball, each with a click on it."""
    for number, name in enumerate(NAMES):
        array = np.random.default_rng(number).normal(0, 20, GRID.shape_kji) + 200 * ball((8, 12, 12), 5)
        write_with_itk(tmp_path / f"{name}.nrrd", array.astype(np.int16), GRID.ijk_to_ras)
    write_prompts(tmp_path / "click.json", {"ball": [Point(tuple(GRID.to_ras((12, 12, 8))))]})
    path = tmp_path / "cases.csv"
    rows = "".join(f"{name}.nrrd,click.json,Bern\n" for name in NAMES)
    path.write_text(f"image,prompts,site\n{rows}", encoding="utf-8")
    return path


def open_list(user, path, reader="Ann"):
    user.ui.readerEdit.text = reader
    user.ui.readerEdit.editingFinished.emit()
    FileDialog.answers.append(str(path))
    user.ui.worklistCollapsibleButton.collapsed = False
    user.press("openCsv")


def choose_model(user, name):
    user.ui.modelComboBox.setCurrentIndex(user.ui.modelComboBox.findData(name))
    user.look()


def rows(user):
    table = user.ui.casesTable
    return [[table.item(row, column).text() for column in range(3)] for row in range(table.rowCount)]


def wait_for_proposals(user, timeout_s=120):
    deadline = time.monotonic() + timeout_s
    while user.widget.proposals.isRunning:
        assert time.monotonic() < deadline
        user.app.processEvents()
        time.sleep(0.01)
    user.look()


def show_in_views(user):
    for view in user.views.values():
        view.show(user.ui.volumeSelector.currentNode())


def propose_ball(path):
    """Record a proposal of the first case, and return that."""
    worklist = Worklist.open(path)
    write_segmentation(worklist.cases[0].segmentation, [Segment("ball", ball((8, 12, 12), 5))], GRID)
    return worklist.record(worklist.cases[0], state=CaseState.PROPOSED)


def states(path):
    return {case.name: case.state.value for case in Worklist.open(path).cases}


def test_a_list_is_proposed_reviewed_resumed_and_read_twice(sure, user, scene, cases):
    open_list(user, cases)
    assert rows(user) == [[name, "to do", ""] for name in NAMES]
    choose_model(user, sure)
    user.press("proposeAll")
    assert not user.is_enabled("proposeAll")
    wait_for_proposals(user)
    assert user.ui.proposingLabel.text == "6 proposed", user.status
    choose_model(user, "default")
    assert set(states(cases).values()) == {"proposed"}
    assert user.session is None  # and no model is loaded here
    worklist = user.widget.worklist.worklist
    for row, value in ((1, 0.25), (4, 0.95)):
        assert 0 < worklist.cases[row].unsure < 1
        worklist.record(worklist.cases[row], unsure=value)
    unsure = [case.unsure for case in worklist.cases]
    user.ui.orderComboBox.setCurrentIndex(1)
    user.look()
    shown = [float(user.ui.casesTable.item(row, 3).text()) for row in range(6)]
    assert shown == [round(value, 2) for value in sorted(unsure, reverse=True)]
    assert [rows(user)[row][0] for row in (0, 5)] == ["e", "b"]
    user.ui.orderComboBox.setCurrentIndex(0)
    user.look()

    # Where next: without a session, and each press goes elsewhere.
    assert user.ui.volumeSelector.currentNode().GetName() == "a"
    show_in_views(user)
    places = []
    for _ in range(2):
        user.press("lookNext")
        assert "ball: look in the middle of " in user.status
        places.append([view.node.GetSliceOffset() for view in user.views.values()])
    assert places[0] != places[1]
    assert user.session is None

    user.press("accept")
    assert user.ui.worklistLabel.text.startswith("b (2/6")
    user.ui.commentEdit.text = "blurred, =1"
    user.press("reject")
    assert rows(user)[:2] == [["a", "accepted", "Ann"], ["b", "rejected", "Ann"]]

    # Corrected: the case is the reader's from the first click on, which is counted.
    assert user.ui.volumeSelector.currentNode().GetName() == "c"
    show_in_views(user)
    user.tool("pointPlus")
    user.click((4, 4, 4))
    assert Worklist.open(cases).cases[2].is_others("Bob")
    user.press("lookNext")  # what is left of the proposal is as unsure as it was
    assert "ball: look in the middle of " in user.status
    user.press("accept")
    corrected = Worklist.open(cases).cases[2]
    assert (corrected.state, corrected.clicks, corrected.extra["site"]) == (CaseState.ACCEPTED, 1, "Bern")
    before = corrected.segmentation.read_bytes()
    assert states(cases) == dict(zip(NAMES, ["accepted", "rejected", "accepted"] + ["proposed"] * 3, strict=True))

    # Closed and opened again, it goes on where it stopped; what is accepted is not proposed again.
    user.widget.logic.case = None
    open_list(user, cases)
    assert user.ui.worklistLabel.text.startswith("d (4/6")
    assert not user.is_enabled("proposeAll")
    user.ui.stateComboBox.setCurrentIndex(2)
    user.look()
    assert [row[0] for row in rows(user)] == list("def")
    user.ui.stateComboBox.setCurrentIndex(0)
    user.look()

    # A second reader, whose segmentation is another.
    user.widget.logic.case = None
    open_list(user, cases, "Bob")
    user.ui.casesTable.cellClicked.emit(2, 0)
    user.look()
    assert user.ui.volumeSelector.currentNode().GetName() == "c"
    user.press("secondReading")
    show_in_views(user)
    assert rows(user)[6] == ["c", "to do", "Bob"]
    user.tool("pointPlus")
    user.click((4, 4, 4))
    user.press("saveCase")
    assert rows(user)[6] == ["c", "in work", "Bob"]
    assert corrected.segmentation.read_bytes() == before

    compare_and_take(user, scene)


def compare_and_take(user, scene):
    user.press("compareReadings")
    table = user.ui.readingsTable
    names = [table.item(row, 0).text() for row in range(table.rowCount)]
    assert "ball" in names
    row = names.index("ball")
    assert table.item(row, 1).text() == "0.000"
    assert scene.GetFirstNodeByName("newest change") is not None
    assert not user.is_enabled("takeReading")
    table.item(row, 0).setCheckState(qt.Qt.Checked)
    masks = {key: user.session.mask(key).sum() for key in user.session.targets}
    user.press("takeReading")
    assert table.item(row, 1).text() == "1.000"
    (key,) = set(user.session.targets) - set(masks)
    assert user.session.mask(key).sum() > 100
    user.press("undo")
    assert user.session.mask(key).sum() == 0
    assert {name: user.session.mask(name).sum() for name in masks} == masks
    user.press("redo")
    user.press("compareReadings")
    assert scene.GetFirstNodeByName("newest change") is None
    user.press("saveCase")
    user.ui.casesTable.cellClicked.emit(0, 0)
    user.look()
    user.press("compareList")
    assert user.ui.readingsLabel.text.startswith("Mean Dice ")


def test_proposing_is_stopped_and_what_was_proposed_stays(user, cases):
    open_list(user, cases)
    user.press("proposeAll")
    user.press("stopProposing")
    wait_for_proposals(user, 30)
    assert user.ui.proposingLabel.text == "Stopped"
    assert set(states(cases).values()) <= {"to do", "proposed"}
    assert user.is_enabled("proposeAll")


def test_looking_through_a_case_changes_nothing(user, cases):
    open_list(user, cases)
    case = propose_ball(cases)
    before, text = case.segmentation.read_bytes(), cases.read_bytes()
    user.press("nextCase")
    user.press("previousCase")
    show_in_views(user)
    user.ui.opacitySlider.value = 0.3
    user.look()
    user.press("nextCase")
    assert case.segmentation.read_bytes() == before
    assert cases.read_bytes() == text


def test_a_case_of_somebody_else_is_told_at_the_first_change_and_kept_as_a_second_reading(user, cases):
    open_list(user, cases)
    bob = Worklist.open(cases, "Bob")
    bob.claim(bob.cases[0])
    show_in_views(user)
    user.tool("pointPlus")
    user.click((12, 12, 8))
    assert "in work by Bob: make a second reading" in user.status
    user.ui.promptsCollapsibleButton.collapsed = True
    user.press("nextCase")
    assert "make a second reading" in user.status
    assert user.ui.listStatusLabel.text == user.status
    assert user.ui.listStatusLabel.isVisible()
    user.ui.promptsCollapsibleButton.collapsed = False
    assert user.ui.volumeSelector.currentNode().GetName() == "a"  # nothing is lost
    user.press("secondReading")
    user.press("previousCase")
    a, *_, mine = Worklist.open(cases).cases
    assert (a.reader, a.is_saved) == ("Bob", False)
    assert (mine.name, mine.reader, mine.state, mine.is_saved) == ("a", "Ann", CaseState.IN_WORK, True)


def test_what_is_wrong_with_a_list_is_told_and_a_missing_image_leaves_the_case_before(user, cases):
    cases.write_text(cases.read_text() + "gone.nrrd,,\n,click.json,\n")
    open_list(user, cases)
    assert user.status == "line 9: expected an image, got none: left out"
    user.ui.casesTable.cellClicked.emit(6, 0)
    user.look()
    assert "Could not read a volume" in user.status
    assert user.ui.volumeSelector.currentNode().GetName() == "a"


def test_an_image_that_vanishes_while_the_list_is_open_is_told_and_passed_over(user, cases):
    open_list(user, cases)
    cases.with_name("b.nrrd").unlink()
    user.press("reject")
    assert "Could not read a volume" in user.status
    assert rows(user)[0] == ["a", "rejected", "Ann"]
    user.press("nextCase")
    assert user.ui.worklistLabel.text.startswith("c (3/6")
    user.press("previousCase")
    assert user.ui.worklistLabel.text.startswith("a (1/6")


def test_places_that_nobody_corrected_are_left_to_look_at_and_those_by_hand_are_sure(user, scene, cases):
    worklist = Worklist.open(cases)
    case, probability = worklist.cases[0], np.where(ball((8, 12, 12), 5), 1.0, 0.0).astype(np.float32)
    probability[8, 12, 16:18], probability[8, 12, 6:8] = 0.6, 0.65
    write_segmentation(case.segmentation, [Segment("ball", probability >= 0.5)], GRID)
    write_certainties(case.certainty_file, {"ball": Certainty.of(GRID.extent, probability)}, GRID)
    worklist.record(case, state=CaseState.PROPOSED)
    open_list(user, cases)
    node = user.ui.segmentationSelector.currentNode()
    segment_id = node.GetSegmentation().GetSegmentIdBySegmentName("ball")
    volume = user.ui.volumeSelector.currentNode()
    for place, left in ((slice(6, 8), 1), (slice(16, 18), 0)):
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume)
        mask[8, 12, place] = 0
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment_id, volume)
        user.widget.review._seen = {}
        user.look()
        user.press("lookNext")
        assert user.status.startswith("ball: look" if left else "No unsure place is left")


def test_how_sure_a_model_was_is_told_where_that_cannot_be_read_and_the_case_is_there(user, cases):
    case = propose_ball(cases)
    case.certainty_file.write_bytes(b"PK not whole")
    open_list(user, cases)
    assert "Expected how sure a model was" in user.status
    assert user.is_enabled("accept")
    assert not user.is_enabled("lookNext")


def test_a_segmentation_that_cannot_be_written_whole_leaves_the_one_before(user, cases, monkeypatch):
    case = propose_ball(cases)
    before = case.segmentation.read_bytes()
    open_list(user, cases)
    show_in_views(user)
    user.tool("pointPlus")
    user.click((4, 4, 4))

    def write_half(storage, node):
        Path(storage.GetFileName()).write_bytes(before[:100])
        return 0

    full = type("Full", (slicer.vtkMRMLSegmentationStorageNode,), {"WriteData": write_half})
    with monkeypatch.context() as patch:
        patch.setattr(slicer, "vtkMRMLSegmentationStorageNode", full)
        user.press("nextCase")
    assert "Could not save the segmentation to" in user.status
    assert user.ui.volumeSelector.currentNode().GetName() == "a"
    assert [path.name for path in case.segmentation.parent.glob("*nrrd")] == [case.segmentation.name]
    assert case.segmentation.read_bytes() == before
    user.press("nextCase")
    assert user.ui.volumeSelector.currentNode().GetName() == "b"
    assert case.segmentation.read_bytes() != before


def test_a_list_that_cannot_be_written_is_looked_through_and_what_fails_is_told(user, cases, monkeypatch):
    open_list(user, cases)
    shutil.rmtree(cases.parent / "segmentations", ignore_errors=True)
    from PromptSegLib.worklist import lock
    from PromptSegLib.worklist.errors import WorklistError

    def refused(*arguments):
        raise WorklistError(f"expected a list that can be written, got {cases}: Read-only file system")

    monkeypatch.setattr(lock, "_acquire", refused)
    user.press("nextCase")
    assert user.ui.worklistLabel.text.startswith("b (2/6")
    user.press("reject")
    assert "Expected a list that can be written" in user.status
    assert user.ui.volumeSelector.currentNode().GetName() == "b"


def test_a_proposal_that_comes_while_its_case_is_open_is_shown(user, scene, cases):
    open_list(user, cases)
    ShapePredictor.gate.set()
    propose_ball(cases)
    user.widget.proposals._takeIn()
    user.look()
    node = user.ui.segmentationSelector.currentNode()
    assert list(node.GetSegmentation().GetSegmentIDs()) != []
    assert rows(user)[0][1] == "proposed"
    assert slicer.mrmlScene is scene
