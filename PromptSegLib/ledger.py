"""The prompts and masks of all targets, and the history of both: what undo takes back and redo makes again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from PromptSegLib.bitmask import MaskDelta, Patch
from PromptSegLib.geometry import Extent
from PromptSegLib.history import Change, History, Step, TargetRecord
from PromptSegLib.mask_store import MaskStore
from PromptSegLib.observer import SessionObserver


class Ledger:
    """Keeps `store`, the masks, and the record of each target in step; every change of them is part of a `Step`."""

    def __init__(self, store: MaskStore, observer: SessionObserver, history_budget_bytes: int) -> None:
        self.store = store
        self.history = History(history_budget_bytes)
        self.records: dict[str, TargetRecord] = {}
        self._observer = observer
        self._revision = store.revision
        self._keys_of_names: dict[str, str] = {}

    def record(self, target: str) -> TargetRecord:
        """Return the prompts of `target` and the answer to them."""
        return self.records.get(target, TargetRecord())

    def push(self, label: str, after: Mapping[str, TargetRecord]) -> Step:
        """Start a step that makes `after` the records of its targets."""
        step = self.history.push(Step(label, {target: self.record(target) for target in after}, after))
        self._set(after)
        return step

    def set_records(self, step: Step, after: Mapping[str, TargetRecord]) -> None:
        """Let `step` end with other records of its targets."""
        step.after = after
        self._set(after)

    def write(self, step: Step, patches: Mapping[str, Patch], replaces: bool = False) -> list[MaskDelta]:
        """Lay `patches` over the masks of their targets, as part of `step`. Returns what changed, in any target.

        replaces: leave nothing of these masks outside of the patches.
        """
        first_new = len(step.changes)
        for target, patch in patches.items():
            whole = self._over_all(target, patch) if replaces else patch
            if whole.extent.size == 0:
                continue
            for key, delta in self.store.write(target, whole).items():
                step.changes.append(Change(key, delta, cause=target))
        self._tell_masks_changed(step.changes[first_new:])
        return [change.delta for change in step.changes[first_new:]]

    def replace_mask(self, step: Step, patch: Patch) -> None:
        """Make `patch`, and nothing outside of it, the mask of the step's target: the user said so."""
        step.is_edit = True
        self.set_records(step, {step.target: replace(step.after[step.target], maker="")})
        self.write(step, {step.target: patch}, replaces=True)

    def take_back_predictions(self, step: Step, until: Step | None = None) -> None:
        """Within `step`, return the masks to what they were before predictions for its target changed them.

        until: an earlier step whose answer, and what came before it, stays.
        """
        for change in self.history.predicted_changes(step.target, until):
            self.store.apply(change.target, change.delta, revert=not change.is_reverted)
            step.changes.append(Change(change.target, change.delta, not change.is_reverted))
        record = step.after[step.target]
        self.set_records(step, {step.target: TargetRecord(record.prompts, None, record.is_answered)})
        self._tell_masks_changed(step.changes)

    def undo(self) -> Step | None:
        """Take the newest step back and return it, or None when there is none."""
        step = self.history.undo()
        return self._replayed(step, revert=True) if step else None

    def redo(self) -> Step | None:
        """Make the step again that was taken back last and return it, or None when there is none."""
        step = self.history.redo()
        return self._replayed(step, revert=False) if step else None

    def roll_back(self, step: Step) -> None:
        """Take `step`, the newest, back for good, as if it had never been."""
        self.history.forget_newest()
        self._replayed(step, revert=True)

    def sync(self) -> dict[str, MaskDelta]:
        """Take what somebody else changed in the masks into the history, as steps of their own, and return it."""
        edits = self.store.foreign_edits()
        if self.store.revision != self._revision:
            self._revision = self.store.revision
            self.history.clear()
        for target, delta in edits.items():
            record = self.record(target)
            step = self.push("edit", {target: TargetRecord(record.prompts, None, record.is_answered)})
            step.is_edit = True
            step.changes.append(Change(target, delta))
        return edits

    def feedback(self, target: str, predictor: str) -> object:
        """Return what `predictor` wanted to see again, if the mask of `target` is still the one it made."""
        answer = self.record(target).answer
        if answer is None or answer.predictor != predictor or not self.history.is_current(target, answer):
            return None
        return answer.feedback

    def key_of(self, name: str) -> str:
        """Return the key of the target that a predictor calls `name`; makes it when there is none."""
        keys = self.store.keys()
        if name in keys:
            return name
        if self._keys_of_names.get(name) not in keys:
            self._keys_of_names[name] = self.store.find(name) or self.store.add(name)
        return self._keys_of_names[name]

    def image_extent(self, deltas: Iterable[MaskDelta]) -> Extent | None:
        """Return the box of the image that `deltas` lie in, None when there are none."""
        union: Extent | None = None
        for delta in deltas:
            union = self.store.image_extent(delta.extent).union(union)
        return union

    def _over_all(self, target: str, patch: Patch) -> Patch:
        """Return `patch` on a box that holds all of the target's mask, too; nothing around it."""
        before = self.store.snapshot(target)
        extent = patch.extent.union(before.bounds() if before else None)
        mask = np.zeros(extent.shape_kji, dtype=bool)
        mask[patch.extent.slices_within(extent)] = patch.mask_kji
        return Patch(extent, mask)

    def _replayed(self, step: Step, revert: bool) -> Step:
        for change in reversed(step.changes) if revert else step.changes:
            self.store.apply(change.target, change.delta, revert != change.is_reverted)
        self._set(step.before if revert else step.after)
        for target in step.targets:
            self._observer.prompts_changed(target)
        self._tell_masks_changed(step.changes)
        return step

    def _set(self, records: Mapping[str, TargetRecord]) -> None:
        changed = [target for target, record in records.items() if record.answer is not self.record(target).answer]
        self.records.update(records)
        for target in changed:
            self._observer.answer_changed(target)

    def _tell_masks_changed(self, changes: Iterable[Change]) -> None:
        boxes: dict[str, Extent] = {}
        for change in changes:
            boxes[change.target] = self.store.image_extent(change.delta.extent).union(boxes.get(change.target))
        if boxes:
            self._observer.masks_changed(boxes)
