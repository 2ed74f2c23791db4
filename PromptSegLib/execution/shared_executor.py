"""One executor for the sessions that follow one another: its thread, and what libraries keep by thread, stay."""

from __future__ import annotations

from PromptSegLib.execution.engine import Engine
from PromptSegLib.execution.executor import Executor, Job, Listener
from PromptSegLib.predictors.base import TargetState


class SharedExecutor:
    """Passes everything on to `executor` but `close`: whoever owns that one closes it.

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
