"""Cases one after the other, and weights fetched from a server, through the panel."""

import csv
import functools
import hashlib
import http.server
import threading
import time

import numpy as np
import pytest
import slicer
from scenes import add_volume
from standin.application import FileDialog

from PromptSegLib.panel.models import Models
from PromptSegLib.weights.catalogue import Checkpoint, WeightFile
from PromptSegLib.weights.store import WeightsStore

CONTENT = b"weights" * 1000


@pytest.fixture
def cases(user, scene, tmp_path):
    """A folder of three images."""
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    for name in ("a", "b", "c"):
        node = add_volume(scene, np.full((8, 20, 20), ord(name), np.int16))
        storage.SetFileName(str(tmp_path / f"{name}.nii.gz"))
        assert storage.WriteData(node)
        scene.RemoveNode(node)
    return tmp_path


def open_folder(user, folder):
    FileDialog.answers.append(str(folder))
    user.press("openFolder")


def names_of(scene, class_name):
    return [scene.GetNthNodeByClass(n, class_name).GetName() for n in range(scene.GetNumberOfNodesByClass(class_name))]


def segment(user):
    for view in user.views.values():
        view.show(user.ui.volumeSelector.currentNode())
    user.tool("pointPlus")
    user.click((10, 10, 4))


def test_a_folder_is_worked_through_saved_and_resumed(user, scene, cases):
    keep = add_volume(scene, np.zeros((4, 4, 4), np.int16), name="keep")
    open_folder(user, cases)
    assert user.ui.worklistLabel.text == "a (1/3, 0 done)"
    segment(user)
    mask = user.session.mask_kji
    user.press("nextCase")
    assert (cases / "segmentations" / "a.seg.nrrd").is_file()
    assert user.ui.worklistLabel.text == "b (2/3, 1 done)"
    assert names_of(scene, "vtkMRMLScalarVolumeNode") == ["keep", "b"]
    assert not user.is_enabled("exportFile")
    user.press("previousCase")
    node = user.ui.segmentationSelector.currentNode()
    (segment_id,) = node.GetSegmentation().GetSegmentIDs()
    back = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, user.ui.volumeSelector.currentNode())
    np.testing.assert_array_equal(back > 0, mask)
    user.press("nextCase")
    user.press("nextCase")
    assert not user.is_enabled("nextCase")
    assert keep.GetScene() is scene
    text = names_of(scene, "vtkMRMLTextNode")
    assert [name for name in text if name.startswith("PromptSeg")] == []

    user.widget.logic.case = None
    open_folder(user, cases)
    assert user.ui.worklistLabel.text.startswith("c (3/3")


def test_a_csv_file_names_images_and_where_segments_go(user, scene, cases):
    with (cases / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "segmentation"), ("b.nii.gz", "out/b.seg.nrrd")])
    FileDialog.answers.append(str(cases / "list.csv"))
    user.press("openCsv")
    segment(user)
    user.press("saveCase")
    assert (cases / "out" / "b.seg.nrrd").is_file()


def test_a_folder_without_images_is_told(user, tmp_path):
    open_folder(user, tmp_path)
    assert "Expected images" in user.status
    assert user.ui.worklistLabel.text == "No worklist"


def test_a_case_that_cannot_be_read_leaves_the_one_that_is_open(user, scene, cases):
    open_folder(user, cases)
    (cases / "b.nii.gz").write_bytes(b"no image")
    user.press("nextCase")
    assert "Could not read" in user.status
    assert user.ui.worklistLabel.text.startswith("a (1/3")
    assert user.ui.volumeSelector.currentNode().GetName() == "a"


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "points.bin").write_bytes(CONTENT)
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def store(user, server, tmp_path):
    """A store that knows the weights of the model "points"."""
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    file = WeightFile("points.bin", f"{server}/", (f"{server}/points.bin",), len(CONTENT), None, sha256, "official")
    checkpoint = Checkpoint(
        name="points-weights",
        title="Points",
        version="1",
        predictors={},
        code=server,
        code_license="Apache-2.0",
        weights_license="CC-BY-NC-4.0",
        consent=True,
        citation="nobody",
        needs="",
        files=(file,),
    )
    store = WeightsStore(tmp_path / "store", catalogue={"points-weights": checkpoint})
    user.widget.logic.models = Models(store)
    user.widget.model.showWeights()
    user.ui.modelComboBox.setCurrentIndex(user.ui.modelComboBox.findData("points"))
    user.look()
    return store


def on(user):
    """Return which of the buttons for weights can be used."""
    names = ("getWeights", "importWeights", "importFolder", "removeWeights", "clearCache")
    return [name for name in names if user.is_enabled(name)]


def test_the_buttons_for_weights_follow_what_is_here_and_what_is_under_way(user, image, store, server, monkeypatch):
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: True)
    assert on(user) == ["getWeights", "importWeights", "importFolder", "clearCache"]
    release, get = threading.Event(), store.get
    monkeypatch.setattr(store, "get", lambda *arguments: release.wait(5) and get(*arguments))
    user.press("getWeights")
    assert on(user) == []
    assert "A download is under way." in user.ui.getWeightsButton.toolTip
    assert user.is_enabled("cancel")
    release.set()
    user.wait()
    assert on(user) == ["removeWeights", "clearCache"]
    assert not user.is_enabled("cancel")


def test_a_download_can_be_cancelled(user, image, store, monkeypatch):
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: True)
    started, get = threading.Event(), store.get

    def late(name, consent, progress, cancel):
        started.set()
        deadline = time.monotonic() + 5
        while not cancel.cancelled and time.monotonic() < deadline:
            time.sleep(0.002)
        return get(name, consent, progress, cancel)

    monkeypatch.setattr(store, "get", late)
    user.press("getWeights")
    assert started.wait(5)
    user.press("cancel")
    user.wait()
    assert store.status("points-weights").state != "ready"
    assert user.is_enabled("getWeights")


def test_weights_are_fetched_with_consent_and_removed(user, image, store, monkeypatch):
    asked = []
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: asked.append(text) or len(asked) > 1)
    assert not user.is_enabled("pointPlus")
    assert "get them under Model" in user.ui.pointPlusButton.toolTip
    user.press("getWeights")
    assert store.status("points-weights").state == "missing"
    user.press("getWeights")
    user.wait()
    assert "CC-BY-NC-4.0" in asked[0]
    assert user.status == "The weights are here."
    assert store.status("points-weights").state == "ready"
    assert user.is_enabled("pointPlus")
    assert not user.is_enabled("getWeights")
    user.press("removeWeights")
    assert store.status("points-weights").state == "missing"


def test_weights_are_taken_from_a_file_and_a_wrong_one_is_refused(user, image, store, tmp_path, monkeypatch):
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: True)
    wrong, right = tmp_path / "wrong.bin", tmp_path / "right.bin"
    wrong.write_bytes(b"x" * len(CONTENT))
    right.write_bytes(CONTENT)
    FileDialog.answers.append(str(wrong))
    user.press("importWeights")
    user.wait()
    assert "is not taken" in user.status
    FileDialog.answers.append(str(right))
    user.press("importWeights")
    user.wait()
    assert store.status("points-weights").state == "ready"
    user.press("clearCache")
    assert store.status("points-weights").state == "missing"
    copied = tmp_path / "copied"
    copied.mkdir()
    (copied / "points.bin").write_bytes(CONTENT)
    FileDialog.answers.append(str(copied))
    user.press("importFolder")
    user.wait()
    assert store.status("points-weights").state == "ready"


def test_the_list_of_models_says_whose_weights_are_here_and_the_terms_are_shown(user, image, store, monkeypatch):
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: True)
    user.ui.modelCollapsibleButton.collapsed = False
    models = user.ui.modelComboBox

    def entry():
        return models.itemText(models.findData("points"))

    assert entry() == "Points only (weights not here)"
    assert "restricted: CC-BY-NC-4.0" in user.ui.termsLabel.text
    assert user.ui.termsLabel.isVisible()
    user.press("getWeights")
    user.wait()
    assert entry() == "Points only (weights here)"
    user.press("removeWeights")
    assert entry() == "Points only (weights not here)"
    models.setCurrentIndex(models.findData("shapes"))
    user.look()
    assert not user.ui.termsLabel.isVisible()
