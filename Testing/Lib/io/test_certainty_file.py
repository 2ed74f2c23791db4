"""How sure a model was, in a file beside its proposal."""

import numpy as np
import pytest
from image_files import ijk_to_ras

from PromptSegLib.certainty import Certainty
from PromptSegLib.errors import GeometryError, VolumeError
from PromptSegLib.geometry import Extent, Grid
from PromptSegLib.io.certainty_file import read_certainties, write_certainties

GRID = Grid((6, 7, 8), ijk_to_ras())


@pytest.fixture
def path(tmp_path):
    extent = Extent((1, 2, 3), (4, 6, 8))
    probability = np.linspace(0, 1, extent.size, dtype=np.float32).reshape(extent.shape_kji)
    certainties = {"left kidney": Certainty.of(extent, probability), "Niere": Certainty.of(extent, 1 - probability)}
    write_certainties(tmp_path / "a.certainty.npz", certainties, GRID)
    return tmp_path / "a.certainty.npz"


def test_what_is_written_is_read_back(path):
    found = read_certainties(path, GRID)
    assert list(found) == ["left kidney", "Niere"]
    assert found["Niere"].extent == Extent((1, 2, 3), (4, 6, 8))
    np.testing.assert_allclose(found["left kidney"].probability_kji + found["Niere"].probability_kji, 1, atol=1 / 255)


def test_one_of_another_image_is_refused(path):
    with pytest.raises(GeometryError, match="on the grid of the image"):
        read_certainties(path, Grid((6, 7, 8), np.eye(4)))


@pytest.mark.parametrize("length", [0, 10, 200, -30])
def test_a_damaged_one_is_refused(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(VolumeError, match="as a proposal leaves it"):
        read_certainties(path, GRID)
