"""A worker process as its parent sees it: started, spoken to, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PromptSegLib.execution.process.protocol import Message, Pipe
from PromptSegLib.execution.process.streams import LastWords, Outbox

_LEAVE_S = 1.0  # For a worker that is told to end; the window of the host stands still that long, so not longer.

if sys.platform == "win32":
    _CREATION_FLAGS = subprocess.CREATE_NO_WINDOW
else:
    _CREATION_FLAGS = 0


class ProcessHandle:
    """Starts `python -m PromptSegLib.execution.process.worker` and listens to it in a thread.

    on_message, on_end: called in that thread; the latter once, with this handle, when nothing more will come.

    Raises:
        OSError: `python` cannot be started.
    """

    def __init__(
        self,
        python: str,
        environment: Mapping[str, str],
        on_message: Callable[[Any], None],
        on_end: Callable[[ProcessHandle], None],
    ) -> None:
        self.was_killed = False
        self._on_message = on_message
        self._on_end = on_end
        self._process = subprocess.Popen(
            # -P: no module of the current folder takes the place of one of Python's.
            [python, "-P", "-m", "PromptSegLib.execution.process.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment_with_package(environment),
            creationflags=_CREATION_FLAGS,
        )
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        self.pipe = Pipe(self._process.stdout, self._process.stdin)
        self._outbox = Outbox(self._process.stdin)
        self._printed = LastWords(self._process.stderr)
        self._listener = threading.Thread(target=self._listen, name="PromptSeg worker's listener", daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def send(self, message: Message) -> None:
        """Send `message`; when the worker is gone, that is told by `on_end`. Never waits for a worker to read."""
        self._outbox.put(self.pipe.packed(message))

    def kill(self) -> None:
        """End the worker at once, whatever it is at."""
        self.was_killed = True
        self._process.kill()

    def join(self) -> None:
        """Wait until all that a worker said that is gone was listened to."""
        self._listener.join(timeout=2.0)

    def how_it_ended(self) -> str:
        """Say how the worker ended, and what it printed last."""
        try:
            status = self._process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            return "stopped talking"
        how = f"ended with status {status}"
        if status < 0:
            how = f"was killed by {_signal_name(-status)}"
        printed = self._printed.text()
        return f"{how}\nThe last it printed:\n{printed}" if printed else how

    def stop(self) -> None:
        """End the worker, wait for it and let go of all that belongs to it."""
        self._outbox.end()
        try:
            self._process.wait(timeout=_LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.join()
        self._outbox.join()
        if not self._listener.is_alive():
            self._process.stdout.close()  # type: ignore[union-attr]
        self._printed.close()

    def _listen(self) -> None:
        try:
            while True:
                self._on_message(self.pipe.receive())
        except (EOFError, OSError):
            pass
        finally:
            self._on_end(self)


def environment_with_package(added: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with `added`, in which Python finds the package that this file is in."""
    environment = {**os.environ, **added}
    paths = [str(Path(__file__).parents[3]), environment.get("PYTHONPATH", "")]
    return environment | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
