"""Reference arrays of volumes: as those of `references`, with three spatial axes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from references import TOLERANCE, Reference

if TYPE_CHECKING:
    import torch

ENDING = r"(_s\d+|_corner)?"
"""Every N-th voxel along each axis, the first voxels of each axis, or all of them."""


ROUNDING = 1e-5
"""How far the last bits of sums in another order move a logit of about 1."""


class VolumeReference(Reference):
    """The arrays of one file, compared over their last three axes."""

    def assert_met(self, name: str, actual: ArrayLike, tolerance: float = TOLERANCE) -> None:
        """Compare `actual` with what the file has of the array of that name; it must have some of it."""
        values = np.asarray(actual)
        found = [key for key in self.arrays if re.fullmatch(re.escape(name) + ENDING, key)]
        assert found, f"no array {name}"
        for key in found:
            expected = self[key]
            np.testing.assert_allclose(subset(values, key, expected.shape), expected, 0, tolerance, err_msg=key)

    def assert_strongest_met(self, name: str, logits: torch.Tensor) -> None:
        """Compare the strongest class of `logits` (1, class, a, b, c) with the array of that name.

        Where the two strongest are nearer than rounding moves them, either may be it: in STU-Net's 64 x 64 x 64 voxels
        there is one such tie, which falls one way on one thread and the other way on two.
        """
        [key] = [key for key in self.arrays if re.fullmatch(re.escape(name) + ENDING, key)]
        first, second = logits.topk(2, dim=1).values.unbind(1)
        expected = self[key]
        is_clear = subset((first - second > ROUNDING).numpy(), key, expected.shape)
        strongest = subset(logits.argmax(dim=1).numpy(), key, expected.shape)
        assert is_clear.mean() > 0.9999
        np.testing.assert_array_equal(strongest[is_clear], expected.reshape(strongest.shape)[is_clear], err_msg=key)

    def input(self, name: str) -> torch.Tensor:
        """A network's input, (1, 1, a, b, c), that is stored as a multiple of 1/32."""
        import torch

        return torch.from_numpy(self[name].astype(np.float32) / 32)[None, None]


def subset(values: np.ndarray[Any, Any], key: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """The part of `values` that an array of `shape` holds, as the end of its name says."""
    if key.endswith("_corner"):
        a, b, c = shape[-3:]
        return values[..., :a, :b, :c]
    strides = [-(-n // kept) for n, kept in zip(values.shape[-3:], shape[-3:], strict=True)]
    return values[(..., *(slice(None, None, stride) for stride in strides))] if values.ndim >= 3 else values
