"""Where predictions run: at once in the caller's thread, or in one long-lived thread of their own.

Whatever runs, results reach the session on the thread that drains the executor: the session, the scene and the
window are only ever touched by one thread.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Protocol

from PromptSegLib.cancel import CancelToken
from PromptSegLib.engine import Engine
from PromptSegLib.predictors.base import Prediction, TargetState


class Listener(Protocol):
    """Told what becomes of a job, on the draining thread."""

    def on_progress(self, fraction: float, what: str) -> None: ...

    def on_prediction(self, prediction: Prediction) -> None: ...

    def on_end(self, error: BaseException | None) -> None:
        """Take the end of the job; `error` is Cancelled when it was cancelled. Nothing follows it."""
        ...


class Job:
    """A prediction under way."""

    def __init__(self, engine: Engine, state: TargetState, listener: Listener) -> None:
        self.engine = engine
        self.state = state
        self.listener = listener
        self.token = CancelToken()

    def cancel(self) -> None:
        """Ask it to stop; its listener's `on_end` still comes, later."""
        self.token.cancel()


class Executor(Protocol):
    """Runs predictions, one after the other."""

    def submit(self, engine: Engine, state: TargetState, listener: Listener) -> Job:
        """Start to answer `state` with `engine`."""
        ...

    def drain(self, timeout_s: float = 0.0) -> None:
        """Deliver what has come to its listeners, in this thread; wait up to `timeout_s` for something to come."""
        ...

    def close(self) -> None:
        """Cancel what runs and release the thread or process. Jobs not yet delivered are dropped."""
        ...


class ImmediateExecutor:
    """Runs each prediction within `submit`, in the caller's thread."""

    def submit(self, engine: Engine, state: TargetState, listener: Listener) -> Job:
        job = Job(engine, state, listener)
        error: BaseException | None = None
        try:
            for prediction in engine.predict(state, job.token, listener.on_progress):
                listener.on_prediction(prediction)
        except Exception as caught:  # noqa: BLE001 - handed on to the listener, whatever it is
            error = caught
        listener.on_end(error)
        return job

    def drain(self, timeout_s: float = 0.0) -> None:
        pass

    def close(self) -> None:
        pass


class ThreadExecutor:
    """Runs predictions in one long-lived thread: some libraries keep plans and caches by thread.

    host_is_needed: called with True when work starts and with False when all of it is delivered. While it is
    needed, the host calls `drain` now and then: Slicer from a timer, whose slot also lets the worker run.
    """

    def __init__(self, host_is_needed: Callable[[bool], None] = lambda needed: None) -> None:
        self._host_is_needed = host_is_needed
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._deliveries: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._unfinished: list[Job] = []
        self._thread: threading.Thread | None = None

    def submit(self, engine: Engine, state: TargetState, listener: Listener) -> Job:
        job = Job(engine, state, listener)
        self._unfinished.append(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="PromptSeg predictions", daemon=True)
            self._thread.start()
        self._jobs.put(job)
        if len(self._unfinished) == 1:
            self._host_is_needed(True)
        return job

    def drain(self, timeout_s: float = 0.0) -> None:
        while True:
            try:
                delivery = (
                    self._deliveries.get(timeout=timeout_s) if timeout_s > 0 else self._deliveries.get_nowait()
                )
            except queue.Empty:
                return
            timeout_s = 0.0
            delivery()

    def close(self) -> None:
        for job in self._unfinished:
            job.cancel()
        if self._unfinished:
            self._unfinished.clear()
            self._host_is_needed(False)
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(timeout=2.0)
            self._thread = None
        self._deliveries = queue.SimpleQueue()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            error: BaseException | None = None
            try:
                self._answer(job)
            except BaseException as caught:  # noqa: BLE001 - a thread that died silently would hang the session
                error = caught
            self._deliveries.put(lambda job=job, error=error: self._finish(job, error))  # type: ignore[misc]
            del job

    def _answer(self, job: Job) -> None:
        listener = job.listener
        job.token.check()

        def progress(fraction: float, what: str) -> None:
            self._deliveries.put(lambda: listener.on_progress(fraction, what))

        predictions = job.engine.predict(job.state, job.token, progress)
        with contextlib.closing(predictions) as answers:  # type: ignore[type-var]
            for prediction in answers:
                self._deliveries.put(lambda answer=prediction: listener.on_prediction(answer))  # type: ignore[misc]

    def _finish(self, job: Job, error: BaseException | None) -> None:
        if job in self._unfinished:
            self._unfinished.remove(job)
        if not self._unfinished:
            self._host_is_needed(False)
        job.listener.on_end(error)
