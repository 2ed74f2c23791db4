"""A follow-up as a table: a row for each lesion at each time point, and rows for all of them together."""

from __future__ import annotations

from typing import Any

from PromptSegLib.measurement.follow_up import Evaluation, FollowUp, Moment, Track
from PromptSegLib.measurement.table import Cell, csv_text, record_of

TITLES = (
    "lesion",
    "segment",
    "organ",
    "target",
    "time_point",
    "event",
    "parts",
    "volume_mL",
    "volume_change_mL",
    "volume_change_percent",
    "longest_axial_mm",
    "short_axis_mm",
    "diameter_mm",
    "diameter_change_mm",
    "diameter_change_percent",
    "mean",
    "maximum",
    "image_unit",
    "response",
    "rule",
)


def rows_of_follow_up(found: FollowUp) -> list[list[Cell]]:
    """Return the cells under `TITLES`. Changes are from the first time point that the lesion was seen at.

    diameter_mm: the short axis of a lymph node, the longest diameter of all else. The lesion "all" is all volumes
    together, "targets" the sum of RECIST 1.1 with the response and its rule.
    """
    rows = [
        _row(track, track.moments[index], _first(track), found.times[index].name)
        for track in found.tracks
        for index in range(len(found.times))
        if track.moments[index].event != "absent"
    ]
    first = sum(track.moments[0].volume_ml for track in found.tracks)
    for index, (time, evaluation) in enumerate(zip(found.times, found.evaluations, strict=True)):
        now = [track.moments[index] for track in found.tracks]
        volume = sum(moment.volume_ml for moment in now)
        parts = sum(len(moment.lesions) for moment in now)
        cells: dict[str, Cell] = {"lesion": "all", "time_point": time.name, "parts": parts, "volume_mL": volume}
        rows.append(_cells(cells | _changes("volume", "mL", first, volume)))
        rows.append(_sum_row(time.name, evaluation, found.evaluations[0].sum_mm))
    return rows


def _sum_row(time: str, evaluation: Evaluation, baseline_mm: float) -> list[Cell]:
    cells: dict[str, Cell] = {
        "lesion": "targets",
        "time_point": time,
        "diameter_mm": evaluation.sum_mm,
        "response": evaluation.overall.category,
        "rule": evaluation.overall.rule,
    }
    return _cells(cells | _changes("diameter", "mm", baseline_mm, evaluation.sum_mm))


def _row(track: Track, moment: Moment, first: Moment, time: str) -> list[Cell]:
    cells: dict[str, Cell] = {
        "lesion": track.number,
        "segment": track.segment,
        "organ": track.organ,
        "target": track.is_target,
        "time_point": time,
        "event": moment.event,
        "parts": len(moment.lesions),
        "volume_mL": moment.volume_ml,
        "longest_axial_mm": moment.longest_mm,
        "short_axis_mm": moment.short_mm,
        "diameter_mm": diameter_mm(track, moment),
        **_intensities(moment),
    }
    if moment is not first:
        cells |= _changes("volume", "mL", first.volume_ml, moment.volume_ml)
        cells |= _changes("diameter", "mm", diameter_mm(track, first), diameter_mm(track, moment))
    return _cells(cells)


def diameter_mm(track: Track, moment: Moment) -> float:
    """Return what RECIST measures of a lesion: the short axis of a lymph node, the longest diameter of all else."""
    return moment.short_mm if track.is_node else moment.longest_mm


def _first(track: Track) -> Moment:
    return next(moment for moment in track.moments if moment.lesions)


def _intensities(moment: Moment) -> dict[str, Cell]:
    """Return mean and maximum over all parts of a lesion, where they were measured."""
    seen = [one.measurement for one in moment.lesions]
    values = [(one.voxels, one.intensity) for one in seen if one.intensity is not None]
    if not values:
        return {}
    voxels = sum(count for count, _ in values)
    return {
        "mean": sum(count * intensity.mean for count, intensity in values) / voxels,
        "maximum": max(intensity.maximum for _, intensity in values),
        "image_unit": seen[0].unit,
    }


def _changes(what: str, unit: str, before: float, now: float) -> dict[str, Cell]:
    changes: dict[str, Cell] = {f"{what}_change_{unit}": now - before}
    return changes | ({f"{what}_change_percent": 100 * (now / before - 1)} if before > 0 else {})


def _cells(cells: dict[str, Cell]) -> list[Cell]:
    return [cells.get(title) for title in TITLES]


def follow_up_csv(found: FollowUp) -> str:
    """Return the table as CSV."""
    return csv_text(TITLES, rows_of_follow_up(found))


def follow_up_record(found: FollowUp) -> dict[str, Any]:
    """Return a follow-up for JSON: each lesion with its moments, and RECIST's evaluation of each time point."""
    lesions = []
    for track in found.tracks:
        moments = [
            {
                "time_point": time.name,
                "event": moment.event,
                "volume_mL": moment.volume_ml,
                "diameter_mm": diameter_mm(track, moment),
                "parts": [record_of(one.measurement) for one in moment.lesions],
            }
            for time, moment in zip(found.times, track.moments, strict=True)
        ]
        lesions.append(
            {
                "lesion": track.number,
                "segment": track.segment,
                "organ": track.organ,
                "lymph_node": track.is_node,
                "target": track.is_target,
                "moments": moments,
            }
        )
    evaluations = [
        {
            "time_point": time.name,
            "sum_mm": one.sum_mm,
            "nadir_mm": one.nadir_mm,
            "response": one.overall.category,
            "rule": one.overall.rule,
            "left_out_parts": left_out,
        }
        for time, one, left_out in zip(found.times, found.evaluations, found.left_out, strict=True)
    ]
    return {"criteria": "RECIST 1.1", "evaluations": evaluations, "lesions": lesions}
