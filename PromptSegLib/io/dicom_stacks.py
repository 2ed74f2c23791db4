"""Frames sorted into volumes: by where they lie, and those of one place by what tells them apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from PromptSegLib.errors import VolumeError
from PromptSegLib.geometry import FloatArray
from PromptSegLib.io.dicom_frames import Frame

# Slices that lie this much of a step off an even grid count as evenly spaced: headers are rounded.
_UNEVEN = 0.05

# Positions nearer than this share of a pixel are one: rounding moves them by micrometres.
_SAME_PLACE = 0.05

# Axes that differ by this much, in mm a pixel, are those of slices in different directions.
_SAME_AXES = 1e-4


def lie_alike(one: Frame, other: Frame) -> bool:
    """Tell whether two frames could be slices of one stack: of one size, direction and kind."""
    return (
        one.shape_ji == other.shape_ji
        and one.is_placed == other.is_placed
        and float(np.abs(one.slice_to_ras[:3, :2] - other.slice_to_ras[:3, :2]).max()) <= _SAME_AXES
        and one.file.text("SamplesPerPixel") == other.file.text("SamplesPerPixel")
        and one.file.text("FrameOfReferenceUID") == other.file.text("FrameOfReferenceUID")
    )


def stacks_of(frames: Sequence[Frame], source: str) -> list[list[Frame]]:
    """Sort frames into volumes, one for each time point, each from its first slice to its last.

    source: what to call the frames in messages.

    Raises:
        VolumeError: they make no regular grid, or when nothing tells which of them belong together.
    """
    for other in frames:
        if not lie_alike(frames[0], other):
            raise VolumeError(
                f"expected slices of one size and direction in {source}, got {_name(frames[0])} and {_name(other)}"
            )
    if not frames[0].is_placed:
        return _unplaced(frames)
    groups = _by_place(frames)
    counts = {len(group) for group in groups}
    if len(counts) > 1:
        raise VolumeError(_uneven_counts(groups, source))
    stacks = [[group[0] for group in groups]] if counts == {1} else _apart(groups, source)
    for stack in stacks:
        _check_even(stack, source)
    return stacks


def matrix_of(stack: Sequence[Frame]) -> FloatArray:
    """Return ijk_to_ras of a stack."""
    first, last = stack[0], stack[-1]
    matrix = first.slice_to_ras.copy()
    if len(stack) > 1 and first.is_placed:
        # From slice to slice as the positions say, not along the normal: a tilted gantry shears the grid.
        matrix[:3, 2] = (last.origin_ras - first.origin_ras) / (len(stack) - 1)
    else:
        matrix[:3, 2] *= first.thickness_mm if len(stack) == 1 else 1.0
    return matrix


def _unplaced(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Return the frames of each file as a volume: without positions, they are pictures one after the other."""
    stacks: dict[object, list[Frame]] = {}
    for frame in sorted(frames, key=lambda f: (f.instance, str(f.file.path), f.index)):
        stacks.setdefault(frame.file.path, []).append(frame)
    return list(stacks.values())


def _by_place(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Return the frames of each place, in the order of places along the normal; of one place as they are numbered."""
    normal = frames[0].slice_to_ras[:3, 2]
    tolerance = _SAME_PLACE * float(np.linalg.norm(frames[0].slice_to_ras[:3, :2], axis=0).min())
    along = [(float(normal @ frame.origin_ras), frame) for frame in frames]
    groups: list[list[Frame]] = []
    begin = -np.inf
    for position, frame in sorted(along, key=lambda pair: pair[0]):
        if position - begin > tolerance:
            groups.append([])
            begin = position
        groups[-1].append(frame)
    return [sorted(group, key=_number) for group in groups]


def _number(frame: Frame) -> tuple[int, str, int]:
    return frame.instance, str(frame.file.path), frame.index


def _apart(groups: list[list[Frame]], source: str) -> list[list[Frame]]:
    """Return volumes out of frames of which several lie at each place."""
    names = list(dict.fromkeys(name for group in groups for frame in group for name in frame.marks))
    for name in names:
        volumes: dict[Any, list[tuple[int, Frame]]] = {}
        for place, group in enumerate(groups):
            for frame in group:
                volumes.setdefault(frame.marks.get(name), []).append((place, frame))
        # A mark parts them that is on all of them, and once at each place.
        each_once = all([place for place, _ in volume] == list(range(len(groups))) for volume in volumes.values())
        if None not in volumes and each_once:
            return [[frame for _, frame in volumes[key]] for key in sorted(volumes)]
    _check_numbering(groups, source)
    return [[group[volume] for group in groups] for volume in range(len(groups[0]))]


def _check_numbering(groups: list[list[Frame]], source: str) -> None:
    """Raise VolumeError unless the numbers run from volume to volume, or from place to place.

    Only then does the number of a frame among those of its place tell which volume it is of.
    """
    numbers = [[_number(frame) for frame in group] for group in groups]
    if len({number[:1] + number[2:] for group in numbers for number in group}) == sum(map(len, numbers)):
        columns = list(zip(*numbers, strict=True))
        by_volume = all(max(one) < min(next_one) for one, next_one in pairwise(columns))
        along = sorted(numbers)
        by_place = all(max(one) < min(next_one) for one, next_one in pairwise(along))
        if by_volume or by_place:
            return
    raise VolumeError(
        f"expected to be told which slices belong together in {source}, got {len(groups[0])} at each position, such "
        f"as {_name(groups[0][0])} and {_name(groups[0][1])}, and neither times nor numbers that part them"
    )


def _uneven_counts(groups: list[list[Frame]], source: str) -> str:
    counts = [len(group) for group in groups]
    least, most = min(counts), max(counts)
    usual = max(set(counts), key=counts.count)
    reason = f"expected as many slices at each position in {source}, got {least} to {most}: "
    odd = next(group for group in groups if len(group) != usual)
    place = f"({', '.join(f'{value:.6g}' for value in odd[0].origin_ras)}) RAS, mm"
    if len(odd) > usual:
        return reason + f"at {place} are {', '.join(_name(frame) for frame in odd[:4])}; is one of them too many?"
    return reason + f"at {place} is only {', '.join(_name(frame) for frame in odd[:4])}; is one missing?"


def _check_even(stack: Sequence[Frame], source: str) -> None:
    if len(stack) < 2:
        return
    origins = np.array([frame.origin_ras for frame in stack])
    even = origins[0] + np.linspace(0, 1, len(stack))[:, None] * (origins[-1] - origins[0])
    steps_mm = np.linalg.norm(np.diff(origins, axis=0), axis=1)
    if np.linalg.norm(origins - even, axis=1).max() > _UNEVEN * np.median(steps_mm):
        widest = int(np.argmax(steps_mm))
        raise VolumeError(
            f"expected evenly spaced slices in {source}, got steps of {steps_mm.min():.3f} to {steps_mm.max():.3f} mm, "
            f"the widest between {_name(stack[widest])} and {_name(stack[widest + 1])}: is one missing?"
        )


def _name(frame: Frame) -> str:
    several = frame.index > 0 or frame.file.text("NumberOfFrames") not in ("", "1")
    return f"{frame.file.path.name}{f' frame {frame.index + 1}' if several else ''}"
