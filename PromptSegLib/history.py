"""What a session can undo and redo: prompts and masks together, masks as the voxels that changed."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from PromptSegLib.bitmask import MaskDelta
from PromptSegLib.certainty import Certainty
from PromptSegLib.footprint import Footprint, NetChange
from PromptSegLib.geometry import Extent
from PromptSegLib.memory_size import memory_nbytes
from PromptSegLib.prompts import Prompt


@dataclass(frozen=True, eq=False)
class Answer:
    """What is kept of a prediction.

    extent: the box that changed, None when nothing did. changed_voxels: how many were set or cleared, in all
    targets. score: expected quality, 0 to 1, None when the predictor does not say. timings_ms: by stage, "total"
    from the question to the written mask. feedback: for the next question to the same predictor. device: where it was
    made. certainty: how sure it is of each voxel, None when the predictor does not say. change: what it did to a mask
    that came from elsewhere, on the image's grid; None where there was none. far_voxels: how many voxels of that are
    farther from the newest prompt than a quarter of the mask's longest side.
    """

    predictor: str
    extent: Extent | None
    changed_voxels: int
    score: float | None
    timings_ms: Mapping[str, float]
    note: str = ""
    feedback: Any = field(default=None, repr=False)
    device: str = ""
    certainty: Certainty | None = field(default=None, repr=False)
    change: MaskDelta | None = field(default=None, repr=False)
    far_voxels: int | None = None

    @cached_property
    def nbytes(self) -> int:
        """Memory that it takes to keep."""
        return memory_nbytes(self.feedback) + (self.certainty.nbytes if self.certainty is not None else 0)


@dataclass(frozen=True, eq=False)
class TargetRecord:
    """The prompts of a target, and the newest answer to them.

    is_answered: whether the mask reflects them all. answered_version: of the mask, as the answer left it.
    footprint: what a start-over takes back, None when nothing was predicted since the mask was last set otherwise.
    named: the newest answer by name, for a start-over that keeps it; None without any.
    maker: the name of the predictor that drew all of the mask, from nothing; empty when some of it came from elsewhere.
    """

    prompts: tuple[Prompt, ...] = ()
    answer: Answer | None = None
    is_answered: bool = True
    answered_version: int = -1
    footprint: Footprint | None = field(default=None, repr=False)
    named: Named | None = field(default=None, repr=False)
    maker: str = ""

    @property
    def footprints(self) -> tuple[Footprint, ...]:
        """All that predictions for the target have to be added to."""
        since_named = self.named.footprint if self.named is not None else None
        return tuple(footprint for footprint in (self.footprint, since_named) if footprint is not None)


@dataclass(frozen=True, eq=False)
class Named:
    """An answer of a predictor that finds structures by name. footprint: what was predicted since."""

    prompts: tuple[Prompt, ...]
    answer: Answer
    footprint: Footprint


@dataclass(eq=False)
class Change:
    """A delta of one target's mask within a step.

    before, after: versions of the mask. footprints: those that it is part of; of the target whose answer it came of,
    which may be another: that one overwrote it. outdated: what they no longer count since, see `Footprint.add`.
    """

    target: str
    delta: MaskDelta
    before: int = 0
    after: int = 0
    footprints: tuple[Footprint, ...] = ()
    outdated: tuple[NetChange | None, ...] = ()

    @property
    def nbytes(self) -> int:
        return self.delta.nbytes + sum(net.nbytes for net in self.outdated if net is not None)


@dataclass(eq=False)
class Step:
    """One thing that undo takes back.

    before, after: the records of the targets that it is about, one or more; none where these were removed since.
    """

    label: str
    before: Mapping[str, TargetRecord]
    after: Mapping[str, TargetRecord]
    changes: list[Change] = field(default_factory=list)

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(self.after) or tuple(change.target for change in self.changes)

    @property
    def target(self) -> str:
        """The target that it is about, the first of several."""
        return self.targets[0]

    @property
    def nbytes(self) -> int:
        """Memory that it takes: changes, the answers that came with it, footprints that ended with it."""
        before = {id(record.answer) for record in self.before.values()}
        answers = {id(record.answer): record.answer for record in self.after.values()}
        came = sum(answer.nbytes for key, answer in answers.items() if answer is not None and key not in before)
        ended = sum(footprint.nbytes for footprint in self._ended())
        return sum(change.nbytes for change in self.changes) + came + ended + 256

    def pack(self) -> None:
        """Take less memory for what it keeps for undo."""
        for footprint in self._ended():
            footprint.pack()

    def without(self, target: str) -> bool:
        """Leave out what concerns `target`, which is gone, and return whether anything is left."""
        self.changes = [change for change in self.changes if change.target != target]
        self.before = {key: record for key, record in self.before.items() if key != target}
        self.after = {key: record for key, record in self.after.items() if key != target}
        return bool(self.changes or self.after)

    def _ended(self) -> list[Footprint]:
        """Return the footprints that are kept for undo only."""
        kept = {id(footprint) for record in self.after.values() for footprint in record.footprints}
        before = {id(each): each for record in self.before.values() for each in record.footprints}
        return [footprint for key, footprint in before.items() if key not in kept]


class History:
    """Steps done, steps undone. The oldest are forgotten when all take more than `budget_bytes`."""

    def __init__(self, budget_bytes: int = 256 * 2**20) -> None:
        self.budget_bytes = budget_bytes
        self._done: deque[Step] = deque()
        self._undone: list[Step] = []
        self._dropped: list[Step] = []
        self._weights: dict[Step, int] = {}
        self._settled_nbytes = 0

    @property
    def newest(self) -> Step | None:
        return self._done[-1] if self._done else None

    @property
    def next_redo(self) -> Step | None:
        return self._undone[-1] if self._undone else None

    @property
    def nbytes(self) -> int:
        return self._settled_nbytes + (self._done[-1].nbytes if self._done else 0)

    def push(self, step: Step) -> Step:
        """Add `step`; what was undone before can no longer be redone."""
        self._settle_newest()
        self._forget(*self._dropped)
        self._dropped, self._undone = self._undone, []
        self._done.append(step)
        while len(self._done) > 1 and self.nbytes > self.budget_bytes:
            self._forget(self._done.popleft())
        return step

    def undo(self) -> Step | None:
        """Move the newest step to those undone and return it; the caller takes its changes back."""
        if not self._done:
            return None
        self._settle_newest()
        self._undone.append(self._done.pop())
        self._unsettle_newest()
        return self._undone[-1]

    def redo(self) -> Step | None:
        """Move the step undone last to those done and return it; the caller makes its changes again."""
        if not self._undone:
            return None
        self._settle_newest()
        self._done.append(self._undone.pop())
        self._unsettle_newest()
        return self._done[-1]

    def forget_newest(self) -> None:
        """Drop the newest step for good, as if it had never been pushed: what it kept from redo can be redone."""
        self._done.pop()
        self._unsettle_newest()
        self._undone, self._dropped = self._dropped, []

    def forget_target(self, target: str) -> None:
        """Drop what concerns a target that is gone."""
        steps = [step for step in (*self._done, *self._undone, *self._dropped) if not step.without(target)]
        gone = set(map(id, steps))
        self._done = deque(step for step in self._done if id(step) not in gone)
        self._undone = [step for step in self._undone if id(step) not in gone]
        self._dropped = [step for step in self._dropped if id(step) not in gone]
        self._weights = {step: step.nbytes for step in (*list(self._done)[:-1], *self._undone, *self._dropped)}
        self._settled_nbytes = sum(self._weights.values())

    def clear(self) -> None:
        self._done.clear()
        self._undone.clear()
        self._dropped.clear()
        self._weights.clear()
        self._settled_nbytes = 0

    # The newest step still grows; the others are weighed once, as a sum over all would make each push slower.

    def _settle_newest(self) -> None:
        if self._done:
            self._weights[self._done[-1]] = weight = self._done[-1].nbytes
            self._settled_nbytes += weight

    def _unsettle_newest(self) -> None:
        if self._done:
            self._forget(self._done[-1])

    def _forget(self, *steps: Step) -> None:
        self._settled_nbytes -= sum(self._weights.pop(step, 0) for step in steps)
