"""What a session has under way: a run that answers prompts, or what is prepared ahead of them."""

from __future__ import annotations

import time

from PromptSegLib.errors import PromptSegError
from PromptSegLib.execution.engine import Engine
from PromptSegLib.execution.executor import Executor, ImmediateExecutor, Job
from PromptSegLib.predictors.base import TargetState
from PromptSegLib.session.observer import SessionObserver
from PromptSegLib.session.run import Run, Unheard


class Running:
    """One thing at a time on `executor`. error: what the newest run failed with, None when it did not."""

    def __init__(self, executor: Executor, observer: SessionObserver) -> None:
        self.executor = executor
        self.error: PromptSegError | None = None
        self.run: Run | None = None
        self._ahead: Job | None = None
        self._observer = observer

    @property
    def busy(self) -> bool:
        """Whether a run is under way."""
        return self.run is not None

    def start(self, engine: Engine, state: TargetState, run: Run) -> None:
        """Let `run` hear how `engine` answers `state`.

        Raises:
            PromptSegError: what failed at once, in this thread.
        """
        self.error = None
        self.run = run
        self._observer.busy_changed(True)
        self.executor.submit(engine, state, run)
        if isinstance(self.executor, ImmediateExecutor) and self.error is not None:
            raise self.error

    def prepare(self, engine: Engine, state: TargetState) -> None:
        """Let `engine` prepare for a question like `state`; nobody hears of it."""
        self._ahead = self.executor.submit(engine, state, Unheard())

    def ended(self, error: PromptSegError | None) -> None:
        """Take note that the run ended, with this error if it failed."""
        self.run = None
        if error is not None:
            self.error = error
            self._observer.failed(error)
        self._observer.busy_changed(False)

    def cancel(self) -> None:
        """Stop whatever is under way."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.cancel()
        run, self.run = self.run, None
        if run is not None:
            if run.job is not None:
                run.job.cancel()
            self._observer.busy_changed(False)

    def wait(self, timeout_s: float) -> bool:
        """Deliver results until nothing runs any more and return True, or False after `timeout_s`.

        Raises:
            PromptSegError: what the run failed with.
        """
        deadline = time.monotonic() + timeout_s
        self.error = None
        while self.busy and time.monotonic() < deadline:
            self.executor.drain(min(0.1, max(0.0, deadline - time.monotonic())))
        if self.error is not None:
            raise self.error
        return not self.busy
