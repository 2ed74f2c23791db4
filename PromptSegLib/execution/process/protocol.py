"""What a `ProcessExecutor` and its worker tell each other, and how it crosses.

Through two pipes, the worker's standard input and output. A message is the length of a pickle, 8 bytes, and the
pickle of one of the classes below. Pickles are read from these pipes only, never from a file or a network: at the
other end is a process that this one started, or was started by.

    executor to worker                              worker to executor
    ShareImage  voxels: once, and when they changed Progressed  how far a question is
    MakeEngine  a predictor for an image            Answered    patches as packed bits
    Ask         what is new since the last question Ended       a question, with its error
    Cancel      a question nobody waits for
    Forget      what nobody refers to any more

Voxels cross as the path of a shared block, which the worker maps and whose name it removes. Of a target's prompts
only the new ones cross, of its mask only the voxels that changed; both ends keep the rest. Feedback stays in the
worker: a number crosses in its place. When its input ends, the worker ends.
"""

from __future__ import annotations

import pickle
import struct
import threading
import traceback
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from PromptSegLib import errors
from PromptSegLib.bitmask import MaskDelta, Patch
from PromptSegLib.certainty import Certainty
from PromptSegLib.errors import PredictionError, PromptSegError
from PromptSegLib.geometry import Extent, FloatArray
from PromptSegLib.predictors.registry import Recipe
from PromptSegLib.prompts import Prompt
from PromptSegLib.span import Span
from PromptSegLib.view import View, Window

_LENGTH = struct.Struct("<Q")
_LONGEST = 1 << 32  # bytes of a message; what claims more is none


@dataclass(frozen=True)
class Channel:
    """A volume whose voxels lie in a block, from byte `offset` on."""

    name: str
    volume_name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    ijk_to_ras: FloatArray


@dataclass(frozen=True)
class ShareImage:
    """Map the voxels of `image`; those mapped for it before are out of date, and what was computed from them."""

    image: int
    block: Path
    channels: tuple[Channel, ...]


@dataclass(frozen=True)
class MakeEngine:
    """Make a predictor by `recipe` for `image`; an engine that is there moves to that image."""

    engine: int
    image: int
    recipe: Recipe


@dataclass(frozen=True)
class Ask:
    """A question. Prompts: the first `kept_prompts` of the last question for that target, then `new_prompts`.

    mask_change: what became of the target's mask since then. views: those of all its prompts that have one, by the
    prompt's index. others: prompts of the other targets to be answered.
    """

    job: int
    engine: int
    target: str
    kept_prompts: int
    new_prompts: tuple[Prompt, ...]
    mask_change: MaskDelta | None
    feedback: int | None
    window: Window | None
    view: View | None
    views: Mapping[int, View]
    span: Span | None
    others: Mapping[str, tuple[Prompt, ...]]
    mask_is_given: bool
    redraw: bool


@dataclass(frozen=True)
class Cancel:
    job: int


@dataclass(frozen=True)
class Forget:
    """kind: "image", "engine" or "feedback"."""

    kind: str
    number: int


@dataclass(frozen=True)
class Progressed:
    job: int
    fraction: float
    what: str


@dataclass(frozen=True)
class Answered:
    job: int
    patches: Mapping[str, PackedPatch]
    score: float | None
    timings_ms: Mapping[str, float]
    note: str
    feedback: int | None
    device: str
    replaces: bool
    certainty: Certainty | None


@dataclass(frozen=True)
class Ended:
    job: int
    failure: Failure | None


Message = ShareImage | MakeEngine | Ask | Cancel | Forget | Progressed | Answered | Ended


@dataclass(frozen=True)
class PackedPatch:
    """A patch, its mask as bits, compressed."""

    extent: Extent
    bits: bytes

    @classmethod
    def of(cls, patch: Patch) -> PackedPatch:
        return cls(patch.extent, zlib.compress(np.packbits(patch.mask_kji).tobytes(), 1))

    def unpacked(self) -> Patch:
        packed = np.frombuffer(zlib.decompress(self.bits), dtype=np.uint8)
        mask = np.unpackbits(packed, count=self.extent.size).astype(bool)
        return Patch(self.extent, mask.reshape(self.extent.shape_kji))


class WorkerTraceback(Exception):  # noqa: N818 - the cause of an error, not one itself
    """Where in the worker an error was raised, as text."""


@dataclass(frozen=True)
class Failure:
    """An exception as text: itself it may hold what cannot be pickled."""

    kind: str
    text: str
    traceback: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        return cls(type(error).__name__, str(error), "".join(traceback.format_exception(error)))

    def error(self, predictor: str) -> PromptSegError:
        """Return an exception of the same kind, where it is one of PromptSeg's, else a PredictionError."""
        kind = getattr(errors, self.kind, None)
        if isinstance(kind, type) and issubclass(kind, PromptSegError):
            error = kind(self.text)
        else:
            error = PredictionError(f"{predictor!r} failed with {self.kind}: {self.text}")
        error.__cause__ = WorkerTraceback(self.traceback)
        return error


class Pipe:
    """Sends and receives messages; any thread may send, one receives. Counts the bytes that crossed."""

    def __init__(self, source: IO[bytes], sink: IO[bytes]) -> None:
        self.bytes_sent = 0
        self.bytes_received = 0
        self._source = source
        self._sink = sink
        self._lock = threading.Lock()

    def packed(self, message: Message) -> bytes:
        """Return the bytes that stand for `message`, and count them as sent."""
        content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        with self._lock:
            self.bytes_sent += _LENGTH.size + len(content)
        return _LENGTH.pack(len(content)) + content

    def send(self, message: Message) -> None:
        """Send `message`; waits as long as the other end does not read.

        Raises:
            OSError: it is gone.
        """
        content = self.packed(message)
        with self._lock:
            self._sink.write(content)
            self._sink.flush()

    def receive(self) -> Any:
        """Wait for a message.

        Raises:
            EOFError: the other end is gone, or says what is no message.
        """
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        if length > _LONGEST:
            raise EOFError(f"a message of {length} bytes is none")
        content = self._read(length)
        self.bytes_received += _LENGTH.size + length
        return pickle.loads(content)

    def _read(self, length: int) -> bytes:
        content = self._source.read(length)
        if len(content) < length:
            raise EOFError("the other end of the pipe is gone")
        return content
