"""The DICOM header of an image: what unit its values have, and what turns those of a PET image into SUV."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from PromptSegLib.errors import VolumeError
from PromptSegLib.io.dicom import series_headers
from PromptSegLib.io.dicom_header import is_dicom, understood
from PromptSegLib.io.dicom_header import read_header as read_file_header
from PromptSegLib.io.image_file import Paths

Dataset = Any
"""pydicom's, which is not typed."""

_GIVE = "give the factor from the image's values to SUV yourself"
_LEAST_DOSE_BQ = 1e6
_TIME = re.compile(r"(\d{2})(\d{2})?(\d{2})?(\.\d+)?")
_DATE_TIME = re.compile(r"(\d{8})(\d{2,6}(?:\.\d+)?)?([+-]\d{4})?")


@dataclass(frozen=True)
class Header:
    """What is needed of the headers of a series: of each of its files, in no order."""

    path: Path
    files: tuple[Dataset, ...]

    @property
    def is_pet(self) -> bool:
        return str(self.files[0].get("Modality", "")) == "PT"

    @property
    def unit(self) -> str:
        """The unit of the image's values, by its name; empty when the header does not say."""
        first = self.files[0]
        modality, units = str(first.get("Modality", "")), str(first.get("Units", ""))
        if modality == "CT":  # PS3.3, C.8.2.1: HU where nothing is said; US is said of what is not specified
            rescaled = str(first.get("RescaleType", "") or "HU")
            return "" if rescaled == "US" else rescaled
        return {"BQML": "Bq/mL", "GML": "g/mL", "CNTS": "counts", "PROPCNTS": "counts"}.get(units, "")


def read_header(path: Paths, series: str | None = None) -> Header | None:
    """Read the header of a DICOM file, or of a series in a folder; None when the file is not DICOM.

    Raises:
        VolumeError: it cannot be read, or the series is not there.
    """
    source = Path(path)
    if source.is_dir():
        return Header(source, tuple(file.dataset for file in series_headers(source, series)))
    return read_header_of_files([source], source)


def read_header_of_files(files: Sequence[Path], source: Paths) -> Header | None:
    """Read the header of the files of a series; None when there is none, or they are not DICOM.

    source: what to call them in messages.

    Raises:
        VolumeError: one cannot be read.
    """
    if not files or not files[0].is_file() or not is_dicom(files[0]):
        return None
    return Header(Path(source), tuple(read_file_header(file).dataset for file in files))


def suv_factor(header: Header) -> float:
    """Return what the image's values times give SUV by body weight, in g/mL.

    Weight times decay over dose, as the Quantitative Imaging Biomarkers Alliance computes it for values in Bq/mL that
    were corrected for decay to the start of the scan (DecayCorrection START) or to the injection (ADMIN). Values that
    are SUV by body weight already (GML) have factor 1.

    Raises:
        VolumeError: says what is missing: nothing is guessed.
    """
    with understood(header.path):  # pydicom complains of some values when they are looked at
        return _suv_factor(header)


def _suv_factor(header: Header) -> float:
    first = header.files[0]
    _expect(header, "Modality", str(first.get("Modality", "")) == "PT", "PT", first.get("Modality"))
    units = str(first.get("Units", ""))
    if units == "GML":
        kind = str(first.get("SUVType", "") or "BW")  # DICOM PS3.3, C.8.9.1: body weight, where nothing is said
        _expect(header, "SUVType", kind == "BW", "BW", kind)
        return 1.0
    _expect(header, "Units", units == "BQML", "BQML or GML", units)
    corrected = _texts(first.get("CorrectedImage"))
    if corrected:
        _expect(header, "CorrectedImage", {"DECY", "ATTN"} <= set(corrected), "ATTN and DECY", ", ".join(corrected))
    correction = str(first.get("DecayCorrection", ""))
    _expect(header, "DecayCorrection", correction in ("START", "ADMIN"), "START or ADMIN", correction)
    weight_g = 1000 * _number(header, first, "PatientWeight", 0.1)
    tracers = first.get("RadiopharmaceuticalInformationSequence")
    _expect(header, "RadiopharmaceuticalInformationSequence", bool(tracers) and len(tracers) == 1, "one item", "none")
    tracer = tracers[0]
    dose_bq = _number(header, tracer, "RadionuclideTotalDose", _LEAST_DOSE_BQ)
    if correction == "ADMIN":
        return weight_g / dose_bq
    half_life_s = _number(header, tracer, "RadionuclideHalfLife", 1.0)
    waited_s = (_scan_start(header) - _injection(header, tracer)).total_seconds()
    _expect(header, "the injection", 0 <= waited_s < 10 * half_life_s, "before the scan", f"{waited_s:.0f} s before it")
    return float(weight_g / (dose_bq * 2 ** (-waited_s / half_life_s)))


def _scan_start(header: Header) -> datetime:
    """Return what images are decay-corrected to: the series' time, unless it was made anew after the scan."""
    first = header.files[0]
    series = _at(header, first, "SeriesDate", "SeriesTime")
    acquired = [
        _at(header, one, "AcquisitionDate" if one.get("AcquisitionDate") else "SeriesDate", "AcquisitionTime")
        for one in header.files
        if one.get("AcquisitionTime")
    ]
    _expect(
        header,
        "SeriesTime",
        not acquired or series <= min(acquired),
        "no later than the first AcquisitionTime",
        f"{series:%H:%M:%S} after {min(acquired, default=series):%H:%M:%S}",
    )
    return series


def _injection(header: Header, tracer: Dataset) -> datetime:
    first = header.files[0]
    text = str(tracer.get("RadiopharmaceuticalStartDateTime", "") or "").strip()
    if text:
        found = _DATE_TIME.fullmatch(text)
        _expect(header, "RadiopharmaceuticalStartDateTime", found is not None, "date and time", text)
        assert found is not None
        at = _moment(header, "RadiopharmaceuticalStartDateTime", found[1], found[2] or "")
        own = str(first.get("TimezoneOffsetFromUTC", "") or "").strip()
        if found[3] and own:
            at = at.replace(tzinfo=_zone(found[3])).astimezone(_zone(own)).replace(tzinfo=UTC)
        return at
    start = _at(header, first, "SeriesDate", "RadiopharmaceuticalStartTime", tracer)
    # The header gives the injection's time of day alone: one that is later than the scan was the day before.
    return start if start <= _scan_start(header) else start - timedelta(days=1)


def _at(header: Header, of_date: Dataset, date: str, time: str, of_time: Dataset | None = None) -> datetime:
    one = of_date if of_time is None else of_time
    return _moment(header, time, str(of_date.get(date, "") or ""), str(one.get(time, "") or ""), date)


def _moment(header: Header, what: str, date: str, time: str, of_date: str = "") -> datetime:
    _expect(header, of_date or what, bool(re.fullmatch(r"\d{8}", date.strip())), "a date", date)
    found = _TIME.fullmatch(time.strip())
    _expect(header, what, found is not None, "a time", time)
    assert found is not None
    hour, minute, second = (int(found[n] or 0) for n in (1, 2, 3))
    try:
        day = datetime.strptime(date.strip(), "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        raise VolumeError(f"expected a date in the header of {header.path}, got {date!r}; {_GIVE}") from None
    return day + timedelta(hours=hour, minutes=minute, seconds=second + float(found[4] or 0))


def _zone(offset: str) -> timezone:
    minutes = int(offset[1:3]) * 60 + int(offset[3:5])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))


def _number(header: Header, dataset: Dataset, name: str, least: float) -> float:
    value = dataset.get(name)
    try:
        number = float(value) if value is not None else math.nan
    except (TypeError, ValueError):
        number = math.nan
    _expect(header, name, math.isfinite(number) and number >= least, f"at least {least:g}", value)
    return number


def _texts(value: Any) -> list[str]:
    return [str(value)] if isinstance(value, str) else [str(one) for one in value or ()]


def _expect(header: Header, what: str, is_so: bool, expected: str, got: Any) -> None:
    if not is_so:
        found = "none" if got is None or str(got) == "" else got
        raise VolumeError(f"expected {expected} as {what} in the header of {header.path}, got {found}; {_GIVE}")
