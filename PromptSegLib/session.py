"""One image, its targets, their prompts, one history: what the panel, the console and the command line share."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from PromptSegLib.bitmask import BoolArray, MaskDelta, Patch
from PromptSegLib.engine import Engine
from PromptSegLib.errors import Cancelled, PredictionError, PromptError, PromptSegError, VolumeError
from PromptSegLib.executor import Executor, ImmediateExecutor, Job
from PromptSegLib.geometry import Extent
from PromptSegLib.history import Answer, Change, History, Step, TargetRecord
from PromptSegLib.imaging.rasterize import mask_on_grid
from PromptSegLib.mask_store import MaskStore, MemoryMaskStore
from PromptSegLib.predictors.base import Capabilities, Prediction, Predictor, TargetState
from PromptSegLib.predictors.registry import check_takes, create_predictor
from PromptSegLib.prompts import MaskPrompt, Prompt, check_inside
from PromptSegLib.view import View, Window
from PromptSegLib.volume import Image, Volume, as_image


class SessionObserver:
    """Told what changes in a session, on the session's thread. Override what you need."""

    def prompts_changed(self, target: str) -> None:
        """The prompts of `target` changed."""

    def masks_changed(self, boxes: Mapping[str, Extent]) -> None:
        """The masks of these targets changed within these boxes."""

    def busy_changed(self, busy: bool) -> None:
        """A prediction started, or the last one ended."""

    def progress(self, fraction: float, what: str) -> None:
        """The running prediction got so far, 0 to 1."""

    def failed(self, error: PromptSegError) -> None:
        """A prediction failed; prompts and masks are as they were before the prompt that started it."""


class Session:
    """Encode once, prompt often.

    image: an Image, a Volume, a mapping of names to volumes, or a bare array (k, j, i).
    predictor: a name out of `predictor_names()`, or an object that is one.
    executor: where predictions run; at once in this thread by default. store: where masks live.
    auto: predict after every change of the prompts; otherwise when `predict` is called.
    window: the intensities that matter, for predictors that can use it.

    A session belongs to one thread. Raises PromptSegError subclasses that say what was expected and what came.
    """

    def __init__(
        self,
        image: Image | Volume | Mapping[str, Volume] | ArrayLike,
        predictor: str | Predictor = "default",
        *,
        executor: Executor | None = None,
        store: MaskStore | None = None,
        observer: SessionObserver | None = None,
        auto: bool = True,
        window: Window | None = None,
        history_budget_bytes: int = 256 * 2**20,
    ) -> None:
        self.image = as_image(image)
        self.auto = auto
        self.window = window
        self.observer = observer or SessionObserver()
        self.error: PromptSegError | None = None
        self._executor = executor or ImmediateExecutor()
        self._store = store or MemoryMaskStore(self.image.grid.shape_kji)
        self._revision = self._store.revision
        self._history = History(history_budget_bytes)
        self._records: dict[str, TargetRecord] = {}
        self._engines: dict[str, Engine] = {}
        self._running: _Run | None = None
        self._keys_of_names: dict[str, str] = {}
        self.use(predictor)
        keys = self._store.keys()
        self._target = keys[0] if keys else self._store.add("segment")

    # The predictor

    @property
    def capabilities(self) -> Capabilities:
        """What the predictor in use can do."""
        return self._engine.predictor.capabilities

    def use(self, predictor: str | Predictor) -> None:
        """Go on with another predictor; prompts and masks stay. Cancels what runs.

        Raises UnknownPredictorError, WeightsError, or VolumeError when it does not suit the image.
        """
        made = create_predictor(predictor) if isinstance(predictor, str) else predictor
        capabilities = made.capabilities
        if missing := [name for name in capabilities.channels if name not in self.image.channels]:
            raise VolumeError(
                f"expected the channels {', '.join(capabilities.channels)} for {capabilities.name!r}, got "
                f"{', '.join(self.image.channels)}: {', '.join(missing)} missing"
            )
        if self.image.grid.is_single_slice and 2 not in capabilities.dimensions:
            raise VolumeError(f"expected a 3D image for {capabilities.name!r}, got {self.image!r}")
        self.cancel()
        if capabilities.name not in self._engines or not isinstance(predictor, str):
            self._engines[capabilities.name] = Engine(made, self.image)
        self._engine = self._engines[capabilities.name]

    def image_changed(self, image: Image | Volume | None = None) -> None:
        """Take note that the voxels changed: cancels what runs and forgets what was computed from them.

        image: what to use from now on, when it is not the same arrays.
        """
        self.cancel()
        if image is not None:
            self.image = as_image(image)
        for engine in self._engines.values():
            engine.image = self.image
            engine.drop_encoding()

    # Targets

    @property
    def targets(self) -> tuple[str, ...]:
        """Keys of all targets, in order."""
        return self._store.keys()

    @property
    def target(self) -> str:
        """Key of the target that prompts go to."""
        return self._target

    def add_target(self, name: str = "segment") -> str:
        """Start another target, without prompts, and select it. Returns its key."""
        self._target = self._store.add(name)
        return self._target

    def select(self, target: str) -> None:
        """Send prompts to `target` from now on."""
        self._check_target(target)
        self._target = target

    # Prompts

    def prompts(self, target: str | None = None) -> tuple[Prompt, ...]:
        """Return the prompts of `target` (the selected one, by default) in the order they were given."""
        return self._record(target or self._target).prompts

    def add(self, prompt: Prompt, view: View | None = None) -> None:
        """Add `prompt` to the selected target, and predict when the session does so by itself.

        A mask prompt becomes the target's mask; it is there to be refined by what follows.
        view: the view that it was placed in. Raises PromptError when it lies outside the image,
        UnsupportedPromptError when the predictor does not take it, PredictionError when the predictor fails in
        this thread; all is then as before.
        """
        check_takes(self.capabilities, prompt)
        check_inside(prompt, self.image.grid)
        initial = mask_on_grid(prompt, self.image.grid) if isinstance(prompt, MaskPrompt) else None
        if initial is not None and not initial.mask_kji.any():
            raise PromptError(f"expected a mask that holds the centre of a voxel, got {prompt}")
        step = self._change_prompts(f"add {prompt.kind}{prompt.sign}", (*self.prompts(), prompt))
        if initial is not None:
            self._replace_mask(step, initial)
        elif self.auto:
            self._start(step, view)

    def replace(self, old: Prompt, new: Prompt) -> None:
        """Put `new` in the place of `old`, in one step, as when a point is dragged. Raises as `add` does."""
        check_takes(self.capabilities, new)
        check_inside(new, self.image.grid)
        prompts = self._prompts_with(old)
        prompts[prompts.index(old)] = new
        self._start_over(f"move {new.kind}{new.sign}", tuple(prompts))

    def remove(self, prompt: Prompt) -> None:
        """Take `prompt` back from the selected target: the mask becomes what the others make of it.

        What was there before the first prompt stays; so does what was edited by hand since.
        """
        prompts = self._prompts_with(prompt)
        prompts.remove(prompt)
        self._start_over(f"remove {prompt.kind}{prompt.sign}", tuple(prompts))

    def reset(self) -> None:
        """Drop all prompts of the selected target, and what was predicted from them."""
        self._start_over("reset", ())

    def accept(self) -> None:
        """Drop the prompts of the selected target and keep its mask: it is right."""
        step = self._change_prompts("accept", ())
        step.is_edit = True
        self._set_answer(step, TargetRecord())

    # Masks

    @property
    def mask_kji(self) -> BoolArray:
        """The mask of the selected target: (k, j, i), bool, a copy of the whole grid."""
        return self.mask(self._target)

    def mask(self, target: str, extent: Extent | None = None) -> BoolArray:
        """Return the mask of `target` within `extent` (all of the grid, by default): (k, j, i), bool, a copy."""
        self._check_target(target)
        return self._store.read(target, extent or self.image.grid.extent)

    def set_mask(self, mask_kji: ArrayLike) -> None:
        """Set the mask of the selected target by hand, to go on from it: (k, j, i) on the image's grid.

        Raises PromptError when its shape is not the image's.
        """
        mask = np.asarray(mask_kji) != 0
        if mask.shape != self.image.grid.shape_kji:
            raise PromptError(f"expected a mask of shape {self.image.grid.shape_kji} (k, j, i), got {mask.shape}")
        self.cancel()
        self._sync()
        extent = Extent.of_mask(mask) or Extent((0, 0, 0), (0, 0, 0))
        step = self._push("set mask", self._target, self._record(self._target))
        self._replace_mask(step, Patch(extent, mask[extent.slices]))

    def labelmap(self) -> NDArray[np.uint16]:
        """Return all targets in one array (k, j, i): 1, 2, … in their order, 0 elsewhere; later ones on top."""
        labels = np.zeros(self.image.grid.shape_kji, dtype=np.uint16)
        for value, target in enumerate(self.targets, start=1):
            labels[self.mask(target)] = value
        return labels

    @property
    def prediction(self) -> Answer | None:
        """What the newest prediction for the selected target said, None before there is one."""
        return self._record(self._target).answer

    # History

    @property
    def can_undo(self) -> bool:
        return self._history.newest is not None

    @property
    def can_redo(self) -> bool:
        return self._history.next_redo is not None

    def undo(self) -> str | None:
        """Take the newest step back, in whichever target it was, and select that. Returns what it was, or None."""
        self.cancel()
        self._sync()
        step = self._history.undo()
        return self._replay(step, revert=True) if step else None

    def redo(self) -> str | None:
        """Make the step again that was taken back last, and select its target. Returns what it was, or None."""
        self.cancel()
        if self._sync():
            return None
        step = self._history.redo()
        return self._replay(step, revert=False) if step else None

    @property
    def history_nbytes(self) -> int:
        """Memory that undo and redo take."""
        return self._history.nbytes

    # Predicting

    @property
    def busy(self) -> bool:
        """Whether a prediction runs."""
        return self._running is not None

    def predict(self, view: View | None = None) -> None:
        """Answer the prompts of the selected target as they are now."""
        if not self._record(self._target).prompts:
            raise PromptError(f"expected at least one prompt for {self._target!r}, got none")
        self._sync()
        self._start(None, view)

    def cancel(self) -> None:
        """Stop what runs. Its prompts stay, unanswered; masks stay as they are."""
        run, self._running = self._running, None
        if run is not None:
            if run.job is not None:
                run.job.cancel()
            self.observer.busy_changed(False)

    def poll(self, timeout_s: float = 0.0) -> None:
        """Deliver results that have come; wait up to `timeout_s` for one."""
        self._executor.drain(timeout_s)

    def wait(self, timeout_s: float = float("inf")) -> bool:
        """Wait until nothing runs any more and return True, or False after `timeout_s`.

        Raises what `failed` reports, when a prediction failed meanwhile.
        """
        deadline = time.monotonic() + timeout_s
        self.error = None
        while self.busy and time.monotonic() < deadline:
            self.poll(timeout_s=min(0.1, max(0.0, deadline - time.monotonic())))
        if self.error is not None:
            raise self.error
        return not self.busy

    def close(self) -> None:
        """Stop what runs and release the executor."""
        self.cancel()
        self._executor.close()

    # Within

    def _check_target(self, target: str) -> None:
        if target not in self.targets:
            raise PromptError(f"expected one of the targets {', '.join(self.targets)}, got {target!r}")

    def _record(self, target: str) -> TargetRecord:
        return self._records.get(target, TargetRecord())

    def _push(self, label: str, target: str, after: TargetRecord) -> Step:
        step = self._history.push(Step(label, target, self._record(target), after))
        self._records[target] = after
        return step

    def _prompts_with(self, prompt: Prompt) -> list[Prompt]:
        prompts = list(self._record(self._target).prompts)
        if prompt not in prompts:
            raise PromptError(f"expected one of the {len(prompts)} prompts of {self._target!r}, got {prompt}")
        return prompts

    def _start_over(self, label: str, prompts: tuple[Prompt, ...]) -> None:
        """Make `prompts` the selected target's, and its mask what they, and no earlier ones, make of it."""
        step = self._change_prompts(label, prompts)
        self._take_back_predictions(step)
        if self.auto and not all(isinstance(prompt, MaskPrompt) for prompt in prompts):
            self._start(step)

    def _change_prompts(self, label: str, prompts: tuple[Prompt, ...]) -> Step:
        self.cancel()
        self._sync()
        record = self._record(self._target)
        step = self._push(label, self._target, TargetRecord(prompts, record.answer, is_answered=not prompts))
        self.observer.prompts_changed(self._target)
        return step

    def _replace_mask(self, step: Step, patch: Patch) -> None:
        """Make `patch`, and nothing outside of it, the mask of the step's target."""
        step.is_edit = True
        before = self._store.snapshot(step.target)
        extent = patch.extent.union(before.bounds() if before else None)
        mask = np.zeros(extent.shape_kji, dtype=bool)
        mask[patch.extent.slices_within(extent)] = patch.mask_kji
        self._write(step, {step.target: Patch(extent, mask)})

    def _write(self, step: Step, patches: Mapping[str, Patch]) -> None:
        first_new = len(step.changes)
        for target, patch in patches.items():
            for key, delta in self._store.write(target, patch).items():
                step.changes.append(Change(key, delta))
        self._tell_masks_changed(step.changes[first_new:])

    def _tell_masks_changed(self, changes: Iterable[Change]) -> None:
        boxes: dict[str, Extent] = {}
        for change in changes:
            boxes[change.target] = self._store.image_extent(change.delta.extent).union(boxes.get(change.target))
        if boxes:
            self.observer.masks_changed(boxes)

    def _take_back_predictions(self, step: Step) -> None:
        """Within `step`, return the masks to what they were before predictions for its target changed them."""
        for change in self._history.predicted_changes(step.target):
            self._store.apply(change.target, change.delta, revert=not change.is_reverted)
            step.changes.append(Change(change.target, change.delta, not change.is_reverted))
        self._set_answer(step, TargetRecord(step.after.prompts, None, step.after.is_answered))
        self._tell_masks_changed(step.changes)

    def _set_answer(self, step: Step, after: TargetRecord) -> None:
        step.after = after
        self._records[step.target] = after

    def _replay(self, step: Step, revert: bool, select: bool = True) -> str:
        for change in reversed(step.changes) if revert else step.changes:
            self._store.apply(change.target, change.delta, revert != change.is_reverted)
        self._records[step.target] = step.before if revert else step.after
        if select and step.target in self.targets:
            self._target = step.target
        self.observer.prompts_changed(step.target)
        self._tell_masks_changed(step.changes)
        return step.label

    def _sync(self) -> dict[str, MaskDelta]:
        """Take what somebody else changed in the masks into the history, as steps of their own."""
        edits = self._store.foreign_edits()
        if self._store.revision != self._revision:
            self._revision = self._store.revision
            self._history.clear()
        for target, delta in edits.items():
            record = self._record(target)
            step = self._push("edit", target, TargetRecord(record.prompts, None, record.is_answered))
            step.is_edit = True
            step.changes.append(Change(target, delta))
        return edits

    def _start(self, step: Step | None, view: View | None = None, target: str | None = None) -> None:
        self.cancel()
        target = target or self._target
        record = self._record(target)
        state = TargetState(
            target,
            record.prompts,
            mask=self._store.snapshot(target),
            feedback=self._feedback(target, record.answer),
            window=self.window,
            view=view,
        )
        self.error = None
        run = self._running = _Run(self, target, step, view)
        self.observer.busy_changed(True)
        self._executor.submit(self._engine, state, run)
        if isinstance(self._executor, ImmediateExecutor) and self.error is not None:
            raise self.error

    def _feedback(self, target: str, answer: Answer | None) -> Any:
        if answer is None or answer.predictor != self.capabilities.name:
            return None
        return answer.feedback if self._history.is_current(target, answer) else None

    def _key_of(self, name: str) -> str:
        """Return the key of the target that a predictor calls `name`; makes it when there is none."""
        if name in self.targets:
            return name
        if self._keys_of_names.get(name) not in self.targets:
            self._keys_of_names[name] = self._store.add(name)
        return self._keys_of_names[name]


class _Run:
    """The listener of one job: lays its answers over the masks, unless something newer took its place."""

    def __init__(self, session: Session, target: str, step: Step | None, view: View | None) -> None:
        self.job: Job | None = None
        self._session = session
        self._target = target
        self._step = step
        self._view = view
        self._started = time.perf_counter()
        self._predictor = session.capabilities.name

    @property
    def _is_current(self) -> bool:
        return self._session._running is self

    def on_start(self, job: Job) -> None:
        self.job = job

    def on_progress(self, fraction: float, what: str) -> None:
        if self._is_current:
            self._session.observer.progress(fraction, what)

    def on_prediction(self, prediction: Prediction) -> None:
        if not self._is_current:
            return
        session = self._session
        try:
            was_edited = self._target in session._sync()
            if self._target not in session.targets:
                raise Cancelled(f"the target {self._target!r} was removed")
            if not was_edited:
                self._lay_over(prediction)
        except PromptSegError as error:
            # Such as a segmentation that is gone: ends here, not half way.
            if self.job is not None:
                self.job.cancel()
            self.on_end(error)
            return
        if was_edited:
            # Edited by hand meanwhile: what was computed from the old mask must not wipe out the edit.
            session._start(None, self._view, self._target)

    def on_end(self, error: BaseException | None) -> None:
        self.job = None  # A cycle of references would keep the job's mask until the garbage is collected.
        if not self._is_current:
            return
        session, step = self._session, self._step
        session._running = None
        if error is None and step is not None:
            session._set_answer(step, TargetRecord(step.after.prompts, step.after.answer))
        elif error is not None and not isinstance(error, Cancelled):
            self._roll_back()
            session.error = _explained(error, self._predictor)
            session.observer.failed(session.error)
        session.observer.busy_changed(False)

    def _lay_over(self, prediction: Prediction) -> None:
        session, step = self._session, self._step
        if step is None or session._history.newest is not step:
            step = self._step = session._push("predict", self._target, session._record(self._target))
        started = time.perf_counter()
        first_new = len(step.changes)
        session._write(step, {session._key_of(name): patch for name, patch in prediction.patches.items()})
        deltas = [change.delta for change in step.changes[first_new:]]
        now = time.perf_counter()
        timings = {**prediction.timings_ms, "write": 1000 * (now - started), "total": 1000 * (now - self._started)}
        answer = Answer(
            self._predictor,
            _union_of([session._store.image_extent(delta.extent) for delta in deltas]),
            sum(delta.changed_voxels() for delta in deltas),
            prediction.score,
            timings,
            prediction.note,
            prediction.feedback,
        )
        session._set_answer(step, TargetRecord(step.after.prompts, answer, is_answered=False))

    def _roll_back(self) -> None:
        session, step = self._session, self._step
        if step is not None and session._history.newest is step:
            session._history.forget_newest()
            session._replay(step, revert=True, select=False)


def _explained(error: BaseException, predictor: str) -> PromptSegError:
    if isinstance(error, PromptSegError):
        return error
    wrapped = PredictionError(f"{predictor!r} failed with {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def _union_of(extents: Iterable[Extent | None]) -> Extent | None:
    union: Extent | None = None
    for extent in extents:
        union = extent.union(union) if extent else union
    return union
