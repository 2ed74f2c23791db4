"""Images of any shape, spacing and brightness are answered: thin, long, of one voxel; every kind of prompt."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import masks, positions_in, rotation, seeds

from PromptSegLib.command.demo_picture import draw_slices
from PromptSegLib.geometry import Grid
from PromptSegLib.imaging.cleanup import fill_holes, keep_largest_island, smooth
from PromptSegLib.imaging.rasterize import rasterize
from PromptSegLib.imaging.roi import Roi
from PromptSegLib.predictors.default.classical import ClassicalPredictor
from PromptSegLib.predictors.default.geodesic import best_level, noise_of, settled, strangeness
from PromptSegLib.predictors.default.predictor import DefaultPredictor
from PromptSegLib.predictors.names.nnunet_preparation import z_score
from PromptSegLib.predictors.slices.oblique_slices import ObliqueSlice
from PromptSegLib.predictors.slices.slice_choice import slices_of_prompts
from PromptSegLib.prompts import Box, Lasso, MaskPrompt, Point, Scribble, VoxelScribble
from PromptSegLib.session.session import Session
from PromptSegLib.view import View
from PromptSegLib.volume import Volume


class LikeTheSeeds:
    """A network that costs nothing: what is about as bright as what was prompted."""

    device, note, multiple = "cpu", "", 8

    def __init__(self, side):
        self.side = side

    def logits(self, maps):
        assert all(n % self.multiple == 0 for n in maps.image.shape)
        assert all(np.isfinite(part).all() for part in maps)
        seeds = maps.positive > 0
        bright = float(np.median(maps.image[seeds])) if seeds.any() else 0.5
        return (8 * (0.3 - np.abs(maps.image - bright))).astype(np.float32)


def default():
    return DefaultPredictor({2: LikeTheSeeds(64), 3: LikeTheSeeds(32)})


PREDICTORS = {"default": default, "classical": ClassicalPredictor}
KINDS = ("point", "box2d", "box3d", "thin box", "turned box", "scribble", "voxels", "lasso")
sides = st.one_of(st.integers(1, 3), st.integers(1, 64), st.integers(560, 620))


@st.composite
def odd_grids(draw):
    """Draw grids of any shape, spacings up to 1000 times as large along one axis as along another."""
    shape = draw(st.tuples(sides, sides, sides).filter(lambda s: np.prod(s) < 3e5))
    ratios = draw(st.tuples(*[st.sampled_from([1.0, 1.0, 2.5, 10.0, 100.0, 1000.0])] * 3))
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag(ratios) * draw(st.sampled_from([1e-6, 1e-3, 0.3, 1.0, 50.0]))
    if draw(st.booleans()):
        matrix[:3, :3] = rotation(draw(seeds)) @ matrix[:3, :3]
    return Grid(shape, matrix)


@st.composite
def odd_prompts(draw, grid, kind):
    """Draw a prompt of a kind, from less than a voxel to the whole of `grid`."""
    positive, middle = draw(st.booleans()) or draw(st.booleans()), draw(positions_in(grid))
    if kind == "point":
        return Point(middle, positive)
    if kind in ("scribble", "voxels"):
        points = tuple(draw(st.lists(positions_in(grid), min_size=1, max_size=4)))
        width = draw(st.sampled_from([0.0, 1.0, 3.0])) * float(grid.spacing_mm.min())
        return Scribble(points, width, positive) if kind == "scribble" else VoxelScribble(points, positive)
    lengths = np.array(grid.shape_kji)[::-1] * grid.spacing_mm * draw(st.tuples(*[st.floats(0.01, 1)] * 3))
    axes = rotation(draw(seeds)) if kind == "turned box" else grid.directions.T
    thin = draw(st.integers(0, 2))
    if kind == "lasso":
        u, v = (axes[a][:, None] * lengths[a] / 2 for a in range(3) if a != thin)
        turns = np.linspace(0, 6, 9)
        return Lasso(tuple(map(tuple, (np.array(middle)[:, None] + np.cos(turns) * u + np.sin(turns) * v).T)), positive)
    if kind in ("box2d", "thin box"):
        lengths[thin] = 0 if kind == "box2d" else 0.3 * grid.spacing_mm[thin]
    return Box(middle, tuple(lengths), axes, positive)


def image_of(grid, seed=0):
    """Return a bright block in noise."""
    array = np.random.default_rng(seed).normal(size=grid.shape_kji).astype(np.float32)
    array[tuple(slice(n // 4, max(n // 4 + 1, 3 * n // 4)) for n in grid.shape_kji)] += 20
    return Volume(array, grid.ijk_to_ras)


@pytest.mark.parametrize("name", PREDICTORS)
@settings(max_examples=20, deadline=None)
@given(data=st.data(), grid=odd_grids())
def test_every_prompt_is_answered_whatever_the_image_s_sides_are(name, data, grid):
    session = Session(image_of(grid), PREDICTORS[name]())
    if data.draw(st.booleans()):
        session.set_mask(data.draw(masks(grid.shape_kji)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3)):
            prompt = data.draw(odd_prompts(grid, kind))
            size = data.draw(st.floats(1, 600)) * float(grid.spacing_mm.min())
            view = View(data.draw(positions_in(grid)), (1, 0, 0), (0, 1, 0), (size, size))
            session.add(prompt, view=view if data.draw(st.booleans()) else None)
    if isinstance(prompt, Point) and (prompt.positive or session.mask_kji.any()):
        assert session.mask_kji[tuple(grid.nearest_kji(prompt.position_ras))] == prompt.positive


@pytest.mark.parametrize("name", PREDICTORS)
@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((2, 512, 512), (0.4, 0.4, 1.0)),
        ((2, 3, 600), (1, 1, 1)),
        ((4, 20, 600), (1, 1, 1)),
        ((600, 2, 2), (1, 1, 1)),
        ((12, 40, 50), (5, 0.1, 0.1)),
        ((12, 40, 50), (0.3, 0.3, 300)),
        ((1, 1, 1), (1, 1, 1)),
        ((64, 1, 1), (0.01, 10, 1)),
    ],
)
def test_thin_and_long_volumes_are_answered_at_the_first_click(name, shape, spacing):
    grid = Grid(shape, np.diag([*spacing, 1.0]))
    session = Session(image_of(grid), PREDICTORS[name]())
    session.add(Point(grid.to_ras([n // 2 for n in shape[::-1]])))
    assert session.mask_kji[tuple(n // 2 for n in shape)]


@pytest.mark.parametrize("name", PREDICTORS)
@pytest.mark.parametrize("positive", [True, False])
def test_a_prompt_that_holds_no_voxel_s_centre_is_no_failure(name, positive):
    grid = Grid((2, 2, 20), np.eye(4))
    session = Session(image_of(grid), PREDICTORS[name]())
    before = np.zeros(grid.shape_kji, dtype=bool)
    before[:, :, 8:12] = True
    session.set_mask(before)
    session.add(Box((-0.4, -0.4, -0.4), (0.1, 0.1, 0.1), positive=positive))
    assert (session.mask_kji & before).any()


@settings(max_examples=100, deadline=None)
@given(
    length=st.integers(1, 640),
    start=st.floats(-0.5, 300),
    step=st.floats(0.01, 200),
    count=st.integers(1, 96),
    antialias=st.booleans(),
)
@example(length=2, start=-0.5, step=5, count=1, antialias=True)
def test_a_region_reads_what_is_constant_as_constant(length, start, step, count, antialias):
    grid = Grid((length, 1, 1), np.eye(4))
    roi = Roi(grid, (min(start, length - 0.5), -0.5, -0.5), (step, 1, 1), (count, 1, 1))
    read = roi.read(Volume(np.full(grid.shape_kji, 7, dtype=np.int16)), antialias)
    assert read.ravel() == pytest.approx(7)


# A box that is thinner than a slice


@pytest.mark.parametrize("name", PREDICTORS)
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("depth", [10.0, 10.5])
def test_a_box_thinner_than_a_slice_is_a_2d_box_wherever_it_lies(name, axis, depth):
    grid = Grid((20, 22, 24), np.diag([0.7, 0.8, 2.5, 1.0]))
    middle_ijk, size = np.array([12.0, 11.0, 10.0]), np.array([9.0, 9.0, 26.0])
    middle_ijk[axis] = depth
    found = []
    for thickness in (0.0, 0.05, 0.95):
        size[axis] = thickness * grid.spacing_mm[axis]
        session = Session(image_of(grid), PREDICTORS[name]())
        session.add(Box(grid.to_ras(middle_ijk), size))
        found.append(session.mask_kji)
    assert found[0].sum() > 500
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_a_box_as_thick_as_a_slice_is_no_2d_box():
    grid = Grid((20, 22, 24), np.diag([0.7, 0.8, 2.5, 1.0]))
    turned = Grid(grid.shape_kji, np.block([[rotation(3), np.ones((3, 1))], [np.zeros(3), 1]]) @ grid.ijk_to_ras)
    for where in (grid, turned):
        thick = Box((1, 1, 1), (*(2 * where.spacing_mm[:2]), 2.5), where.directions.T)
        assert thick.flattened(where) is thick
        thin = Box((1, 1, 1), (*(2 * where.spacing_mm[:2]), 2.4), where.directions.T)
        assert thin.flattened(where).size_mm == (*thin.size_mm[:2], 0.0)
        assert rasterize(thin.flattened(where), where).mask_kji.any()


def test_a_thin_box_lies_on_its_own_slice():
    grid = Grid((20, 22, 24), np.eye(4))
    box = Box((10, 11, 5.5), (0.2, 9, 9))
    (plane,) = slices_of_prompts([box], grid, {}, {}).values()
    (flat,) = slices_of_prompts([Box((10, 11, 5.5), (0, 9, 9))], grid, {}, {}).values()
    assert plane.key == flat.key


# Intensities of any size


def faint(scale, offset=0.0):
    rng = np.random.default_rng(4)
    k, j, i = np.ogrid[:24, :28, :32]
    ball = (k - 12) ** 2 + (j - 14) ** 2 + (i - 16) ** 2 < 49
    return Volume(((100 * ball + rng.normal(0, 5, ball.shape)) * scale + offset).astype(np.float32)), ball


@pytest.mark.parametrize("name", PREDICTORS)
@pytest.mark.parametrize("scale", [1e-9, 1e-15, 1e12])
def test_a_mask_does_not_depend_on_the_unit_of_intensities(name, scale):
    found = []
    for factor in (1.0, scale):
        volume, ball = faint(factor)
        session = Session(volume, PREDICTORS[name]())
        session.add(Point((16, 14, 12)))
        session.add(Point((3, 3, 3), positive=False))
        found.append(session.mask_kji)
    assert (found[0] & ball).sum() > 0.8 * ball.sum()
    assert (found[0] != found[1]).sum() <= 0.01 * ball.sum()


def test_noise_is_measured_in_faint_and_in_lifted_images():
    noise = noise_of(faint(1.0)[0].array)
    assert noise_of(faint(1e-25)[0].array) == pytest.approx(1e-25 * noise, rel=1e-3)
    assert noise_of(faint(1.0, offset=1e5)[0].array) == pytest.approx(noise, rel=0.02)
    assert noise_of(np.zeros((3, 4, 5), dtype=np.float32)) == 0


def test_growing_does_not_depend_on_the_unit_of_intensities_or_lengths():
    volume, ball = faint(1.0)
    seeds = np.zeros(ball.shape, dtype=bool)
    seeds[12, 14, 16] = True
    field = np.where(ball, 1.0, -1.0).astype(np.float32)
    everywhere = np.ones(ball.shape, dtype=bool)
    strange = strangeness(volume.array, seeds, 5.0)
    border = settled(field, volume.array, everywhere, 5.0)
    times = np.where(ball, 1.0, 2.0).astype(np.float32) + strange
    level = best_level(times, strange, everywhere, np.ones(3))
    for scale in (1e-9, 1e-20):
        small = volume.array * np.float32(scale)
        assert strangeness(small, seeds, 5 * scale) == pytest.approx(strange, abs=1e-3)
        assert settled(field, small, everywhere, 5 * scale) == pytest.approx(border, abs=1e-3)
        assert best_level(times, strange, everywhere, np.full(3, 1 / scale)) == level


def test_a_constant_image_differs_nowhere_by_its_last_bits():
    constant = np.full((8, 9, 10), np.float32(0.1))
    constant[:, ::2] = np.nextafter(np.float32(0.1), np.float32(1))
    seeds = np.zeros(constant.shape, dtype=bool)
    seeds[4, 4, 4] = True
    assert strangeness(constant, seeds, noise_of(constant)).max() < 0.2


def test_nnu_net_s_standardising_sees_faint_images():
    values = np.random.default_rng(0).normal(3, 2, (5, 6, 7)).astype(np.float32)
    faint_values = values * np.float32(1e-12)
    z_score(values)
    z_score(faint_values)
    assert faint_values == pytest.approx(values, abs=1e-4)
    flat = np.full((2, 2, 2), 5, dtype=np.float32)
    z_score(flat)
    assert not flat.any()


@pytest.mark.parametrize("scale", [1e-9, 1.0])
def test_faint_images_are_drawn_in_their_own_range(tmp_path, scale):
    from matplotlib import image

    volume, _ = faint(scale)
    draw_slices(tmp_path / "a.png", volume, (16, 14, 12))
    seen = image.imread(tmp_path / "a.png")[..., 0]
    assert np.percentile(seen, 99) > 0.9
    assert seen.std() > 0.1


# Lengths of any size


def test_grids_of_a_microscope_that_are_a_voxel_apart_do_not_match():
    grid = Grid((5, 6, 7), np.diag([2e-4, 2e-4, 1e-3, 1.0]))
    assert grid.matches(Grid(grid.shape_kji, grid.ijk_to_ras + 1e-7 * np.eye(4)[:, :1] @ np.eye(4)[3:]))
    assert not grid.matches(grid.cropped(grid.extent.shifted((0, 0, 1))))
    assert not grid.matches(grid.cropped(grid.extent.shifted((1, 0, 0))))


def test_oblique_slices_of_a_microscope_are_told_apart():
    grid = Grid((9, 9, 9), np.diag([1e-4, 1e-4, 1e-4, 1.0]))
    first = ObliqueSlice.through(grid, grid.to_ras((4, 4, 4)), (0, 1, 1))
    assert first.neighbour(1).key != first.key
    assert first.key == ObliqueSlice.through(grid, grid.to_ras((4, 4, 4)), (0, 1, 1)).key


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_what_a_prompt_marks_does_not_depend_on_the_unit_of_lengths(scale):
    grid, small = Grid((12, 13, 14), np.eye(4)), Grid((12, 13, 14), np.diag([scale, scale, scale, 1.0]))

    def scaled(points):
        return tuple(tuple(scale * value for value in point) for point in points)

    line, ring = ((2.4, 3.1, 4.2), (9.1, 8.3, 7)), ((2.3, 2.2, 5.5), (10.4, 2, 5.5), (9.6, 9.7, 5.5), (2, 9, 5.5))
    pairs = [
        (Scribble(line, 3.0), Scribble(scaled(line), 3.0 * scale)),
        (Lasso(ring), Lasso(scaled(ring))),
        (Box((5, 6, 6), (4, 6, 3)), Box((5 * scale, 6 * scale, 6 * scale), (4 * scale, 6 * scale, 3 * scale))),
        (Box((5, 6, 5.5), (4, 6, 0)), Box((5 * scale, 6 * scale, 5.5 * scale), (4 * scale, 6 * scale, 0))),
    ]
    for prompt, its in pairs:
        mine, other = rasterize(prompt, grid), rasterize(its, small)
        assert mine.mask_kji.sum() == other.mask_kji.sum() > 0


# What is done to masks


@settings(max_examples=25, deadline=None)
@given(data=st.data(), grid=odd_grids())
def test_masks_of_any_shape_are_put_right_and_serve_as_prompts(data, grid):
    mask = data.draw(masks(grid.shape_kji))
    assert not (keep_largest_island(mask) & ~mask).any()
    assert not (mask & ~fill_holes(mask)).any()
    radius = data.draw(st.sampled_from([0.5, 1.0, 3.0])) * float(grid.spacing_mm.min())
    assert smooth(mask, grid.spacing_kji_mm, radius).shape == mask.shape
    if mask.any():
        prompt = MaskPrompt(mask, grid.ijk_to_ras)
        patch = rasterize(prompt, grid)
        assert patch.mask_kji.sum() == mask.sum()
