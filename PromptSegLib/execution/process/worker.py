"""The other process of a `ProcessExecutor`: `python -m PromptSegLib.execution.process.worker`, started by it alone."""

from __future__ import annotations

import faulthandler
import os
import queue
import signal
import sys
import threading
import traceback
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np

from PromptSegLib.bitmask import BitMask
from PromptSegLib.cancel import CancelToken
from PromptSegLib.execution.engine import Engine
from PromptSegLib.execution.process.protocol import (
    Answered,
    Ask,
    Cancel,
    Ended,
    Failure,
    Forget,
    MakeEngine,
    PackedPatch,
    Pipe,
    Progressed,
    ShareImage,
)
from PromptSegLib.execution.process.shared_block import map_block
from PromptSegLib.predictors.base import Prediction, TargetState
from PromptSegLib.predictors.registry import Recipe
from PromptSegLib.prompts import Prompt
from PromptSegLib.volume import Image, Volume


@dataclass(eq=False)
class _Target:
    """What the last question said about a target."""

    mask: BitMask
    prompts: tuple[Prompt, ...] = ()


@dataclass(eq=False)
class _Engine:
    """An engine, or why there is none, and its targets."""

    image: int
    recipe: Recipe
    engine: Engine | None = None
    targets: dict[str, _Target] = field(default_factory=dict)


class Worker:
    """Answers questions in the main thread, in order; another thread listens, so that cancelling is heard."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._todo: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._tokens: dict[int, CancelToken] = {}
        self._images: dict[int, Image] = {}
        self._engines: dict[int, _Engine] = {}
        self._feedback: dict[int, Any] = {}
        self._feedback_count = 0

    def run(self) -> None:
        threading.Thread(target=self._listen, name="PromptSeg listener", daemon=True).start()
        while True:
            self._do(self._todo.get())

    def _listen(self) -> None:
        """Take messages until the executor is gone, or wants this process gone; then, whatever is done, end it."""
        status = 1
        try:
            while True:
                self._take(self._pipe.receive())
        except EOFError:
            status = 0
        except BaseException:  # noqa: BLE001 - a listener that died silently would leave the process behind
            traceback.print_exc()
        os._exit(status)

    def _take(self, message: Any) -> None:
        if isinstance(message, Cancel):
            if token := self._tokens.get(message.job):
                token.cancel()
            return
        if isinstance(message, Ask):
            self._tokens[message.job] = CancelToken()
        elif isinstance(message, ShareImage):
            # At once: when the executor ends before the main thread has time, the block must not be left behind.
            message = message, _mapped(message)
        self._todo.put(message)

    def _do(self, message: Any) -> None:
        match message:
            case (ShareImage() as shared, Image() as image):
                self._images[shared.image] = image
                for entry in self._engines.values():
                    if entry.image == shared.image and entry.engine is not None:
                        entry.engine.image = image
                        entry.engine.drop_encoding()
            case MakeEngine():
                self._make(message)
            case Ask():
                self._answer(message)
            case Forget(kind="image"):
                self._images.pop(message.number, None)
            case Forget(kind="engine"):
                self._engines.pop(message.number, None)
            case Forget(kind="feedback"):
                self._feedback.pop(message.number, None)

    def _make(self, message: MakeEngine) -> None:
        entry = self._engines.setdefault(message.engine, _Engine(message.image, message.recipe))
        entry.image = message.image
        entry.targets.clear()
        if entry.engine is not None:
            entry.engine.image = self._images[message.image]
            entry.engine.drop_encoding()

    def _answer(self, ask: Ask) -> None:
        failure: Failure | None = None
        entry = self._engines[ask.engine]
        state = self._state(entry, ask)
        token = self._tokens[ask.job]
        try:
            token.check()
            if entry.engine is None:
                entry.engine = Engine(entry.recipe.make(), self._images[entry.image])
            for prediction in entry.engine.predict(
                state, token, lambda fraction, what: self._pipe.send(Progressed(ask.job, fraction, what))
            ):
                self._pipe.send(self._answered(ask.job, prediction))
        except BaseException as error:  # noqa: BLE001 - handed on to the executor, whatever it is
            failure = Failure.of(error)
        del self._tokens[ask.job]
        self._pipe.send(Ended(ask.job, failure))

    def _state(self, entry: _Engine, ask: Ask) -> TargetState:
        """Bring what is known of the target up to date, also for a question that was cancelled, and return it."""
        known = entry.targets.get(ask.target)
        if known is None:
            known = entry.targets[ask.target] = _Target(BitMask(self._images[entry.image].grid.shape_kji))
        known.prompts = (*known.prompts[: ask.kept_prompts], *ask.new_prompts)
        if (change := ask.mask_change) is not None:
            # A copy: a predictor may have kept the one before in its feedback.
            known.mask = known.mask.copy()
            known.mask.write(change.extent, change.apply(known.mask.read(change.extent)))
        return TargetState(
            ask.target,
            known.prompts,
            known.mask if known.mask.any() else None,
            None if ask.feedback is None else self._feedback.get(ask.feedback),
            ask.window,
            ask.view,
            {known.prompts[number]: view for number, view in ask.views.items()},
            ask.span,
            ask.others,
            ask.mask_is_given,
            ask.redraw,
        )

    def _answered(self, job: int, prediction: Prediction) -> Answered:
        number: int | None = None
        if prediction.feedback is not None:
            number = self._feedback_count = self._feedback_count + 1
            self._feedback[number] = prediction.feedback
        return Answered(
            job,
            {target: PackedPatch.of(patch) for target, patch in prediction.patches.items()},
            prediction.score,
            dict(prediction.timings_ms),
            prediction.note,
            number,
            prediction.device,
            prediction.replaces,
            prediction.certainty,
        )


def _mapped(message: ShareImage) -> Image:
    block = map_block(message.block)
    return Image(
        {
            channel.name: Volume(
                np.ndarray(channel.shape, channel.dtype, buffer=block, offset=channel.offset),
                channel.ijk_to_ras,
                channel.volume_name,
            )
            for channel in message.channels
        }
    )


def _own_streams() -> tuple[IO[bytes], IO[bytes]]:
    """Take standard input and output for messages, and give what others print to standard error."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return source, sink


def main() -> None:
    source, sink = _own_streams()
    faulthandler.enable()
    # An interrupt from the keyboard is for the executor's process, which ends this one as it sees fit.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Worker(Pipe(source, sink)).run()


if __name__ == "__main__":
    main()
