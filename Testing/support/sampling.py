"""The way back from a sampling, all at once: to compare with what the product does slab by slab."""

from __future__ import annotations

from PromptSegLib.imaging.aligned_sampling import sample_linear


def linear_back(sampling, array_xyz, *, beyond):
    """Sample values of a sampling's grid : (x, y, z) linearly at the image's voxels; returns (k, j, i) float32."""
    return sampling.to_kji(sample_linear(array_xyz, sampling.positions_back(), beyond))
