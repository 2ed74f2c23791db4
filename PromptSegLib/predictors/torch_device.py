"""Where a network runs: the best device there is, and the CPU once a GPU has run out of memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import nn

from PromptSegLib.errors import PredictionError

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

OUT_OF_MEMORY_NOTE = "the GPU's memory ran out: now on the CPU, slower"


class OnDevice:
    """Runs a network on `device`: "auto" for the best there is, or a name that torch knows, such as "cpu".

    note: OUT_OF_MEMORY_NOTE once that happened, else "".

    Raises:
        PredictionError: for a device that is not here.
    """

    def __init__(self, network: nn.Module, device: str = "auto") -> None:
        self.network = network.eval().requires_grad_(False)
        self.note = ""
        self.device = best_device() if device == "auto" else checked_device(device)
        self._is_there = False

    @property
    def half(self) -> torch.dtype | None:
        """The half precision to compute in where it is faster: on CUDA; None elsewhere."""
        if self.device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which the heavy part of a network runs in half precision, where it is faster."""
        return nullcontext() if self.half is None else torch.autocast(self.device.type, dtype=self.half)

    def run(self, work: Callable[[], Result]) -> Result:
        """Return what `work` returns, called with the network in its place; again on the CPU if memory runs out."""
        try:
            self._move()
            with torch.inference_mode():
                return work()
        except RuntimeError as error:
            if self.device.type == "cpu" or "out of memory" not in str(error):
                raise
            _log.warning("%s: %s", OUT_OF_MEMORY_NOTE, error)
        self.note, self.device, self._is_there = OUT_OF_MEMORY_NOTE, torch.device("cpu"), False
        self._move()
        torch.cuda.empty_cache()
        with torch.inference_mode():
            return work()

    def _move(self) -> None:
        if not self._is_there:
            self.network.to(self.device)
            self._is_there = True


def best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def checked_device(name: str) -> torch.device:
    """Return the device of that name.

    Raises:
        PredictionError: torch does not know it or it is not here.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise PredictionError(f"expected a device that is here, got {name!r}: {error}") from error
    return device
