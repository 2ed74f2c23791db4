"""Images with their geometry: `Volume`, one array, and `Image`, one or more named channels on the same grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.errors import GeometryError, VolumeError
from PromptSegLib.geometry import FloatArray, Grid

SINGLE_CHANNEL = "image"


@dataclass(frozen=True, eq=False, repr=False)
class Volume:
    """Voxels and where they lie.

    array: (k, j, i), or (k, j, i, component) for colour; bool, integer or floating. It is used as it is, never
        copied and never written to. A 2D image is one slice: (1, j, i).
    ijk_to_ras: 4x4 affine from IJK to RAS, mm; the identity when there is no geometry to speak of.
    name: what to call it in messages.

    Raises:
        VolumeError: for an array that is no image.
        GeometryError: for an affine that is none.
    """

    array: NDArray[Any]
    ijk_to_ras: FloatArray = field(default_factory=lambda: np.eye(4))
    name: str = ""

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        if array.ndim not in (3, 4):
            hint = "; give a 2D image as one slice (1, j, i)" if array.ndim == 2 else ""
            raise VolumeError(f"expected an array (k, j, i) or (k, j, i, component), got shape {array.shape}{hint}")
        if array.size == 0:
            raise VolumeError(f"expected at least one voxel, got an array of shape {array.shape}")
        if array.dtype.kind not in "buif":
            raise VolumeError(f"expected bool, integer or floating voxels, got dtype {array.dtype}")
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "ijk_to_ras", self.grid.ijk_to_ras)

    @cached_property
    def grid(self) -> Grid:
        k, j, i = self.array.shape[:3]
        return Grid((k, j, i), self.ijk_to_ras)

    @property
    def components(self) -> int:
        """1, or the number of values in each voxel: 3 for RGB."""
        return int(self.array.shape[3]) if self.array.ndim == 4 else 1

    @cached_property
    def finite_range(self) -> tuple[float, float]:
        """Lowest and highest finite value; found once, slice by slice.

        Raises:
            VolumeError: no voxel is finite.
        """
        lows, highs = [], []
        for values in self.array:
            finite = values[np.isfinite(values)] if self.array.dtype.kind == "f" else values
            if finite.size:
                lows.append(float(finite.min()))
                highs.append(float(finite.max()))
        if not lows:
            raise VolumeError(f"expected at least one finite voxel, got only NaN or infinity in {self!r}")
        return min(lows), max(highs)

    def finite(self) -> NDArray[Any]:
        """Return the voxels with the lowest finite value in place of NaN and infinity; as they are without any.

        Raises:
            VolumeError: no voxel is finite.
        """
        if self.array.dtype.kind != "f" or all(np.isfinite(values).all() for values in self.array):
            return self.array
        lowest = self.array.dtype.type(self.finite_range[0])
        return np.where(np.isfinite(self.array), self.array, lowest)

    def __repr__(self) -> str:
        shape = "x".join(str(n) for n in self.array.shape[:3])
        spacing = " x ".join(f"{s:.4g}" for s in self.grid.spacing_mm)
        colour = f", {self.components} components" if self.components > 1 else ""
        oblique = " oblique" if self.grid.is_oblique else ""
        return (
            f"Volume({self.name + ': ' if self.name else ''}{shape} (k, j, i){colour}, {self.array.dtype}, "
            f"spacing {spacing} mm (i, j, k), {self.grid.orientation}{oblique}, "
            f"{self.array.nbytes / 2**20:.1f} MiB)"
        )


class Image:
    """One or more co-registered volumes under names: the channels. The first one is the reference.

    Image(volume) names its only channel "image"; Image({"ct": ct, "pet": pet}) names them all. Channels must
    share the reference's grid to 0.001 mm; `as_image` resamples those that do not.
    covered: by name, the fraction of the reference's voxels that a channel speaks of; 1 where nothing is said.
    """

    def __init__(
        self, channels: Volume | Mapping[str, Volume], covered: Mapping[str, float] = MappingProxyType({})
    ) -> None:
        named = {SINGLE_CHANNEL: channels} if isinstance(channels, Volume) else dict(channels)
        if not named:
            raise VolumeError("expected at least one channel, got none")
        self.channels: Mapping[str, Volume] = MappingProxyType(named)
        self.covered: Mapping[str, float] = MappingProxyType({name: covered.get(name, 1.0) for name in named})
        for name, volume in named.items():
            if not volume.grid.matches(self.grid):
                raise GeometryError(
                    f"expected channel {name!r} on the grid of {next(iter(named))!r}, {self.reference!r}, "
                    f"got {volume!r}; resample it first, as as_image() does"
                )

    @property
    def reference(self) -> Volume:
        """The first channel."""
        return next(iter(self.channels.values()))

    @property
    def grid(self) -> Grid:
        return self.reference.grid

    def volumes(self, names: Sequence[str], who: str) -> list[Volume]:
        """Return the channels `names`, in this order; one name is met by an image of one channel, whatever its name.

        Raises:
            VolumeError: with the names, when some are missing, which `who` needs.
        """
        if len(names) == len(self.channels) == 1:
            return [self.reference]
        if missing := [name for name in names if name not in self.channels]:
            raise VolumeError(
                f"expected the channels {', '.join(names)} for {who}, got {', '.join(self.channels)}: "
                f"{', '.join(missing)} missing; say which volume is which"
            )
        return [self.channels[name] for name in names]

    @property
    def gaps(self) -> tuple[str, ...]:
        """What to tell about channels that do not reach all of the reference, a sentence each."""
        return tuple(
            f"channel {name!r} covers {min(100 * share, 99.9):.1f} % of {next(iter(self.channels))!r}; "
            "beyond, its lowest value is taken"
            for name, share in self.covered.items()
            if share < 1
        )

    def __repr__(self) -> str:
        return f"Image({', '.join(f'{name}={volume!r}' for name, volume in self.channels.items())})"
