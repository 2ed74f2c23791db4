"""What looks like what was stroked: a classifier of voxels, learnt from the strokes while the user waits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement

import numpy as np
from scipy import ndimage, optimize
from scipy.special import expit

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.geometry import Extent, Float32Array, FloatArray
from PromptSegLib.predictors.default.tuning import TUNED


def appearance_of(
    image: Float32Array, positive: BoolArray, negative: BoolArray, probability: Float32Array
) -> Float32Array:
    """Return how much each voxel looks like what was stroked as the structure, not as its surroundings: 0 to 1.

    image: 0 black to 1 white. positive, negative: stroked voxels, some of both. probability: what a network thinks, 0
    to 1; what it is sure of are examples beside the strokes. All (k, j, i), as the result, float32; axes of one voxel
    are left out. Places do not count, only how they look: a logistic regression with a Gaussian prior on brightness,
    differences of Gaussians, curvature, gradient and roughness, and their squares. Interactive classifiers of pixels
    work like this (Berg et al., "ilastik: interactive machine learning for (bio)image analysis", 2019).
    """
    features = np.stack(list(_features(image.squeeze())), axis=-1).reshape(*image.shape, -1)
    free = ~positive & ~negative
    around = np.zeros(image.shape, dtype=bool)
    bounds = Extent.of_mask(positive | (probability > 0.5))
    if bounds is not None:
        padded = bounds.padded(round(TUNED.around * max(bounds.shape_kji)))
        around[padded.intersection(Extent.of_shape(image.shape)).slices] = True
    examples = [
        (_some(features, positive), 1.0, TUNED.weight_of_examples),
        (_some(features, negative), 0.0, TUNED.weight_of_examples),
        (_some(features, free & (probability > TUNED.sure_example)), 1.0, TUNED.weight_of_examples),
        (_some(features, free & around & (probability < 1 - TUNED.sure_example)), 0.0, TUNED.weight_of_examples),
    ]
    stroked = np.concatenate([rows for rows, _, _ in examples[:2]])
    return np.asarray(expit(_odds(features, stroked, examples)), dtype=np.float32)


def unlike_side(image: Float32Array, mask: BoolArray, far: FloatArray, reach: float, is_positive: bool) -> Float32Array:
    """Return logits of how much each voxel looks like the inside of `mask`, and not like what is around it: (k, j, i).

    image: 0 black to 1 white. far: distance from a prompt that says that the mask is wrong there, by being the
    structure if `is_positive`. reach: how far it is from there to where the mask is not wrong. Near to the prompt the
    mask's sides are no examples, and what is nearer still is one of what the prompt says. Else as `appearance_of`.
    """
    bounds = Extent.of_mask(mask)
    if bounds is None or mask.all():
        return np.zeros(image.shape, dtype=np.float32)
    wrong_side, is_near = (~mask if is_positive else mask), far <= TUNED.doubted * reach
    if is_positive and (wrong_side & is_near).sum() > TUNED.most_doubted * mask.sum():
        return np.zeros(image.shape, dtype=np.float32)
    features = np.stack(list(_plain_features(image.squeeze())), axis=-1).reshape(*image.shape, -1)
    padded = bounds.padded(round(TUNED.around * max(bounds.shape_kji)))
    around = np.zeros(image.shape, dtype=bool)
    around[padded.intersection(Extent.of_shape(image.shape)).slices] = True
    told = wrong_side & (far <= TUNED.told * reach)
    inside, outside = (side & ~(is_near & wrong_side) for side in (mask, ~mask & around))
    examples = [
        (_some(features, inside), 1.0, TUNED.weight_of_side),
        (_some(features, outside), 0.0, TUNED.weight_of_side),
    ]
    if not all(len(rows) for rows, _, _ in examples):
        return np.zeros(image.shape, dtype=np.float32)
    sides = np.concatenate([rows for rows, _, _ in examples])
    examples.append((_some(features, told), float(is_positive), TUNED.weight_of_examples))
    return np.asarray(_odds(features, sides, examples), dtype=np.float32)


def _odds(
    features: Float32Array, scale: Float32Array, examples: Sequence[tuple[Float32Array, float, float]]
) -> FloatArray:
    """Return logits of 1 against 0 by `examples`: features, answer, and what all of them count together.

    scale: features that tell which values are usual.
    """
    mean, spread = scale.mean(axis=0), scale.std(axis=0) + 1e-3

    def with_squares(rows: Float32Array) -> FloatArray:
        scaled = np.clip((rows - mean) / spread, -4, 4)
        return np.concatenate([np.ones((*rows.shape[:-1], 1)), scaled, scaled**2 - 1], axis=-1)

    counts = [len(rows) for rows, _, _ in examples]
    weights = np.repeat([weight / max(len(rows), 1) for rows, _, weight in examples], counts)
    answers = np.repeat([answer for _, answer, _ in examples], counts)
    known = with_squares(np.concatenate([rows for rows, _, _ in examples]))
    first, *rest = _logistic_regression(known, answers, weights).astype(np.float32)
    plain, squared = np.split(np.array(rest), 2)
    scaled = np.clip((features - mean) / spread, -4, 4)
    return np.asarray(first - squared.sum() + scaled @ plain + (scaled * scaled) @ squared)


def _features(image: Float32Array) -> Iterator[Float32Array]:
    """Yield what a voxel looks like, (*S) each: of an image without axes of one voxel."""
    smooth = {scale: ndimage.gaussian_filter(image, scale) for scale in TUNED.looks_scales}
    yield image
    yield from (smooth[scale] for scale in TUNED.looks_scales[:-1])
    yield image - smooth[2]
    yield smooth[1] - smooth[4]
    yield smooth[2] - smooth[8]
    for scale in TUNED.curved_scales:
        hessian = np.zeros((*image.shape, image.ndim, image.ndim), dtype=np.float32)
        for a, b in combinations_with_replacement(range(image.ndim), 2):
            order = [int(axis == a) + int(axis == b) for axis in range(image.ndim)]
            hessian[..., a, b] = hessian[..., b, a] = ndimage.gaussian_filter(image, scale, order=order)
        yield from np.moveaxis(np.linalg.eigvalsh(hessian), -1, 0)
        yield ndimage.gaussian_gradient_magnitude(image, scale)
    variance = ndimage.gaussian_filter(image * image, 2) - smooth[2] ** 2
    yield np.sqrt(np.maximum(variance, 0))


def _plain_features(image: Float32Array) -> Iterator[Float32Array]:
    """Yield less of what a voxel looks like, (*S) each.

    All of `_features` take twice as long as the network in a volume, and in slices tell a mask's sides no better.
    """
    smooth = {scale: ndimage.gaussian_filter(image, scale) for scale in TUNED.looks_scales[:3]}
    yield image
    yield smooth[1]
    yield smooth[2]
    yield smooth[1] - smooth[4]
    yield ndimage.gaussian_gradient_magnitude(image, 1)


def _some(features: Float32Array, where: BoolArray) -> Float32Array:
    """Return the features of voxels `where`, (n, feature), evenly chosen among them if they are many."""
    rows = features[where]
    return rows[:: max(1, -(-len(rows) // TUNED.most_examples))]


def _logistic_regression(rows: FloatArray, answers: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the coefficients (feature,) for answers 0 and 1; the first feature is the constant."""
    prior = np.ones(rows.shape[1])
    prior[0] = 1e-3
    signs = 2 * answers - 1

    def loss(coefficients: FloatArray) -> tuple[float, FloatArray]:
        margins = signs * (rows @ coefficients)
        slope = rows.T @ (-weights * signs * expit(-margins)) + prior * coefficients
        return float(weights @ np.logaddexp(0, -margins) + prior @ coefficients**2 / 2), slope

    best: FloatArray = optimize.minimize(loss, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B").x
    return best
