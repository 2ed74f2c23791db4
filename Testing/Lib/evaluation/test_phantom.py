"""The phantom is one body on any grid: the same by seed, CT-like, with clicks that lie in their organs."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import rotation

from PromptSegLib.evaluation.metrics import dice
from PromptSegLib.evaluation.phantom import LPS_DIRECTIONS, make_abdomen
from PromptSegLib.geometry import flip_axes

SMALL = {"shape_kji": (48, 96, 96), "spacing_mm": (3.8, 3.8, 4.8)}
# Typical values, portal venous phase; the stomach holds fluid and gas.
HU = {
    "liver": (90, 140),
    "spleen": (110, 145),
    "kidney right": (140, 200),
    "kidney left": (140, 200),
    "aorta": (140, 190),
    "inferior vena cava": (105, 150),
    "gallbladder": (-10, 40),
    "ribs": (200, 600),
    "spine": (150, 450),
}


@pytest.fixture(scope="module")
def body():
    return make_abdomen(**SMALL)


def test_a_seed_gives_the_same_phantom_and_another_seed_another(body):
    again, other = make_abdomen(**SMALL), make_abdomen(**SMALL, seed=1)
    np.testing.assert_array_equal(again.volume.array, body.volume.array)
    np.testing.assert_array_equal(again.labels_kji, body.labels_kji)
    assert again.clicks == body.clicks
    assert again.values == body.values == other.values
    assert 0.5 < dice(other.mask("liver"), body.mask("liver")) < 0.99
    assert (other.volume.array != body.volume.array).mean() > 0.5


def test_its_image_is_a_ct_in_hounsfield_units(body):
    assert body.volume.array.dtype == np.int16
    assert body.labels_kji.dtype == np.uint8
    assert body.volume.array[:, :3].mean() == pytest.approx(-1000, abs=5)
    assert body.volume.array.max() < 1500


@pytest.mark.parametrize("name", HU)
def test_each_organ_has_plausible_values(body, name):
    low, high = HU[name]
    assert low < np.median(body.volume.array[body.mask(name)]) < high


def test_the_stomach_holds_fluid_below_gas(body):
    values = body.volume.array[body.mask("stomach")]
    assert (np.abs(values - 15) < 60).mean() > 0.3
    assert (values < -600).mean() > 0.02


def test_organs_have_plausible_volumes(body):
    for name, (low, high) in {"liver": (900, 2200), "spleen": (80, 400), "kidney left": (80, 300)}.items():
        millilitres = body.mask(name).sum() * body.volume.grid.voxel_mm3 / 1000
        assert low < millilitres < high, name


def test_the_noise_is_as_strong_as_asked_for():
    quiet, loud = (make_abdomen(**SMALL, noise_hu=noise) for noise in (0.0, 20.0))
    np.testing.assert_array_equal(quiet.labels_kji, loud.labels_kji)
    difference = loud.volume.array.astype(float) - quiet.volume.array
    assert difference.std() == pytest.approx(20, rel=0.02)
    assert abs(difference.mean()) < 1


def test_each_click_lies_in_its_organ(body):
    assert set(body.clicks) == set(body.values)
    for name, click in body.clicks.items():
        assert click.positive
        assert body.mask(name)[tuple(body.volume.grid.nearest_kji(click.position_ras))], name


@pytest.mark.parametrize(
    "directions",
    [np.eye(3), LPS_DIRECTIONS[:, [2, 0, 1]], rotation(3)],
    ids=["flipped", "permuted", "oblique"],
)
def test_any_grid_shows_the_same_body(body, directions):
    other = make_abdomen((80, 80, 80), (4.5, 4.5, 4.5), directions)
    k, j, i = np.nonzero(other.labels_kji > 0)
    index = body.volume.grid.nearest_kji(other.volume.grid.to_ras(np.stack([i, j, k], axis=-1)))
    inside = ((index >= 0) & (index < body.labels_kji.shape)).all(axis=-1)
    there = body.labels_kji[tuple(index[inside].T)]
    here = other.labels_kji[k, j, i][inside]
    for name in ("liver", "spleen", "kidney left", "kidney right"):
        value = body.values[name]
        assert (there[here == value] == value).mean() > 0.85, name
    click = other.clicks["liver"].position_ras
    assert body.labels_kji[tuple(body.volume.grid.nearest_kji(click))] == body.values["liver"]


def test_right_is_where_the_liver_is(body):
    k, j, i = np.nonzero(body.mask("liver"))
    assert body.volume.grid.to_ras(np.stack([i, j, k], axis=-1))[:, 0].mean() > 30
    k, j, i = np.nonzero(body.mask("spleen"))
    assert body.volume.grid.to_ras(np.stack([i, j, k], axis=-1))[:, 0].mean() < -30


def test_organs_outside_of_a_small_grid_have_no_click():
    chest = make_abdomen((4, 24, 24), (15.0, 15.0, 1.0))
    assert 0 < len(chest.clicks) < len(chest.values)
    middle = flip_axes(np.subtract(chest.volume.grid.shape_kji, 1)) / 2
    np.testing.assert_allclose(chest.volume.grid.to_ras(middle), 0, atol=1e-9)
