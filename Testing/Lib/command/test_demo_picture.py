import numpy as np
import pytest
from image_files import ijk_to_ras
from matplotlib.image import imread

from PromptSegLib.command.demo_picture import draw_slices
from PromptSegLib.geometry import Grid, apply_affine
from PromptSegLib.io import Segment
from PromptSegLib.prompts import Box, Point
from PromptSegLib.view import Window
from PromptSegLib.volume import Volume

MAGENTA = (1.0, 0.0, 1.0)
DIRECTIONS = {
    "LPS": np.diag([-1, -1, 1]),
    "RAS": np.eye(3),
    "sagittal": np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]),
    "oblique": ijk_to_ras((1, 1, 1))[:3, :3],
}


def centred(directions, spacing_mm=(2.0, 2.0, 4.0), shape_kji=(40, 80, 80)):
    """Return a grid around the origin of RAS."""
    matrix = ijk_to_ras(spacing_mm, directions, (0, 0, 0))
    matrix[:3, 3] = -apply_affine(matrix, (np.array([shape_kji[2], shape_kji[1], shape_kji[0]]) - 1) / 2)
    return Grid(shape_kji, matrix)


def ball(grid, center_ras, radius_mm):
    k, j, i = np.indices(grid.shape_kji)
    return np.linalg.norm(grid.to_ras(np.stack([i, j, k], axis=-1)) - center_ras, axis=-1) < radius_mm


def coloured(path, colour):
    """Return (x, y) of the pixels of this colour, x from the left, y from below, as shares of the picture."""
    pixels = imread(path)[..., :3]
    rows, columns = np.nonzero(np.abs(pixels - colour).max(axis=-1) < 0.2)
    return np.stack([columns / pixels.shape[1], 1 - rows / pixels.shape[0]], axis=-1)


@pytest.mark.parametrize("name", DIRECTIONS)
def test_right_is_left_anterior_is_up_and_millimetres_are_true(tmp_path, name):
    grid = centred(DIRECTIONS[name])
    volume = Volume(np.zeros(grid.shape_kji, np.int16), grid.ijk_to_ras)
    structure = Segment("ball", ball(grid, (40, -30, 20), 30), colour=MAGENTA)
    draw_slices(tmp_path / "p.png", volume, (40, -30, 20), segments=[structure], window=Window(0, 1))
    low, high = grid.bounds_ras
    width_mm = 2 * (high - low)[0] + (high - low)[1]
    share_per_mm = (12 - 4 * 0.15) / 12 / width_mm
    outline = coloured(tmp_path / "p.png", MAGENTA)
    outline = outline[outline[:, 1] > 0.1]  # less the legend
    pixels = imread(tmp_path / "p.png").shape
    left = 0.15 / 12
    for width, right_mm, up_mm in (
        ((high - low)[0], -40 - -high[0], -30 - (low + high)[1] / 2),
        ((high - low)[0], -40 - -high[0], 20 - (low + high)[2] / 2),
        ((high - low)[1], 30 - -high[1], 20 - (low + high)[2] / 2),
    ):
        panel = outline[(outline[:, 0] > left) & (outline[:, 0] < left + width * share_per_mm)]
        middle = (panel.min(axis=0) + panel.max(axis=0)) / 2
        assert middle[0] == pytest.approx(left + right_mm * share_per_mm, abs=0.01)
        assert middle[1] == pytest.approx(0.5 + up_mm * share_per_mm * pixels[1] / pixels[0], abs=0.02)
        size = (panel.max(axis=0) - panel.min(axis=0)) * (pixels[1], pixels[0])
        assert size[0] == pytest.approx(60 * share_per_mm * pixels[1], rel=0.12)
        assert size[1] == pytest.approx(size[0], rel=0.12), "as high as it is wide"
        left += width * share_per_mm + 0.15 / 12


def test_a_click_is_drawn_on_its_own_slice_only(tmp_path):
    grid = centred(np.eye(3))
    volume = Volume(np.zeros(grid.shape_kji, np.int16), grid.ijk_to_ras)
    draw_slices(tmp_path / "at.png", volume, (1, 1, 2), [Point((1, 1, 2))])
    draw_slices(tmp_path / "off.png", volume, (1, 1, 2), [Point((31, 31, 32))])
    green = (0x7C / 255, 0xFC / 255, 0)
    assert len(coloured(tmp_path / "at.png", green)) > 50
    assert len(coloured(tmp_path / "off.png", green)) == 0


def test_a_negative_click_is_red_and_a_box_is_outlined(tmp_path):
    grid = centred(np.eye(3))
    volume = Volume(np.zeros(grid.shape_kji, np.int16), grid.ijk_to_ras)
    draw_slices(tmp_path / "p.png", volume, (1, 1, 2), [Point((1, 1, 2), positive=False)])
    assert len(coloured(tmp_path / "p.png", (1.0, 0x40 / 255, 0x40 / 255))) > 50
    draw_slices(tmp_path / "b.png", volume, (1, 1, 2), [Box.from_corners((-20, -20, -20), (20, 20, 20))])
    assert len(coloured(tmp_path / "b.png", (0x7C / 255, 0xFC / 255, 0))) > 50


@pytest.mark.parametrize("shape", [(1, 40, 60), (1, 40, 60, 3)])
def test_a_picture_is_drawn_the_way_it_is_stored(tmp_path, shape):
    array = np.zeros(shape, np.uint8)
    array[0, :20, :30] = 255
    mask = np.zeros(shape[:3], dtype=bool)
    mask[0, :20, :30] = True
    volume = Volume(array, np.diag([-1.0, -1.0, 1.0, 1.0]))
    draw_slices(tmp_path / "p.png", volume, (-10, -10, 0), segments=[Segment("corner", mask, colour=MAGENTA)])
    outline = coloured(tmp_path / "p.png", MAGENTA)
    outline = outline[outline[:, 1] > 0.1]
    assert outline[:, 0].max() < 0.55, "on the left"
    assert outline[:, 1].min() > 0.45, "and above"
    assert len(coloured(tmp_path / "p.png", (1, 1, 1))) > 1000


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_constant_volume_can_be_drawn(tmp_path, value):
    draw_slices(tmp_path / "p.png", Volume(np.full((4, 5, 6), value)), (2, 2, 2))
    assert imread(tmp_path / "p.png").shape[2] == 4
