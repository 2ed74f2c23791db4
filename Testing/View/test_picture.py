"""One picture shows a volume, its segments and the prompts from all sides, and leaves the scene as it was."""

import numpy as np
import pytest
from placing import add_markups
from scenes import add_segmentation, add_volume, placed, volume_array
from slice_pixels import read_png

from PromptSegLib.errors import VolumeError
from PromptSegLib.mrml.headless.picture import scene_picture
from PromptSegLib.mrml.headless.png import write_png

IJK_TO_RAS = placed(np.diag([-1.0, -1.0, 2.0, 1.0]), (25, 20, -24))


@pytest.fixture
def volume_node(scene, ball_kji):
    return add_volume(scene, 100 * ball_kji.astype(np.int16), IJK_TO_RAS, window_level=(200, 100))


@pytest.fixture
def segmentation(scene, volume_node, ball_kji):
    node = add_segmentation(scene, volume_node, {"ball": ball_kji})
    node.GetSegmentation().GetSegment("ball").SetColor(0, 1, 0)
    return node


def green(image):
    values = image.astype(int)
    return (values[..., 1] > values[..., 0] + 30) & (values[..., 1] > values[..., 2] + 30)


def test_the_segment_shows_in_all_four_views(host, volume_node, segmentation):
    picture = scene_picture(host, volume_node, segmentation, view_size=150)

    assert picture.shape == (302, 302, 3)
    assert picture.dtype == np.uint8
    for rows in (slice(0, 150), slice(152, 302)):
        for columns in (slice(0, 150), slice(152, 302)):
            assert 0.05 < green(picture[rows, columns]).mean() < 0.7


def test_the_slices_meet_in_the_point_asked_for_and_show_a_prompt_there(host, scene, volume_node):
    points = add_markups(scene, "Fiducial", "points")
    points.GetDisplayNode().SetSelectedColor(0, 1, 0)
    points.AddControlPointWorld((-2.5, 1.5, -3.0))
    off = scene_picture(host, volume_node, point_ras=(10, -10, 10), view_size=150)
    on = scene_picture(host, volume_node, point_ras=(-2.5, 1.5, -3.0), view_size=150)

    for rows, columns in (
        (slice(0, 150), slice(0, 150)),
        (slice(152, 302), slice(0, 150)),
        (slice(152, 302), slice(152, 302)),
    ):
        assert green(on[rows, columns]).sum() > 20
        assert not green(off[rows, columns]).any()


@pytest.mark.parametrize("with_an_empty_segment", [False, True])
def test_a_picture_without_voxels_in_segments_shows_the_middle_of_the_volume(
    host, scene, volume_node, ball_kji, with_an_empty_segment
):
    segments = {"empty": np.zeros_like(ball_kji)}
    segmentation = add_segmentation(scene, volume_node, segments) if with_an_empty_segment else None
    picture = scene_picture(host, volume_node, segmentation, view_size=150)

    for y, x in ((75, 75), (227, 75), (227, 227)):
        assert picture[y, x].tolist() == [128, 128, 128] or picture[y, x].tolist() == [127, 127, 127]


def test_taking_a_picture_leaves_the_scene_as_it_was(host, scene, volume_node, segmentation):
    add_markups(scene, "Fiducial", "points").AddControlPointWorld((0, 0, 0))
    scene.SetSaveToXMLString(True)

    def state():
        scene.Commit()
        ids = [scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())]
        return ids, scene.GetSceneXMLString(), volume_array(volume_node).copy()

    ids, xml, array = state()
    scene_picture(host, volume_node, segmentation, view_size=100)
    ids_after, xml_after, array_after = state()

    assert ids_after == ids
    assert xml_after == xml
    np.testing.assert_array_equal(array_after, array)
    assert not segmentation.GetSegmentation().ContainsRepresentation("Closed surface")


def test_a_png_is_read_back_as_it_was_written(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, size=(7, 11, 3), dtype=np.uint8)
    write_png(tmp_path / "noise.png", image)
    np.testing.assert_array_equal(read_png(tmp_path / "noise.png"), image)


@pytest.mark.parametrize("image", [np.zeros((4, 5), np.uint8), np.zeros((4, 5, 3)), np.zeros((0, 5, 3), np.uint8)])
def test_what_is_no_picture_is_not_written(image, tmp_path):
    with pytest.raises(VolumeError, match=r"expected a picture \(height, width, 3\) of uint8, got"):
        write_png(tmp_path / "no.png", image)
    assert not (tmp_path / "no.png").exists()


def test_a_png_cannot_be_written_into_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_png(tmp_path / "nowhere" / "a.png", np.zeros((4, 5, 3), np.uint8))
