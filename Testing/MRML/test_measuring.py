"""Nodes are measured where the views show them: whatever lattice and transforms they have."""

import numpy as np
import pytest
import slicer
from scenes import GEOMETRIES, add_transform, add_volume, add_volume_of, rotation

from PromptSegLib.errors import GeometryError, PromptError
from PromptSegLib.geometry import flip_axes
from PromptSegLib.measurement.carry_over import CarryOver
from PromptSegLib.measurement.measure import measure
from PromptSegLib.measurement.segmentation import Segmentation
from PromptSegLib.measurement.segmentation_file import read_segmentation
from PromptSegLib.measurement.table import rows_of
from PromptSegLib.mrml.boot import start_scene
from PromptSegLib.mrml.carried_masks import CarriedMasks
from PromptSegLib.mrml.measurement_nodes import add_table_node, diameters_in, remove_diameters, show_diameters
from PromptSegLib.mrml.measuring import (
    ValueUnit,
    measure_nodes,
    segmentation_from_node,
    value_unit,
    volume_in_world,
)
from PromptSegLib.mrml.scene_session import SceneSession
from PromptSegLib.mrml.transforms import matrix_between, matrix_from_array
from PromptSegLib.mrml.volumes import add_volume_node
from PromptSegLib.prompts import Point
from PromptSegLib.volume import Volume


@pytest.fixture
def scene():
    with start_scene() as host:
        yield host.scene


def two_segments(scene, geometry="anisotropic"):
    """Return a session with two overlapping segments on a random volume, and their masks by name."""
    values = np.random.default_rng(3).integers(0, 500, (14, 22, 26)).astype(np.int16)
    node = add_volume_of(scene, geometry, values)
    masks = {"liver": np.zeros(values.shape, bool), "tumour": np.zeros(values.shape, bool)}
    masks["liver"][3:9, 4:15, 6:20] = True
    masks["tumour"][5:11, 10:18, 12:17] = True
    session = SceneSession(node, auto=False, predictor="classical")
    for name, mask in masks.items():
        session.add_target(name)
        session.set_mask(mask)
    session.segmentation_node.GetSegmentation().RemoveSegment(session.targets[0])
    return session, masks, values


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_segments_of_a_node_have_the_figures_of_their_masks_in_the_world(scene, geometry):
    session, masks, values = two_segments(scene, geometry)
    to_world = matrix_between(session.volume_node, None) @ session.image.grid.ijk_to_ras
    expected = measure(Segmentation.of_masks(masks, to_world), Volume(values, to_world), unit="HU")
    found = measure_nodes(session.segmentation_node, session.volume_node, ValueUnit("HU"))
    assert [one.segment for one in found] == ["liver", "tumour"]
    for one, other in zip(found, expected, strict=True):
        assert (one.voxels, one.part_count, one.intensity) == (other.voxels, other.part_count, other.intensity)
        assert one.volume_ml == pytest.approx(other.volume_ml)
        assert one.centroid_ras == pytest.approx(other.centroid_ras, abs=1e-4)
        assert one.axial.longest.length_mm == pytest.approx(other.axial.longest.length_mm)
        assert one.surface_mm2 == pytest.approx(other.surface_mm2)
        assert one.touches_border is False


def save_cropped(segmentation_node, path):
    """Save as Slicer does with "crop to minimum extent" on."""
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    storage.SetCropToMinimumExtent(True)
    assert storage.WriteData(segmentation_node)


@pytest.mark.parametrize("geometry", ["anisotropic", "flipped", "oblique"])
def test_a_file_of_slicers_keeps_a_part_of_the_grid_and_the_images_border_is_known_all_the_same(
    scene, geometry, tmp_path
):
    session, masks, values = two_segments(scene, geometry)
    save_cropped(session.segmentation_node, tmp_path / "s.seg.nrrd")
    found = read_segmentation(tmp_path / "s.seg.nrrd")
    assert found.grid.shape_kji != values.shape
    assert found.whole is not None
    assert found.whole.shape_kji == values.shape
    image = Volume(values, session.image.grid.ijk_to_ras)
    for with_image in (None, image):
        measured = measure(found, with_image)
        assert [(one.segment, one.voxels) for one in measured] == [(n, m.sum()) for n, m in masks.items()]
        assert not any(one.touches_border for one in measured)
    assert [one.intensity.mean for one in measured] == pytest.approx([values[m].mean() for m in masks.values()])
    whole = np.ones(values.shape, bool)
    session.set_mask(whole)
    save_cropped(session.segmentation_node, tmp_path / "s.seg.nrrd")
    assert any(one.touches_border for one in measure(tmp_path / "s.seg.nrrd"))


def test_an_empty_segment_and_an_empty_segmentation_are_measured_as_empty(scene):
    session, _, _ = two_segments(scene)
    session.add_target("nothing")
    found = measure_nodes(session.segmentation_node, session.volume_node)
    assert [(one.segment, bool(one.voxels)) for one in found] == [("liver", True), ("tumour", True), ("nothing", False)]
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    empty.GetSegmentation().AddEmptySegment("", "alone")
    assert [one.voxels for one in measure_nodes(empty, session.volume_node)] == [0]


def test_a_volume_on_another_grid_is_refused_and_one_of_colour_leaves_sizes(scene):
    session, masks, values = two_segments(scene)
    other = add_volume(scene, values, np.diag([1.0, 1.0, 1.0, 1.0]))
    with pytest.raises(GeometryError, match="on the segmentation's grid"):
        measure_nodes(session.segmentation_node, other)
    colours = np.stack([values.astype(np.uint8)] * 3, -1)
    colour = add_volume_node(scene, Volume(colours, session.image.grid.ijk_to_ras))
    (liver, _) = measure_nodes(session.segmentation_node, colour)
    assert liver.voxels == masks["liver"].sum()
    assert liver.intensity is None


def test_the_unit_is_what_slicer_read_and_the_given_factor_comes_first(scene):
    node = add_volume(scene, np.zeros((3, 4, 5), np.int16))
    assert value_unit(node) == ValueUnit()
    units = slicer.vtkCodedEntry()
    units.SetValueSchemeMeaning("[hnsf'U]", "UCUM", "Hounsfield unit")
    node.SetVoxelValueUnits(units)
    assert value_unit(node) == ValueUnit("HU")
    units.SetValueSchemeMeaning("{SUVbw}g/ml", "UCUM", "SUV")
    node.SetVoxelValueUnits(units)
    assert value_unit(node) == ValueUnit("SUV", 1.0)
    assert value_unit(node, 0.5) == ValueUnit("SUV", 0.5)


def test_the_table_has_a_column_for_each_figure_with_its_unit(scene):
    session, _, _ = two_segments(scene)
    rows = rows_of(measure_nodes(session.segmentation_node, session.volume_node, ValueUnit("HU")))
    node = add_table_node(scene, "figures", rows)
    titles = [node.GetColumnName(index) for index in range(node.GetNumberOfColumns())]
    assert {"segment", "volume_mL", "longest_axial_mm", "mean_HU"} <= set(titles)
    assert node.GetNumberOfRows() == 2
    volumes = node.GetTable().GetColumnByName("volume_mL")
    assert [volumes.GetValue(row) for row in range(2)] == [one.volume_ml for one in rows]
    assert node.GetTable().GetColumnByName("segment").GetValue(1) == "tumour"
    assert add_table_node(scene, "figures", rows[:1]) is node
    assert node.GetNumberOfRows() == 1


def test_diameters_are_lines_of_their_length_and_go_again(scene):
    session, _, _ = two_segments(scene, "transformed")
    (liver, _) = measure_nodes(session.segmentation_node, session.volume_node)
    lines = show_diameters(scene, [liver])
    lengths = [liver.axial.longest.length_mm, liver.axial.perpendicular.length_mm, liver.longest.length_mm]
    assert [line.GetLineLengthWorld() for line in lines] == pytest.approx(lengths)
    assert diameters_in(scene) == lines
    show_diameters(scene, [liver])
    assert len(diameters_in(scene)) == 3
    remove_diameters(scene)
    assert diameters_in(scene) == []


def test_a_point_on_a_mask_that_was_carried_over_makes_a_segment_of_it(scene):
    session, masks, values = two_segments(scene, "transformed")
    later = add_volume_of(scene, "oblique", values)
    # The later image lies where the earlier one is shown, on a grid of its own that is turned a little.
    turn = rotation(5, (0, 0, 1))
    later.SetIJKToRASMatrix(
        matrix_from_array(turn @ matrix_between(session.volume_node, None) @ session.image.grid.ijk_to_ras)
    )
    add_transform(scene, np.linalg.inv(turn), later)
    carry = CarryOver(segmentation_from_node(session.segmentation_node), matrix_between(None, later))
    shown = CarriedMasks(carry, later)
    assert shown.node.GetSegmentation().GetNumberOfSegments() == 2
    here = SceneSession(later, auto=False, predictor="classical")
    here.carry_over(carry)
    count = len(here.targets)
    outside = here.image.grid.to_ras((1, 1, 1))
    here.add(Point(tuple(outside)))
    assert len(here.targets) == count
    here.add(Point(tuple(here.image.grid.to_ras(flip_axes((4, 5, 8))))))
    assert here.segmentation_node.GetSegmentation().GetSegment(here.target).GetName() == "liver"
    np.testing.assert_array_equal(here.mask_kji, masks["liver"])
    assert [prompt.kind for prompt in here.prompts()][-1] == "point"
    assert list(carry.pending) == ["tumour"]
    shown.show()
    assert shown.node.GetSegmentation().GetNumberOfSegments() == 1
    carry.drop("tumour")
    shown.show()
    assert shown.node.GetScene() is None
    with pytest.raises(PromptError):
        carry.confirm(Point((0.0, 0.0, 0.0)))


def test_the_volume_in_the_world_shares_the_voxels(scene):
    session, _, _ = two_segments(scene, "transformed")
    volume = volume_in_world(session.volume_node)
    assert np.shares_memory(volume.array, session.image.reference.array)
