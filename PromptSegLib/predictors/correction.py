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

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.geometry import Extent
from PromptSegLib.imaging.appearance import unlike_side
from PromptSegLib.imaging.roi import Float32Array

# The odds that a voxel is wrong: of the network's logit, of that of its looks, and of the logarithm of its distance
# from the prompt, in parts of how deep the prompt lies in what it is about. By a logistic regression on bent synthetic
# slices and volumes.
_CONSTANT, _NETWORK, _LOOKS, _FAR = -1.1, 0.45, 0.45, -0.75
# Larger logits are no surer.
_MOST_NETWORK, _MOST_LOOKS = 8.0, 6.0
# What is added is at most so many times as thick as the mask, and a voxel; to be thinner, it takes higher odds.
_THICK, _ODDS = 1.25, (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0)
# Working voxels around a prompt that change with it in any case.
_HEARD = 1.5


@dataclass(frozen=True, eq=False)
class Correction:
    """changed: working voxels to change, (k, j, i), bool. odds: that each is wrong, logits, float32."""

    changed: BoolArray
    odds: Float32Array


def correction_of(
    image: Float32Array,
    mask: BoolArray,
    logits: Float32Array,
    prompted: BoolArray,
    is_positive: bool,
    kept: BoolArray,
    usual_depth: float,
) -> Correction:
    """Return what a prompt changes in `mask`.

    image: 0 black to 1 white. logits: of a network that saw the prompt. prompted: its voxels, some. kept: voxels that
    must not change. usual_depth: how deep the mask is, in voxels, where none of it is here. All (k, j, i) on one isotropic
    grid, but for axes of one voxel.
    """
    domain = (~mask if is_positive else mask) & ~kept
    domain |= prompted
    depth = _depth(domain, mode="edge")
    far = ndimage.distance_transform_edt(~prompted)
    reach = max(1.0, float(depth[prompted].max()))
    looks = unlike_side(image, mask, far, reach, is_positive)
    sign = 1 if is_positive else -1
    odds = _CONSTANT + _NETWORK * sign * np.clip(logits, -_MOST_NETWORK, _MOST_NETWORK)
    odds += _LOOKS * sign * np.clip(looks, -_MOST_LOOKS, _MOST_LOOKS) + _FAR * np.log(far / reach + 0.5)
    heard = prompted | (domain & (far <= min(_HEARD, reach)))
    odds = odds.astype(np.float32)
    if not is_positive:
        return Correction(_connected((odds > 0) & domain | heard, prompted), odds)
    own = deepest(mask) or usual_depth
    for least in _ODDS:
        changed = _connected((odds > least) & domain | heard, prompted)
        if _thickest(mask, changed) <= _THICK * own + 1:
            return Correction(changed, odds)
    near = (odds > 0) & domain & (far <= own)
    return Correction(_connected(near | heard, prompted), odds)


def deepest(mask: BoolArray) -> float:
    """Return how far the voxel of `mask` farthest from its border is from it, in voxels; 0 when it is empty."""
    return float(_depth(mask).max())


def _thickest(mask: BoolArray, added: BoolArray) -> float:
    """Return how deep in both together a voxel of `added` lies at most."""
    box = Extent.of_mask(added)
    assert box is not None
    # Within its box alone all that is added could look thinner than it is, never thicker.
    around = box.padded(max(box.shape_kji)).intersection(Extent.of_shape(mask.shape)).slices
    return float(_depth(mask[around] | added[around])[added[around]].max())


def _depth(inside: BoolArray, mode: str = "constant") -> Float32Array:
    """Return how far each voxel is from what is not in `inside`; mode: of `np.pad`, what is beyond the grid."""
    margins = [(int(n > 1), int(n > 1)) for n in inside.shape]
    padded = np.pad(inside, margins, mode=mode)  # type: ignore[call-overload]
    depth = ndimage.distance_transform_edt(padded) if not padded.all() else np.full(padded.shape, max(padded.shape))
    return np.asarray(depth[tuple(slice(m, n - m) for (m, _), n in zip(margins, padded.shape, strict=True))])


def _connected(changed: BoolArray, prompted: BoolArray) -> BoolArray:
    """Return the parts of `changed` that hold a voxel of `prompted`."""
    parts, count = ndimage.label(changed, np.ones((3, 3, 3)))
    is_prompted = np.zeros(count + 1, dtype=bool)
    is_prompted[parts[prompted]] = True
    is_prompted[0] = False
    return np.asarray(is_prompted[parts])
