"""RECIST 1.1: which lesions are measured, and what their sum says.

Eisenhauer et al., "New response evaluation criteria in solid tumours: revised RECIST guideline (version 1.1)", European
Journal of Cancer 45, 2009. What takes a reader's judgement, such as an unequivocal progression of lesions that are not
targets, is not told here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

MOST_TARGETS = 5
MOST_PER_ORGAN = 2
LEAST_LESION_MM = 10.0
LEAST_NODE_MM = 15.0
NORMAL_NODE_MM = 10.0
_THICK_SLICES_MM = 5.0
_ROUNDING_MM = 1e-9

Category = Literal["CR", "PR", "SD", "PD", "non-CR/non-PD", "baseline"]


@dataclass(frozen=True)
class Candidate:
    """A lesion at baseline. longest_mm, short_mm: axial, the second across the first."""

    organ: str
    longest_mm: float
    short_mm: float
    is_node: bool = False

    @property
    def diameter_mm(self) -> float:
        """What goes into the sum: the short axis of a lymph node, the longest diameter of all else."""
        return self.short_mm if self.is_node else self.longest_mm


@dataclass(frozen=True)
class Response:
    """A category with the rule that it follows from, in words."""

    category: Category
    rule: str


def choose_targets(candidates: Sequence[Candidate], slice_mm: float = 0.0) -> list[int]:
    """Return the indices of the target lesions: the largest measurable ones, 5 at most and 2 of each organ.

    slice_mm: distance of slices; beyond 5 mm a lesion has to measure twice as much.
    """
    least = max(LEAST_LESION_MM, 2 * slice_mm if slice_mm > _THICK_SLICES_MM else 0.0)
    measurable = [
        index
        for index, one in enumerate(candidates)
        if one.diameter_mm >= (LEAST_NODE_MM if one.is_node else least) - _ROUNDING_MM
    ]
    chosen: list[int] = []
    for index in sorted(measurable, key=lambda n: -candidates[n].diameter_mm):
        of_organ = sum(candidates[n].organ == candidates[index].organ for n in chosen)
        if len(chosen) < MOST_TARGETS and of_organ < MOST_PER_ORGAN:
            chosen.append(index)
    return sorted(chosen)


def target_response(baseline_mm: float, nadir_mm: float, now_mm: float, is_complete: bool) -> Response:
    """Return what the sum of the targets' diameters says (4.3.1).

    nadir_mm: the smallest sum before, the baseline's among them. is_complete: whether all targets are gone, and those
    that are lymph nodes below 10 mm.
    """
    if is_complete:
        return Response("CR", "all target lesions gone, lymph nodes below 10 mm")
    rise = now_mm - nadir_mm
    percent = f", {100 * rise / nadir_mm:+.0f} %" if nadir_mm > 0 else ""
    if rise >= 5 - _ROUNDING_MM and now_mm >= 1.2 * nadir_mm - _ROUNDING_MM:
        return Response(
            "PD", f"sum {now_mm:.1f} mm, {rise:+.1f} mm{percent} from the smallest before: at least 20 % and 5 mm"
        )
    if baseline_mm > 0 and now_mm <= 0.7 * baseline_mm + _ROUNDING_MM:
        fall = 100 * (now_mm / baseline_mm - 1)
        return Response("PR", f"sum {now_mm:.1f} mm, {fall:+.0f} % from the baseline: at least 30 % less")
    return Response("SD", f"sum {now_mm:.1f} mm: neither 30 % below the baseline nor 20 % and 5 mm above the smallest")


def overall_response(target: Response | None, has_new: bool, others_gone: bool) -> Response:
    """Return the response of targets, other lesions and new ones together (4.4, tables 1 and 2).

    target: None where there were no targets at baseline. others_gone: whether all lesions that are not targets are
    gone, and those that are lymph nodes below 10 mm; true without any.
    """
    if has_new:
        more = f"; {target.rule}" if target is not None and target.category == "PD" else ""
        return Response("PD", f"new lesions{more}")
    if target is None:
        if others_gone:
            return Response("CR", "no target lesions; all others gone")
        return Response("non-CR/non-PD", "no target lesions; others are still there")
    if target.category == "CR" and not others_gone:
        return Response("PR", f"{target.rule}; lesions other than targets are still there")
    return target
