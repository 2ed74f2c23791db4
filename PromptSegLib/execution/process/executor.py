"""Predictions in a process of their own: a crash, or memory that runs out, ends that process and not this one."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from PromptSegLib.errors import Cancelled, PredictionError
from PromptSegLib.execution.engine import Engine
from PromptSegLib.execution.executor import BackgroundExecutor, Job, Listener
from PromptSegLib.execution.process.handle import ProcessHandle
from PromptSegLib.execution.process.memory import WorkerMemory
from PromptSegLib.execution.process.protocol import Answered, Cancel, Ended, Progressed
from PromptSegLib.execution.process.shared_block import remove_block
from PromptSegLib.predictors.base import Prediction, TargetState


class _ProcessJob(Job):
    """A question under way to, or in, a worker."""

    def __init__(
        self, engine: Engine, state: TargetState, listener: Listener, number: int, executor: ProcessExecutor
    ) -> None:
        super().__init__(engine, state, listener)
        self.number = number
        self.cancelled_at = float("inf")
        self._executor = executor

    def cancel(self) -> None:
        super().cancel()
        self.cancelled_at = min(self.cancelled_at, time.monotonic())
        self._executor._tell_cancelled(self)


class ProcessExecutor(BackgroundExecutor[_ProcessJob]):
    """Runs predictions in one long-lived process, started with the first of them, and again after it has ended.

    host_is_needed: see `BackgroundExecutor`.
    python: the interpreter to start, this one by default; in Slicer, where this one is Slicer itself, PythonSlicer.
    environment: variables that the process has besides those of this one.
    cancel_grace_s: a cancelled prediction that has not stopped after so many seconds is killed with its process;
    what was encoded and loaded there is then made again. None: it is waited for.

    Takes predictors by name, or made by `create_predictor`: others cannot be made again elsewhere. Belongs to one
    thread. When the process crashes, is killed or exits, the prediction that ran ends with a PredictionError that
    says how; those that wait go on in a new process.
    """

    def __init__(
        self,
        host_is_needed: Callable[[bool], None] = lambda needed: None,
        *,
        python: str | None = None,
        environment: Mapping[str, str] | None = None,
        # Longer than nearly all predictions take on a CPU: starting over costs more than waiting.
        cancel_grace_s: float | None = 30.0,
    ) -> None:
        super().__init__(host_is_needed)
        self._python = python or sys.executable
        self._environment = dict(environment or {})
        self._cancel_grace_s = float("inf") if cancel_grace_s is None else cancel_grace_s
        self._numbers = itertools.count(1)
        self._worker: ProcessHandle | None = None
        self._memory = WorkerMemory()

    @property
    def pid(self) -> int | None:
        """Number of the process, None while there is none."""
        return self._worker.pid if self._worker else None

    @property
    def bytes_crossed(self) -> tuple[int, int]:
        """Bytes sent to and received from the process that there is, without the voxels."""
        return (self._worker.pipe.bytes_sent, self._worker.pipe.bytes_received) if self._worker else (0, 0)

    def submit(self, engine: Engine, state: TargetState, listener: Listener) -> Job:
        if self._worker is not None and not self._worker.is_alive:
            # Ended since the last drain: first let the other jobs know.
            self._worker.join()
            self.drain()
        job = _ProcessJob(engine, state, listener, next(self._numbers), self)
        self._begin(job)
        self._ask(job)
        return job

    def drain(self, timeout_s: float = 0.0) -> None:
        left_s = float("inf")
        if self._worker is not None:
            for forgotten in self._memory.forgotten():
                self._worker.send(forgotten)
            if self._unfinished and not self._worker.was_killed:
                cancelled_at = self._unfinished[0].cancelled_at
                left_s = cancelled_at + self._cancel_grace_s - time.monotonic()
                if left_s <= 0:
                    self._worker.kill()
        super().drain(min(timeout_s, max(left_s, 0.01)) if timeout_s > 0 else 0.0)

    def close(self) -> None:
        self._end_all()
        self._release_worker()

    def _ask(self, job: _ProcessJob) -> None:
        name = job.engine.predictor.capabilities.name
        try:
            self._memory.check(job.engine)
            if self._worker is None:
                self._memory = memory = WorkerMemory()
                self._worker = ProcessHandle(self._python, self._environment, partial(self._heard, memory), self._lost)
            messages = self._memory.messages(job.number, job.engine, job.state)
        except PredictionError as error:
            self._deliver_end(job, error)
            return
        except OSError as error:
            wrapped = PredictionError(f"expected a process for {name!r}, got none: {error}")
            wrapped.__cause__ = error
            self._deliver_end(job, wrapped)
            return
        for message in messages:
            self._worker.send(message)

    def _tell_cancelled(self, job: _ProcessJob) -> None:
        if self._worker is not None and job in self._unfinished:
            self._worker.send(Cancel(job.number))

    def _heard(self, memory: WorkerMemory, message: Any) -> None:
        """Take what the worker says, in the thread that listens."""
        feedback = memory.feedback(message.feedback) if isinstance(message, Answered) else None
        job = next((job for job in tuple(self._unfinished) if job.number == message.job), None)
        if job is None:
            return
        listener = job.listener
        match message:
            case Progressed():
                self._deliver(job, partial(listener.on_progress, message.fraction, message.what))
            case Answered():
                prediction = Prediction(
                    {target: patch.unpacked() for target, patch in message.patches.items()},
                    message.score,
                    message.timings_ms,
                    message.note,
                    feedback,
                    message.device,
                    message.replaces,
                    message.certainty,
                )
                self._deliver(job, partial(listener.on_prediction, prediction))
            case Ended():
                failure = message.failure
                name = job.engine.predictor.capabilities.name
                self._deliver_end(job, failure.error(name) if failure else None)

    def _lost(self, worker: ProcessHandle) -> None:
        self._deliver(None, lambda: self._bury(worker))

    def _bury(self, worker: ProcessHandle) -> None:
        """End the job that ran when `worker` ended, and ask a new one for those that waited."""
        if worker is not self._worker:
            return
        how = worker.how_it_ended()
        self._release_worker()
        waiting = list(self._unfinished)
        if waiting and not worker.was_killed and not waiting[0].token.cancelled:
            ran = waiting.pop(0)
            name = ran.engine.predictor.capabilities.name
            self._end(ran, PredictionError(f"the process of {name!r} {how}"))
        for job in waiting:
            if job.token.cancelled:
                self._end(job, Cancelled("the prediction was cancelled"))
            elif job in self._unfinished:
                self._ask(job)

    def _release_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()
        for block in self._memory.blocks:
            remove_block(block)
        self._memory = WorkerMemory()
