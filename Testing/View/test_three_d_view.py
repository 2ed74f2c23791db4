"""A 3D view shows surfaces and markups, where they are, from the side asked for."""

import gc

import numpy as np
import pytest
from placing import add_markups
from scenes import add_segmentation, add_volume, placed

from PromptSegLib.mrml.boot import start_scene
from PromptSegLib.mrml.headless.three_d_view import ThreeDView, surfaces_shown

IJK_TO_RAS = placed(np.diag([-1.0, -1.0, 2.0, 1.0]), (25, 20, -24))  # its middle at the origin


@pytest.fixture
def segmentation(scene):
    """A green slab of 40 mm from right to left, 24 from front to back, 8 from top to bottom."""
    slab = np.zeros((24, 40, 50), dtype=bool)
    slab[10:14, 8:32, 5:45] = True
    node = add_segmentation(scene, add_volume(scene, slab.astype(np.uint8), IJK_TO_RAS), {"slab": slab})
    node.GetSegmentation().GetSegment("slab").SetColor(0, 1, 0)
    return node


def green_box(view):
    """Return the width and the height, in pixels, of what is green, and the middle of it in xy."""
    image = view.image().astype(int)
    rows, columns = np.nonzero((image[..., 1] > 60) & (image[..., 0] < 30) & (image[..., 2] < 30))
    height = view.size[1]
    middle = ((columns.min() + columns.max()) / 2, height - 1 - (rows.min() + rows.max()) / 2)
    return np.ptp(columns) + 1, np.ptp(rows) + 1, middle


@pytest.mark.parametrize(
    ("direction", "width_mm", "height_mm"),
    [
        ("Anterior", 40, 8),
        ("Posterior", 40, 8),
        ("Left", 24, 8),
        ("Right", 24, 8),
        ("Superior", 40, 24),
        ("Inferior", 40, 24),
    ],
)
def test_a_surface_is_seen_from_each_side_in_its_proportions(host, segmentation, direction, width_mm, height_mm):
    with ThreeDView(host, size=(300, 300)) as view, surfaces_shown(segmentation):
        view.look_from(direction)
        view.fit()
        width, height, middle = green_box(view)

    assert width / height == pytest.approx(width_mm / height_mm, rel=0.25)  # perspective shows more of the near side
    assert 0.7 < width / 300 < 0.95
    np.testing.assert_allclose(middle, (150, 150), atol=6)


def test_from_the_front_the_patients_right_is_left_and_up_is_up(host, scene, segmentation):
    points = add_markups(scene, "Fiducial", "points")
    points.GetDisplayNode().SetSelectedColor(1, 0, 0)
    points.GetDisplayNode().SetPointLabelsVisibility(False)
    points.AddControlPointWorld((25, 40, 20))
    with ThreeDView(host, size=(300, 300)) as view, surfaces_shown(segmentation):
        view.fit()
        image = view.image().astype(int)

    rows, columns = np.nonzero((image[..., 0] > 100) & (image[..., 1] < 30) & (image[..., 2] < 30))
    assert rows.size > 20
    assert columns.max() < 150
    assert rows.max() < 150


def test_without_surfaces_there_is_background_only(host, segmentation):
    with ThreeDView(host, size=(200, 150)) as view:
        view.fit()
        empty = view.image()
        assert empty.shape == (150, 200, 3)
        assert (np.ptp(empty.astype(int), axis=1) <= 1).all()  # Slicer's gradient, from top to bottom
        with surfaces_shown(segmentation):
            view.fit()
            assert (view.image() != empty).any(axis=-1).sum() > 1000
        np.testing.assert_array_equal(view.image(), empty)


def test_surfaces_that_were_there_before_stay(segmentation):
    with surfaces_shown(segmentation):
        assert segmentation.GetSegmentation().ContainsRepresentation("Closed surface")
    assert not segmentation.GetSegmentation().ContainsRepresentation("Closed surface")

    segmentation.CreateClosedSurfaceRepresentation()
    with surfaces_shown(segmentation):
        pass
    assert segmentation.GetSegmentation().ContainsRepresentation("Closed surface")


def test_closing_a_view_takes_its_nodes_out_of_the_scene_and_frees_all_of_it(host, scene, segmentation):
    before = {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}
    freed = []
    view = ThreeDView(host)
    for name in ("window", "interactor", "renderer", "managers", "node", "camera_node"):
        getattr(view, name).AddObserver("DeleteEvent", lambda _caller, _event, name=name: freed.append(name))
    view.fit()
    view.close()
    del view
    gc.collect()

    assert {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())} == before
    assert set(freed) == {"window", "interactor", "renderer", "managers", "node", "camera_node"}


def test_a_view_with_an_empty_segment_and_a_click_says_nothing_on_stderr(capfd):
    with start_scene() as host:
        empty = np.zeros((4, 5, 6), dtype=bool)
        segmentation = add_segmentation(host.scene, add_volume(host.scene, empty.astype(np.uint8)), {"empty": empty})
        with ThreeDView(host) as view, surfaces_shown(segmentation):
            view.fit()
            view.click((200, 200))
            view.drag((200, 200), (250, 200), button="Right")
    del host, segmentation, view
    gc.collect()

    assert capfd.readouterr() == ("", "")
