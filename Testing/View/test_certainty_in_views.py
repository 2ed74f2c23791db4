"""How sure the answers are is seen where the voxels are, in the hue that says on which side they lie."""

import numpy as np
import pytest
from fakes import SureBallPredictor, sureness
from scenes import GEOMETRIES, add_volume_of, ijk_to_world_of
from slice_pixels import ORIENTATIONS, voxels_seen

from PromptSegLib.geometry import apply_affine
from PromptSegLib.mrml.headless.slice_view import SliceView
from PromptSegLib.mrml.scene_session import SceneSession
from PromptSegLib.prompts import Point

SHAPE = (24, 40, 50)
MIDDLE_IJK = (26.0, 18.0, 11.0)
RADIUS_MM = 8.0


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_each_pixel_has_the_colour_of_its_voxel(host, scene, geometry, orientation):
    volume = add_volume_of(scene, geometry, np.zeros(SHAPE, dtype=np.uint8), window_level=(255, 127.5))
    session = SceneSession(volume, None, predictor=SureBallPredictor(RADIUS_MM))
    with SliceView(host, ORIENTATIONS[orientation]) as view:
        view.show(volume)
        view.jump_to(apply_affine(ijk_to_world_of(geometry), MIDDLE_IJK), center=True)
        session.add_world(apply_affine(ijk_to_world_of(geometry), MIDDLE_IJK))
        session.show_prompts(False)
        before = view.image()
        session.show_certainty()
        session.certainty_node.GetDisplayNode().SetInterpolate(False)
        session.segmentation_node.GetDisplayNode().SetVisibility(False)
        image = view.image().astype(int)
        kji, inside, clear = voxels_seen(view, ijk_to_world_of(geometry), SHAPE)
        extent = session.certainty().extent
        inside &= ((kji >= extent.start_kji) & (kji < extent.stop_kji)).all(axis=-1)
        sure = np.zeros(inside.shape)
        sure[inside] = sureness(session.image.grid, session.prompts(), RADIUS_MM)[tuple(kji[inside].T)]
        coloured, is_red = image.max(axis=-1) > 20, image[..., 0] > image[..., 2]
        away_from_limits = clear & (abs(sure - 0.2) > 0.01) & (abs(sure - 0.5) > 0.01)
        assert (sure > 0.5).sum() > 200
        np.testing.assert_array_equal(coloured[away_from_limits], sure[away_from_limits] > 0.2)
        np.testing.assert_array_equal(is_red[away_from_limits], sure[away_from_limits] > 0.5)
        session.segmentation_node.GetDisplayNode().SetVisibility(True)
        session.show_certainty(False)
        np.testing.assert_array_equal(view.image(), before)
    session.close()


def test_the_slice_shown_does_not_move(host, scene):
    volume = add_volume_of(scene, "oblique", np.zeros(SHAPE, dtype=np.uint8))
    session = SceneSession(volume, None, predictor=SureBallPredictor(RADIUS_MM))
    with SliceView(host, "Coronal") as view:
        view.show(volume)
        view.jump_to(apply_affine(ijk_to_world_of("oblique"), MIDDLE_IJK), center=True)
        session.add(Point(tuple(session.image.grid.to_ras(MIDDLE_IJK))))
        view.render()
        places = [view.xy_to_ras_matrix]
        for visible in (True, False):
            session.show_certainty(visible)
            view.render()
            places.append(view.xy_to_ras_matrix)
        np.testing.assert_array_equal(places[1], places[0])
        np.testing.assert_array_equal(places[2], places[0])
    session.close()
