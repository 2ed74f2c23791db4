"""The live figures of a segment against those of the whole mask."""

import numpy as np
import pytest
from measured_phantoms import grid_of

from PromptSegLib.bitmask import Patch
from PromptSegLib.geometry import Extent
from PromptSegLib.measurement.measure import measure
from PromptSegLib.measurement.segmentation import Segmentation
from PromptSegLib.measurement.tally import Tally
from PromptSegLib.volume import Volume


def test_after_any_row_of_changes_it_says_what_measure_says():
    rng = np.random.default_rng(5)
    grid = grid_of("sheared", (14, 17, 21))
    values = rng.normal(1e6, 5, grid.shape_kji)
    values[3, 3, 3] = np.nan
    mask = np.zeros(grid.shape_kji, bool)
    tally = Tally(grid, values)
    assert (tally.voxels, tally.mean, tally.sd, tally.touches_border) == (0, None, None, False)
    for step in range(60):
        low = [int(rng.integers(0, n)) for n in grid.shape_kji]
        high = [int(rng.integers(a + 1, n + 1)) for a, n in zip(low, grid.shape_kji, strict=True)]
        extent = Extent(tuple(low), tuple(high))
        mask[extent.slices] = rng.random(extent.shape_kji) < (0 if step % 5 == 4 else 0.5)
        tally.update(Patch(extent, mask[extent.slices].copy()))
        segmentation = Segmentation.of_masks({"it": mask}, grid.ijk_to_ras)
        (found,) = measure(segmentation, Volume(values, grid.ijk_to_ras), shapes=False)
        assert tally.voxels == found.voxels
        assert tally.volume_ml == pytest.approx(found.volume_ml)
        assert tally.touches_border is bool(found.touches_border)
        if found.intensity is not None:
            assert tally.mean == pytest.approx(found.intensity.mean, rel=1e-12)
            if found.intensity.sd:
                assert tally.sd == pytest.approx(found.intensity.sd, rel=1e-6)
