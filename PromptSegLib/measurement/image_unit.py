"""An image to be measured, with the name of its unit and, for PET, the factor to SUV."""

from __future__ import annotations

from dataclasses import dataclass

from PromptSegLib.errors import VolumeError
from PromptSegLib.io.image_file import Paths
from PromptSegLib.io.reading import open_image
from PromptSegLib.measurement.dicom_header import read_header, suv_factor
from PromptSegLib.volume import Volume


@dataclass(frozen=True, eq=False)
class MeasuredImage:
    """unit: of the values, empty when nobody says. suv_factor: None where SUVs are not to be measured.

    problem: why there is no factor although it is PET; empty otherwise.
    """

    volume: Volume
    unit: str = ""
    suv_factor: float | None = None
    problem: str = ""


def read_measured_image(
    path: Paths,
    *,
    unit: str = "",
    factor: float | None = None,
    wants_suv: bool = False,
    time_point: int | None = None,
    series: str | None = None,
) -> MeasuredImage:
    """Read an image, and from its DICOM header, where it has one, what its values are.

    unit, factor: what the user says of it, which comes first. wants_suv: whether SUVs are asked for, so that it is an
    error when there is no factor; without, PET in DICOM is measured in SUV where that can be.

    Raises:
        VolumeError: the image is missing, damaged or does not suit.
    """
    volume = open_image(path, series).volume(time_point)
    if factor is not None:
        return MeasuredImage(volume, suv_factor=factor)
    header = None if unit and not wants_suv else read_header(path, series)
    if header is None:
        if wants_suv:
            raise VolumeError(f"expected a factor from the values of {path} to SUV: it has no DICOM header that tells")
        return MeasuredImage(volume, unit)
    if wants_suv or header.is_pet:
        try:
            return MeasuredImage(volume, suv_factor=suv_factor(header))
        except VolumeError as error:
            if wants_suv:
                raise
            return MeasuredImage(volume, header.unit, problem=f"no SUVs: {error}")
    return MeasuredImage(volume, header.unit)
