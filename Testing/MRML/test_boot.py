"""A scene without the application starts quietly, works, and goes without a trace."""

import gc
import os
import zipfile

import numpy as np
import pytest
import slicer
from scenes import (
    add_segmentation,
    add_transform,
    add_volume,
    affine_of,
    ijk_to_ras_of,
    rotation,
    segment_mask,
    volume_array,
)

from PromptSegLib.errors import SceneFileError
from PromptSegLib.mrml.boot import start_scene
from PromptSegLib.mrml.files import open_mrb, save_mrb


@pytest.fixture
def scene():
    with start_scene() as host:
        yield host.scene


def test_a_started_scene_has_the_singletons_the_colours_and_the_logics_of_the_application():
    with start_scene() as host:
        for singleton in ("vtkMRMLSelectionNodeSingleton", "vtkMRMLInteractionNodeSingleton"):
            assert host.scene.GetNodeByID(singleton) is not None
        assert host.scene.GetFirstNodeByClass("vtkMRMLCrosshairNode").GetCrosshairName() == "default"
        assert host.scene.GetNodeByID("vtkMRMLColorTableNodeGrey") is not None
        assert host.scene.GetSubjectHierarchyNode() is not None
        for name, logic in host.logics.items():
            assert host.application_logic.GetModuleLogic(name) is logic


def test_starting_using_and_closing_a_scene_says_nothing_on_stderr(capfd, tmp_path):
    with start_scene() as host:
        volume_node = add_volume(host.scene, np.zeros((3, 4, 5), dtype=np.int16))
        add_segmentation(host.scene, volume_node, {"one": np.ones((3, 4, 5), dtype=bool)})
        save_mrb(host.scene, tmp_path / "scene.mrb")
        open_mrb(host.scene, tmp_path / "scene.mrb")
    del host, volume_node
    gc.collect()

    assert capfd.readouterr() == ("", "")


def test_the_default_terminology_of_a_new_segment_is_known():
    with start_scene() as host:
        context, category, kind, *_ = slicer.vtkSegment().GetTerminology().split("~")

        assert category == kind == "SCT^85756007^Tissue"
        assert host.logics["Terminologies"].IsTerminologyContextLoaded(context)
        assert host.logics["Terminologies"].GetNumberOfCategoriesInTerminology(context) == 1


def test_a_closed_scene_its_nodes_and_its_logics_are_freed_and_the_next_scene_is_empty():
    freed = []
    for _ in range(2):
        host = start_scene()
        assert host.scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == 0
        volume_node = add_volume(host.scene, np.zeros((3, 4, 5), dtype=np.int16))
        watched = {"scene": host.scene, "application": host.application_logic, "volume": volume_node, **host.logics}
        for name, thing in watched.items():
            thing.AddObserver("DeleteEvent", lambda _caller, _event, name=name: freed.append(name))
        names = set(watched)
        host.close()
        del host, volume_node, watched, thing
        gc.collect()

        assert set(freed) == names
        freed.clear()


def test_two_scenes_at_a_time_know_nothing_of_each_other():
    with start_scene() as first, start_scene() as second:
        add_volume(first.scene, np.zeros((3, 4, 5), dtype=np.int16), name="in the first")

        assert second.scene.GetFirstNodeByName("in the first") is None
        assert first.logics["Markups"].GetMRMLScene() is first.scene


def test_a_volume_read_from_a_file_gets_its_colours(tmp_path, capfd):
    with start_scene() as host:
        written = add_volume(host.scene, np.arange(60, dtype=np.int16).reshape(3, 4, 5))
        storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
        storage.SetFileName(str(tmp_path / "volume.nrrd"))
        assert storage.WriteData(written)

        read = host.logics["Volumes"].AddArchetypeVolume(str(tmp_path / "volume.nrrd"), "read")

        np.testing.assert_array_equal(volume_array(read), volume_array(written))
        assert read.GetDisplayNode().GetColorNodeID() == "vtkMRMLColorTableNodeGrey"
    assert capfd.readouterr().err == ""


def test_starting_a_scene_leaves_the_slicer_package_as_it_was():
    before = set(vars(slicer))
    with start_scene():
        assert set(vars(slicer)) == before


def test_a_scene_survives_saving_and_opening(scene, tmp_path):
    rng = np.random.default_rng(3)
    array = rng.integers(-1000, 2000, size=(6, 7, 8), dtype=np.int16)
    ijk_to_ras = rotation(25, (1, 2, 3)) @ np.diag([-0.7, -0.9, 2.5, 1.0])
    parent = rotation(40, (0, 1, 1))
    first, second = np.zeros((2, 6, 7, 8), dtype=bool)
    first[1:4, 2:6, 3:5] = True
    second[2:6, 1:4, 4:8] = True  # overlaps the first: two layers
    volume_node = add_volume(scene, array, ijk_to_ras, name="oblique")
    segmentation = add_segmentation(scene, volume_node, {"first": first, "second": second})
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    positions = rng.normal(scale=30, size=(4, 3))
    for n, position in enumerate(positions):
        points.AddControlPoint(position, f"p{n}")
    add_transform(scene, parent, volume_node, segmentation, points)

    save_mrb(scene, tmp_path / "scene.mrb")
    with start_scene() as other:
        open_mrb(other.scene, tmp_path / "scene.mrb")
        volume_node, segmentation, points = (
            other.scene.GetFirstNodeByName(name) for name in ("oblique", "segmentation", "points")
        )

        np.testing.assert_array_equal(volume_array(volume_node), array)
        assert volume_array(volume_node).dtype == np.int16
        np.testing.assert_allclose(ijk_to_ras_of(volume_node), ijk_to_ras, atol=1e-9)
        np.testing.assert_array_equal(segment_mask(segmentation, "first", array.shape), first)
        np.testing.assert_array_equal(segment_mask(segmentation, "second", array.shape), second)
        read = [points.GetNthControlPointPosition(n) for n in range(points.GetNumberOfControlPoints())]
        np.testing.assert_allclose(read, positions, atol=1e-9)
        for node in (volume_node, segmentation, points):
            matrix = affine_of(node.GetParentTransformNode().GetMatrixTransformToParent())
            np.testing.assert_allclose(matrix, parent, atol=1e-9)


def test_a_left_handed_volume_comes_back_with_its_slices_in_reverse_but_each_at_its_place(scene, tmp_path):
    array = np.arange(6 * 7 * 8, dtype=np.int16).reshape(6, 7, 8)
    ijk_to_ras = rotation(25, (1, 2, 3)) @ np.diag([-0.7, 0.9, 2.5, 1.0])
    add_volume(scene, array, ijk_to_ras, name="left-handed")
    save_mrb(scene, tmp_path / "scene.mrb")
    open_mrb(scene, tmp_path / "scene.mrb")

    node = scene.GetFirstNodeByName("left-handed")
    for k, j, i in ((0, 0, 0), (5, 2, 7), (3, 6, 1)):
        read_ijk = np.linalg.inv(ijk_to_ras_of(node)) @ ijk_to_ras @ (i, j, k, 1)
        read_i, read_j, read_k = np.rint(read_ijk[:3]).astype(int)
        assert volume_array(node)[read_k, read_j, read_i] == array[k, j, i]


def test_opening_replaces_the_scene_or_adds_to_it(scene, tmp_path):
    add_volume(scene, np.zeros((3, 4, 5), dtype=np.uint8))
    save_mrb(scene, tmp_path / "scene.mrb")

    open_mrb(scene, tmp_path / "scene.mrb")
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1

    open_mrb(scene, tmp_path / "scene.mrb", clear=False)
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 2


def test_saving_leaves_nothing_beside_the_file_and_no_node_but_the_storage_node(scene, tmp_path):
    node = add_volume(scene, np.zeros((3, 4, 5), dtype=np.uint8))
    nodes = scene.GetNumberOfNodes()

    save_mrb(scene, tmp_path / "scene.mrb")

    assert [path.name for path in tmp_path.iterdir()] == ["scene.mrb"]
    assert node.GetStorageNode() is not None
    assert scene.GetNumberOfNodes() == nodes + 1


def test_a_scene_cannot_be_saved_under_another_extension_or_into_no_folder(scene, tmp_path):
    with pytest.raises(SceneFileError, match=r"expected the name of an \.mrb file .* got 'scene\.zip'"):
        save_mrb(scene, tmp_path / "scene.zip")
    with pytest.raises(SceneFileError, match="expected an existing folder"):
        save_mrb(scene, tmp_path / "nowhere" / "scene.mrb")


def test_a_missing_or_damaged_file_is_refused_and_the_scene_and_the_working_directory_stay(scene, tmp_path):
    add_volume(scene, np.zeros((30, 40, 50), dtype=np.uint8), name="mine")
    folder = os.getcwd()
    save_mrb(scene, tmp_path / "whole.mrb")
    half = (tmp_path / "whole.mrb").read_bytes()[:2000]
    (tmp_path / "half.mrb").write_bytes(half)

    with pytest.raises(SceneFileError, match=r"missing\.mrb, which is no file"):
        open_mrb(scene, tmp_path / "missing.mrb")
    with pytest.raises(SceneFileError, match="expected an archive that holds a scene"):
        open_mrb(scene, tmp_path / "half.mrb")

    assert scene.GetFirstNodeByName("mine") is not None
    assert os.getcwd() == folder


@pytest.mark.parametrize("entry", ["../evil.txt", "case/../../evil.txt", "{folder}/evil.txt", "link"])
def test_an_archive_that_writes_elsewhere_is_refused_and_the_scene_stays(scene, tmp_path, entry):
    add_volume(scene, np.zeros((3, 4, 5), dtype=np.uint8), name="mine")
    save_mrb(scene, tmp_path / "whole.mrb")
    (tmp_path / "out").mkdir()
    with zipfile.ZipFile(tmp_path / "whole.mrb", "a") as archive:
        if entry == "link":
            link = zipfile.ZipInfo("whole/link")
            link.create_system, link.external_attr = 3, 0o120777 << 16
            archive.writestr(link, str(tmp_path / "out"))
            archive.writestr("whole/link/evil.txt", "evil")
        else:
            archive.writestr(entry.format(folder=tmp_path / "out"), "evil")
    with pytest.raises(SceneFileError, match=r"leads outside of a folder|a link or a device"):
        open_mrb(scene, tmp_path / "whole.mrb")
    assert scene.GetFirstNodeByName("mine") is not None
    assert [path.name for path in tmp_path.rglob("evil*")] == []


def test_an_opened_scene_names_its_files_beside_the_archive(scene, tmp_path):
    """As Slicer's own reading leaves it: what was unpacked is gone, and nothing refers to it."""
    add_volume(scene, np.zeros((3, 4, 5), dtype=np.uint8), name="mine: ä")
    save_mrb(scene, tmp_path / "case.mrb")
    with start_scene() as other:
        open_mrb(other.scene, tmp_path / "case.mrb")
        storage = other.scene.GetFirstNodeByName("mine: ä").GetStorageNode()
        assert storage.GetFileName() == "Data/mine%3a %ffc3%ffa4.nrrd"
        assert other.scene.GetURL() == str(tmp_path / "case.mrml")
        assert other.scene.GetRootDirectory() == str(tmp_path)
        assert other.scene.GetFirstNodeByName("mine: ä").GetModifiedSinceRead()
