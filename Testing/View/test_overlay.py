"""A mask written to a segmentation appears in the slice view where it lies."""

import numpy as np
import pytest
import slicer
from scenes import (
    GEOMETRIES,
    add_segmentation,
    add_transform,
    add_volume_of,
    ijk_to_ras_of,
    ijk_to_world_of,
    oriented_image,
    placed,
    rotation,
)
from slice_pixels import ORIENTATIONS, voxels_seen

from PromptSegLib.geometry import apply_affine
from PromptSegLib.mrml.headless.slice_view import SliceView

each_geometry = pytest.mark.parametrize("geometry", GEOMETRIES)
each_orientation = pytest.mark.parametrize("orientation", ORIENTATIONS)


@pytest.fixture
def blob_kji(ball_kji):
    """A ball with a bite taken out of it, so that no flip or turn maps it on itself."""
    blob = ball_kji.copy()
    blob[:14, :15, 24:34] = False
    blob[11:15, 18:20, 5:30] = True
    return blob


def show_red(segmentation):
    """Fill the segments with pure red and draw no outlines."""
    display = segmentation.GetDisplayNode()
    display.SetOpacity2DFill(1.0)
    display.SetVisibility2DOutline(False)
    for segment_id in segmentation.GetSegmentation().GetSegmentIDs():
        segmentation.GetSegmentation().GetSegment(segment_id).SetColor(1, 0, 0)


def red_pixels(view):
    image = view.image().astype(int)
    return (image[..., 0] > 128) & (image[..., 1] < 64) & (image[..., 2] < 64)


def assert_covers(view, mask_kji, ijk_to_world):
    """Check that the pixels whose voxel belongs to the mask are red, and no others."""
    kji, inside, clear = voxels_seen(view, ijk_to_world, mask_kji.shape)
    expected = np.zeros(inside.shape, dtype=bool)
    expected[inside] = mask_kji[tuple(kji[inside].T)]
    red = red_pixels(view)
    assert expected.sum() > 500
    assert (red & expected).sum() / (red | expected).sum() > 0.95
    np.testing.assert_array_equal(red[clear], expected[clear])


@each_orientation
@each_geometry
def test_a_segment_covers_the_pixels_of_its_voxels(host, scene, blob_kji, geometry, orientation):
    node = add_volume_of(scene, geometry, np.zeros(blob_kji.shape, dtype=np.uint8), window_level=(255, 127.5))
    show_red(add_segmentation(scene, node, {"blob": blob_kji}))
    with SliceView(host, ORIENTATIONS[orientation], size=(240, 200)) as view:
        view.show(node)
        view.jump_to(apply_affine(ijk_to_world_of(geometry), (27.2, 17.3, 12.2)))
        assert_covers(view, blob_kji, ijk_to_world_of(geometry))


def test_a_segmentation_under_a_transform_of_its_own_moves_with_it(host, scene, blob_kji):
    node = add_volume_of(scene, "anisotropic", np.zeros(blob_kji.shape, dtype=np.uint8))
    segmentation = add_segmentation(scene, node, {"blob": blob_kji})
    show_red(segmentation)
    turn = placed(rotation(30, (0, 0, 1)), (4, -6, 0))
    add_transform(scene, turn, segmentation)
    ijk_to_world = turn @ ijk_to_world_of("anisotropic")
    with SliceView(host, size=(240, 200)) as view:
        view.show(node)
        view.jump_to(apply_affine(ijk_to_world, (27.2, 17.3, 12.2)))
        assert_covers(view, blob_kji, ijk_to_world)


def test_a_mask_written_later_shows_in_the_next_picture(host, scene, blob_kji):
    node = add_volume_of(scene, "oblique", np.zeros(blob_kji.shape, dtype=np.uint8))
    segmentation = add_segmentation(scene, node, {"blob": np.zeros_like(blob_kji)})
    show_red(segmentation)
    with SliceView(host, size=(240, 200)) as view:
        view.show(node)
        view.jump_to(apply_affine(ijk_to_world_of("oblique"), (27.2, 17.3, 12.2)))
        assert not red_pixels(view).any()

        write = slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment
        for mask in (blob_kji, np.roll(blob_kji, 4, axis=2)):
            write(oriented_image(mask, ijk_to_ras_of(node)), segmentation, "blob")
            assert_covers(view, mask, ijk_to_world_of("oblique"))


def test_a_translucent_segment_lets_the_image_through(host, scene, blob_kji):
    node = add_volume_of(scene, "isotropic", np.full(blob_kji.shape, 100, np.uint8), window_level=(200, 100))
    segmentation = add_segmentation(scene, node, {"blob": np.ones_like(blob_kji)})
    show_red(segmentation)
    segmentation.GetDisplayNode().SetOpacity2DFill(0.5)
    with SliceView(host) as view:
        view.show(node)
        pixel = view.image()[200, 200]

    np.testing.assert_allclose(pixel, (0.5 * 127.5 + 127.5, 64, 64), atol=2)


def test_a_hidden_segment_shows_in_no_picture(host, scene, blob_kji):
    node = add_volume_of(scene, "isotropic", np.zeros(blob_kji.shape, dtype=np.uint8))
    segmentation = add_segmentation(scene, node, {"blob": np.ones_like(blob_kji)})
    show_red(segmentation)
    segmentation.GetDisplayNode().SetSegmentVisibility("blob", False)
    with SliceView(host) as view:
        view.show(node)
        assert not view.image().any()
        segmentation.GetDisplayNode().SetSegmentVisibility("blob", True)
        assert view.image().any()
