"""Mouse and keyboard in a slice view place, move and delete real markups at the right place."""

import numpy as np
import pytest
from placing import add_markups, defined_points, is_placing, start_placing, stop_placing
from scenes import GEOMETRIES, add_volume_of, affine_of, ijk_to_world_of
from slice_pixels import ORIENTATIONS

from PromptSegLib.geometry import apply_affine
from PromptSegLib.mrml.headless.slice_view import SliceView

PIXELS = np.array([(200, 200), (250, 180), (120, 300)])
MIDDLE_IJK = (26.2, 17.3, 10.8)

each_geometry = pytest.mark.parametrize("geometry", GEOMETRIES)
each_orientation = pytest.mark.parametrize("orientation", [*ORIENTATIONS, "volume plane"])


@pytest.fixture
def open_view(host, scene, ball_kji):
    """Return a function that opens a view of a volume with the geometry, through the volume's middle."""
    opened = []

    def open_view(geometry="anisotropic", orientation="axial"):
        node = add_volume_of(scene, geometry, ball_kji.astype(np.uint8))
        view = SliceView(host, ORIENTATIONS.get(orientation, "Axial"))
        opened.append(view)
        view.show(node)
        if orientation == "volume plane":
            view.rotate_to_volume_plane(node)
        view.jump_to(apply_affine(ijk_to_world_of(geometry), MIDDLE_IJK))
        return view

    yield open_view
    for view in opened:
        view.close()


@pytest.fixture
def points(scene):
    return add_markups(scene, "Fiducial", "points")


def counted(events, node, event):
    node.AddObserver(event, lambda _caller, name: events.append(name))


@each_orientation
@each_geometry
def test_a_click_places_a_point_where_the_pixel_lies_in_the_world(open_view, points, geometry, orientation):
    view = open_view(geometry, orientation)
    start_placing(points)
    for xy in PIXELS:
        view.click(xy)

    np.testing.assert_allclose(defined_points(points), view.xy_to_ras(PIXELS), atol=1e-6)
    on_slice = view.ras_to_xy(defined_points(points))
    np.testing.assert_allclose(on_slice, PIXELS, atol=1e-6)


@each_geometry
def test_points_under_the_transform_of_the_volume_are_placed_where_the_click_was(open_view, points, scene, geometry):
    view = open_view(geometry)
    points.SetAndObserveTransformNodeID(scene.GetFirstNodeByName("image").GetTransformNodeID())
    start_placing(points)
    view.click((250, 180))

    np.testing.assert_allclose(defined_points(points), view.xy_to_ras([(250, 180)]), atol=1e-6)


def test_a_click_announces_one_point_and_hovering_announces_none(open_view, points):
    events = []
    counted(events, points, points.PointPositionDefinedEvent)
    view = open_view()
    start_placing(points)
    view.move((90, 90))
    view.move((95, 90))
    assert events == []

    view.click((100, 90))
    assert len(events) == 1


def test_the_point_under_the_hovering_mouse_is_a_control_point_that_is_not_defined(open_view, points):
    view = open_view()
    start_placing(points)
    view.click((200, 200))
    view.move((90, 90))

    assert points.GetNumberOfControlPoints() == 2
    assert points.GetNumberOfDefinedControlPoints() == 1
    assert points.GetNthControlPointPositionStatus(1) == points.PositionPreview
    np.testing.assert_allclose(defined_points(points), view.xy_to_ras([(200, 200)]), atol=1e-6)

    view.leave()
    assert points.GetNumberOfControlPoints() == 1


def test_a_click_while_nothing_is_placed_adds_no_point(open_view, points):
    view = open_view()
    view.click((200, 200))
    start_placing(points)
    stop_placing(points.GetScene())
    view.click((210, 200))

    assert points.GetNumberOfControlPoints() == 0


def test_placing_one_point_ends_by_itself(open_view, points):
    view = open_view()
    start_placing(points, persistent=False)
    view.click((200, 200))
    view.click((100, 200))

    assert not is_placing(points.GetScene())
    assert len(defined_points(points)) == 1


@each_orientation
def test_dragging_moves_a_point_with_the_mouse_and_ends_once(open_view, points, orientation):
    view = open_view("transformed", orientation)
    points.AddControlPointWorld(view.xy_to_ras((200, 200)))
    points.AddControlPointWorld(view.xy_to_ras((300, 120)))
    ends, defined = [], []
    counted(ends, points, points.PointEndInteractionEvent)
    counted(defined, points, points.PointPositionDefinedEvent)
    view.render()
    view.drag((200, 200), (240, 190))

    np.testing.assert_allclose(defined_points(points), view.xy_to_ras([(240, 190), (300, 120)]), atol=1e-6)
    assert len(ends) == 1
    assert defined == []


def test_dragging_beside_every_point_moves_none(open_view, points):
    view = open_view()
    points.AddControlPointWorld(view.xy_to_ras((200, 200)))
    before = defined_points(points)
    view.render()
    view.drag((250, 250), (200, 200))

    np.testing.assert_array_equal(defined_points(points), before)


def test_a_locked_point_is_not_dragged(open_view, points):
    view = open_view()
    points.AddControlPointWorld(view.xy_to_ras((200, 200)))
    points.SetLocked(True)
    before = defined_points(points)
    view.render()
    view.drag((200, 200), (240, 190))

    np.testing.assert_array_equal(defined_points(points), before)


def test_a_point_on_another_slice_is_out_of_reach_until_the_view_goes_there(open_view, points):
    view = open_view()
    points.AddControlPointWorld(view.xy_to_ras((200, 200)))
    before = defined_points(points)
    here = view.offset
    view.offset = here + 20
    view.render()
    view.drag((200, 200), (240, 190))
    np.testing.assert_array_equal(defined_points(points), before)

    view.offset = here
    view.render()
    view.drag((200, 200), (240, 190))
    np.testing.assert_allclose(defined_points(points), view.xy_to_ras([(240, 190)]), atol=1e-6)


def test_the_delete_key_removes_the_point_under_the_mouse(open_view, points):
    removed = []
    counted(removed, points, points.PointRemovedEvent)
    view = open_view()
    start_placing(points)
    for xy in PIXELS:
        view.click(xy)
    stop_placing(points.GetScene())
    removed.clear()  # the preview went with the end of placing
    view.render()
    view.move(PIXELS[1])
    view.press_key("Delete")

    np.testing.assert_allclose(defined_points(points), view.xy_to_ras(PIXELS[[0, 2]]), atol=1e-6)
    assert len(removed) == 1

    view.move((20, 20))
    view.press_key("Delete")
    assert len(defined_points(points)) == 2


def test_a_point_removed_from_the_node_is_no_longer_under_the_mouse(open_view, points):
    view = open_view()
    for xy in PIXELS[:2]:
        points.AddControlPointWorld(view.xy_to_ras(xy))
    view.render()
    points.RemoveNthControlPoint(0)
    view.render()
    view.drag(PIXELS[0], (240, 190))

    np.testing.assert_allclose(defined_points(points), view.xy_to_ras(PIXELS[1:2]), atol=1e-6)


@each_orientation
def test_two_clicks_make_a_box_with_both_as_corners(open_view, scene, orientation):
    view = open_view("transformed", orientation)
    roi = add_markups(scene, "ROI", "box")
    corners = view.xy_to_ras([(150, 150), (260, 240)])
    start_placing(roi, persistent=False)
    view.click((150, 150))
    assert is_placing(scene)
    view.click((260, 240))

    assert not is_placing(scene)
    np.testing.assert_allclose(roi.GetCenterWorld(), corners.mean(axis=0), atol=1e-6)
    to_box = np.linalg.inv(affine_of(roi.GetObjectToWorldMatrix()))
    sides = np.abs(apply_affine(to_box, corners)) * 2
    lies_between = sides > 1e-3  # along the slice's normal Slicer chooses the size itself
    size = np.broadcast_to(roi.GetSize(), sides.shape)
    np.testing.assert_allclose(sides[lies_between], size[lies_between], atol=1e-5)
    assert lies_between.sum() >= 4
    assert min(roi.GetSize()) > 0


@each_orientation
def test_clicks_and_a_right_click_make_a_closed_curve(open_view, scene, orientation):
    view = open_view("oblique", orientation)
    curve = add_markups(scene, "ClosedCurve", "curve")
    corners = [(100, 100), (300, 100), (300, 300), (100, 300)]
    start_placing(curve, persistent=False)
    for xy in corners:
        view.click(xy)
    view.move((200, 350))
    view.click((200, 350), button="Right")

    assert not is_placing(scene)
    np.testing.assert_allclose(defined_points(curve), view.xy_to_ras(corners), atol=1e-6)
    pixel_mm = np.linalg.norm(view.xy_to_ras((1, 0)) - view.xy_to_ras((0, 0)))
    side_mm = 200 * pixel_mm
    assert curve.GetCurveLengthWorld() > 4 * side_mm  # closed, and rounder than the square


def test_a_placed_point_is_drawn_where_it_was_clicked(open_view, points):
    view = open_view()
    points.GetDisplayNode().SetSelectedColor(0, 1, 0)
    points.GetDisplayNode().SetPointLabelsVisibility(False)
    before = view.image()
    points.AddControlPointWorld(view.xy_to_ras((120, 300)))
    after = view.image()

    rows, columns = np.nonzero((before != after).any(axis=-1))
    assert columns.mean() == pytest.approx(120, abs=1)
    assert 399 - rows.mean() == pytest.approx(300, abs=1)
    diameter = np.sqrt(4 / np.pi * rows.size)
    assert 8 < diameter < 20
    np.testing.assert_array_equal(after[399 - 300, 120], (0, 255, 0))
