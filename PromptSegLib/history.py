"""What a session can undo and redo: prompts and masks together, masks as the voxels that changed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from PromptSegLib.bitmask import MaskDelta
from PromptSegLib.certainty import Certainty
from PromptSegLib.geometry import Extent
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


@dataclass(frozen=True, eq=False)
class TargetRecord:
    """The prompts of a target, and the newest answer to them. is_answered: whether the mask reflects them all.

    maker: the name of the predictor that drew all of the mask, from nothing; empty when some of it came from elsewhere.
    """

    prompts: tuple[Prompt, ...] = ()
    answer: Answer | None = None
    is_answered: bool = True
    maker: str = ""


@dataclass(frozen=True, eq=False)
class Change:
    """A delta of one target's mask within a step: made, or, where `is_reverted`, an earlier one taken back.

    cause: the target whose answer it came of, which may be another: that one overwrote it.
    """

    target: str
    delta: MaskDelta
    is_reverted: bool = False
    cause: str = ""


@dataclass(eq=False)
class Step:
    """One thing that undo takes back.

    before, after: the records of the targets that it is about, one or more. is_edit: the mask was set or approved
    by the user, and not predicted.
    """

    label: str
    before: Mapping[str, TargetRecord]
    after: Mapping[str, TargetRecord]
    changes: list[Change] = field(default_factory=list)
    is_edit: bool = False

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(self.after)

    @property
    def target(self) -> str:
        """The target that it is about, the first of several."""
        return self.targets[0]

    def owner(self, change: Change) -> str:
        """Return which of its targets a change belongs to."""
        return change.cause if change.cause in self.after else self.target

    @property
    def nbytes(self) -> int:
        answers = {id(record.answer): record.answer for record in self.after.values()}.values()
        kept = sum(answer.certainty.nbytes for answer in answers if answer is not None and answer.certainty is not None)
        return sum(change.delta.nbytes for change in self.changes) + kept + 256


class History:
    """Steps done, steps undone. The oldest are forgotten when all take more than `budget_bytes`."""

    def __init__(self, budget_bytes: int = 256 * 2**20) -> None:
        self.budget_bytes = budget_bytes
        self._done: list[Step] = []
        self._undone: list[Step] = []
        self._dropped: list[Step] = []

    @property
    def newest(self) -> Step | None:
        return self._done[-1] if self._done else None

    @property
    def next_redo(self) -> Step | None:
        return self._undone[-1] if self._undone else None

    @property
    def nbytes(self) -> int:
        return sum(step.nbytes for step in (*self._done, *self._undone, *self._dropped))

    def push(self, step: Step) -> Step:
        """Add `step`; what was undone before can no longer be redone."""
        self._dropped, self._undone = self._undone, []
        self._done.append(step)
        self._trim()
        return step

    def undo(self) -> Step | None:
        """Move the newest step to those undone and return it; the caller takes its changes back."""
        if not self._done:
            return None
        self._undone.append(self._done.pop())
        return self._undone[-1]

    def redo(self) -> Step | None:
        """Move the step undone last to those done and return it; the caller makes its changes again."""
        if not self._undone:
            return None
        self._done.append(self._undone.pop())
        return self._done[-1]

    def forget_newest(self) -> None:
        """Drop the newest step for good, as if it had never been pushed: what it kept from redo can be redone."""
        self._done.pop()
        self._undone, self._dropped = self._dropped, []

    def is_current(self, target: str, answer: Answer) -> bool:
        """Tell whether nothing has changed the mask of `target` since `answer` was laid over it."""
        for step in reversed(self._done):
            if target in step.targets and step.after[target].answer is answer is not step.before[target].answer:
                return True
            if any(change.target == target for change in step.changes):
                return False
        return True

    def predicted_changes(self, target: str, until: Step | None = None) -> Iterator[Change]:
        """Yield, newest first, what predictions for `target` changed since its mask was last set otherwise.

        Changes of other targets' masks are among them, unless these were set otherwise since.
        until: a step to stop at, its changes not among them.
        """
        edited: set[str] = set()
        for step in reversed(self._done):
            if step is until:
                return
            mine: list[Change] = []
            if target in step.targets and not step.is_edit:
                mine = [change for change in reversed(step.changes) if step.owner(change) == target]
                yield from [change for change in mine if change.target not in edited]
            edited.update(change.target for change in step.changes if change not in mine)
            if target in edited or (target in step.targets and step.is_edit):
                return

    def newest_answer(self, target: str, predictors: Collection[str]) -> Step | None:
        """Return the newest step whose answer for `target` came from one of `predictors`, None without any."""
        for step in reversed(self._done):
            answer = step.after[target].answer if target in step.targets else None
            if answer is not None and answer.predictor in predictors and step.before[target].answer is not answer:
                return step
        return None

    def clear(self) -> None:
        self._done.clear()
        self._undone.clear()
        self._dropped.clear()

    def _trim(self) -> None:
        while len(self._done) > 1 and self.nbytes > self.budget_bytes:
            del self._done[0]
