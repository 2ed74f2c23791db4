"""One image, its targets, their prompts, one history: what the panel, the console and the command line share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.certainty import Certainty
from PromptSegLib.errors import PromptError, PromptSegError, UnsupportedPromptError
from PromptSegLib.execution.executor import Executor, ImmediateExecutor
from PromptSegLib.geometry import Extent
from PromptSegLib.imaging.co_registration import as_image
from PromptSegLib.imaging.rasterize import mask_on_grid, patch_of_mask
from PromptSegLib.predictors.base import Capabilities, EncodesAhead, Predictor, TargetState
from PromptSegLib.predictors.naming import classes_of_task
from PromptSegLib.predictors.registry import Recipe, capabilities_of, check_takes
from PromptSegLib.prompts import ClassPrompt, MaskPrompt, Prompt, TextPrompt, check_inside
from PromptSegLib.session.engines import Engines
from PromptSegLib.session.history import Answer, Step, TargetRecord
from PromptSegLib.session.ledger import Ledger
from PromptSegLib.session.mask_store import MaskStore, MemoryMaskStore
from PromptSegLib.session.names import asked_by_name
from PromptSegLib.session.observer import SessionObserver
from PromptSegLib.session.run import Host, Question, Run
from PromptSegLib.session.running import Running
from PromptSegLib.span import Span
from PromptSegLib.view import View, Window
from PromptSegLib.volume import Image, Volume


class Session:
    """Encode once, prompt often.

    image: an Image, a Volume, a mapping of names to volumes, or a bare array (k, j, i). Of several volumes the first
        one is the reference, whose grid masks are on; others are resampled to it, see `as_image`.
    predictor: a name out of `predictor_names()`, a `Recipe` where options are to be said too, or an object that is one.
    device: where one made by name runs, see `PromptSegLib.predictors.devices`.
    executor: where predictions run; at once in this thread by default. store: where masks live.
    auto: predict after every change of the prompts; otherwise when `predict` is called.
    window: the intensities that matter, for predictors that can use it.
    redraw: let predictors draw a mask that came from elsewhere anew, where a prompt would only correct it.

    A session belongs to one thread. Raises PromptSegError subclasses that say what was expected and what came.
    """

    def __init__(
        self,
        image: Image | Volume | Mapping[str, Volume] | ArrayLike,
        predictor: str | Recipe | Predictor = "default",
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
        self.auto = auto
        self.window = window
        self.redraw = redraw
        self.observer = observer or SessionObserver()
        store = store or MemoryMaskStore(self.image.grid.shape_kji)
        self._ledger = Ledger(store, self.observer, history_budget_bytes)
        self._engines = Engines(self.image)
        self._running = Running(executor or ImmediateExecutor(), self.observer)
        self._views: dict[Prompt, View] = {}
        self._is_syncing = False
        self._host = Host(
            is_current=lambda run: self._running.run is run,
            sync=self._sync,
            targets=lambda: self.targets,
            stop=self.cancel,
            again=lambda question: self._start(None, question.view, question.targets),
            ended=self._running.ended,
        )
        self._engines.take(self._engines.prepared(predictor, device))
        self._target = self.targets[0] if self.targets else store.add("segment")

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

    def use(self, predictor: str | Recipe | Predictor, device: str | None = None) -> None:
        """Go on with another predictor, or on another device; prompts and masks stay. Cancels what runs.

        device: where a predictor made by name runs; None for where the one before was to run.

        Raises UnknownPredictorError, WeightsError, PredictionError when `device` is no device's name, or VolumeError
        when the predictor does not suit the image.
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
        return self._ledger.store.keys()

    @property
    def target(self) -> str:
        """Key of the target that prompts go to."""
        self._look()
        return self._target

    def add_target(self, name: str = "segment") -> str:
        """Start another target, without prompts, and select it. Returns its key."""
        self._sync()
        self._target = self._ledger.store.add(name)
        return self._target

    def select(self, target: str) -> None:
        """Send prompts to `target` from now on."""
        self._sync()
        self._check_target(target)
        self._target = target

    # Prompts

    def prompts(self, target: str | None = None) -> tuple[Prompt, ...]:
        """Return the prompts of `target` (the selected one, by default) in the order they were given."""
        self._look()
        return self._ledger.record(target or self._target).prompts

    def add(self, prompt: Prompt, view: View | None = None) -> None:
        """Add `prompt` to the selected target, and predict when the session does so by itself.

        A mask prompt becomes the target's mask; it is there to be refined by what follows.
        view: the view that it was placed in. Raises PromptError when it lies outside the image,
        UnsupportedPromptError when the predictor does not take it, PredictionError when the predictor fails in
        this thread; all is then as before.
        """
        if not isinstance(prompt, Prompt):
            raise PromptError(f"expected a prompt, such as Point((1.0, 2.0, 3.0)), got {prompt!r}")
        check_takes(self.capabilities, prompt)
        check_inside(prompt, self.image.grid)
        initial = mask_on_grid(prompt, self.image.grid) if isinstance(prompt, MaskPrompt) else None
        if initial is not None and not initial.mask_kji.any():
            raise PromptError(f"expected a mask that holds the centre of a voxel, got {prompt}")
        if view is not None:
            self._views[prompt] = view
        self._begin()
        prompts = self._ledger.record(self._target).prompts
        step = self._change_prompts(f"add {prompt.kind}{prompt.sign}", (*prompts, prompt))
        if initial is not None:
            self._ledger.replace_mask(step, initial)
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

        Raises PromptError when a name is not known or is there twice, VolumeError when a channel is missing that one
        of them needs, and otherwise as `add` does; targets that were made stay, empty.
        """
        places = (where,) if isinstance(where, Prompt) else tuple(where)
        prompts = [ClassPrompt(name) if isinstance(name, str) else name for name in names]
        asked = asked_by_name(prompts, self.capabilities, self.image)
        for prompt in (*asked.values(), *places):
            check_takes(self.capabilities, prompt)
            check_inside(prompt, self.image.grid)
        self._begin()
        keys = {self._ledger.key_of(name): (prompt, *places) for name, prompt in asked.items()}
        records = {
            key: replace(self._ledger.record(key), prompts=prompts, answer=None, is_answered=False)
            for key, prompts in keys.items()
        }
        self._target = next(iter(keys))
        more = f" and {len(asked) - 3} more" if len(asked) > 3 else ""
        step = self._ledger.push(f"add {', '.join(list(asked)[:3])}{more}", records)
        for key in keys:
            self.observer.prompts_changed(key)
        if self.auto:
            self._start(step, targets=tuple(keys))
        return tuple(keys)

    def add_task(self, task: str, where: Prompt | Sequence[Prompt] = ()) -> tuple[str, ...]:
        """Ask for all structures that a task of the predictor finds together, see `add_classes`."""
        return self.add_classes(classes_of_task(self.capabilities, task), where)

    def replace(self, old: Prompt, new: Prompt) -> None:
        """Put `new` in the place of `old`, in one step, as when a point is dragged. Raises as `add` does."""
        check_takes(self.capabilities, new)
        check_inside(new, self.image.grid)
        self._begin()
        prompts = self._prompts_with(old)
        prompts[prompts.index(old)] = new
        if old in self._views:
            self._views[new] = self._views[old]
        self._start_over(f"move {new.kind}{new.sign}", tuple(prompts))

    def remove(self, prompt: Prompt) -> None:
        """Take `prompt` back from the selected target: the mask becomes what the others make of it.

        What was there before the first prompt stays; so does what was edited by hand since.
        """
        self._remove([prompt])

    def reset(self) -> None:
        """Drop all prompts of the selected target, and what was predicted from them."""
        self._begin()
        self._start_over("reset", ())

    def accept(self) -> None:
        """Drop the prompts of the selected target and keep its mask: it is right."""
        self._begin()
        step = self._change_prompts("accept", ())
        self._ledger.set_records(step, {self._target: TargetRecord()})

    # Masks

    @property
    def mask_kji(self) -> BoolArray:
        """The mask of the selected target: (k, j, i), bool, a copy of the whole grid."""
        return self.mask(self.target)

    def mask(self, target: str, extent: Extent | None = None) -> BoolArray:
        """Return the mask of `target` within `extent` (all of the grid, by default): (k, j, i), bool, a copy."""
        self._sync()
        self._check_target(target)
        return self._ledger.store.read(target, extent or self.image.grid.extent)

    def set_mask(self, mask_kji: ArrayLike) -> None:
        """Set the mask of the selected target by hand, to go on from it: (k, j, i) on the image's grid.

        Set are bools, labels that are not 0, or probabilities of at least 0.5. Raises PromptError when its shape is
        not the image's, or its values are none of these.
        """
        patch = patch_of_mask(mask_kji, self.image.grid)
        self._begin()
        self._ledger.set_masks({self._target: patch})

    def set_masks(self, masks: Mapping[str, ArrayLike]) -> None:
        """Set the masks of several targets, by their keys, as `set_mask` does, in one step."""
        patches = {target: patch_of_mask(mask, self.image.grid) for target, mask in masks.items()}
        self._begin()
        for target in patches:
            self._check_target(target)
        self._ledger.set_masks(patches)

    def labelmap(self) -> NDArray[np.uint16]:
        """Return all targets in one array (k, j, i): 1, 2, … in their order, 0 elsewhere; later ones on top."""
        labels = np.zeros(self.image.grid.shape_kji, dtype=np.uint16)
        for value, target in enumerate(self.targets, start=1):
            labels[self.mask(target)] = value
        return labels

    @property
    def prediction(self) -> Answer | None:
        """What the newest prediction for the selected target said, None before there is one."""
        self._look()
        return self._ledger.record(self._target).answer

    def certainty(self, target: str | None = None) -> Certainty | None:
        """Return how sure the newest answer for `target` (the selected one, by default) is of each voxel.

        Undo and redo bring it back. None when there is no answer, when the predictor does not say, and when the mask
        was changed since otherwise.
        """
        self._look()
        key = target or self._target
        answer = self._ledger.record(key).answer
        return answer.certainty if answer is not None and self._ledger.is_current(key) else None

    # History

    @property
    def can_undo(self) -> bool:
        self._look()
        return self._ledger.history.newest is not None

    @property
    def can_redo(self) -> bool:
        self._look()
        return self._ledger.history.next_redo is not None

    def undo(self) -> str | None:
        """Take the newest step back, in whichever target it was, and select that. Returns what it was, or None."""
        self.cancel()
        self._sync()
        self._select_target_of(self._ledger.history.newest)
        step = self._ledger.undo()
        return step.label if step else None

    def redo(self) -> str | None:
        """Make the step again that was taken back last, and select its target. Returns what it was, or None."""
        self.cancel()
        self._sync()
        self._select_target_of(self._ledger.history.next_redo)
        step = self._ledger.redo()
        return step.label if step else None

    @property
    def history_nbytes(self) -> int:
        """Memory that undo and redo take."""
        return self._ledger.history.nbytes

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
        self._sync()
        targets = tuple(targets) or (self._target,)
        for target in targets:
            self._check_target(target)
            prompts = self._ledger.record(target).prompts
            if not self._heard(prompts) and not self._has_mask_to_refine(target):
                got = ", ".join(prompt.kind for prompt in prompts) or "none"
                raise PromptError(
                    f"expected at least one prompt for {target!r} that {self.capabilities.name!r} takes, got {got}"
                )
        self._start(None, view, targets, redraw=redraw)

    def hand_over(
        self, predictor: str | Recipe | Predictor, view: View | None = None, device: str | None = None
    ) -> None:
        """Go on with another predictor from the selected target's mask, in a single step.

        It gets the mask, and of the prompts those that it takes: a 3D model makes a whole structure of a slice's mask,
        and one that works slice by slice refines the whole structure's mask on the slice of `view`.
        predictor, device: see `use`. Undo brings the mask back; the predictor stays the new one.

        Raises PromptError without a mask, UnsupportedPromptError when the predictor takes none, and as `use` and
        `predict` do; all is then as before. What fails later, in the background, leaves the mask as it was.
        """
        self._sync()
        if self._ledger.store.snapshot(self._target) is None:
            raise PromptError(f"expected a mask of {self._target!r} to hand over, got none")
        name = predictor.name if isinstance(predictor, Recipe) else predictor
        capabilities = capabilities_of(name) if isinstance(name, str) else name.capabilities
        if "mask" not in capabilities.prompts:
            raise UnsupportedPromptError(
                f"expected a predictor that takes a mask to go on from, got {capabilities.name!r}"
            )
        before = self._engines.current
        self.use(predictor, device)
        try:
            self._start(None, view, label=f"hand over to {capabilities.name}", redraw=True)
        except PromptSegError:
            self._engines.take(before)
            raise

    def _has_mask_to_refine(self, target: str) -> bool:
        return "mask" in self.capabilities.prompts and self._ledger.store.snapshot(target) is not None

    def propagate(self, span: Span | None = None, view: View | None = None) -> None:
        """Carry the selected target's mask from the slices that were prompted through the volume, within `span`.

        Slices come one by one; `cancel` keeps those that have come, `undo` takes all of them back. The prediction's
        note says where it ended and why. After a correction only the slices around it are carried to anew.
        view: the one looked at; the mask on its slice is a beginning too where there are no prompts.

        Raises UnsupportedPromptError when the predictor does not work slice by slice.
        """
        if self.capabilities.dimensions != {2}:
            raise UnsupportedPromptError(
                f"expected a predictor that works slice by slice, got {self.capabilities.name!r}: "
                "its masks are of the whole volume already"
            )
        self._sync()
        self._start(None, view, span=span or Span())

    def encode_ahead(self, view: View) -> None:
        """Prepare for a prompt in `view` or beside it, while the user looks: whatever comes next stops it.

        For executors that work in the background. Nothing is done while a prediction runs, or when the predictor
        has nothing to prepare; a failure comes to light with the prompt.
        """
        if not self.busy and isinstance(self.predictor, EncodesAhead):
            self.cancel()
            state = TargetState(self._target, (), window=self.window, view=view)
            self._running.prepare(self._engines.current, state)

    def cancel(self) -> None:
        """Stop what runs. Its prompts stay, unanswered; masks stay as they are."""
        self._running.cancel()

    def poll(self, timeout_s: float = 0.0) -> None:
        """Deliver results that have come; wait up to `timeout_s` for one."""
        self._running.executor.drain(timeout_s)

    def wait(self, timeout_s: float = float("inf")) -> bool:
        """Wait until nothing runs any more and return True, or False after `timeout_s`.

        Raises what `failed` reports, when a prediction failed meanwhile.
        """
        return self._running.wait(timeout_s)

    def close(self) -> None:
        """Stop what runs and release the executor."""
        self.cancel()
        self._running.executor.close()

    # Within

    def _check_target(self, target: str) -> None:
        if target not in self.targets:
            raise PromptError(f"expected one of the targets {', '.join(self.targets)}, got {target!r}")

    def _select_target_of(self, step: Step | None) -> None:
        """Select a target of a step about to be replayed: observers look at what is selected."""
        if step is not None and self._target not in step.targets and step.target in self.targets:
            self._target = step.target

    def _remove(self, prompts: Sequence[Prompt]) -> None:
        """Take `prompts`, at least one, back in a single step."""
        self._begin()
        left = list(self._ledger.record(self._target).prompts)
        for prompt in prompts:
            if prompt not in left:
                raise PromptError(f"expected one of the {len(left)} prompts of {self._target!r}, got {prompt}")
            left.remove(prompt)
        more = f" and {len(prompts) - 1} more" if len(prompts) > 1 else ""
        self._start_over(f"remove {prompts[0].kind}{prompts[0].sign}{more}", tuple(left))

    def _prompts_with(self, prompt: Prompt) -> list[Prompt]:
        prompts = list(self._ledger.record(self._target).prompts)
        if prompt not in prompts:
            raise PromptError(f"expected one of the {len(prompts)} prompts of {self._target!r}, got {prompt}")
        return prompts

    def _start_over(self, label: str, prompts: tuple[Prompt, ...]) -> None:
        """Make `prompts` the selected target's, and its mask what they, and no earlier ones, make of it.

        What another predictor made of a name among them stays, where the one in use does not take names.
        """
        heard = self._heard(prompts)
        step = self._change_prompts(label, prompts)
        self._ledger.take_back_predictions(step, keeps_named=len(heard) < len(prompts))
        is_answered = step.after[self._target].answer is not None
        if self.auto and not is_answered and not all(isinstance(prompt, MaskPrompt) for prompt in heard):
            self._start(step)

    def _heard(self, prompts: tuple[Prompt, ...]) -> tuple[Prompt, ...]:
        """Return those of `prompts` that the predictor gets: no names, where it knows none."""
        takes = self.capabilities.takes
        return tuple(prompt for prompt in prompts if not isinstance(prompt, ClassPrompt | TextPrompt) or takes(prompt))

    def _begin(self) -> None:
        """Before a change: nothing runs any more, nothing that is read is stale, and there is a target."""
        self.cancel()
        self._sync()
        if not self.targets:
            self._target = self._ledger.store.add("segment")

    def _change_prompts(self, label: str, prompts: tuple[Prompt, ...]) -> Step:
        record = replace(self._ledger.record(self._target), prompts=prompts, is_answered=not prompts)
        step = self._ledger.push(label, {self._target: record})
        self.observer.prompts_changed(self._target)
        return step

    def _sync(self) -> None:
        """Take note of what somebody else changed, before anything is done."""
        self._sync_masks()

    def _look(self) -> None:
        """Take note of what somebody else changed, before something is told."""
        self._sync_masks()

    def _sync_masks(self) -> None:
        """See `Ledger.sync`. What it tells observers may make them ask: that finds what is known already."""
        if self._is_syncing:
            return
        self._is_syncing = True
        try:
            lost, before = self._ledger.sync(), self._target
            if before not in self.targets:
                self._target = next(iter(self.targets), before)
            if lost or self._target != before:
                self.observer.prompts_changed(self._target)
        finally:
            self._is_syncing = False

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
        target, *others = targets or (self._target,)
        prompts = self._heard(self._ledger.record(target).prompts)
        mask, maker = self._ledger.store.snapshot(target), self.capabilities.name
        state = TargetState(
            target,
            prompts,
            mask=mask,
            feedback=self._ledger.feedback(target, self.capabilities.name),
            window=self.window,
            view=view,
            views={prompt: self._views[prompt] for prompt in prompts if prompt in self._views},
            span=span,
            others={other: self._ledger.record(other).prompts for other in others},
            mask_is_given=mask is not None and self._ledger.record(target).maker != maker,
            redraw=redraw or self.redraw,
        )
        # What is handed over comes from elsewhere whatever becomes of it.
        is_own = not state.mask_is_given or (state.redraw and not label)
        question = Question(
            (target, *others),
            step,
            view,
            label or ("predict" if span is None else "propagate"),
            maker if is_own else "",
            mask if state.mask_is_given else None,
        )
        run = Run(question, self._ledger, self.image, self.capabilities, self.observer, self._host)
        self._running.start(self._engines.current, state, run)
