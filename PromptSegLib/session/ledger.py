"""The prompts and masks of all targets, and the history of both: what undo takes back and redo makes again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from PromptSegLib.bitmask import MaskDelta, Patch
from PromptSegLib.certainty import Certainty
from PromptSegLib.errors import PromptError
from PromptSegLib.geometry import Extent
from PromptSegLib.prompts import Prompt
from PromptSegLib.session.footprint import Footprint
from PromptSegLib.session.history import Answer, Change, History, Named, Step, TargetRecord
from PromptSegLib.session.mask_store import MaskStore
from PromptSegLib.session.observer import SessionObserver


class Ledger:
    """Keeps `store`, the masks, and the record of each target in step; every change of them is part of a `Step`.

    selected: key of the target that prompts go to, as it was last known.

    Each change gives a mask a new version, undo gives it the one before back: whoever noted the version of a mask sees
    whether it is still that one.
    """

    def __init__(self, store: MaskStore, observer: SessionObserver, history_budget_bytes: int) -> None:
        self.store = store
        self.history = History(history_budget_bytes)
        self.records: dict[str, TargetRecord] = {}
        self.selected = ""
        self._observer = observer
        self._revision = store.revision
        self._keys_of_names: dict[str, str] = {}
        self._versions: dict[str, int] = {}
        self._first_version = self._newest_version = 0
        self._is_following = False

    def record(self, target: str) -> TargetRecord:
        """Return the prompts of `target` and the answer to them."""
        return self.records.get(target, TargetRecord())

    def check(self, target: str) -> None:
        """Check that there is such a target.

        Raises:
            PromptError: there is none.
        """
        if target not in (keys := self.store.keys()):
            raise PromptError(f"expected one of the targets {', '.join(keys)}, got {target!r}")

    def index_of(self, prompt: Prompt, prompts: Sequence[Prompt]) -> int:
        """Return where `prompt` is among `prompts` of the selected target.

        Raises:
            PromptError: it is none of them.
        """
        if prompt not in prompts:
            raise PromptError(f"expected one of the {len(prompts)} prompts of {self.selected!r}, got {prompt}")
        return prompts.index(prompt)

    def push(self, label: str, after: Mapping[str, TargetRecord]) -> Step:
        """Start a step that makes `after` the records of its targets."""
        step = self.history.push(Step(label, {target: self.record(target) for target in after}, after))
        self.set_records(step, after)
        return step

    def push_named(self, asked: Mapping[str, tuple[Prompt, ...]]) -> Step:
        """Start a step that asks for structures: gives the target of each name these prompts, and no others.

        Targets are made where there are none; the first is selected.
        """
        keys = {self.key_of(name): prompts for name, prompts in asked.items()}
        records = {
            key: replace(self.record(key), prompts=prompts, answer=None, is_answered=False)
            for key, prompts in keys.items()
        }
        self.selected = next(iter(keys))
        more = f" and {len(asked) - 3} more" if len(asked) > 3 else ""
        step = self.push(f"add {', '.join(list(asked)[:3])}{more}", records)
        for key in keys:
            self._observer.prompts_changed(key)
        return step

    def set_records(self, step: Step, after: Mapping[str, TargetRecord]) -> None:
        """Let `step` end with other records of its targets."""
        step.after = after
        step.pack()
        self._set(after)

    def set_answers(self, step: Step, answers: Mapping[str, Answer], by_name: bool, maker: str) -> None:
        """Let `step` bring these answers to its targets, whose masks are now as they say.

        by_name: whether they came of a predictor that finds structures by name. maker: see `TargetRecord`.
        """
        after = dict(step.after)
        for target, answer in answers.items():
            version, named = self.version(target), after[target].named
            if by_name:
                named = Named(after[target].prompts, answer, Footprint(target, version))
            after[target] = replace(
                after[target],
                answer=answer,
                answered_version=version,
                is_answered=False,
                named=named,
                maker=maker,
            )
        self.set_records(step, after)

    def write(self, step: Step, patches: Mapping[str, Patch], replaces: bool = False) -> list[Change]:
        """Lay predicted `patches` over the masks of their targets, as part of `step`.

        Returns what changed, in any target. replaces: leave nothing of these masks outside of the patches.
        """
        first_new = len(step.changes)
        for target, patch in patches.items():
            owner = target if target in step.after else step.target
            self._follow_footprints(step, owner)
            self._lay(step, target, patch, replaces, step.after[owner].footprints)
        self._tell_masks_changed(step.changes[first_new:])
        return step.changes[first_new:]

    def replace_mask(self, step: Step, patch: Patch) -> None:
        """Make `patch`, and nothing outside of it, the mask of the step's target: the user said so."""
        self._replace_masks(step, {step.target: patch})

    def set_masks(self, patches: Mapping[str, Patch]) -> None:
        """Make `patches`, and nothing outside of them, the masks of their targets, in a step of its own."""
        for target in patches:
            self.check(target)
        if patches:
            label = "set mask" if len(patches) == 1 else "set masks"
            self._replace_masks(self.push(label, {target: self.record(target) for target in patches}), patches)

    def _replace_masks(self, step: Step, patches: Mapping[str, Patch]) -> None:
        for target, patch in patches.items():
            self._lay(step, target, patch, replaces=True)
        self.set_records(step, {target: self._set_otherwise(target, step.after[target]) for target in patches})
        self._tell_masks_changed(step.changes)

    def take_back_predictions(self, step: Step, keeps_named: bool = False) -> None:
        """Within `step`, return the masks to what they were before predictions for its target changed them.

        keeps_named: stop at the target's newest answer by name, which stays, as does what came before it.
        """
        target = step.target
        self._follow_footprints(step, target)
        record = step.after[target]
        named = record.named if keeps_named else None
        footprint = named.footprint if named is not None else record.footprint
        if footprint is not None:
            for mask, delta in list(footprint.inverse(self.version)):
                self.store.apply(mask, delta, revert=False)
                self._note(step, mask, delta, record.footprints)
        if named is not None and named.prompts == record.prompts:
            version, maker = self.version(target), named.answer.predictor
            record = replace(record, answer=named.answer, answered_version=version, is_answered=True, maker=maker)
        else:
            record = replace(record, answer=None, maker="")
        self.set_records(step, {target: record})
        self._tell_masks_changed(step.changes)

    def undo(self) -> Step | None:
        """Take the newest step back and return it, or None when there is none. Selects its target."""
        self._select_target_of(self.history.newest)
        step = self.history.undo()
        return self._replayed(step, revert=True) if step else None

    def redo(self) -> Step | None:
        """Make the step again that was taken back last and return it, or None when there is none; as `undo`."""
        self._select_target_of(self.history.next_redo)
        step = self.history.redo()
        return self._replayed(step, revert=False) if step else None

    def roll_back(self, step: Step) -> None:
        """Take `step`, the newest, back for good, as if it had never been."""
        self.history.forget_newest()
        self._replayed(step, revert=True)

    def follow(self) -> None:
        """Take what somebody else changed into the history, see `sync`, and select another target if need be.

        What it tells observers may make them ask: that finds what is known already.
        """
        if self._is_following:
            return
        self._is_following = True
        try:
            lost, before, keys = self.sync(), self.selected, self.store.keys()
            if before not in keys:
                self.selected = next(iter(keys), before)
            if lost or self.selected != before:
                self._observer.prompts_changed(self.selected)
        finally:
            self._is_following = False

    def sync(self) -> tuple[str, ...]:
        """Take what somebody else changed in the masks into the history, as steps of their own.

        Returns the keys of the targets that are gone, even if they stand for other ones by now.
        """
        edits = self.store.foreign_edits()
        lost = self.store.lost()
        for target in lost:
            self._forget(target)
        if self.store.revision != self._revision:
            self._revision = self.store.revision
            self._begin_anew()
        for target, delta in edits.items():
            record = self.record(target)
            step = self.push("edit", {target: replace(record, answer=None)})
            self._note(step, target, delta)
            self.set_records(step, {target: self._set_otherwise(target, step.after[target])})
        return lost

    def is_current(self, target: str) -> bool:
        """Tell whether the mask of `target` is still the one that its newest answer made."""
        record = self.record(target)
        return record.answer is not None and record.answered_version == self.version(target)

    def certainty(self, target: str) -> Certainty | None:
        """Return how sure the newest answer of `target` is, if its mask is still the one it made."""
        answer = self.record(target).answer
        return answer.certainty if answer is not None and self.is_current(target) else None

    def feedback(self, target: str, predictor: str) -> object:
        """Return what `predictor` wanted to see again, if the mask of `target` is still the one it made."""
        answer = self.record(target).answer
        return answer.feedback if answer and answer.predictor == predictor and self.is_current(target) else None

    def key_of(self, name: str) -> str:
        """Return the key of the target that a predictor calls `name`; makes it when there is none."""
        keys = self.store.keys()
        if name in keys:
            return name
        if self._keys_of_names.get(name) not in keys:
            self._keys_of_names[name] = self.store.find(name) or self.store.add(name)
        return self._keys_of_names[name]

    def image_extent(self, changes: Iterable[Change]) -> Extent | None:
        """Return the box of the image that `changes` lie in, None when there are none."""
        union: Extent | None = None
        for change in changes:
            union = self.store.image_extent(change.target, change.delta.extent).union(union)
        return union

    def _lay(
        self, step: Step, target: str, patch: Patch, replaces: bool, footprints: tuple[Footprint, ...] = ()
    ) -> None:
        whole = self._over_all(target, patch) if replaces else patch
        if whole.extent.size:
            for mask, delta in self.store.write(target, whole).items():
                self._note(step, mask, delta, footprints)

    def _over_all(self, target: str, patch: Patch) -> Patch:
        """Return `patch` on a box that holds all of the target's mask, too; nothing around it."""
        before = self.store.snapshot(target)
        extent = patch.extent.union(before.bounds() if before else None)
        mask = np.zeros(extent.shape_kji, dtype=bool)
        mask[patch.extent.slices_within(extent)] = patch.mask_kji
        return Patch(extent, mask)

    def _replayed(self, step: Step, revert: bool) -> Step:
        for change in reversed(step.changes) if revert else step.changes:
            self.store.apply(change.target, change.delta, revert)
            self._take_note_back(change) if revert else self._take_note(change)
        self._set(step.before if revert else step.after)
        for target in step.after:
            self._observer.prompts_changed(target)
        self._tell_masks_changed(step.changes)
        return step

    def _select_target_of(self, step: Step | None) -> None:
        """Select a target of a step about to be replayed: observers look at what is selected."""
        keys = self.store.keys()
        if step is not None and self.selected not in step.targets and step.target in keys:
            self.selected = step.target

    # Versions and footprints

    def version(self, mask: str) -> int:
        """Return the version of a mask: another one whenever it changed, the one before after undo."""
        return self._versions.get(mask, self._first_version)

    def _new_version(self) -> int:
        self._newest_version += 1
        return self._newest_version

    def _note(self, step: Step, mask: str, delta: MaskDelta, footprints: tuple[Footprint, ...] = ()) -> None:
        """Make a change of `mask`, which the store has made, a part of `step`."""
        change = Change(mask, delta, self.version(mask), self._new_version(), footprints)
        step.changes.append(change)
        self._take_note(change)

    def _take_note(self, change: Change) -> None:
        adds = (f.add(change.target, change.delta, change.before, change.after) for f in change.footprints)
        change.outdated = tuple(adds)
        self._versions[change.target] = change.after

    def _take_note_back(self, change: Change) -> None:
        for footprint, outdated in zip(change.footprints, change.outdated, strict=True):
            footprint.subtract(change.target, change.delta, change.before, outdated)
        change.outdated = ()
        self._versions[change.target] = change.before

    def _follow_footprints(self, step: Step, target: str) -> None:
        """Begin anew with what a start-over of `target` takes back, where another target's answer overwrote it."""
        record = step.after[target]
        if record.footprint is None or not record.footprint.is_valid(self.version):
            record = replace(record, footprint=Footprint(target, self.version(target)))
        if record.named is not None and not record.named.footprint.is_valid(self.version):
            record = self._set_otherwise(target, record, record.footprint)
        if record is not step.after[target]:
            self.set_records(step, {**step.after, target: record})

    def _set_otherwise(self, target: str, record: TargetRecord, footprint: Footprint | None = None) -> TargetRecord:
        """Return `record` for a mask that was not predicted: a start-over leaves it as it is now."""
        named = record.named
        if named is not None:
            named = replace(named, footprint=Footprint(target, self.version(target)))
        maker = record.maker if footprint is not None else ""  # another target's answer took of it: it is still its own
        return replace(record, footprint=footprint, named=named, maker=maker)

    def _begin_anew(self) -> None:
        """Give up what was changed before; answers are on the image's grid, and stay as good as they were."""
        self.history.clear()
        current = [target for target in self.records if self.is_current(target)]
        self._versions.clear()
        self._first_version = self._new_version()
        for target in current:
            self.records[target] = replace(self.records[target], answered_version=self._first_version)

    def _forget(self, target: str) -> None:
        """Drop the prompts of a target that is gone, and what undo and redo would do to it."""
        self.history.forget_target(target)
        self._versions[target] = self._new_version()
        if self.records.pop(target, TargetRecord()).answer is not None:
            self._observer.answer_changed(target)

    def _set(self, records: Mapping[str, TargetRecord]) -> None:
        changed = [target for target, record in records.items() if record.answer is not self.record(target).answer]
        self.records.update(records)
        for target in changed:
            self._observer.answer_changed(target)

    def _tell_masks_changed(self, changes: Iterable[Change]) -> None:
        boxes: dict[str, Extent] = {}
        for change in changes:
            box = self.store.image_extent(change.target, change.delta.extent)
            boxes[change.target] = box.union(boxes.get(change.target))
        if boxes:
            self._observer.masks_changed(boxes)
