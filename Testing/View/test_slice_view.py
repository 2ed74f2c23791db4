"""A slice view shows the volume where it lies, under every geometry, and goes without a trace."""

import gc

import numpy as np
import pytest
from scenes import GEOMETRIES, add_segmentation, add_volume, add_volume_of, ijk_to_world_of, placed
from slice_pixels import ORIENTATIONS, read_png, voxels_seen

from PromptSegLib.geometry import apply_affine, flip_axes
from PromptSegLib.mrml.boot import start_scene
from PromptSegLib.mrml.files import open_mrb, save_mrb
from PromptSegLib.mrml.headless.slice_view import SliceView

each_geometry = pytest.mark.parametrize("geometry", GEOMETRIES)
each_orientation = pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS)


@each_orientation
@each_geometry
def test_each_pixel_shows_the_voxel_that_lies_there(host, scene, ball_kji, geometry, orientation):
    array = np.random.default_rng(1).integers(0, 256, size=ball_kji.shape, dtype=np.uint8)
    node = add_volume_of(scene, geometry, array, window_level=(255, 127.5))
    node.GetDisplayNode().SetInterpolate(False)
    ijk_to_world = ijk_to_world_of(geometry)
    with SliceView(host, orientation, size=(240, 200)) as view:
        view.show(node)
        view.jump_to(apply_affine(ijk_to_world, (26.2, 17.3, 10.8)))
        shown = view.image().astype(int)
        kji, inside, clear = voxels_seen(view, ijk_to_world, array.shape)

    assert (inside & clear).mean() > 0.1
    expected = array[tuple(kji[inside & clear].T)].astype(int)
    assert np.abs(shown[inside & clear] - expected[:, None]).max() <= 1
    assert not shown[clear & ~inside].any()


@each_orientation
@each_geometry
def test_pixels_and_world_are_each_others_inverse_on_a_slice_through_the_point_jumped_to(
    host, scene, ball_kji, geometry, orientation
):
    point_ras = apply_affine(ijk_to_world_of(geometry), (26.2, 17.3, 10.8))
    with SliceView(host, orientation, size=(240, 200)) as view:
        view.show(add_volume_of(scene, geometry, ball_kji.astype(np.uint8)))
        view.jump_to(point_ras)
        pixels = np.random.default_rng(2).uniform(0, 200, size=(5, 7, 2))

        np.testing.assert_allclose(view.ras_to_xy(view.xy_to_ras(pixels)), pixels, atol=1e-9)
        np.testing.assert_allclose(view.xy_to_ras(view.ras_to_xy(point_ras)), point_ras, atol=1e-6)
        view.jump_to(point_ras, center=True)
        np.testing.assert_allclose(view.ras_to_xy(point_ras), (120, 100), atol=1e-6)


@each_orientation
@each_geometry
def test_the_whole_slice_is_in_view_at_equal_scale_and_touches_two_borders(
    host, scene, ball_kji, geometry, orientation
):
    with SliceView(host, orientation, size=(240, 200)) as view:
        view.show(add_volume_of(scene, geometry, ball_kji.astype(np.uint8)))
        corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in flip_axes(ball_kji.shape)])).reshape(3, -1).T
        reach = np.ptp(view.ras_to_xy(apply_affine(ijk_to_world_of(geometry), corners)), axis=0)
        right, up = view.xy_to_ras([(1, 0), (0, 1)]) - view.xy_to_ras((0, 0))

        assert (reach <= np.array(view.size) + 1).all()
        assert (np.abs(reach - view.size) < 2).any()
        assert np.linalg.norm(right) == pytest.approx(np.linalg.norm(up), rel=1e-6)
        assert right @ up == pytest.approx(0, abs=1e-9)


def test_the_directions_on_the_screen_are_the_radiologists(host, scene, ball_kji):
    right_and_up = {
        "Axial": ((-1, 0, 0), (0, 1, 0)),
        "Sagittal": ((0, -1, 0), (0, 0, 1)),
        "Coronal": ((-1, 0, 0), (0, 0, 1)),
        None: ((-1, 0, 0), (0, 1, 0)),
    }
    node = add_volume(scene, ball_kji.astype(np.uint8))
    for orientation, expected in right_and_up.items():
        with SliceView(host, orientation) as view:
            view.show(node)
            steps = view.xy_to_ras([(1, 0), (0, 1)]) - view.xy_to_ras((0, 0))
            np.testing.assert_allclose(steps / np.linalg.norm(steps, axis=1, keepdims=True), expected, atol=1e-9)


def test_the_window_and_the_level_of_a_volume_decide_how_bright_it_is(host, scene):
    node = add_volume(scene, np.full((4, 8, 8), 100, dtype=np.int16))
    with SliceView(host) as view:
        for window_level, grey in (((200, 100), 127), ((100, 100), 127), ((100, 150), 0), ((100, 75), 191)):
            view.show(node, window_level)
            assert view.image()[200, 200] == pytest.approx(grey, abs=2)


def test_the_offset_scrolls_through_the_slices(host, scene):
    array = np.zeros((10, 8, 8), dtype=np.uint8)
    array[:] = 20 * np.arange(10)[:, None, None]
    node = add_volume(scene, array, placed(np.diag([1, 1, 3, 1]), (0, 0, 0)), window_level=(255, 127.5))
    with SliceView(host) as view:
        view.show(node)
        for k in (7, 0, 9, 3):
            view.offset = 3 * k
            assert view.offset == 3 * k
            assert view.image()[200, 200, 0] == pytest.approx(20 * k, abs=1)


@each_geometry
def test_the_volume_plane_is_a_plane_of_voxels(host, scene, ball_kji, geometry):
    axes = ijk_to_world_of(geometry)[:3, :3]
    normals = np.cross(axes[:, [1, 2, 0]], axes[:, [2, 0, 1]], axis=0)
    normals /= np.linalg.norm(normals, axis=0)
    node = add_volume_of(scene, geometry, ball_kji.astype(np.uint8))
    for orientation in ("Axial", "Sagittal", "Coronal"):
        with SliceView(host, orientation) as view:
            view.show(node)
            view.rotate_to_volume_plane(node)
            right, up = view.xy_to_ras([(1, 0), (0, 1)]) - view.xy_to_ras((0, 0))
            normal = np.cross(right, up) / np.linalg.norm(np.cross(right, up))

            assert np.abs(normal @ normals).max() == pytest.approx(1, abs=1e-4)


def test_an_empty_view_is_black_and_of_the_size_asked_for(host):
    with SliceView(host, size=(123, 77)) as view:
        image = view.image()

    assert image.shape == (77, 123, 3)
    assert image.dtype == np.uint8
    assert not image.any()


def test_a_png_holds_what_the_view_shows(host, scene, ball_kji, tmp_path):
    with SliceView(host, size=(120, 90)) as view:
        view.show(add_volume(scene, 200 * ball_kji.astype(np.uint8)), (255, 127.5))
        view.jump_to((28, 18, 11))
        view.save_png(tmp_path / "slice.png")
        np.testing.assert_array_equal(read_png(tmp_path / "slice.png"), view.image())
        assert view.image().any()


def test_shift_and_a_move_bring_the_other_views_to_the_place(host, scene, ball_kji):
    node = add_volume(scene, ball_kji.astype(np.uint8))
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairBehavior(crosshair.OffsetJumpSlice)
    with SliceView(host, "Axial") as axial, SliceView(host, "Sagittal") as sagittal:
        axial.show(node)
        sagittal.show(node)
        place = axial.xy_to_ras((120, 230))
        axial.move((120, 230))
        assert abs(sagittal.xy_to_ras((0, 0))[0] - place[0]) > 1
        axial.move((120, 230), shift=True)

        assert sagittal.xy_to_ras((0, 0))[0] == pytest.approx(place[0], abs=1e-6)
        np.testing.assert_allclose(crosshair.GetCrosshairRAS(), place, atol=1e-6)


def test_closing_a_view_takes_its_nodes_out_of_the_scene_and_frees_all_of_it(host, scene, ball_kji):
    node = add_volume(scene, ball_kji.astype(np.uint8))
    add_segmentation(scene, node, {"ball": ball_kji})
    before = {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}
    freed = []
    first, second = SliceView(host, "Axial"), SliceView(host, ORIENTATIONS["oblique"])
    for name in ("window", "interactor", "renderer", "managers", "logic", "node"):
        getattr(first, name).AddObserver("DeleteEvent", lambda _caller, _event, name=name: freed.append(name))
    for view in (first, second):
        view.show(node)
        view.render()
    first.close()
    second.close()
    assert first.logic.GetMRMLScene() is None
    del first, second, view
    gc.collect()

    assert {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())} == before
    assert set(freed) == {"window", "interactor", "renderer", "managers", "logic", "node"}
    assert host.application_logic.GetSliceLogics().GetNumberOfItems() == 0


def test_a_view_takes_over_what_a_view_of_its_name_showed(host, scene, ball_kji):
    node = add_volume(scene, ball_kji.astype(np.uint8), window_level=(1, 0.5))
    red = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    red.SetLayoutName("Red")
    red.SetBackgroundVolumeID(node.GetID())
    with SliceView(host, name="Red") as view:
        view.fit()
        view.jump_to((28, 18, 11))
        assert view.image().any()

    assert red.GetScene() is scene
    assert red.GetBackgroundVolumeID() == node.GetID()


@pytest.mark.parametrize("orientation", ["coronal", "oblique"])
def test_a_scene_saved_while_a_view_is_open_opens_with_the_view_as_it_was(host, scene, ball_kji, tmp_path, orientation):
    node = add_volume(scene, ball_kji.astype(np.uint8), window_level=(1, 0.5))
    with SliceView(host, ORIENTATIONS[orientation], name="Red") as view:
        view.show(node)
        view.jump_to((28, 18, 11))
        shown = view.image()
        save_mrb(scene, tmp_path / "scene.mrb")
    with start_scene() as other:
        open_mrb(other.scene, tmp_path / "scene.mrb")
        with SliceView(other, name="Red") as view:
            np.testing.assert_array_equal(view.image(), shown)

    assert shown.any()


def test_views_of_scenes_one_after_the_other_say_nothing_on_stderr(ball_kji, capfd):
    for _ in range(2):
        with start_scene() as host:
            node = add_volume(host.scene, ball_kji.astype(np.uint8))
            add_segmentation(host.scene, node, {"ball": ball_kji})
            with SliceView(host) as view:
                view.show(node)
                view.click((200, 200))
                view.render()
        del host, node, view
        gc.collect()

    assert capfd.readouterr() == ("", "")


def test_a_view_may_be_closed_twice_or_after_its_scene_was_cleared(host, scene, ball_kji, capfd):
    view = SliceView(host)
    view.show(add_volume(scene, ball_kji.astype(np.uint8)))
    view.render()
    scene.Clear(False)
    view.render()
    view.close()
    view.close()

    assert scene.GetNumberOfNodesByClass("vtkMRMLSliceNode") == 0
    assert capfd.readouterr() == ("", "")
