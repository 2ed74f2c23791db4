"""Curves over time, drawn as SVG."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

# Told apart by people with any colour vision (Okabe & Ito, Color Universal Design, 2008), but for yellow on white.
_COLOURS = ("#009E73", "#E69F00", "#56B4E9", "#D55E00", "#CC79A7", "#0072B2")
_WIDTH, _HEIGHT = 500, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 130, 34, 40
_STEPS = 4


def curve_svg(
    title: str,
    unit: str,
    names: Sequence[str],
    curves: Sequence[tuple[str, Sequence[float]]],
    total: Sequence[float] | None = None,
) -> str:
    """Return curves over the time points `names`, evenly spaced, as SVG.

    curves: each a name and its values. total: the values of their sum, drawn in black.
    """
    drawn = [(name, values, _COLOURS[number % len(_COLOURS)]) for number, (name, values) in enumerate(curves)]
    if total is not None:
        drawn = [("sum", total, "#000000"), *drawn]
    top = nice_top(max((value for _, values, _ in drawn for value in values), default=1.0))
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def at(index: int, value: float) -> str:
        x = _LEFT + width * index / max(1, len(names) - 1)
        return f"{x:.1f},{_TOP + height * (1 - value / top):.1f}"

    parts = [f'<text x="{_LEFT}" y="18" font-weight="600">{_text(title)}, {_text(unit)}</text>']
    for step in range(_STEPS + 1):
        y = _TOP + height * (1 - step / _STEPS)
        parts.append(f'<line x1="{_LEFT}" x2="{_LEFT + width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{top * step / _STEPS:.4g}</text>')
    for index, name in enumerate(names):
        x = at(index, 0).split(",")[0]
        anchor = "start" if index == 0 else "end" if index == len(names) - 1 else "middle"
        parts.append(f'<text x="{x}" y="{_HEIGHT - 16}" text-anchor="{anchor}">{_text(_short(name))}</text>')
    for number, (name, values, colour) in enumerate(drawn):
        dash = ' stroke-dasharray="6 4"' if number > len(_COLOURS) else ""
        points = " ".join(at(index, value) for index, value in enumerate(values))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        parts += [_dot(at(index, value), colour) for index, value in enumerate(values)]
        if number < height // 16:
            y = _TOP + 8 + 16 * number
            parts.append(f'<text x="{_WIDTH - _RIGHT + 14}" y="{y}" fill="{colour}">{_text(_short(name))}</text>')
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        f'aria-label="{_text(title)}" font-size="12" font-family="system-ui, sans-serif">{"".join(parts)}</svg>'
    )


def nice_top(largest: float) -> float:
    """Return a round number no smaller than `largest`, for the top of an axis of four steps."""
    if largest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(largest))
    return next(
        step * power for step in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10) if step * power >= largest * (1 - 1e-9)
    )


def _dot(place: str, colour: str) -> str:
    x, y = place.split(",")
    return f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>'


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"


def _text(value: object) -> str:
    return html.escape(str(value))
