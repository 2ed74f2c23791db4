"""Images reach the networks as from nnU-Net v1, and labels come back as from its export."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from references import ELSEWHERE, KEPT_HERE, needs_all_references
from volume_references import VolumeReference

from PromptSegLib.errors import VolumeError
from PromptSegLib.geometry import Extent, flip_axes
from PromptSegLib.predictors.names.label_export import labels_from_slabs
from PromptSegLib.predictors.names.nnunet_preparation import (
    clip_and_standardise,
    clip_to_unit,
    nonzero_extent,
    prepare,
    thick_axis,
    z_score,
)

CASES = [
    pytest.param(KEPT_HERE, "stu_net_prep", z_score, id="z-score"),
    pytest.param(KEPT_HERE, "stu_net_prep_aniso", z_score, id="thick slices"),
    pytest.param(KEPT_HERE, "uniseg_prep", clip_to_unit, id="clipped CT"),
    pytest.param(ELSEWHERE, "uniseg_prep_mr4", z_score, id="four channels", marks=needs_all_references),
]


@pytest.mark.parametrize(("folder", "name", "normalise"), CASES)
def test_preparation_and_export_are_the_official_ones(folder, name, normalise):
    reference = VolumeReference(folder, name)
    channels = list(reference["volume_czyx"])
    spacing_kji_mm = flip_axes(reference["spacing_xyz"])
    prepared = prepare(channels, spacing_kji_mm, reference["target_zyx"], [normalise] * len(channels))
    assert list(zip(prepared.crop.start_kji, prepared.crop.stop_kji, strict=True)) == [
        tuple(bounds) for bounds in reference["crop_bbox"].tolist()
    ]
    assert prepared.crop.shape_kji == tuple(reference["size_after_cropping"])
    reference.assert_met("data", prepared.data)
    probabilities = reference.tensor("softmax")
    labels = labels_from_slabs(
        probabilities.split(4, dim=1),
        prepared.data.shape[1:],
        prepared.crop.shape_kji,
        thick_axis=prepared.thick_axis,
    )
    np.testing.assert_array_equal(prepared.paste(labels), reference["segmentation_zyx"])
    assert reference.unused == set()


def test_the_crop_holds_what_is_not_zero_in_any_channel():
    first, second = np.zeros((2, 6, 7, 8), np.int16)
    first[2, 3, 4], second[4, 1, 5] = 1, -1
    assert nonzero_extent([first, second]) == Extent((2, 1, 4), (5, 4, 6))


def test_an_image_of_zeros_is_kept_whole():
    prepared = prepare([np.zeros((4, 5, 6), np.uint8)], (1, 1, 1), (1, 1, 2), [z_score])
    assert prepared.data.shape == (1, 4, 5, 3)
    assert (prepared.data == 0).all()


@pytest.mark.parametrize(
    ("spacing", "target", "axis"),
    [
        ((5, 1, 1), (1, 1, 1), 0),
        ((1, 1, 3.1), (1, 1, 1), 2),
        ((3, 1, 1), (1, 1, 1), None),
        ((4, 4, 1), (1, 1, 1), None),
        ((1, 1, 1), (1, 5, 1), 1),
        ((4, 4, 1), (5, 1, 1), None),
    ],
)
def test_one_axis_more_than_three_times_coarser_than_another_is_thick(spacing, target, axis):
    assert thick_axis(np.array(spacing, float), np.array(target, float)) == axis


def test_ct_is_standardised_by_the_plans_numbers():
    values = np.array([-2000, 0, 100, 3000], np.float32)
    clip_and_standardise(values, low=-1000, high=300, mean=100, std=50)
    assert values.tolist() == [-22, -2, 0, 4]


def test_integers_and_their_float_copy_are_prepared_alike():
    array = np.random.default_rng(0).integers(-900, 900, (6, 7, 8)).astype(np.int16)
    steps = [partial(clip_to_unit, low=-500, high=500)]
    copies = (array, array.astype(float))
    from_integers, from_floats = (prepare([a], (3, 1, 1), (1, 2, 1), steps).data for a in copies)
    np.testing.assert_allclose(from_integers, from_floats, atol=1e-6)


def test_channels_of_different_shapes_are_refused():
    with pytest.raises(VolumeError, match=r"one shape, got \[\(2, 3, 4\), \(2, 3, 5\)\]"):
        prepare([np.ones((2, 3, 4)), np.ones((2, 3, 5))], (1, 1, 1), (1, 1, 1), [z_score] * 2)


def test_a_missing_channel_is_refused():
    with pytest.raises(VolumeError, match="expected 4 channels, got 1"):
        prepare([np.ones((2, 3, 4))], (1, 1, 1), (1, 1, 1), [z_score] * 4)


def test_labels_of_many_classes_fit_their_type():
    probabilities = torch.zeros(300, 1, 1, 2)
    probabilities[299, ..., 1] = 1
    labels = labels_from_slabs([probabilities], (1, 1, 2), (1, 1, 2))
    assert labels.dtype == np.uint16
    assert labels.tolist() == [[[0, 299]]]
