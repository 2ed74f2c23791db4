"""Structures made from names carry DICOM's codes, as Slicer itself writes and reads them."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from fakes import ValuePredictor
from scenes import add_volume

from PromptSegLib.geometry import Grid
from PromptSegLib.io import Segment, write_segmentation
from PromptSegLib.mrml.boot import start_scene
from PromptSegLib.mrml.files import open_mrb, save_mrb
from PromptSegLib.mrml.scene_session import SceneSession
from PromptSegLib.structures.names import all_structures, find_structure
from PromptSegLib.structures.terminology import TAG, terminology_entry

LOGIC = slicer.vtkSlicerTerminologiesModuleLogic
CODED = [structure for structure in all_structures().values() if structure.code]
SIDES = {"left": "Left", "right": "Right", "": ""}


@pytest.fixture
def scene():
    with start_scene() as standalone:
        yield standalone.scene


def read(entry):
    """Return category, type, side and region of an entry, as Slicer's own logic reads it."""
    parsed = slicer.vtkSlicerTerminologyEntry()
    assert LOGIC.DeserializeTerminologyEntry(entry, parsed)
    assert LOGIC.SerializeTerminologyEntry(parsed) == entry
    coded = (
        parsed.GetCategoryObject(),
        parsed.GetTypeObject(),
        parsed.GetTypeModifierObject(),
        parsed.GetRegionObject(),
    )
    return [(item.GetCodeValue() or "", item.GetCodeMeaning() or "") if item else ("", "") for item in coded]


@pytest.mark.parametrize("structure", CODED, ids=lambda structure: structure.name)
def test_slicer_reads_what_is_written_and_writes_it_alike(structure):
    category, kind, side, region = read(terminology_entry(structure))
    assert category[1] == (
        "Anatomical Structure" if structure.kind == "anatomy" else "Morphologically Altered Structure"
    )
    assert kind == (structure.code, structure.meaning)
    assert side[1] == SIDES[structure.side]
    assert region[1] == (find_structure(structure.region).meaning if structure.region else "")


def test_well_known_structures_are_coded_as_in_slicers_list():
    context = "Segmentation category and type - 3D Slicer General Anatomy list"
    anatomy = f"{context}~SCT^123037004^Anatomical Structure"
    regions = "Anatomic codes - DICOM master list"
    assert terminology_entry(find_structure("liver")) == f"{anatomy}~SCT^10200004^Liver~^^~{regions}~^^~^^"
    assert terminology_entry(find_structure("kidney_left")) == (
        f"{anatomy}~SCT^64033007^Kidney~SCT^7771000^Left~{regions}~^^~^^"
    )
    assert terminology_entry(find_structure("liver tumour")) == (
        f"{context}~SCT^49755003^Morphologically Altered Structure~SCT^108369006^Neoplasm~^^~{regions}"
        "~SCT^10200004^Liver~^^"
    )


def test_a_structure_without_a_code_has_no_entry():
    uncoded = [structure for structure in all_structures().values() if not structure.code]
    assert all(terminology_entry(structure) == "" for structure in uncoded)


def entries_of(segmentation):
    segments = [segmentation.GetNthSegment(n) for n in range(segmentation.GetNumberOfSegments())]
    return {segment.GetName(): segment.GetTerminology() for segment in segments}


def test_segments_made_from_names_have_it_and_a_saved_scene_keeps_it(scene, tmp_path):
    values = np.zeros((6, 7, 8), np.int16)
    values[2:4, 2:5, 2:6] = 1
    session = SceneSession(add_volume(scene, values, name="CT"), predictor=ValuePredictor())
    session.add_classes(["liver", "kidney_left"])
    session.add_target("something else")
    segmentation = session.segmentation_node.GetSegmentation()
    entries = entries_of(segmentation)
    for name in ("liver", "left kidney"):
        assert entries[name] == terminology_entry(find_structure(name))
    assert entries["something else"] == slicer.vtkSegment().GetTerminology(), "Slicer's default"
    save_mrb(scene, tmp_path / "scene.mrb")
    with start_scene() as other:
        open_mrb(other.scene, tmp_path / "scene.mrb")
        node = other.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
        assert entries_of(node.GetSegmentation()) == entries
        assert node.GetSegmentation().GetSegment(
            node.GetSegmentation().GetSegmentIdBySegmentName("liver")
        ).GetColor() == pytest.approx(find_structure("liver").colour, abs=1e-4)


def test_slicer_finds_it_in_a_file_of_ours_and_keeps_it_in_its_own(scene, tmp_path):
    grid = Grid((4, 5, 6), np.eye(4))
    mask = np.ones(grid.shape_kji, dtype=bool)
    segments = [Segment("liver tumour", mask, 1), Segment("odd one", ~mask, 2), Segment("spleen", mask, 3)]
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(path, segments, grid)
    for round_trip in range(2):
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
        storage.SetFileName(str(path))
        assert storage.ReadData(node) == 1
        entries = entries_of(node.GetSegmentation())
        assert entries["liver tumour"] == terminology_entry(find_structure("liver tumour"))
        assert entries["spleen"] == terminology_entry(find_structure("spleen"))
        assert node.GetSegmentation().GetNthSegment(2).GetColor() == pytest.approx(
            find_structure("spleen").colour, abs=1e-4
        )
        path = tmp_path / f"again{round_trip}.seg.nrrd"
        storage.SetFileName(str(path))
        assert storage.WriteData(node) == 1
    assert slicer.vtkSegment.GetTerminologyEntryTagName() == TAG
