"""Strokes come to the official session in the width that its checkpoint prefers, on the slice they were drawn in."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nninteractive_model import closed_form_predictor, save_model
from strategies import rotation

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import WeightsError
from PromptSegLib.geometry import Extent, Grid, affine_from_parts, flip_axes
from PromptSegLib.predictors.nninteractive.image import OrientedImage
from PromptSegLib.predictors.nninteractive.predictor import NnInteractive, NnInteractiveOther
from PromptSegLib.predictors.nninteractive.prompts import Interaction, Takes
from PromptSegLib.predictors.nninteractive.strokes import checked_thickness, stroke
from PromptSegLib.prompts import Point, Scribble, VoxelScribble
from PromptSegLib.session.session import Session
from PromptSegLib.view import View
from PromptSegLib.volume import Volume
from PromptSegLib.weights.store import WeightsStore

SIDE = 20
ARRAY = np.random.default_rng(0).normal(size=(SIDE,) * 3).astype(np.float32)
UNSURE = 3e-3  # voxels: as near to the rim, the one or the other is right


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """Return the official session with an image; its channels 5 and 6 hold what scribbles mark."""
    predictor, _ = closed_form_predictor(tmp_path_factory.mktemp("model"))
    session = Session(ARRAY, predictor)
    session.add(Point((5, 5, 5)))
    return predictor._local.session


def drawn_in(official, scribble, grid, takes, view):
    """Return the voxels (k, j, i) that the official session holds once it was told of a stroke."""
    official.reset_interactions()
    Interaction.of(scribble, grid, takes, view).give(official, False)
    return (official.interactions[5 if scribble.positive else 6] != 0).numpy().astype(bool)


def view_of(grid, normal_ras):
    """Return a view through the middle of a grid."""
    normal = np.asarray(normal_ras) / np.linalg.norm(normal_ras)
    right = np.cross(normal, np.eye(3)[np.abs(normal).argmin()])
    right /= np.linalg.norm(right)
    return View(tuple(grid.to_ras((SIDE / 2,) * 3)), tuple(right), tuple(np.cross(normal, right)), (300.0, 200.0))


def distances(points_ijk, thickness_ijk, axes):
    """Return how far each voxel (k, j, i) is from a line, in halves of the thickness, along `axes` alone."""
    centres = flip_axes(np.moveaxis(np.indices((SIDE,) * 3), 0, -1))[..., axes] * 2 / thickness_ijk[axes]
    points = points_ijk[:, axes] * 2 / thickness_ijk[axes]
    found = np.full((SIDE,) * 3, np.inf)
    for start, end in zip(points, points[1:] if len(points) > 1 else points, strict=False):
        way = end - start
        part = np.clip((centres - start) @ way / max(way @ way, 1e-12), 0, 1)
        found = np.minimum(found, np.linalg.norm(centres - start - part[..., None] * way, axis=-1))
    return found


def passed(points_ijk):
    """Return the voxels that a line passes."""
    many = [np.linspace(a, b, 2000) for a, b in itertools.pairwise(points_ijk)]
    index = flip_axes(np.floor(np.concatenate([points_ijk, *many]) + 0.5)).astype(int)
    mask = np.zeros((SIDE,) * 3, bool)
    mask[tuple(index.T)] = True
    return mask


@st.composite
def strokes_in_views(draw):
    """Draw a stored image's grid, a slice of it, a line there and a brush; the view is looked at from either side."""
    directions = rotation(draw(st.integers(0, 99))) if draw(st.booleans()) else np.eye(3)
    directions = directions[:, draw(st.permutations(range(3)))] * draw(st.tuples(*[st.sampled_from([-1, 1])] * 3))
    spacing = draw(st.tuples(*[st.sampled_from([0.3, 0.8, 1.0, 2.5, 6.0])] * 3))
    volume = Volume(ARRAY, affine_from_parts(spacing, directions, (12.0, -40.0, 7.0)))
    across = draw(st.integers(0, 2))
    inside = st.floats(2, SIDE - 3).map(lambda x: round(x, 2))
    points = np.array(draw(st.lists(st.tuples(inside, inside, inside), min_size=1, max_size=4)))
    points[:, across] = draw(st.integers(1, SIDE - 2))
    return volume, across, points, draw(st.sampled_from([0.0, 0.5, 3.0, 12.0, 60.0])), draw(st.booleans())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(strokes_in_views(), st.tuples(*[st.sampled_from([1, 2, 3, 5])] * 3), st.sampled_from([1, -1]))
def test_the_official_session_gets_the_line_in_the_width_it_prefers(official, drawn, thickness_kji, side):
    volume, across, points_ijk, width_mm, positive = drawn
    grid = OrientedImage.of(volume).grid
    scribble = Scribble(tuple(map(tuple, grid.to_ras(points_ijk))), width_mm, positive)
    view = view_of(grid, side * np.cross(*np.delete(grid.directions.T, across, axis=0)))
    mask = drawn_in(official, scribble, grid, Takes(stroke_kji=thickness_kji), view)
    axes = [axis for axis in range(3) if axis != across]
    away = distances(points_ijk, flip_axes(np.array(thickness_kji, float)), axes)
    slab = flip_axes(np.moveaxis(np.indices(mask.shape), 0, -1))[..., across] == points_ijk[0, across]
    way = passed(points_ijk)
    assert not mask[~slab].any(), "it is one slice thick, on its slice"
    assert mask[slab & ((away < 1 - UNSURE) & (max(thickness_kji) > 1) | way & (away < 0.5))].all()
    assert not mask[(away > 1 + UNSURE) & ~_beside(way, axes)].any()


def _beside(way, axes):
    """Return the voxels passed, and their neighbours: which of two a line on their common face passes is open."""
    found = way.copy()
    for axis in axes:
        for step in (-1, 1):
            found |= np.roll(way, step, 2 - axis)
    return found


@pytest.mark.parametrize("thickness", [1, 2, 3, 4])
@pytest.mark.parametrize("offset", [0.0, 0.3, 0.5, -0.5, 0.7])
@pytest.mark.parametrize(("along", "across"), [(0, 2), (1, 2), (2, 0), (0, 1)])
def test_a_stroke_along_an_axis_is_exactly_as_wide_as_preferred(thickness, offset, along, across):
    grid = Grid((SIDE,) * 3, affine_from_parts((0.7, 0.7, 5.0), np.eye(3), (0, 0, 0)))
    beside = 3 - along - across
    points = np.full((2, 3), 9.0)
    points[:, along], points[:, beside] = (4, 14), 8 + offset
    view = view_of(grid, np.eye(3)[across])
    for width_mm in (0.0, 1.0, 30.0):
        patch = stroke(Scribble(tuple(map(tuple, grid.to_ras(points))), width_mm), grid, (float(thickness),) * 3, view)
        whole = np.zeros(grid.shape_kji, bool)
        whole[patch.extent.slices] = patch.mask_kji
        in_ijk = whole.transpose(2, 1, 0)
        per_position = in_ijk.sum(axis=tuple(axis for axis in range(3) if axis != along))
        assert (per_position[5:14] == thickness).all()


def test_a_stroke_in_an_oblique_view_lies_on_the_voxels_nearest_to_its_plane():
    grid = Grid((SIDE,) * 3, affine_from_parts((1.0, 1.0, 1.5), np.eye(3), (0, 0, 0)))
    normal = np.array([0.0, -np.sin(0.4), np.cos(0.4)])
    right, up = np.array([1.0, 0, 0]), np.cross(normal, [1.0, 0, 0])
    middle = grid.to_ras((9.5, 9.5, 9.5))
    line = [middle + a * right + b * up for a, b in ((-6, -4), (0, 5), (6, -4))]
    for width_mm, view in ((0.0, view_of(grid, normal)), (9.0, view_of(grid, normal)), (9.0, None)):
        patch = stroke(Scribble(tuple(map(tuple, line)), width_mm), grid, view=view)
        index_ijk = flip_axes(np.argwhere(patch.mask_kji) + patch.extent.start_kji)
        offset_mm = (grid.to_ras(index_ijk) - middle) @ normal
        assert np.abs(offset_mm).max() <= 1.5 * np.cos(0.4) / 2 + 1e-6
        assert len(np.unique(index_ijk[:, :2], axis=0)) == len(index_ijk), "one voxel in each column"
        assert len(set(index_ijk[:, 2].tolist())) > 3


def test_a_line_through_space_is_a_tube():
    grid = Grid((SIDE,) * 3, np.eye(4))
    patch = stroke(Scribble(((4, 4, 4), (15, 15, 15)), 20.0), grid, (3.0, 3.0, 3.0))
    index = np.argwhere(patch.mask_kji) + patch.extent.start_kji
    along = np.clip(index.mean(axis=1, keepdims=True), 4, 15)
    assert np.linalg.norm(index - along, axis=1).max() <= 1.5 + UNSURE
    assert {(n, n, n) for n in range(4, 16)} <= set(map(tuple, index.tolist()))


def test_without_a_view_a_short_stroke_is_on_the_slice_across_the_largest_voxels():
    grid = Grid((SIDE,) * 3, affine_from_parts((1.0, 1.0, 5.0), np.eye(3), (0, 0, 0)))
    patch = stroke(Scribble(tuple(map(tuple, grid.to_ras([(5, 7, 9), (12, 7, 9)]))), 4.0), grid)
    assert patch.extent.shape_kji[0] >= 1
    assert Extent.of_mask(patch.mask_kji).shape_kji[0] == 1


def test_marked_voxels_are_given_as_they_are(official):
    voxels = np.array([(5, 6, 7), (6, 6, 7), (9, 9, 9)])
    mask = drawn_in(official, VoxelScribble(voxels), Grid((SIDE,) * 3, np.eye(4)), Takes(), None)
    np.testing.assert_array_equal(flip_axes(np.argwhere(mask)), voxels)


def test_the_width_is_that_of_the_checkpoint_in_hand(tmp_path):
    counts = {}
    for thickness in (1, [2, 2, 2], [2, 5, 5]):
        folder = tmp_path / str(thickness)
        predictor, _ = closed_form_predictor(folder, info={"preferred_scribble_thickness": thickness})
        session = Session(ARRAY, predictor)
        view = View((9.5, 9.5, 9.0), (1, 0, 0), (0, 1, 0), (40, 40))
        session.add(Scribble(((4, 9, 9), (14, 9, 9)), 7.0), view=view)
        drawn = predictor._local.session.interactions[5].numpy() != 0
        assert drawn.any(axis=(1, 2)).nonzero()[0].tolist() == [9]
        counts[str(thickness)] = int(drawn[9, :, 9].sum())
    assert counts == {"1": 1, "[2, 2, 2]": 2, "[2, 5, 5]": 5}


def test_another_checkpoint_is_imported_from_its_folder_and_its_width_counts(tmp_path, monkeypatch):
    """It is known by the name that the authors' tool gave it, too; both have the files that it has, and no others."""
    root = tmp_path / "root"
    folder = save_model(root / "models" / "nnInteractive_v9", info={"preferred_scribble_thickness": 3})
    (folder / "inference_session_class.json").unlink()
    store = WeightsStore(tmp_path / "store")
    with pytest.raises(WeightsError, match="was not accepted"):
        store.import_file("nninteractive-other", folder)
    store.import_file("nninteractive-other", folder, consent=True)
    assert store.status("nninteractive-other").state == "ready"
    monkeypatch.setenv("NNINTERACTIVE_MODEL_DIR", str(root))
    for predictor in (NnInteractiveOther(weights=store, device="cpu"), NnInteractive("nnInteractive_v9", device="cpu")):
        local, _ = predictor._load(CancelToken())
        assert Takes.of(local.session).stroke_kji == (3, 3, 3)
    with pytest.raises(WeightsError, match="nninteractive-download-model nnInteractive_v10"):
        NnInteractive("nnInteractive_v10")


@pytest.mark.parametrize("stated", [0, -2, [2, 2], "2", None, True, [2, 2, float("nan")], [2, 2, 1000]])
def test_a_width_that_cannot_be_is_refused(stated):
    with pytest.raises(ValueError, match="a width of scribbles of 1 to 64 voxels"):
        checked_thickness(stated)


def test_a_model_that_states_no_width_that_can_be_is_refused(tmp_path):
    folder = save_model(tmp_path / "model", info={"preferred_scribble_thickness": "wide"})
    session = Session(ARRAY, NnInteractive(folder, device="cpu"))
    with pytest.raises(WeightsError, match="a width of scribbles"):
        session.add(Point((5, 5, 5)))
