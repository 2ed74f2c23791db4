"""What kind of image somebody has in front of them, as far as it decides which model suits."""

from __future__ import annotations

from dataclasses import dataclass

from PromptSegLib.errors import VolumeError
from PromptSegLib.predictors.names.modality import modality_of
from PromptSegLib.volume import Image, Volume

KINDS = {
    "ct": "CT",
    "mri": "MR",
    "us": "ultrasound",
    "pet": "PET",
    "microscopy": "microscopy",
    "rgb": "colour",
    "other": "another kind of image",
}
"""Kinds of image, and what people call them."""

_OF_DICOM = {"CT": "ct", "MR": "mri", "US": "us", "IVUS": "us", "PT": "pet", "SM": "microscopy", "GM": "microscopy"}
_WITH_OPACITY = 4  # values of a voxel
_LARGEST_MICROSCOPIC_MM = 0.02  # no scanner of patients has voxels of that size


@dataclass(frozen=True)
class ImageKind:
    """kind: out of `KINDS`. is_sure: whether the image, or somebody, said so; otherwise it follows from its values.

    is_volume: whether it has more than one slice, whatever the axis. is_colour: whether a voxel has several values,
    which those of a grey picture that was stored in colour have, too.
    spacing_mm: shortest and longest edge of a voxel. channels: names of the image's channels.
    """

    kind: str
    is_sure: bool
    is_volume: bool
    spacing_mm: tuple[float, float]
    channels: tuple[str, ...]
    is_colour: bool = False

    @classmethod
    def of(cls, volume: Volume, *, name: str = "image", dicom_modality: str = "", said: str = "") -> ImageKind:
        """Return what `volume` is.

        Args:
            volume: the image.
            name: of its channel, such as "ct" or "flair".
            dicom_modality: what its DICOM header says it is, such as "CT".
            said: what somebody says it is, out of `KINDS`; that holds.
        """
        edges = sorted(float(edge) for edge in volume.grid.spacing_mm)
        known = said or _OF_DICOM.get(dicom_modality, "")
        is_volume, is_colour = not volume.grid.is_single_slice, volume.components > 1
        if not known and is_colour and not _is_grey(volume):
            known = "rgb"
        kind, is_sure = (known, True) if known else _by_name_and_values(volume, name, edges[-1])
        return cls(kind, is_sure, is_volume, (edges[0], edges[-1]), (name,), is_colour)

    @property
    def text(self) -> str:
        """What it is, in words."""
        taken = KINDS[self.kind] if self.is_sure else f"taken for {KINDS[self.kind]}"
        return f"{taken}, {'a volume' if self.is_volume else 'one slice'}"


def _is_grey(volume: Volume) -> bool:
    """Whether all colours of a voxel are the same: slices of CT and MR are often exported so. Opacity is no colour."""
    colours = volume.array[..., :3] if volume.components == _WITH_OPACITY else volume.array
    return all(bool((slice_ == slice_[..., :1]).all()) for slice_ in colours)


def _by_name_and_values(volume: Volume, name: str, longest_mm: float) -> tuple[str, bool]:
    if longest_mm <= _LARGEST_MICROSCOPIC_MM:
        return "microscopy", False
    if volume.components > 1:
        return "other", False
    try:
        kind, is_sure = modality_of(Image({name: volume}))
    except VolumeError:  # without a finite voxel
        return "other", False
    if not is_sure and kind == "mri" and volume.array.dtype.kind in "bu" and volume.grid.is_single_slice:
        return "other", False  # a picture of a byte in each pixel, such as a screen's
    return kind, is_sure
