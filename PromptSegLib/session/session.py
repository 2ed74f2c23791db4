"""One image, its targets, their prompts, one history: what the panel, the console and the command line share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike

import numpy as np
from numpy.typing import ArrayLike, NDArray

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.certainty import Certainty
from PromptSegLib.errors import PromptError, PromptSegError, UnsupportedPromptError
from PromptSegLib.execution.executor import Executor, ImmediateExecutor
from PromptSegLib.geometry import Extent
from PromptSegLib.imaging.co_registration import as_image
from PromptSegLib.predictors.base import Capabilities, EncodesAhead, Predictor, TargetState
from PromptSegLib.predictors.naming import classes_of_task
from PromptSegLib.predictors.registry import Recipe
from PromptSegLib.prompts import ClassPrompt, MaskPrompt, Prompt, TextPrompt
from PromptSegLib.session.asking import Asking, check_prompt, mask_of, patch_of_mask
from PromptSegLib.session.engines import Engines
from PromptSegLib.session.history import Answer, Step, TargetRecord
from PromptSegLib.session.ledger import Ledger
from PromptSegLib.session.mask_store import MaskStore, MemoryMaskStore
from PromptSegLib.session.names import asked_by_name
from PromptSegLib.session.observer import SessionObserver
from PromptSegLib.session.run import Host, Run
from PromptSegLib.session.running import Running
from PromptSegLib.span import Span
from PromptSegLib.view import View, Window
from PromptSegLib.volume import Image, Volume


class Session:
    """Encode once, prompt often.

    Args:
        image: an Image, a Volume, a mapping of names to volumes, or a bare array (k, j, i). Of several volumes the
            first one is the reference, whose grid masks are on; others are resampled to it, see `as_image`.
        predictor: a name out of `predictor_names()`, a model's path, a `Recipe` with options, or an object that is one.
        device: where one made by name runs, see `PromptSegLib.predictors.devices`.
        executor: where predictions run; at once in this thread by default.
        store: where masks live.
        auto: predict after every change of the prompts; otherwise when `predict` is called.
        window: the intensities that matter, for predictors that can use it.
        redraw: let predictors draw a mask that came from elsewhere anew, where a prompt would only correct it.

    A session belongs to one thread. `ledger` is for those who derive from it: prompts and masks as they are known,
    without a look at what others changed.

    Raises:
        PromptSegError: one of its subclasses, which says what was expected and what came.
    """

    def __init__(
        self,
        image: Image | Volume | Mapping[str, Volume] | ArrayLike,
        predictor: str | PathLike[str] | Recipe | Predictor = "default",
        *,
        device: str = "auto",
        executor: Executor | None = None,
        store: MaskStore | None = None,
        observer: SessionObserver | None = None,
        auto: bool = True,
        window: Window | None = None,
        redraw: bool = False,
        history_budget_bytes: int = 256 * 2**20,
    ) -> None:
        self.image = as_image(image)
        self.auto, self.window, self.redraw = auto, window, redraw
        self.observer = observer or SessionObserver()
        store = store or MemoryMaskStore(self.image.grid.shape_kji)
        self.ledger = Ledger(store, self.observer, history_budget_bytes)
        self._asking, self._engines = Asking(self.ledger), Engines(self.image)
        self._running = Running(executor or ImmediateExecutor(), self.observer)
        self._host = Host(
            is_current=lambda run: self._running.run is run,
            sync=self.before_change,
            targets=lambda: self.targets,
            stop=self.cancel,
            again=lambda question: self._start(None, question.view, question.targets),
            ended=self._running.ended,
        )
        self._engines.take(self._engines.prepared(predictor, device))
        self.ledger.selected = self.targets[0] if self.targets else store.add("segment")

    # The predictor

    @property
    def predictor(self) -> Predictor:
        """The predictor in use."""
        return self._engines.current.predictor

    @property
    def capabilities(self) -> Capabilities:
        """What the predictor in use can do."""
        return self.predictor.capabilities

    @property
    def device(self) -> str:
        """The device that was asked for; `prediction` tells which one was used."""
        return self._engines.current.device

    def use(self, predictor: str | PathLike[str] | Recipe | Predictor, device: str | None = None) -> None:
        """Go on with another predictor, or on another device; prompts and masks stay. Cancels what runs.

        device: where a predictor made by name runs; None for where the one before was to run.

        Raises:
            UnknownPredictorError: there is no such predictor, or it is broken.
            WeightsError: the weights are missing, damaged or do not fit.
            PredictionError: `device` is no device's name.
            VolumeError: the predictor does not suit the image.
        """
        engine = self._engines.prepared(predictor, device or self.device)
        self.cancel()
        self._engines.take(engine)

    def image_changed(self, image: Image | Volume | Mapping[str, Volume] | None = None) -> None:
        """Take note that the voxels changed: cancels what runs and forgets what was computed from them.

        image: what to use from now on, when it is not the same arrays.
        """
        self.cancel()
        if image is not None:
            self.image = as_image(image)
        self._engines.image_changed(self.image)

    # Targets

    @property
    def targets(self) -> tuple[str, ...]:
        """Keys of all targets, in order."""
        return self.ledger.store.keys()

    @property
    def target(self) -> str:
        """Key of the target that prompts go to."""
        self.before_look()
        return self.ledger.selected

    def add_target(self, name: str = "segment") -> str:
        """Start another target, without prompts, and select it. Returns its key."""
        self.before_change()
        self.ledger.selected = self.ledger.store.add(name)
        return self.ledger.selected

    def select(self, target: str) -> None:
        """Send prompts to `target` from now on."""
        self.before_change()
        self.ledger.check(target)
        self.ledger.selected = target

    # Prompts

    def prompts(self, target: str | None = None) -> tuple[Prompt, ...]:
        """Return the prompts of `target` (the selected one, by default) in the order they were given."""
        self.before_look()
        return self.ledger.record(target or self.ledger.selected).prompts

    def add(self, prompt: Prompt, view: View | None = None) -> None:
        """Add `prompt` to the selected target, and predict when the session does so by itself.

        A mask prompt becomes the target's mask; it is there to be refined by what follows. view: the view that it was
        placed in.

        Raises:
            PromptError: it lies outside the image.
            UnsupportedPromptError: the predictor does not take it.
            PredictionError: the predictor fails in this thread; all is then as before.
        """
        check_prompt(prompt, self.capabilities, self.image.grid)
        initial = mask_of(prompt, self.image.grid) if isinstance(prompt, MaskPrompt) else None
        self._asking.note_view(prompt, view)
        self._begin()
        prompts = self.ledger.record(self.ledger.selected).prompts
        step = self._change_prompts(f"add {prompt.kind}{prompt.sign}", (*prompts, prompt))
        if initial is not None:
            self.ledger.replace_mask(step, initial)
        elif self.auto:
            self._start(step, view)

    def add_classes(
        self, names: Sequence[str | ClassPrompt | TextPrompt], where: Prompt | Sequence[Prompt] = ()
    ) -> tuple[str, ...]:
        """Ask for several structures at once, each in a target named after it, and return the targets' keys.

        names: in the predictor's words or their synonyms, see `PromptSegLib.structures.names`; or prompts. A target of
        that name is used where there is one: what it was asked before, and its mask, give way. The first becomes
        the selected one. One step takes all of it back, but for the targets that were made.
        where: a box that the structures are wanted in, or a point on the part that is meant; all of the image by
        default.

        Raises:
            PromptError: a name is not known or is there twice.
            VolumeError: a channel is missing that one of them needs.
            PromptSegError: as `add` does; targets that were made stay, empty.
        """
        places = (where,) if isinstance(where, Prompt) else tuple(where)
        prompts = [ClassPrompt(name) if isinstance(name, str) else name for name in names]
        asked = asked_by_name(prompts, self.capabilities, self.image)
        for prompt in (*asked.values(), *places):
            check_prompt(prompt, self.capabilities, self.image.grid)
        self._begin()
        step = self.ledger.push_named({name: (prompt, *places) for name, prompt in asked.items()})
        if self.auto:
            self._start(step, targets=tuple(step.after))
        return tuple(step.after)

    def add_task(self, task: str, where: Prompt | Sequence[Prompt] = ()) -> tuple[str, ...]:
        """Ask for all structures that a task of the predictor finds together, see `add_classes`."""
        return self.add_classes(classes_of_task(self.capabilities, task), where)

    def replace(self, old: Prompt, new: Prompt) -> None:
        """Put `new` in the place of `old`, in one step, as when a point is dragged.

        Raises:
            PromptSegError: as `add` does.
        """
        check_prompt(new, self.capabilities, self.image.grid)
        self._begin()
        prompts = list(self.ledger.record(self.ledger.selected).prompts)
        prompts[self.ledger.index_of(old, prompts)] = new
        self._asking.note_moved(old, new)
        self._start_over(f"move {new.kind}{new.sign}", tuple(prompts))

    def remove(self, prompt: Prompt, *others: Prompt) -> None:
        """Take prompts back from the selected target, in one step: the mask becomes what the others make of it.

        What was there before the first prompt stays; so does what was edited by hand since.
        """
        self._begin()
        left = list(self.ledger.record(self.ledger.selected).prompts)
        for one in (prompt, *others):
            left.pop(self.ledger.index_of(one, left))
        more = f" and {len(others)} more" if others else ""
        self._start_over(f"remove {prompt.kind}{prompt.sign}{more}", tuple(left))

    def reset(self) -> None:
        """Drop all prompts of the selected target, and what was predicted from them."""
        self._begin()
        self._start_over("reset", ())

    def accept(self) -> None:
        """Drop the prompts of the selected target and keep its mask: it is right."""
        self._begin()
        step = self._change_prompts("accept", ())
        self.ledger.set_records(step, {self.ledger.selected: TargetRecord()})

    # Masks

    @property
    def mask_kji(self) -> BoolArray:
        """The mask of the selected target: (k, j, i), bool, a copy of the whole grid."""
        return self.mask(self.target)

    def mask(self, target: str, extent: Extent | None = None) -> BoolArray:
        """Return the mask of `target` within `extent` (all of the grid, by default): (k, j, i), bool, a copy."""
        self.before_change()
        self.ledger.check(target)
        return self.ledger.store.read(target, extent or self.image.grid.extent)

    def set_mask(self, mask_kji: ArrayLike) -> None:
        """Set the mask of the selected target by hand, to go on from it: (k, j, i) on the image's grid.

        Set are bools, labels that are not 0, or probabilities of at least 0.5.

        Raises:
            PromptError: its shape is not the image's, or its values are none of these.
        """
        patch = patch_of_mask(mask_kji, self.image.grid)
        self._begin()
        self.ledger.set_masks({self.ledger.selected: patch})

    def set_masks(self, masks: Mapping[str, ArrayLike]) -> None:
        """Set the masks of several targets, by their keys, as `set_mask` does, in one step."""
        patches = {target: patch_of_mask(mask, self.image.grid) for target, mask in masks.items()}
        self._begin()
        self.ledger.set_masks(patches)

    def labelmap(self) -> NDArray[np.uint16]:
        """Return all targets in one array (k, j, i): 1, 2, … in their order, 0 elsewhere; later ones on top."""
        labels = np.zeros(self.image.grid.shape_kji, dtype=np.uint16)
        for value, target in enumerate(self.targets, start=1):
            labels[self.mask(target)] = value
        return labels

    @property
    def prediction(self) -> Answer | None:
        """What the newest prediction for the selected target said, None before there is one."""
        self.before_look()
        return self.ledger.record(self.ledger.selected).answer

    def certainty(self, target: str | None = None) -> Certainty | None:
        """Return how sure the newest answer for `target` (the selected one, by default) is of each voxel.

        Undo and redo bring it back. None when there is no answer, when the predictor does not say, and when the mask
        was changed since otherwise.
        """
        self.before_look()
        return self.ledger.certainty(target or self.ledger.selected)

    # History

    @property
    def can_undo(self) -> bool:
        self.before_look()
        return self.ledger.history.newest is not None

    @property
    def can_redo(self) -> bool:
        self.before_look()
        return self.ledger.history.next_redo is not None

    def undo(self) -> str | None:
        """Take the newest step back, in whichever target it was, and select that. Returns what it was, or None."""
        self.cancel()
        self.before_change()
        step = self.ledger.undo()
        return step.label if step else None

    def redo(self) -> str | None:
        """Make the step again that was taken back last, and select its target. Returns what it was, or None."""
        self.cancel()
        self.before_change()
        step = self.ledger.redo()
        return step.label if step else None

    @property
    def history_nbytes(self) -> int:
        """Memory that undo and redo take."""
        return self.ledger.history.nbytes

    # Predicting

    @property
    def busy(self) -> bool:
        """Whether a prediction runs."""
        return self._running.busy

    @property
    def error(self) -> PromptSegError | None:
        """What the newest prediction, or change in the scene, failed with; None when it did not."""
        return self._running.error

    @error.setter
    def error(self, error: PromptSegError | None) -> None:
        self._running.error = error

    def predict(self, view: View | None = None, targets: Sequence[str] = (), *, redraw: bool = False) -> None:
        """Answer the prompts of the selected target as they are now, or those of several `targets` in one run.

        Without prompts its mask is refined, by predictors that take masks; on the slice of `view` by those that work
        slice by slice. redraw: this once, as of a session.
        """
        self.before_change()
        targets = tuple(targets) or (self.ledger.selected,)
        for target in targets:
            self.ledger.check(target)
            self._asking.check(target, self.capabilities)
        self._start(None, view, targets, redraw=redraw)

    def hand_over(
        self, predictor: str | PathLike[str] | Recipe | Predictor, view: View | None = None, device: str | None = None
    ) -> None:
        """Go on with another predictor from the selected target's mask, in a single step.

        It gets the mask, and of the prompts those that it takes: a 3D model makes a whole structure of a slice's mask,
        and one that works slice by slice refines the whole structure's mask on the slice of `view`.
        predictor, device: see `use`. Undo brings the mask back; the predictor stays the new one.

        What fails later, in the background, leaves the mask as it was.

        Raises:
            PromptError: without a mask.
            UnsupportedPromptError: the predictor takes none.
            PromptSegError: as `use` and `predict` do; all is then as before.
        """
        self.before_change()
        if self.ledger.store.snapshot(self.ledger.selected) is None:
            raise PromptError(f"expected a mask of {self.ledger.selected!r} to hand over, got none")
        name, before = self._engines.check_takes_mask(predictor).name, self._engines.current
        self.use(predictor, device)
        try:
            self._start(None, view, label=f"hand over to {name}", redraw=True)
        except PromptSegError:
            self._engines.take(before)
            raise

    def propagate(self, span: Span | None = None, view: View | None = None) -> None:
        """Carry the selected target's mask from the slices that were prompted through the volume, within `span`.

        Slices come one by one; `cancel` keeps those that have come, `undo` takes all of them back. The prediction's
        note says where it ended and why. After a correction only the slices around it are carried to anew.
        view: the one looked at; the mask on its slice is a beginning too where there are no prompts.

        Raises:
            UnsupportedPromptError: the predictor does not work slice by slice.
        """
        if self.capabilities.dimensions != {2}:
            raise UnsupportedPromptError(
                f"expected a predictor that works slice by slice, got {self.capabilities.name!r}: "
                "its masks are of the whole volume already"
            )
        self.before_change()
        self._start(None, view, span=span or Span())

    def encode_ahead(self, view: View) -> None:
        """Prepare for a prompt in `view` or beside it, while the user looks: whatever comes next stops it.

        For executors that work in the background. Nothing is done while a prediction runs, or when the predictor
        has nothing to prepare; a failure comes to light with the prompt.
        """
        if not self.busy and isinstance(self.predictor, EncodesAhead):
            self.cancel()
            state = TargetState(self.ledger.selected, (), window=self.window, view=view)
            self._running.prepare(self._engines.current, state)

    def cancel(self) -> None:
        """Stop what runs. Its prompts stay, unanswered; masks stay as they are."""
        self._running.cancel()

    def poll(self, timeout_s: float = 0.0) -> None:
        """Deliver results that have come; wait up to `timeout_s` for one."""
        self._running.executor.drain(timeout_s)

    def wait(self, timeout_s: float = float("inf")) -> bool:
        """Wait until nothing runs any more and return True, or False after `timeout_s`.

        Raises:
            PromptSegError: what `failed` reports, when a prediction failed meanwhile.
        """
        return self._running.wait(timeout_s)

    def close(self) -> None:
        """Stop what runs and release the executor."""
        self.cancel()
        self._running.executor.close()

    # For those who derive from it

    def before_change(self) -> None:
        """Take note of what somebody else changed in the masks; comes before anything is done."""
        self.ledger.follow()

    def before_look(self) -> None:
        """Take note of what somebody else changed in the masks; comes before anything is told."""
        self.ledger.follow()

    # Within

    def _start_over(self, label: str, prompts: tuple[Prompt, ...]) -> None:
        """Make `prompts` the selected target's, and its mask what they, and no earlier ones, make of it.

        What another predictor made of a name among them stays, where the one in use does not take names.
        """
        heard = self._asking.heard(prompts, self.capabilities)
        step = self._change_prompts(label, prompts)
        self.ledger.take_back_predictions(step, keeps_named=len(heard) < len(prompts))
        is_answered = step.after[self.ledger.selected].answer is not None
        if self.auto and not is_answered and not all(isinstance(prompt, MaskPrompt) for prompt in heard):
            self._start(step)

    def _begin(self) -> None:
        """Before a change: nothing runs any more, nothing that is read is stale, and there is a target."""
        self.cancel()
        self.before_change()
        if not self.targets:
            self.ledger.selected = self.ledger.store.add("segment")

    def _change_prompts(self, label: str, prompts: tuple[Prompt, ...]) -> Step:
        record = replace(self.ledger.record(self.ledger.selected), prompts=prompts, is_answered=not prompts)
        step = self.ledger.push(label, {self.ledger.selected: record})
        self.observer.prompts_changed(self.ledger.selected)
        return step

    def _start(
        self,
        step: Step | None,
        view: View | None = None,
        targets: tuple[str, ...] = (),
        span: Span | None = None,
        label: str = "",
        redraw: bool = False,
    ) -> None:
        self.cancel()
        state, question = self._asking.asked(
            targets or (self.ledger.selected,),
            self.capabilities,
            step,
            window=self.window,
            view=view,
            span=span,
            redraw=redraw or self.redraw,
            label=label,
        )
        run = Run(question, self.ledger, self.image, self.capabilities, self.observer, self._host)
        self._running.start(self._engines.current, state, run)
