"""A case over time as one HTML file: a slice through each lesion with outline and diameters, and curves."""

from __future__ import annotations

import html
from collections.abc import Sequence

from PromptSegLib.geometry import apply_affine
from PromptSegLib.measurement.follow_up import FollowUp, Moment, Track
from PromptSegLib.measurement.follow_up_table import diameter_mm
from PromptSegLib.measurement.matching import Lesion
from PromptSegLib.measurement.page_curve import curve_svg
from PromptSegLib.measurement.page_slice import place_svg, slice_svg, window_around
from PromptSegLib.view import Window

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; margin: .6rem 0 1rem; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .22rem .7rem; text-align: left; vertical-align: top; }
th { border-bottom: 2px solid #888; } tbody tr + tr td { border-top: 1px solid #eee; }
.scroll { overflow-x: auto; } .moments { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; width: 240px; } figure svg { width: 240px; height: 240px; background: #000; display: block; }
figcaption { font-size: 13px; line-height: 1.35; margin-top: .3rem; } small { color: #666; }
.nothing { width: 240px; height: 240px; background: #eee; display: grid; place-items: center; color: #666; }
.curves { display: flex; flex-wrap: wrap; gap: 1rem; } .curves svg { max-width: 100%; height: auto; }
.PD { color: #b3261e; } .CR, .PR { color: #1b6e3c; }
"""


def page_of(found: FollowUp) -> str:
    """Return the page of a follow-up as HTML that needs nothing else. Slices are shown where there are images."""
    names = [time.name for time in found.times]
    volumes = [(_called(track), [m.volume_ml for m in track.moments]) for track in found.tracks]
    sums = [one.sum_mm for one in found.evaluations]
    diameters = [
        (_called(track), [diameter_mm(track, m) for m in track.moments]) for track in found.tracks if track.is_target
    ]
    parts = [
        "<h1>Lesions over time</h1>",
        "<p>For research use only: a category here is a calculation, not a reading.</p>",
        "<h2>RECIST 1.1</h2>",
        _evaluations(found),
        '<div class="curves">',
        curve_svg("Diameters of targets and their sum", "mm", names, diameters, sums),
        curve_svg("Volumes", "mL", names, volumes),
        "</div>",
        *(_section(found, track) for track in found.tracks),
    ]
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Lesions over time</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>\n{body}\n'
        "</body></html>\n"
    )


def _called(track: Track) -> str:
    return f"{track.number} {track.segment}"


def _evaluations(found: FollowUp) -> str:
    first = found.evaluations[0].sum_mm
    lines = []
    for time, one, left_out in zip(found.times, found.evaluations, found.left_out, strict=True):
        change = f"{100 * (one.sum_mm / first - 1):+.0f} %" if first > 0 and time is not found.times[0] else ""
        category = f'<b class="{one.overall.category}">{_text(one.overall.category)}</b>'
        cells = [
            _text(time.name),
            f"{one.sum_mm:.1f} mm",
            change,
            category,
            _text(one.overall.rule),
            str(left_out or ""),
        ]
        lines.append(cells)
    head = ["time point", "sum of targets", "from baseline", "response", "rule", "parts too small to count"]
    return _table(head, lines)


def _section(found: FollowUp, track: Track) -> str:
    kind = ", lymph node" if track.is_node else ""
    figures = []
    first = next(moment for moment in track.moments if moment.lesions)
    last: Lesion | None = None
    window: Window | None = None
    for time, moment in zip(found.times, track.moments, strict=True):
        picture = '<div class="nothing">no lesion</div>'
        if moment.lesions:
            largest = max(moment.lesions, key=lambda one: one.measurement.volume_ml)
            same = [one for one in moment.lesions if one.segment == track.segment]
            if window is None and time.volume is not None:  # of the first picture, for all that follow
                window = window_around(largest, time.volume, _width_mm(track))
            picture = slice_svg(largest, same, time.volume, _width_mm(track), window)
            last = largest
        elif last is not None and time.volume is not None and window is not None:
            place = apply_affine(time.from_first, last.centre_first_ras)
            picture = place_svg(place, time.segmentation.grid, time.volume, _width_mm(track), window)
        figures.append(
            f"<figure>{picture}<figcaption>{_caption(track, moment, first, time.name)}</figcaption></figure>"
        )
    target = "target" if track.is_target else "not a target"
    title = f"<h2>Lesion {track.number}: {_text(track.segment)} <small>({target}{kind})</small></h2>"
    return f'{title}\n<div class="moments">{"".join(figures)}</div>'


def _width_mm(track: Track) -> float:
    """Return how much of the slices is shown: the same at all time points, with room around the lesion."""
    longest = max(
        (one.measurement.axial.longest.length_mm for m in track.moments for one in m.lesions if one.measurement.axial),
        default=0.0,
    )
    return max(40.0, 1.8 * longest)


def _caption(track: Track, moment: Moment, first: Moment, time: str) -> str:
    lines = [f"<b>{_text(time)}</b>: {_text(moment.event)}"]
    if moment.lesions:
        more = f", {len(moment.lesions)} parts" if len(moment.lesions) > 1 else ""
        lines.append(f"{moment.volume_ml:.3g} mL{_change(first.volume_ml, moment.volume_ml)}{more}")
        now, before = diameter_mm(track, moment), diameter_mm(track, first)
        lines.append(f"{moment.longest_mm:.1f} x {moment.short_mm:.1f} mm{_change(before, now)}")
        if any(one.measurement.touches_border for one in moment.lesions):
            lines.append("reaches the image's border: a lower bound")
    return "<br>".join(lines)


def _change(before: float, now: float) -> str:
    return f" ({100 * (now / before - 1):+.0f} %)" if before > 0 and now != before else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    heads = "".join(f"<th>{cell}</th>" for cell in head)
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'


def _text(value: object) -> str:
    return html.escape(str(value))
