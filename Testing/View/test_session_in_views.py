"""A session worked with the mouse in a real slice view: the segment follows what is placed, dragged and deleted."""

import numpy as np
import pytest
from fakes import BallPredictor
from placing import start_placing, stop_placing
from scenes import GEOMETRIES, add_volume_of, ijk_to_world_of
from slice_pixels import ORIENTATIONS, voxels_seen

from PromptSegLib.geometry import apply_affine
from PromptSegLib.mrml.headless.slice_view import SliceView
from PromptSegLib.mrml.scene_session import SceneSession
from PromptSegLib.prompts import Point

SHAPE = (24, 40, 50)
MIDDLE_IJK = (26.0, 18.0, 11.0)


@pytest.fixture
def work(host, scene):
    """Return a function that opens a session on a volume of a geometry, and a view through its middle."""
    opened = []

    def open_work(geometry, orientation):
        k, j, i = np.mgrid[:24, :40, :50]
        volume = add_volume_of(scene, geometry, (i + j + k).astype(np.int16))
        session = SceneSession(volume, None, predictor=BallPredictor(radius_mm=8.0))
        display = session.segmentation_node.GetDisplayNode()
        display.SetOpacity2DFill(1.0)
        display.SetVisibility2DOutline(False)
        segmentation = session.segmentation_node.GetSegmentation()
        segmentation.GetSegment(session.target).SetColor(0, 0, 1)
        view = SliceView(host, ORIENTATIONS[orientation])
        opened.extend([view, session])
        view.show(volume)
        view.jump_to(apply_affine(ijk_to_world_of(geometry), MIDDLE_IJK), center=True)
        return session, view

    yield open_work
    for each in opened:
        each.close()


def assert_shows_the_mask(session, view, geometry):
    """Check that the pixels whose voxel is in the mask are blue, apart from those under the markups."""
    session.point_node(True).GetDisplayNode().SetVisibility(False)
    session.point_node(False).GetDisplayNode().SetVisibility(False)
    image = view.image().astype(int)
    blue = (image[..., 2] > 150) & (image[..., 0] < 80) & (image[..., 1] < 80)
    kji, inside, clear = voxels_seen(view, ijk_to_world_of(geometry), SHAPE)
    expected = np.zeros(inside.shape, dtype=bool)
    expected[inside] = session.mask_kji[tuple(kji[inside].T)]
    assert expected.sum() > 200
    np.testing.assert_array_equal(blue[clear], expected[clear])
    session.point_node(True).GetDisplayNode().SetVisibility(True)
    session.point_node(False).GetDisplayNode().SetVisibility(True)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_clicks_drags_and_deletions_move_the_segment_that_the_view_shows(work, geometry, orientation):
    session, view = work(geometry, orientation)
    start_placing(session.point_node())
    view.move((150, 150))
    assert session.prompts() == ()
    view.click((200, 200))
    stop_placing(session.volume_node.GetScene())
    placed = session.image.grid.to_ras(session.image.grid.to_ijk(session.prompts()[0].position_ras))
    assert len(session.prompts()) == 1
    assert_shows_the_mask(session, view, geometry)
    first = session.mask_kji

    view.drag((200, 200), (216, 208))
    assert len(session.prompts()) == 1
    assert not np.allclose(session.prompts()[0].position_ras, placed)
    assert not np.array_equal(session.mask_kji, first)
    assert_shows_the_mask(session, view, geometry)

    session.undo()
    assert np.array_equal(session.mask_kji, first)
    assert_shows_the_mask(session, view, geometry)

    view.move((200, 200))
    view.press_key("Delete")
    if session.prompts():
        session.point_node().RemoveNthControlPoint(0)
    assert session.prompts() == ()
    assert not session.mask_kji.any()
    session.undo()
    assert np.array_equal(session.mask_kji, first)


def test_a_negative_click_shrinks_what_the_view_shows(work):
    session, view = work("anisotropic", "axial")
    start_placing(session.point_node())
    view.click((200, 200))
    before = session.mask_kji.sum()
    start_placing(session.point_node(positive=False))
    view.click((212, 200))
    stop_placing(session.volume_node.GetScene())
    assert [prompt.positive for prompt in session.prompts()] == [True, False]
    assert 0 < session.mask_kji.sum() < before
    assert_shows_the_mask(session, view, "anisotropic")


def test_hovering_with_the_placing_mouse_is_no_prompt_and_survives_an_undo(work):
    session, view = work("anisotropic", "axial")
    start_placing(session.point_node())
    view.click((200, 200))
    view.move((120, 120))
    assert session.prompts() == (Point(session.prompts()[0].position_ras),)
    session.undo()
    assert session.prompts() == ()
    view.click((120, 120))
    assert len(session.prompts()) == 1
    stop_placing(session.volume_node.GetScene())
