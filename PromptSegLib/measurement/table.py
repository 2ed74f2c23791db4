"""Measurements as a table, with the unit in each column's name, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PromptSegLib.measurement.diameters import Diameter
from PromptSegLib.measurement.intensity import PERCENTILES
from PromptSegLib.measurement.measure import Measurement

_ALWAYS = ("segment", "note")

Cell = str | int | float | bool | None


@dataclass(frozen=True)
class Column:
    """A figure in a table. unit: of the figure; "image" for that of the image's values, empty for none."""

    name: str
    unit: str
    value: Callable[[Measurement], Cell]

    def title(self, image_unit: str) -> str:
        """Return its name with its unit, where that is known."""
        unit = image_unit if self.unit == "image" else self.unit
        return f"{self.name}_{unit}" if unit else self.name


def _of_intensity(name: str) -> Callable[[Measurement], Cell]:
    return lambda m: getattr(m.intensity, name) if m.intensity else None


def _percentile(index: int) -> Callable[[Measurement], Cell]:
    return lambda m: m.intensity.percentiles[index] if m.intensity else None


def _coordinate(index: int) -> Callable[[Measurement], Cell]:
    return lambda m: m.centroid_ras[index] if m.centroid_ras else None


COLUMNS = (
    Column("segment", "", lambda m: m.segment),
    Column("part", "", lambda m: m.part or "all"),
    Column("parts", "", lambda m: m.part_count),
    Column("voxels", "", lambda m: m.voxels),
    Column("volume", "mL", lambda m: m.volume_ml),
    Column("touches_border", "", lambda m: m.touches_border),
    Column("longest_axial", "mm", lambda m: m.axial.longest.length_mm if m.axial else None),
    Column("perpendicular", "mm", lambda m: m.axial.perpendicular.length_mm if m.axial else None),
    Column("who_product", "mm2", lambda m: m.axial.product_mm2 if m.axial else None),
    Column("longest_3d", "mm", lambda m: m.longest.length_mm if m.longest else None),
    Column("surface", "mm2", lambda m: m.surface_mm2),
    Column("sphericity", "", lambda m: m.sphericity),
    Column("centroid_r", "mm", _coordinate(0)),
    Column("centroid_a", "mm", _coordinate(1)),
    Column("centroid_s", "mm", _coordinate(2)),
    Column("image_unit", "", lambda m: m.unit if m.intensity else None),
    Column("mean", "image", _of_intensity("mean")),
    Column("sd", "image", _of_intensity("sd")),
    Column("minimum", "image", _of_intensity("minimum")),
    Column("maximum", "image", _of_intensity("maximum")),
    Column("median", "image", _of_intensity("median")),
    *(Column(f"percentile_{p:g}", "image", _percentile(index)) for index, p in enumerate(PERCENTILES)),
    Column("suv_max", "g/mL", lambda m: m.intensity.maximum if m.intensity and m.uptake else None),
    Column("suv_peak", "g/mL", lambda m: m.uptake.peak if m.uptake else None),
    Column("suv_mean", "g/mL", lambda m: m.intensity.mean if m.intensity and m.uptake else None),
    Column("mtv", "mL", lambda m: m.volume_ml if m.uptake else None),
    Column("tlg", "g", lambda m: m.uptake.tlg_g if m.uptake else None),
    Column("note", "", lambda m: "; ".join(notes(m)) or None),
)


def notes(measurement: Measurement) -> list[str]:
    """Return what has to be known of the figures, in words."""
    said = []
    if not measurement.voxels:
        said.append("empty")
    if measurement.touches_border:
        said.append("reaches the image's border: the volume is a lower bound")
    if measurement.voxels and measurement.touches_border is None:
        said.append("not known whether it reaches the image's border")
    left_out = measurement.intensity.left_out if measurement.intensity else 0
    if left_out:
        said.append(f"{left_out} voxels without a finite value left out")
    if measurement.part_count > len(measurement.parts) > 0:
        said.append(f"the {len(measurement.parts)} largest parts are listed")
    return said


def rows_of(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Return a row for each segment, and one for each of its parts where it has several."""
    rows = []
    for one in measurements:
        rows += [one, *(one.parts if len(one.parts) > 1 else ())]
    return rows


def table(rows: Sequence[Measurement], cases: Sequence[str] | None = None) -> tuple[list[str], list[list[Cell]]]:
    """Return titles and cells; columns that nobody has a figure for are left out.

    cases: the case of each row, for a first column. Values carry their unit's name where all rows have the same.
    """
    units = {row.unit for row in rows if row.intensity}
    unit = units.pop() if len(units) == 1 else ""
    titles, columns = [], []
    for column in COLUMNS:
        cells = [column.value(row) for row in rows]
        if any(cell is not None for cell in cells) or column.name in _ALWAYS:
            titles.append(column.title(unit))
            columns.append(cells)
    if cases is not None:
        titles, columns = ["case", *titles], [list(cases), *columns]
    return titles, [list(cells) for cells in zip(*columns, strict=True)]


def as_csv(rows: Sequence[Measurement], cases: Sequence[str] | None = None) -> str:
    """Return the table as CSV: numbers with a point and seven digits, "yes" and "no", nothing for what is not known."""
    titles, lines = table(rows, cases)
    return csv_text(titles, lines)


def csv_text(titles: Sequence[str], lines: Iterable[Sequence[Cell]]) -> str:
    """Return a table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(titles)
    writer.writerows([cell_text(cell) for cell in line] for line in lines)
    return text.getvalue()


def cell_text(cell: Cell) -> str:
    """Return a cell for CSV."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return f"{cell:.7g}" if isinstance(cell, float) else str(cell)


def record_of(measurement: Measurement) -> dict[str, Any]:
    """Return a measurement for JSON: the columns by their names, ends of diameters in RAS, and the parts."""
    unit = measurement.unit if measurement.intensity else ""
    record: dict[str, Any] = {
        column.title(unit): _finite(value) for column in COLUMNS if (value := column.value(measurement)) is not None
    }
    if measurement.axial and measurement.longest:
        record["axial_slice"] = {"axis": "kji"[measurement.axial.axis], "index": measurement.axial.slice}
        lines = {
            "longest_axial": measurement.axial.longest,
            "perpendicular": measurement.axial.perpendicular,
            "longest_3d": measurement.longest,
        }
        record["ends_ras_mm"] = {name: _ends(line) for name, line in lines.items()}
    if len(measurement.parts) > 1:
        record["part_list"] = [record_of(part) for part in measurement.parts]
    return record


def as_json(content: Mapping[str, Any]) -> str:
    """Return `content` as the text of a JSON file."""
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _ends(diameter: Diameter) -> list[list[float]]:
    return [[round(value, 6) for value in end] for end in diameter.ends_ras]


def _finite(value: Cell) -> Cell:
    return None if isinstance(value, float) and not math.isfinite(value) else value
