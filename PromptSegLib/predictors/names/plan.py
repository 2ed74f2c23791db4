"""What a network of named structures is trained on: which images, how prepared, and what its outputs mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PromptSegLib.errors import VolumeError
from PromptSegLib.volume import Image, Volume

if TYPE_CHECKING:
    from PromptSegLib.geometry import Float32Array


@dataclass(frozen=True)
class ZScore:
    """Mean 0 and standard deviation 1 over all of the image."""

    def __call__(self, values: Float32Array) -> None:
        from PromptSegLib.predictors.names.nnunet_preparation import z_score

        z_score(values)


@dataclass(frozen=True)
class ClipToUnit:
    """Clipped to [low, high], which becomes [0, 1]."""

    low: float = -325.0
    high: float = 325.0

    def __call__(self, values: Float32Array) -> None:
        from PromptSegLib.predictors.names.nnunet_preparation import clip_to_unit

        clip_to_unit(values, low=self.low, high=self.high)


@dataclass(frozen=True)
class ClipAndStandardise:
    """Clipped to [low, high], then mean and std of the training set become 0 and 1."""

    low: float
    high: float
    mean: float
    std: float

    def __call__(self, values: Float32Array) -> None:
        from PromptSegLib.predictors.names.nnunet_preparation import clip_and_standardise

        clip_and_standardise(values, low=self.low, high=self.high, mean=self.mean, std=self.std)


@dataclass(frozen=True)
class Plan:
    """How one network, or one task of it, is used.

    channels: names of the images it sees, in its order. normalisations: what is done to the values of each, in
    place. spacing_kji_mm: voxel size along (z, y, x). tile: voxels along (z, y, x). classes: names of the output
    channels after the first, which is the background. task: the network's number for the task.
    transpose: which of the array's axes (k, j, i) comes first, second, third, of images as their files have them; None
    for images turned to RAS order. masked: of each channel, whether only what is not background counts in its
    normalisation, and the rest becomes 0; none where it is empty.
    """

    channels: tuple[str, ...]
    normalisations: tuple[Callable[[Float32Array], None], ...]
    spacing_kji_mm: tuple[float, float, float]
    tile: tuple[int, int, int]
    classes: tuple[str, ...]
    task: int = 0
    transpose: tuple[int, int, int] | None = None
    masked: tuple[bool, ...] = ()

    def volumes(self, image: Image, who: str) -> list[Volume]:
        """Return the channels of `image` in the network's order, see `Image.volumes`.

        Raises:
            VolumeError: some are missing, and for colour images.
        """
        volumes = image.volumes(self.channels, f"{who!r} to find {', '.join(self.classes[:3])}")
        for volume in volumes:
            if volume.components > 1:
                raise VolumeError(f"expected grey values for {who!r}, got {volume!r}")
        return volumes
