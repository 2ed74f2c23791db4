"""Measuring and following up by mouse: live figures, the table, lines, files, masks carried over."""

import csv

import numpy as np
import pytest
import slicer
from scenes import add_segmentation, add_volume
from standin.application import FileDialog

from PromptSegLib.measurement.measure import measure
from PromptSegLib.measurement.segmentation import Segmentation
from PromptSegLib.mrml.measurement_nodes import diameters_in


def expand(user, name):
    getattr(user.ui, f"{name}CollapsibleButton").collapsed = False
    user.look()


def segment(user, point_ijk):
    user.tool("pointPlus")
    user.click(point_ijk)


def cells(user):
    table = user.ui.measureTable
    return [[table.item(row, column).text() for column in range(table.columnCount)] for row in range(table.rowCount)]


def expected_of(user, mask=None):
    session = user.session
    masks = Segmentation.of_masks({"it": session.mask_kji if mask is None else mask}, session.image.grid.ijk_to_ras)
    (found,) = measure(masks, session.image.reference)
    return found


def test_the_live_line_follows_clicks_and_undo_and_has_the_diameters_when_it_rests(user, image):
    expand(user, "measure")
    assert user.ui.liveLabel.text == "No segment yet."
    segment(user, (15, 12, 8))
    found = expected_of(user)
    assert f"{found.volume_ml:.4g} mL, {found.voxels} voxels" in user.ui.liveLabel.text
    assert f"mean {found.intensity.mean:.4g} ± {found.intensity.sd:.4g}" in user.ui.liveLabel.text
    first = user.ui.liveLabel.text
    user.widget.measure.onRest()
    user.look()
    axial = found.axial
    assert user.ui.liveLabel.text == (
        f"{first}, {axial.longest.length_mm:.1f} x {axial.perpendicular.length_mm:.1f} mm"
    )
    segment(user, (26, 20, 12))
    both = expected_of(user)
    assert both.voxels != found.voxels
    assert f"{both.voxels} voxels" in user.ui.liveLabel.text
    user.press("undo")
    assert user.ui.liveLabel.text == first


def test_the_live_line_is_of_the_selected_segment(user, image):
    expand(user, "measure")
    segment(user, (15, 12, 8))
    user.press("next")
    assert "0 voxels" in user.ui.liveLabel.text
    segment(user, (30, 22, 12))
    assert f"{expected_of(user).voxels} voxels" in user.ui.liveLabel.text


def test_all_segments_are_measured_into_a_table_lines_and_a_file(user, scene, image, tmp_path):
    expand(user, "measure")
    assert not user.is_enabled("measure")
    segment(user, (15, 12, 8))
    user.press("next")
    assert not user.is_enabled("measureCsv")
    user.press("measure")
    found = expected_of(user, user.session.mask(user.session.targets[0]))
    rows = cells(user)
    assert len(rows) == 2
    assert rows[0][1:3] == ["all", f"{found.volume_ml:.4g}"]
    assert rows[1][2:] == ["0", "", ""]
    tables = scene.GetNodesByClass("vtkMRMLTableNode")
    assert tables.GetNumberOfItems() == 1
    assert tables.GetItemAsObject(0).GetNumberOfRows() == 2
    user.press("diameters")
    assert user.ui.diametersButton.checked
    lengths = [node.GetLineLengthWorld() for node in diameters_in(scene)]
    assert lengths == pytest.approx(
        [found.axial.longest.length_mm, found.axial.perpendicular.length_mm, found.longest.length_mm]
    )
    user.press("diameters")
    assert diameters_in(scene) == []
    FileDialog.answers.append(str(tmp_path / "m.csv"))
    user.press("measureCsv")
    with (tmp_path / "m.csv").open(newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert float(written[0]["volume_mL"]) == pytest.approx(found.volume_ml)
    assert written[1]["note"] == "empty"


def test_a_factor_that_was_typed_in_gives_suvs_and_a_wrong_one_is_told(user, image, tmp_path):
    expand(user, "measure")
    segment(user, (15, 12, 8))
    user.ui.suvFactorEdit.setText("x")
    user.press("measure")
    assert "a number above 0 as the factor to SUV, got 'x'" in user.status
    user.ui.suvFactorEdit.setText("0.5")
    user.press("measure")
    assert cells(user)[0][4].endswith(" SUV")
    assert float(cells(user)[0][4].split()[0]) == pytest.approx(0.5 * expected_of(user).intensity.mean, rel=1e-3)


def test_a_segmentation_of_another_grid_is_told(user, scene, image):
    expand(user, "measure")
    segment(user, (15, 12, 8))
    other = add_volume(scene, np.zeros((20, 30, 40), np.int16), np.diag([1.3, 1.0, 1.0, 1.0]))
    segmentation = user.session.segmentation_node
    user.ui.volumeSelector.setCurrentNode(other)
    user.ui.segmentationSelector.setCurrentNode(segmentation)
    user.press("measure")
    assert "on the segmentation's grid" in user.status


def test_the_saved_cases_of_a_worklist_become_one_file(user, scene, tmp_path):
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    for name in ("a", "b"):
        node = add_volume(scene, np.full((8, 20, 20), ord(name), np.int16))
        storage.SetFileName(str(tmp_path / f"{name}.nii.gz"))
        assert storage.WriteData(node)
        scene.RemoveNode(node)
    expand(user, "measure")
    assert not user.is_enabled("measureList")
    FileDialog.answers.append(str(tmp_path))
    user.press("openFolder")
    for view in user.views.values():
        view.show(user.ui.volumeSelector.currentNode())
    segment(user, (10, 10, 4))
    voxels = user.size
    user.press("nextCase")
    FileDialog.answers.append(str(tmp_path / "all.csv"))
    user.press("measureList")
    with (tmp_path / "all.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["voxels"]) for row in rows] == [("a", str(voxels))]
    assert float(rows[0]["mean"]) == ord("a")


def test_an_earlier_time_points_masks_wait_for_a_point_on_each(user, scene, image, tmp_path):
    masks = {}
    for name, center in (("one", (10, 10, 8)), ("two", (30, 20, 12))):
        mask = np.zeros((20, 30, 40), bool)
        k, j, i = center[::-1]
        mask[k - 3 : k + 4, j - 4 : j + 5, i - 4 : i + 5] = True
        masks[name] = mask
    earlier = add_segmentation(scene, image, masks)
    expand(user, "followUp")
    assert not user.is_enabled("carryOver")
    user.ui.earlierSelector.setCurrentNode(earlier)
    user.press("carryOver")
    assert "one, two" in user.ui.followUpLabel.text
    waiting = scene.GetFirstNodeByName("To confirm by a click")
    assert waiting.GetSegmentation().GetNumberOfSegments() == 2
    segment(user, (11, 9, 8))
    segmentation = user.session.segmentation_node.GetSegmentation()
    assert segmentation.GetSegment(user.session.target).GetName() == "one"
    assert user.session.mask_kji[8, 10, 10]
    assert [prompt.kind for prompt in user.session.prompts()] == ["mask", "point"]
    assert "click on each that is still there: two." in user.ui.followUpLabel.text
    user.press("dropCarried")
    assert scene.GetFirstNodeByName("To confirm by a click") is None
    assert not user.is_enabled("dropCarried")
    FileDialog.answers.append(str(tmp_path / "page.html"))
    user.press("compare")
    assert "(RECIST 1.1)" in user.ui.followUpLabel.text
    assert "Lesion 1: one" in (tmp_path / "page.html").read_text(encoding="utf-8")
