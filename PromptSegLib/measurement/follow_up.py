"""Lesions over time: which are the same, how they changed, and what RECIST 1.1 says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from PromptSegLib.errors import PromptError
from PromptSegLib.geometry import FloatArray, checked_affine
from PromptSegLib.measurement.diameters import axial_axis
from PromptSegLib.measurement.matching import DISTANCE_MM, Lesion, matches
from PromptSegLib.measurement.measure import SUV, Ruler
from PromptSegLib.measurement.parts import parts_of
from PromptSegLib.measurement.recist import (
    NORMAL_NODE_MM,
    Candidate,
    Response,
    choose_targets,
    overall_response,
    target_response,
)
from PromptSegLib.measurement.segmentation import Segmentation
from PromptSegLib.structures.names import find_structure
from PromptSegLib.volume import Volume

LEAST_MM = 5.0


@dataclass(frozen=True, eq=False)
class TimePoint:
    """A segmentation of one time. from_first: 4x4 from the first time point's RAS to this one's, mm."""

    name: str
    segmentation: Segmentation
    volume: Volume | None = None
    from_first: FloatArray = field(default_factory=lambda: np.eye(4))
    unit: str = ""
    suv_factor: float | None = None


@dataclass(frozen=True, eq=False)
class Moment:
    """A lesion at one time point, all of its parts.

    event: "baseline", "same", "new", "gone", "merged", "split", "merged and split", "back" when it had been gone, or
    "absent" until it is seen.
    """

    event: str
    lesions: tuple[Lesion, ...] = ()

    @property
    def volume_ml(self) -> float:
        return sum(one.measurement.volume_ml for one in self.lesions)

    @property
    def longest_mm(self) -> float:
        """Longest axial diameters, added up: so RECIST 1.1 counts a lesion that fell apart."""
        return sum(one.measurement.axial.longest.length_mm for one in self.lesions if one.measurement.axial)

    @property
    def short_mm(self) -> float:
        """Diameters across them, added up."""
        return sum(one.measurement.axial.perpendicular.length_mm for one in self.lesions if one.measurement.axial)


@dataclass(frozen=True, eq=False)
class Track:
    """A lesion over time. moments: one for each time point. is_target: whether it is in RECIST's sum."""

    number: int
    segment: str
    organ: str
    is_node: bool
    is_target: bool
    moments: tuple[Moment, ...]


@dataclass(frozen=True)
class Evaluation:
    """A time point by RECIST 1.1. sum_mm: of the targets' diameters; nadir_mm: the smallest one before."""

    sum_mm: float
    nadir_mm: float
    target: Response | None
    overall: Response


@dataclass(frozen=True, eq=False)
class FollowUp:
    """What became of the lesions. left_out: parts at each time point that are too small to count."""

    times: tuple[TimePoint, ...]
    tracks: tuple[Track, ...]
    evaluations: tuple[Evaluation, ...]
    left_out: tuple[int, ...]


def follow_up(
    times: Sequence[TimePoint],
    *,
    segments: Sequence[str] | None = None,
    nodes: Iterable[str] = (),
    distance_mm: float = DISTANCE_MM,
    least_mm: float = LEAST_MM,
    progress: Callable[[float, str], None] = lambda fraction, what: None,
) -> FollowUp:
    """Follow the lesions, the parts of segments that do not touch, through two or more time points, the earliest first.

    segments: names of those with lesions, all by default. nodes: names of those with lymph nodes, of which
    the short axis counts. distance_mm: see `matches`. least_mm: lesions shorter than that in all axial slices are left
    out, unless they are what became of another.

    Raises:
        PromptError: for fewer than two time points or a segment that is in none of them, and as `measure` does.
    """
    if len(times) < 2:
        raise PromptError(f"expected two time points or more to follow lesions up, got {len(times)}")
    known = {name for time in times for name in time.segmentation.names}
    wanted = known if segments is None else set(segments)
    if missing := sorted((wanted | set(nodes)) - known):
        raise PromptError(f"expected segments out of {', '.join(sorted(known))}, got {', '.join(missing)}")
    found = []
    for index, time in enumerate(times):
        progress(index / len(times), f"measuring {time.name}")
        found.append(_lesions(index, time, wanted))
    thread = _Thread(distance_mm, least_mm)
    for lesions in found:
        thread.take(lesions)
    slice_mm = _slice_mm(times[0])
    targets = _targets(thread, set(nodes), slice_mm)
    tracks = _tracks(thread, set(nodes), targets, len(times))
    evaluations = _evaluations(thread, set(nodes), targets, len(times))
    return FollowUp(tuple(times), tracks, evaluations, tuple(thread.left_out))


def _lesions(index: int, time: TimePoint, wanted: set[str]) -> list[Lesion]:
    unit = SUV if time.suv_factor else time.unit
    ruler = Ruler(time.segmentation, time.volume, unit, time.suv_factor)
    from_first = checked_affine(time.from_first)
    lesions = []
    for name in time.segmentation.names:
        patch = time.segmentation.patch(name) if name in wanted else None
        if patch is not None:
            for number, part in enumerate(parts_of(patch), start=1):
                measurement = ruler.part(name, number, part)
                lesions.append(Lesion(index, measurement, part, time.segmentation.grid, from_first))
    return lesions


class _Thread:
    """Follows lesions from time point to time point.

    steps: for each, its lesions with their roots: numbers of the lesions, first seen then or before, that they came of.
    merged, split: for each, those that came of several lesions, and those that came of one beside others.
    """

    def __init__(self, distance_mm: float, least_mm: float) -> None:
        self.steps: list[list[tuple[Lesion, frozenset[int]]]] = []
        self.merged: list[list[Lesion]] = []
        self.split: list[list[Lesion]] = []
        self.left_out: list[int] = []
        self._distance_mm = distance_mm
        self._least_mm = least_mm
        self._roots = 0
        self._last: list[tuple[Lesion, frozenset[int]]] = []  # what was seen last of each root

    def take(self, lesions: Sequence[Lesion]) -> None:
        """Take the lesions of the next time point."""
        pairs = matches([one for one, _ in self._last], lesions, self._distance_mm)
        step, left_out = [], 0
        before, after = Counter(n for n, _ in pairs), Counter(m for _, m in pairs)
        self.merged.append([lesions[m] for m, count in after.items() if count > 1])
        self.split.append([lesions[m] for n, m in pairs if before[n] > 1])
        for index, lesion in enumerate(lesions):
            roots = frozenset[int]().union(*(self._last[n][1] for n, m in pairs if m == index))
            if not roots:
                axial = lesion.measurement.axial
                if axial is None or axial.longest.length_mm < self._least_mm:
                    left_out += 1
                    continue
                roots = frozenset([self._roots])
                self._roots += 1
            step.append((lesion, roots))
        seen = frozenset[int]().union(*(roots for _, roots in step))
        self._last = [(one, roots) for one, roots in self._last if not roots & seen] + step
        self.steps.append(step)
        self.left_out.append(left_out)

    def groups(self) -> list[frozenset[int]]:
        """Return the roots that belong together, because lesions merged; in the order they were first seen."""
        groups: list[frozenset[int]] = []
        for step in self.steps:
            for _, roots in step:
                joined = [group for group in groups if group & roots]
                groups = [group for group in groups if not group & roots] + [roots.union(*joined)]
        return sorted(groups, key=min)


def _tracks(thread: _Thread, nodes: set[str], targets: set[int], count: int) -> tuple[Track, ...]:
    tracks = []
    for number, group in enumerate(thread.groups(), start=1):
        parts = [tuple(one for one, roots in step if roots & group) for step in thread.steps]
        segment = next(one.segment for step in parts for one in step)
        moments = tuple(Moment(_event(thread, parts[: time + 1]), parts[time]) for time in range(count))
        tracks.append(Track(number, segment, organ_of(segment), segment in nodes, bool(group & targets), moments))
    return tuple(tracks)


def _event(thread: _Thread, parts: Sequence[tuple[Lesion, ...]]) -> str:
    """Say what happened to a lesion by the last of the time points given."""
    time, now = len(parts) - 1, parts[-1]
    if time == 0:
        return "baseline" if now else "absent"
    if not any(parts[:-1]):
        return "new" if now else "absent"
    if not now:
        return "gone"
    if not parts[-2]:
        return "back"
    events = {"merged": thread.merged[time], "split": thread.split[time]}
    happened = [event for event, lesions in events.items() if any(one is other for one in lesions for other in now)]
    return " and ".join(happened) or "same"


def organ_of(segment: str) -> str:
    """Return the organ that a segment's lesions are in, for RECIST: that of a known lesion, else the segment itself."""
    structure = find_structure(segment)
    return (structure.region or structure.name) if structure else segment


def _slice_mm(time: TimePoint) -> float:
    """Return the distance of a time point's axial slices, at right angles to them."""
    grid = time.segmentation.grid
    axis = 2 - axial_axis(grid)
    return float(1 / np.linalg.norm(grid.ras_to_ijk[axis, :3]))


def _targets(thread: _Thread, nodes: set[str], slice_mm: float) -> set[int]:
    """Return the roots of the target lesions."""
    baseline = thread.steps[0]
    candidates = []
    for lesion, _ in baseline:
        axial = lesion.measurement.axial
        assert axial is not None
        candidates.append(
            Candidate(
                organ_of(lesion.segment),
                axial.longest.length_mm,
                axial.perpendicular.length_mm,
                lesion.segment in nodes,
            )
        )
    return {root for index in choose_targets(candidates, slice_mm) for root in baseline[index][1]}


def _evaluations(thread: _Thread, nodes: set[str], targets: set[int], count: int) -> tuple[Evaluation, ...]:
    at_baseline = frozenset[int]().union(*(roots for _, roots in thread.steps[0]))
    sums: list[float] = []
    evaluations = []
    for time in range(count):
        of_targets = [one for one, roots in thread.steps[time] if roots & targets]
        others = [one for one, roots in thread.steps[time] if roots & at_baseline and not roots & targets]
        sum_mm = sum(_diameter_mm(one, nodes) for one in of_targets)
        nadir_mm = min(sums, default=sum_mm)
        if time == 0:
            baseline = Response("baseline", "the sum that later ones are compared to")
            evaluations.append(Evaluation(sum_mm, sum_mm, None, baseline))
        else:
            target = None
            if targets:
                target = target_response(sums[0], nadir_mm, sum_mm, all(_is_gone(one, nodes) for one in of_targets))
            has_new = any(not roots & at_baseline for _, roots in thread.steps[time])
            overall = overall_response(target, has_new, all(_is_gone(one, nodes) for one in others))
            evaluations.append(Evaluation(sum_mm, nadir_mm, target, overall))
        sums.append(sum_mm)
    return tuple(evaluations)


def _diameter_mm(lesion: Lesion, nodes: set[str]) -> float:
    axial = lesion.measurement.axial
    assert axial is not None
    return (axial.perpendicular if lesion.segment in nodes else axial.longest).length_mm


def _is_gone(lesion: Lesion, nodes: set[str]) -> bool:
    """Whether what is still there of a lesion counts as none: a lymph node of normal size."""
    return lesion.segment in nodes and _diameter_mm(lesion, nodes) < NORMAL_NODE_MM
