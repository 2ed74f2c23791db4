"""Where predictions run: at once in the caller's thread, or in one long-lived thread of their own.

Whatever runs, results reach the session on the thread that drains the executor: the session, the scene and the
window are only ever touched by one thread.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import Cancelled
from PromptSegLib.execution.engine import Engine
from PromptSegLib.predictors.base import Prediction, TargetState


class Listener(Protocol):
    """Told what becomes of a job, on the draining thread."""

    def on_start(self, job: Job) -> None:
        """Take the job, to cancel it by; comes first, from within `submit`."""
        ...

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
        """Start to answer `state` with `engine`. Whatever goes wrong reaches the listener, in time."""
        ...

    def drain(self, timeout_s: float = 0.0) -> None:
        """Deliver what has come to its listeners, in this thread; wait up to `timeout_s` for something to come."""
        ...

    def close(self) -> None:
        """End what runs as cancelled and release the thread or process; the next job starts another."""
        ...


class ImmediateExecutor:
    """Runs each prediction within `submit`, in the caller's thread."""

    def submit(self, engine: Engine, state: TargetState, listener: Listener) -> Job:
        job = Job(engine, state, listener)
        listener.on_start(job)
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


JobType = TypeVar("JobType", bound=Job)


class BackgroundExecutor(Generic[JobType]):
    """What executors share that work elsewhere: jobs under way, and what has come for them but is not delivered.

    host_is_needed: called with True when work starts and with False when all of it is delivered. While it is
    needed, the host calls `drain` now and then: Slicer from a timer, whose slot also lets the worker run.
    """

    def __init__(self, host_is_needed: Callable[[bool], None] = lambda needed: None) -> None:
        self._host_is_needed = host_is_needed
        self._deliveries: queue.SimpleQueue[tuple[JobType | None, Callable[[], None]]] = queue.SimpleQueue()
        self._unfinished: list[JobType] = []

    def drain(self, timeout_s: float = 0.0) -> None:
        while True:
            try:
                job, delivery = self._deliveries.get(block=timeout_s > 0, timeout=timeout_s)
            except queue.Empty:
                return
            timeout_s = 0.0
            if job is None or job in self._unfinished:
                delivery()

    def _begin(self, job: JobType) -> None:
        self._unfinished.append(job)
        job.listener.on_start(job)
        if len(self._unfinished) == 1:
            self._host_is_needed(True)

    def _deliver(self, job: JobType | None, delivery: Callable[[], None]) -> None:
        """Have `delivery` called when the executor is drained, unless `job` has ended by then. From any thread."""
        self._deliveries.put((job, delivery))

    def _deliver_end(self, job: JobType, error: BaseException | None) -> None:
        self._deliver(job, lambda: self._end(job, error))

    def _end(self, job: JobType, error: BaseException | None) -> None:
        self._unfinished.remove(job)
        if not self._unfinished:
            self._host_is_needed(False)
        job.listener.on_end(error)

    def _end_all(self) -> None:
        for job in tuple(self._unfinished):
            job.cancel()
            self._end(job, Cancelled("the executor was closed"))


class ThreadExecutor(BackgroundExecutor[Job]):
    """Runs predictions in one long-lived thread: some libraries keep plans and caches by thread."""

    def __init__(self, host_is_needed: Callable[[bool], None] = lambda needed: None) -> None:
        super().__init__(host_is_needed)
        self._thread: threading.Thread | None = None
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()

    def submit(self, engine: Engine, state: TargetState, listener: Listener) -> Job:
        job = Job(engine, state, listener)
        self._begin(job)
        if self._thread is None:
            self._jobs = queue.SimpleQueue()
            self._thread = threading.Thread(
                target=self._work, args=[self._jobs], name="PromptSeg predictions", daemon=True
            )
            self._thread.start()
        self._jobs.put(job)
        return job

    def close(self) -> None:
        self._end_all()
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(timeout=2.0)
            self._thread = None

    def _work(self, jobs: queue.SimpleQueue[Job | None]) -> None:
        while (job := jobs.get()) is not None:
            error: BaseException | None = None
            try:
                self._answer(job)
            except BaseException as caught:  # noqa: BLE001 - a thread that died silently would hang the session
                error = caught
            self._deliver_end(job, error)
            del job, error

    def _answer(self, job: Job) -> None:
        listener = job.listener
        job.token.check()

        def progress(fraction: float, what: str) -> None:
            self._deliver(job, lambda: listener.on_progress(fraction, what))

        predictions = job.engine.predict(job.state, job.token, progress)
        with contextlib.closing(predictions) as answers:  # type: ignore[type-var]
            for prediction in answers:
                self._deliver(job, functools.partial(listener.on_prediction, prediction))


class SharedExecutor:
    """One executor for sessions that follow one another: its thread, and what libraries keep by thread, stay.

    Passes everything on to `executor` but `close`: whoever owns that one closes it.

    A session that is closed cancels its own work; waiting for the thread as well would hold up the window.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, engine: Engine, state: TargetState, listener: Listener) -> Job:
        return self._executor.submit(engine, state, listener)

    def drain(self, timeout_s: float = 0.0) -> None:
        self._executor.drain(timeout_s)

    def close(self) -> None:
        pass
