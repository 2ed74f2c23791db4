"""Labels made slab by slab are those made of all probabilities at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import Cancelled, VolumeError
from PromptSegLib.predictors.names.axis_resampling import nearest_index, resize
from PromptSegLib.predictors.names.label_export import labels_from_slabs


def random_probabilities(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32)).softmax(dim=0)


@pytest.mark.parametrize("thicknesses", [[11], [1] * 11, [4, 4, 3], [2, 0, 9]])
@pytest.mark.parametrize("shape", [(23, 5, 14), (4, 12, 7), (11, 9, 7)])
def test_every_class_is_resampled_before_the_strongest_is_taken(thicknesses, shape):
    probabilities = random_probabilities(5, 11, 9, 7)
    expected = np.stack([resize(p, shape, order=1) for p in probabilities.numpy()])
    labels = labels_from_slabs(probabilities.split(thicknesses, dim=1), (11, 9, 7), shape)
    assert labels.dtype == np.uint8
    best_two = np.sort(expected, axis=0)[-2:]
    clear = best_two[1] - best_two[0] > 1e-6
    np.testing.assert_array_equal(labels[clear], expected.argmax(axis=0)[clear])
    assert clear.mean() > 0.999


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_along_a_thick_axis_the_nearest_layer_is_taken(axis):
    probabilities = random_probabilities(3, 4, 5, 6)
    shape = [4, 5, 6]
    shape[axis] *= 3
    labels = labels_from_slabs([probabilities], (4, 5, 6), shape, thick_axis=axis)
    index = nearest_index(shape[axis] // 3, shape[axis])
    np.testing.assert_array_equal(labels, probabilities.argmax(dim=0).numpy().take(index, axis))


def test_missing_layers_are_reported():
    with pytest.raises(VolumeError, match="probabilities of 4 layers, got 3"):
        labels_from_slabs([torch.ones(2, 3, 2, 2)], (4, 2, 2), (4, 2, 2))


def test_a_cancelled_export_stops():
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        labels_from_slabs([torch.ones(2, 3, 2, 2)], (3, 2, 2), (3, 2, 2), cancel=token)
