"""Which kind of image a channel is, for systems that have to know."""

from __future__ import annotations

from PromptSegLib.volume import Image

MODALITIES = {
    "ct": ("ct", "cect", "ncct"),
    "mri": ("mri", "mr", "t1", "t2", "t1w", "t2w", "t1c", "t1ce", "t1gd", "flair", "dwi", "adc", "pd"),
    "us": ("us", "ultrasound"),
    "pet": ("pet", "suv"),
}
"""Names of channels by the kind of image that they tell."""

_BELOW_ALL_BUT_CT = -200.0
"""Air is -1000 HU; no other kind of image has such values."""


def modality_of(image: Image) -> tuple[str, bool]:
    """Return which of `MODALITIES` the image's first channel is, and whether its name told it.

    Without such a name it is taken for CT when it has values like air's, for MR otherwise.
    """
    name = next(iter(image.channels))
    for modality, names in MODALITIES.items():
        if name.casefold() in names:
            return modality, True
    return ("ct" if image.reference.finite_range[0] < _BELOW_ALL_BUT_CT else "mri"), False
