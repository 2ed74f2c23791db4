"""One long piece of work at a time, such as a download, in a thread; its host drains what it has to tell."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from PromptSegLib.cancel import CancelToken, Progress

Work = Callable[[Progress, CancelToken], Any]
Done = Callable[[Any, BaseException | None], None]
"""Called with what the work returned, or with what it raised."""


class Background:
    """Runs `Work`. host_is_needed: as of `ThreadExecutor`."""

    def __init__(self, host_is_needed: Callable[[bool], None]) -> None:
        self._host_is_needed = host_is_needed
        self._deliveries: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._token: CancelToken | None = None

    @property
    def busy(self) -> bool:
        return self._token is not None

    def start(self, work: Work, progress: Progress, done: Done) -> None:
        """Do `work`; tell of `progress` and `done` on the draining thread. One at a time."""
        if self.busy:
            raise RuntimeError("expected the work before to be done, got more of it")
        token = self._token = CancelToken()
        self._host_is_needed(True)

        def tell(fraction: float, what: str) -> None:
            self._deliveries.put(lambda: progress(fraction, what) if self._token is token else None)

        def run() -> None:
            result, error = None, None
            try:
                result = work(tell, token)
            except BaseException as caught:  # noqa: BLE001 - handed on, whatever it is
                error = caught
            self._deliveries.put(lambda: self._finish(token, result, error, done))

        threading.Thread(target=run, name="PromptSeg background", daemon=True).start()

    def cancel(self) -> None:
        if self._token is not None:
            self._token.cancel()

    def drain(self) -> None:
        """Deliver what has come."""
        while True:
            try:
                delivery = self._deliveries.get_nowait()
            except queue.Empty:
                return
            delivery()

    def close(self) -> None:
        """Cancel, and hear no more of it."""
        self.cancel()
        if self._token is not None:
            self._token = None
            self._host_is_needed(False)

    def _finish(self, token: CancelToken, result: Any, error: BaseException | None, done: Done) -> None:
        if self._token is token:
            self._token = None
            self._host_is_needed(False)
            done(result, error)
