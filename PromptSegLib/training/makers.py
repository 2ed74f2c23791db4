"""Processes that make numbered files ahead of the one that uses them: a GPU need not wait for its images."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

from PromptSegLib.errors import PromptSegError

_POLL_S = 0.02


class MakerError(PromptSegError, RuntimeError):
    """A process that makes files has ended before its work."""


class Makers:
    """`count` processes that call make(0), make(1) … make(until - 1) as fast as they can, until this process ends.

    make: leaves one whole file, unless it is there already; can be pickled.
    """

    def __init__(self, count: int, until: int, make: Callable[[int], None]) -> None:
        spawn = get_context("spawn")  # a fork of a process that uses a GPU would be broken
        self._processes = [
            spawn.Process(target=_work, args=(range(first, until, count), make, os.getpid()), daemon=True)
            for first in range(count)
        ]
        for process in self._processes:
            process.start()

    def wait_for(self, path: Path) -> None:
        """Return once the file is there.

        Raises:
            MakerError: nobody is left to make it.
        """
        while not path.exists():
            if not any(process.is_alive() for process in self._processes) and not path.exists():
                raise MakerError(f"expected {path} from the processes that make images, but they have ended without it")
            time.sleep(_POLL_S)


def _work(numbers: range, make: Callable[[int], None], parent: int) -> None:
    import torch

    torch.set_num_threads(1)
    for number in numbers:
        if os.getppid() != parent:  # which was killed
            return
        make(number)
