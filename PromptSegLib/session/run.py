"""One run of a predictor for a session: its answers are laid over the masks, unless something newer took its place."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from PromptSegLib.bitmask import BitMask, MaskDelta, Patch
from PromptSegLib.errors import Cancelled, PredictionError, PromptSegError
from PromptSegLib.execution.executor import Job
from PromptSegLib.predictors.base import Capabilities, Prediction
from PromptSegLib.session.history import Answer, Step
from PromptSegLib.session.ledger import Ledger
from PromptSegLib.session.observer import SessionObserver
from PromptSegLib.session.reach import far_voxels
from PromptSegLib.view import View
from PromptSegLib.volume import Image


class Unheard:
    """The listener of a job that answers nothing."""

    def on_start(self, job: Job) -> None: ...

    def on_progress(self, fraction: float, what: str) -> None: ...

    def on_prediction(self, prediction: Prediction) -> None: ...

    def on_end(self, error: BaseException | None) -> None: ...


@dataclass(frozen=True, eq=False)
class Question:
    """What a run is about.

    targets: those that it answers. step: what its answers are part of, None for a step of their own, called `label`.
    maker: see `TargetRecord`. given: the mask that is there, when it came from elsewhere.
    """

    targets: tuple[str, ...]
    step: Step | None
    view: View | None
    label: str
    maker: str
    given: BitMask | None


@dataclass(frozen=True, eq=False)
class Host:
    """What a run asks of whoever started it.

    is_current: whether it is still the newest run. sync: take note of what others changed. targets: those that there
    are. stop: cancel it; what has come stays. again: ask anew, as the mask was edited meanwhile. ended: it ended, with
    this error if it failed.
    """

    is_current: Callable[[Run], bool]
    sync: Callable[[], None]
    targets: Callable[[], tuple[str, ...]]
    stop: Callable[[], None]
    again: Callable[[Question], None]
    ended: Callable[[PromptSegError | None], None]


class Run:
    """The listener of one job; see the module."""

    def __init__(
        self,
        question: Question,
        ledger: Ledger,
        image: Image,
        capabilities: Capabilities,
        observer: SessionObserver,
        host: Host,
    ) -> None:
        self.job: Job | None = None
        self._question = question
        self._step = question.step
        self._ledger = ledger
        self._image = image
        self._capabilities = capabilities
        self._observer = observer
        self._host = host
        self._started = time.perf_counter()
        self._versions = self._versions_now()

    def on_start(self, job: Job) -> None:
        self.job = job

    def on_progress(self, fraction: float, what: str) -> None:
        if self._host.is_current(self):
            self._observer.progress(fraction, what)

    def on_prediction(self, prediction: Prediction) -> None:
        if not self._host.is_current(self):
            return
        try:
            self._host.sync()
            was_edited = self._versions != self._versions_now()
            if removed := [target for target in self._question.targets if target not in self._host.targets()]:
                raise Cancelled(f"the target {removed[0]!r} was removed")
            if not was_edited:
                self._lay_over(prediction)
        except PromptSegError as error:
            # Such as a segmentation that is gone: ends here, not half way.
            if self.job is not None:
                self.job.cancel()
            self.on_end(error)
            return
        if was_edited and self._question.label == "propagate":
            self._host.stop()  # What has come stays, and so does the edit.
        elif was_edited:
            # Edited by hand meanwhile: what was computed from the old mask must not wipe out the edit.
            self._host.again(self._question)

    def on_end(self, error: BaseException | None) -> None:
        self.job = None  # A cycle of references would keep the job's mask until the garbage is collected.
        if not self._host.is_current(self):
            return
        step, failure = self._step, None
        if error is None and step is not None:
            answered = {key: replace(record, is_answered=True) for key, record in step.after.items()}
            self._ledger.set_records(step, answered)
        elif error is not None and not isinstance(error, Cancelled):
            if step is not None and self._ledger.history.newest is step:
                self._ledger.roll_back(step)
            failure = _explained(error, self._capabilities.name)
        self._host.ended(failure)

    def _versions_now(self) -> list[int]:
        """Versions of the masks that are answered: others than at the start, when somebody edited them."""
        return [self._ledger.version(target) for target in self._question.targets]

    def _lay_over(self, prediction: Prediction) -> None:
        ledger, step, question = self._ledger, self._step, self._question
        if step is None or ledger.history.newest is not step:
            records = {target: ledger.record(target) for target in question.targets}
            step = self._step = ledger.push(question.label, records)
        started = time.perf_counter()
        patches = {ledger.key_of(name): patch for name, patch in prediction.patches.items()}
        change = self._change_of_given(patches)
        changes = ledger.write(step, patches, prediction.replaces)
        now = time.perf_counter()
        timings = {**prediction.timings_ms, "write": 1000 * (now - started), "total": 1000 * (now - self._started)}
        notes = [prediction.note, *(self._image.gaps if self._capabilities.channels else ())]
        prompts, grid = step.after[step.target].prompts, self._image.grid
        answer = Answer(
            self._capabilities.name,
            ledger.image_extent(changes),
            sum(change.delta.changed_voxels() for change in changes),
            prediction.score,
            timings,
            "; ".join(filter(None, notes)),
            prediction.feedback,
            prediction.device,
            prediction.certainty,
            change,
            None if change is None else far_voxels(change, prompts, question.given, grid),
        )
        certain = next(iter(patches), None)  # The certainty is of the first mask: of the others it says nothing.
        uncertain = answer if answer.certainty is None else replace(answer, certainty=None)
        # Of a run for several targets, each answer is for those that it names.
        spoken_of = [target for target in step.targets if target in patches] or [step.target]
        answers = {target: answer if target == certain else uncertain for target in spoken_of}
        ledger.set_answers(step, answers, self._capabilities.takes_names, question.maker)
        self._versions = self._versions_now()

    def _change_of_given(self, patches: Mapping[str, Patch]) -> MaskDelta | None:
        """Return what the run's own patch changes in a mask that came from elsewhere."""
        given, patch = self._question.given, patches.get(self._question.targets[0])
        if given is None or patch is None or patch.extent.size == 0:
            return None
        return MaskDelta.between(patch.extent, given.read(patch.extent), patch.mask_kji)


def _explained(error: BaseException, predictor: str) -> PromptSegError:
    if isinstance(error, PromptSegError):
        return error
    wrapped = PredictionError(f"{predictor!r} failed with {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
