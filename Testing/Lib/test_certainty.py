"""How sure a predictor is comes to the session, from another process, too, and costs little."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from PromptSegLib.certainty import Certainty
from PromptSegLib.errors import GeometryError
from PromptSegLib.geometry import Extent
from PromptSegLib.process_executor import ProcessExecutor
from PromptSegLib.prompts import Point
from PromptSegLib.session import Session
from PromptSegLib.volume import Volume

SURE = "PromptSegLib.predictors.default:DefaultPredictor"


def a_disc():
    y, x = np.indices((60, 64))
    inside = (y - 30) ** 2 + (x - 30) ** 2 < 144
    return Volume((100.0 * inside + np.random.default_rng(0).normal(0, 5, inside.shape))[None])


def test_probabilities_are_kept_to_a_percent():
    extent = Extent((1, 2, 3), (9, 22, 33))
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).random(extent.shape_kji), 2).astype(np.float32)
    probability = (smooth - smooth.min()) / np.ptp(smooth)
    kept = Certainty.of(extent, probability)
    np.testing.assert_allclose(kept.probability_kji, probability, atol=1 / 500)
    assert kept.nbytes < probability.size
    with pytest.raises(GeometryError, match="expected probabilities of shape"):
        Certainty.of(extent, probability[1:])


def test_a_session_tells_how_sure_the_predictor_is_of_each_voxel():
    session = Session(a_disc(), SURE)
    session.add(Point((30, 30, 0)))
    certainty = session.prediction.certainty
    probability, mask = certainty.probability_kji, session.mask_kji[certainty.extent.slices]
    assert ((probability > 0.51) <= mask).all()
    assert ((probability < 0.49) <= ~mask).all()
    border = ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask)
    doubt = 1 - abs(2 * probability - 1)
    assert doubt[border].mean() > 3 * doubt[~border].mean()
    assert 0 < session.prediction.score <= 1
    assert session.history_nbytes > certainty.nbytes


def test_it_crosses_from_another_process():
    session = Session(a_disc(), SURE, executor=ProcessExecutor())
    session.add(Point((30, 30, 0)))
    assert session.wait(120)
    assert session.prediction.certainty.probability_kji.max() > 0.9
    session.close()
