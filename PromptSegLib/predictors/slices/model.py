"""A network that looks at one slice: what it is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.cancel import CancelToken
from PromptSegLib.geometry import FloatArray


@dataclass(frozen=True, eq=False)
class ObjectPrompts:
    """What is known of one object on a slice of (h, w) pixels. Pixels are (x, y); integers are their centres.

    points_xy: (n, 2). labels: (n,), 1 in the object, 0 beside it. box_xyxy: (4,), first and last pixel inside.
    strokes: (2, h, w), bool: pixels marked as inside and as outside. mask: (h, w), bool: what it is now, to be
    refined. logits: what the network returned for exactly that mask.
    """

    points_xy: FloatArray
    labels: NDArray[np.int64]
    box_xyxy: FloatArray | None = None
    strokes: BoolArray | None = None
    mask: BoolArray | None = None
    logits: NDArray[Any] | None = None


@dataclass(frozen=True, eq=False)
class ObjectAnswer:
    """What an object is on a slice.

    mask: (h, w), bool. score: the quality expected, 0 to 1, None when the network does not say. logits: to be fed
    back.
    """

    mask: BoolArray
    score: float | None
    logits: NDArray[Any] | None


class SliceModel(Protocol):
    """A network with all that belongs to it. Used by one thread at a time.

    fingerprint: of its weights and settings: equal where the same pixels give the same embedding.
    batch: how many slices are best encoded at once. note: what the user should know, "" for nothing. device: where
    it runs now.
    """

    @property
    def fingerprint(self) -> str: ...

    @property
    def batch(self) -> int: ...

    @property
    def note(self) -> str: ...

    @property
    def device(self) -> str: ...

    def embed(self, images: Sequence[NDArray[Any]], cancel: CancelToken) -> list[NDArray[Any]]:
        """Return the embedding of each image, all of one shape: (h, w, 3), uint8, or (h, w), 0 to 1."""
        ...

    def answer(
        self, embedding: NDArray[Any], shape_hw: tuple[int, int], objects: Sequence[ObjectPrompts]
    ) -> list[ObjectAnswer]:
        """Return the masks of `objects` on the slice; one for all where the network does not tell them apart."""
        ...


class Follower(Protocol):
    """What a network remembers of a structure while it goes through a stack of slices, numbered from 0."""

    def show(self, number: int, embedding: NDArray[Any], mask: BoolArray) -> None:
        """Take note of what the structure is on a slice: `mask` (h, w)."""
        ...

    def find(self, number: int, embedding: NDArray[Any], shape_hw: tuple[int, int]) -> ObjectAnswer:
        """Return what it is on the next slice, and take note of that."""
        ...


@runtime_checkable
class FollowsSlices(Protocol):
    """A model of slices with a memory, which need not be prompted on each of them."""

    def follower(self) -> Follower:
        """Return one that remembers nothing yet."""
        ...
