"""What a prompt changes in a mask that came from elsewhere: the error that it lies in, and nothing else.

A voxel is believed to belong to that error by what the network says, who saw the prompt, by how it looks beside the
mask's own inside and outside, and by how near to the prompt it is. Only what is connected with the prompt through such
voxels changes, and only as the prompt says: a positive one takes nothing away, a negative one adds nothing. What is
added may be little thicker than the mask is: a ring stays a ring, a tree a tree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import expit

from PromptSegLib.bitmask import BitMask, BoolArray, Patch
from PromptSegLib.certainty import Certainty
from PromptSegLib.geometry import Extent, Float32Array, FloatArray
from PromptSegLib.imaging.roi import Roi
from PromptSegLib.imaging.voxels import parts_with
from PromptSegLib.predictors.base import TargetState
from PromptSegLib.predictors.default.appearance import unlike_side
from PromptSegLib.predictors.default.evidence import Evidence, with_changes
from PromptSegLib.predictors.default.prompt_maps import PromptMaps
from PromptSegLib.predictors.default.scale_choice import Look
from PromptSegLib.predictors.default.tuning import TUNED
from PromptSegLib.prompts import Box


@dataclass(frozen=True, eq=False)
class Correction:
    """changed: working voxels to change, (k, j, i), bool. odds: that each is wrong, logits, float32."""

    changed: BoolArray
    odds: Float32Array


def is_correction(state: TargetState, evidence: Evidence) -> bool:
    """Tell whether the newest prompt is about an error in a mask that came from elsewhere.

    A box is not: it says where all of the structure is.
    """
    is_of_given = state.mask is not None and state.mask_is_given and not state.redraw
    is_box = isinstance(state.prompts[-1], Box) if state.prompts else True
    return is_of_given and bool(len(evidence.newest_kji)) and not is_box


def closer_by(whole: Roi, mask: BitMask) -> tuple[float, float]:
    """Return which part of a region that holds all of a mask is near enough to correct it, and how deep the mask is.

    1 where its thickest part can be seen in all of it. The depth is in working voxels of the part.
    """
    deep = deepest(whole.read_mask(mask) > 0.5, _step_of(whole))
    part = min(1.0, max(deep, 0.5) / TUNED.deep_enough)
    return part, max(deep, 0.5) / part


def corrected(
    state: TargetState, evidence: Evidence, look: Look, maps: PromptMaps, usual_depth: float
) -> tuple[Patch, Certainty]:
    """Return the mask with those errors put right that prompts lie in, all else as it was, and how sure that is.

    look: what a predictor makes of `maps`. usual_depth: see `correction_of`.
    """
    assert state.mask is not None
    roi, mask, probability = look.roi, maps.previous > 0.5, expit(look.logits)
    changes = []
    for number in evidence.unanswered(state.mask):
        voxels, value = evidence.said[number]
        prompted, right = roi.mark(voxels), mask == value
        changed = np.zeros(mask.shape, dtype=bool)
        if prompted.any():
            kept = (maps.negative if value else maps.positive) > 0
            found = correction_of(maps.image, mask, look.logits, prompted, value, kept, usual_depth, _step_of(roi))
            changed, wrong = found.changed, expit(found.odds)
            probability = np.where(right, probability, wrong if value else 1 - wrong)
        changes.append((changed, right, voxels, value))
        mask = np.where(changed, value, mask)
    patch = with_changes(state.mask, roi, changes)
    around = patch.extent.padded(2).intersection(roi.extent)
    # At least as sure of what is there now as of the contrary.
    sure = np.where(mask, np.maximum(probability, 0.5), np.minimum(probability, 0.5)).astype(np.float32)
    return patch, Certainty.of(around, roi.to_source(sure, around))


def correction_of(
    image: Float32Array,
    mask: BoolArray,
    logits: Float32Array,
    prompted: BoolArray,
    is_positive: bool,
    kept: BoolArray,
    usual_depth: float,
    step_kji: FloatArray,
) -> Correction:
    """Return what a prompt changes in `mask`.

    image: 0 black to 1 white. logits: of a network that saw the prompt. prompted: its voxels, some. kept: voxels that
    must not change. All (k, j, i) on one grid. step_kji: the voxels' sides, the shortest of them 1, the unit of all
    distances. usual_depth: how deep the mask is where none of it is here.
    """
    domain = (~mask if is_positive else mask) & ~kept
    domain |= prompted
    far = ndimage.distance_transform_edt(~prompted, sampling=step_kji)
    own = deepest(mask, step_kji) or usual_depth
    reach = max(1.0, _farthest_from(prompted, ~domain, step_kji))
    if is_positive:
        # What is missing is seldom much thicker than what is there, however far from it the prompt lies.
        reach = max(1.0, min(reach, TUNED.thicker_missing * own))
    looks = unlike_side(image, mask, far, reach, is_positive)
    sign = 1 if is_positive else -1
    network = np.clip(logits, -TUNED.most_of_network, TUNED.most_of_network)
    looks = np.clip(looks, -TUNED.most_of_looks, TUNED.most_of_looks)
    odds = TUNED.wrong_constant + TUNED.wrong_by_network * sign * network
    odds += TUNED.wrong_by_distance * np.log(far / reach + 0.5)
    by_looks = TUNED.wrong_by_looks * sign * looks
    if is_positive or (((odds + by_looks) > 0) & mask).sum() <= TUNED.most_taken * mask.sum():
        odds += by_looks
    heard = prompted | (domain & (far <= min(TUNED.heard_in_correction, reach)))
    odds = odds.astype(np.float32)
    if not is_positive:
        return Correction(parts_with((odds > 0) & domain | heard, prompted), odds)
    for least in TUNED.odds:
        changed = parts_with((odds > least) & domain | heard, prompted)
        if not _is_thicker(mask, changed, TUNED.thick * own + 1, step_kji):
            return Correction(changed, odds)
    near = (odds > 0) & domain & (far <= own)
    return Correction(parts_with(near | heard, prompted), odds)


def deepest(mask: BoolArray, step_kji: FloatArray) -> float:
    """Return how far the voxel of `mask` farthest from its border is from it; 0 when it is empty."""
    return float(_depth(mask, step_kji).max())


def _is_thicker(mask: BoolArray, added: BoolArray, most: float, step_kji: FloatArray) -> bool:
    """Tell whether a voxel of `added` lies deeper than `most` in both together."""
    box = Extent.of_mask(added)
    assert box is not None
    margin = np.ceil((most + 1) / step_kji).astype(int).tolist()
    around = box.padded(margin).intersection(Extent.of_shape(mask.shape)).slices
    return bool((_depth(mask[around] | added[around], step_kji)[added[around]] > most).any())


def _depth(inside: BoolArray, step_kji: FloatArray) -> Float32Array:
    """Return how far each voxel is from what is not in `inside`; that is also what is beyond the grid."""
    margins = [(int(n > 1), int(n > 1)) for n in inside.shape]
    padded = np.pad(inside, margins)
    if padded.all():
        return np.full(inside.shape, max(inside.shape), dtype=np.float32)
    depth = ndimage.distance_transform_edt(padded, sampling=step_kji)
    return np.asarray(depth[tuple(slice(m, n - m) for (m, _), n in zip(margins, padded.shape, strict=True))])


def _farthest_from(these: BoolArray, those: BoolArray, step_kji: FloatArray) -> float:
    """Return how far the voxel of `these` that is farthest from all of `those` is from them."""
    others = np.argwhere(those & ndimage.binary_dilation(~those, np.ones((3, 3, 3)))) * step_kji
    if not len(others):
        return float(max(these.shape))
    mine = np.argwhere(these) * step_kji
    # Of a stroke of many voxels some will do.
    mine = mine[:: -(-len(mine) // TUNED.most_asked)]
    return float(max(np.sqrt(((others - one) ** 2).sum(axis=1).min()) for one in mine))


def _step_of(roi: Roi) -> FloatArray:
    """Return the sides of its voxels; 1 is the shortest of those along which there are several."""
    sides_mm = np.array(roi.step_kji) * roi.source.spacing_kji_mm
    several = sides_mm[np.array(roi.shape_kji) > 1]
    return np.asarray(sides_mm / (several if several.size else sides_mm).min())
