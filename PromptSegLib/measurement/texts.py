"""Measurements in words, for people."""

from __future__ import annotations

from PromptSegLib.measurement.measure import Measurement
from PromptSegLib.measurement.tally import Tally


def volume_text(volume_ml: float) -> str:
    """Return a volume to four digits."""
    return f"{volume_ml:.4g} mL"


def part_text(measurement: Measurement) -> str:
    """Return the number of a part, "all" for a whole segment."""
    return str(measurement.part) if measurement.part else "all"


def axial_text(measurement: Measurement) -> str:
    """Return the longest axial diameter and the one across it, to a tenth of a mm."""
    axial = measurement.axial
    return f"{axial.longest.length_mm:.1f} x {axial.perpendicular.length_mm:.1f} mm" if axial else ""


def mean_text(measurement: Measurement) -> str:
    """Return mean and standard deviation with the unit."""
    values = measurement.intensity
    return _mean(values.mean, values.sd, measurement.unit) if values else ""


def live_text(tally: Tally, unit: str, factor: float = 1.0) -> str:
    """Return volume and mean of a segment that is being worked on. factor: from the image's values to `unit`."""
    said = [volume_text(tally.volume_ml), f"{tally.voxels} voxels"]
    if tally.mean is not None:
        sd = None if tally.sd is None else tally.sd * factor
        said.append(f"mean {_mean(tally.mean * factor, sd, unit)}")
    if tally.touches_border:
        said.append("reaches the border: a lower bound")
    return ", ".join(said)


def _mean(mean: float, sd: float | None, unit: str) -> str:
    spread = f" ± {sd:.4g}" if sd is not None else ""
    return f"{mean:.4g}{spread}{f' {unit}' if unit else ''}"
