"""A segment carried from the slices that were prompted to the slices between and beyond them.

Each next slice is asked for what looks like the last one's mask: its parts' boxes, points inside of them, and the
mask itself, as far as the network takes them; a network with a memory is asked what it remembers. Between two
prompted slices the shape is led from the one to the other, from both sides to the middle. Beyond the outermost ones
it follows how the structure moved, and ends by itself where the structure ends, saying why. A slice that was
prompted is never overwritten.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.bitmask import BitMask, BoolArray
from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.errors import PromptError, UnsupportedPromptError
from PromptSegLib.predictors.base import Prediction, Predictor, TargetState
from PromptSegLib.predictors.slices.chain import Anchor, Chain, SliceLook
from PromptSegLib.predictors.slices.memory import SliceRecord
from PromptSegLib.predictors.slices.model import Follower, FollowsSlices
from PromptSegLib.predictors.slices.predictor import (
    Group,
    SliceAnswer,
    SliceEncoding,
    SlicePredictor,
    memory_of,
)
from PromptSegLib.predictors.slices.prompts import objects_like
from PromptSegLib.predictors.slices.slice_choice import slice_through
from PromptSegLib.predictors.slices.slices import Slice
from PromptSegLib.span import Span


def propagate(
    predictor: Predictor, encoding: SliceEncoding, state: TargetState, cancel: CancelToken, progress: Progress
) -> Iterator[Prediction]:
    """Answer the prompts of `state`, then carry the masks of their slices through the volume, within `state.span`.

    The stack is that of the newest prompt's slice. Without prompts the slice in view is the beginning; it also
    counts after an edit by hand. Yields a prediction for each slice as it comes, so that what has come is kept when
    it is cancelled, and a last one, without a mask, whose note says where it ended and why. After a correction only
    the slices around it, up to the next prompted ones, are predicted anew.

    Raises:
        UnsupportedPromptError: the predictor does not work slice by slice.
        PromptError: without a slice to begin with.
        Cancelled: somebody asked for that.
    """
    if not isinstance(predictor, SlicePredictor):
        raise UnsupportedPromptError(
            f"expected a predictor that works slice by slice, got {predictor.capabilities.name!r}: "
            "its masks are of the whole volume already"
        )
    yield from Propagation(predictor, encoding, state, cancel, progress).run()


class Propagation:
    """One run of `propagate`: what is there now, and what is known of it."""

    def __init__(
        self,
        predictor: SlicePredictor,
        encoding: SliceEncoding,
        state: TargetState,
        cancel: CancelToken,
        progress: Progress,
    ) -> None:
        self._predictor = predictor
        self._encoding = encoding
        self._state = state
        self._cancel = cancel
        self._progress = progress
        self._memory = memory_of(state)
        self._mask = state.mask.copy() if state.mask else BitMask(encoding.volume.grid.shape_kji)
        takes_any = any(predictor.takes(prompt) for prompt in state.prompts)
        self._groups: list[Group] = predictor.groups(encoding, state) if takes_any else []
        self._span = state.span or Span()
        self._base = self._first_slice()
        self._first, self._last = self._limits()
        self._reached: set[int] = set()
        self._scores: list[float] = []
        self._followers: dict[Chain, Follower] = {}

    def run(self) -> Iterator[Prediction]:
        had_memory = bool(self._memory.records)
        if self._groups:
            answers = self._predictor.predict_changed(self._encoding, self._state, self._cancel, self._progress)
            for prediction in answers:
                self._memory = prediction.feedback
                for patch in prediction.patches.values():
                    self._mask.write(patch.extent, patch.mask_kji)
                yield prediction
        chains = self._chains(self._anchors(had_memory))
        for number, chain in enumerate(chains):
            yield from self._follow(chain, chains)
            if chain.far is not None and chain.step < 0 and chain.why:
                # It did not come as far as to meet the one from the other side, which goes on.
                chains[number - 1].stop = chain.last
                yield from self._follow(chains[number - 1], chains)
        yield from self._clear_left_behind(chains)
        self._memory = self._memory.with_carried(self._span)
        score = sum(self._scores) / len(self._scores) if self._scores else None
        device = self._encoding.model.device
        yield Prediction({}, score, note=self._summary(chains), feedback=self._memory, device=device)

    # What to carry from where

    def _first_slice(self) -> Slice:
        """Return the slice along whose stack masks are carried."""
        if self._groups:
            return self._groups[-1][0]
        if self._state.view is None:
            raise PromptError("expected a prompt on a slice, or a view of a slice that has a mask, got neither")
        return self._slice_in_view()

    def _slice_in_view(self) -> Slice:
        view = self._state.view
        if view is None:
            return self._base
        return slice_through(self._encoding.volume.grid, view.center_ras, view.normal_ras)

    def _anchors(self, had_memory: bool) -> list[Anchor]:
        """Return the slices whose masks are given, in the order of the stack."""
        anchors: dict[int, Anchor] = {}
        groups = list(self._groups)
        if not had_memory or not groups:
            groups.insert(0, (self._slice_in_view(), ()))
        for plane, prompts in groups:
            offset = self._base.layers_to(plane)
            mask = plane.read(self._mask)
            if offset is None or not (prompts or mask.any()):
                continue
            layer = round(offset)
            if not self._first <= layer <= self._last:
                continue
            record = self._memory.record(plane)
            look = SliceLook.of(self._predictor.image_of(self._encoding, plane, self._state.window), mask)
            is_new = record is None or record.carried != self._span
            anchors[layer] = Anchor(layer, mask, look, is_new)
            if record is None and prompts:
                self._memory = self._memory.with_record(SliceRecord(plane, prompts, self._state.window))
        if not anchors:
            raise PromptError("expected a slice with a mask within the span, got none to begin with")
        return [anchors[layer] for layer in sorted(anchors)]

    def _limits(self) -> tuple[int, int]:
        """Return the first and the last layer that masks may be carried to, counted from the newest slice."""
        ends = []
        for step in (-1, 1):
            layer = 0
            while self._base.neighbour(layer + step) is not None:
                layer += step
            ends.append(layer)
        if self._span.between_ras is not None:
            wanted = sorted(map(round, self._base.grid.to_ijk(self._span.between_ras)[:, 2].tolist()))
            ends = [max(ends[0], wanted[0]), min(ends[1], wanted[1])]
        if self._span.slices is not None:
            offsets = [self._base.layers_to(plane) for plane, _ in self._groups]
            layers = [0, *(round(offset) for offset in offsets if offset is not None)]
            ends = [max(ends[0], min(layers) - self._span.slices), min(ends[1], max(layers) + self._span.slices)]
        return ends[0], ends[1]

    def _chains(self, anchors: Sequence[Anchor]) -> list[Chain]:
        """Return the runs to make: around anchors that are new, or around all when none is."""
        width, height, thickness = self._base.grid.spacing_mm
        layer_px = float(thickness / (width * height) ** 0.5)
        all_are_known = not any(anchor.is_new for anchor in anchors)
        chains = []
        for lower, upper in itertools.pairwise(anchors):
            if lower.is_new or upper.is_new or all_are_known:
                middle = (lower.layer + upper.layer) // 2 if upper.mask.any() else upper.layer - 1
                chains.append(Chain(lower, 1, middle + 1, layer_px, far=upper))
                chains.append(Chain(upper, -1, lower.layer, layer_px, far=lower))
        direction = self._span.direction
        if direction != "backward" and (anchors[-1].is_new or all_are_known):
            chains.append(Chain(anchors[-1], 1, self._last + 1, layer_px))
        if direction != "forward" and (anchors[0].is_new or all_are_known):
            chains.append(Chain(anchors[0], -1, self._first - 1, layer_px))
        return chains

    # Carrying

    def _follow(self, chain: Chain, chains: Sequence[Chain]) -> Iterator[Prediction]:
        """Carry the mask along `chain` until it ends, or meets what came from the other side."""
        expected = sum(abs(one.stop - one.start.layer) - 1 for one in chains)
        while (layer := chain.next) is not None and layer not in self._reached:
            self._cancel.check()
            plane = self._base.neighbour(layer)
            if plane is None:
                return
            self._progress(min(len(self._reached) / max(expected, 1), 1.0), plane.name)
            self._encode_batch(chain)
            found = self._found(chain, layer, plane)
            if found is None:
                return
            answer, mask = found
            self._reached.add(layer)
            self._memory = self._memory.with_record(SliceRecord(plane, window=self._state.window))
            yield self._laid_over(plane, mask, answer)

    def _found(self, chain: Chain, layer: int, plane: Slice) -> tuple[SliceAnswer, BoolArray] | None:
        """Return what is found on the next slice, by the first expectation that finds something that goes on."""
        image = self._predictor.image_of(self._encoding, plane, self._state.window)
        follower = self._follower(chain)
        for expected in chain.expectations():
            if follower is not None:
                answer = self._remembered(follower, layer - chain.start.layer, plane)
            else:
                answer = self._predictor.answer(
                    self._encoding, plane, self._state.window, objects_like(expected), self._cancel
                )
            mask = chain.take(layer, answer.objects, expected, image)
            if mask is not None:
                return answer, mask
            if follower is not None:
                return None  # It does not depend on what is expected.
        return None

    def _follower(self, chain: Chain) -> Follower | None:
        """Return what remembers the structure along `chain`, if the network has a memory."""
        if isinstance(self._encoding.model, FollowsSlices) and chain not in self._followers:
            follower = self._followers[chain] = self._encoding.model.follower()
            for anchor in (chain.start, chain.far):
                plane = self._base.neighbour(anchor.layer) if anchor is not None else None
                if anchor is not None and plane is not None and anchor.mask.any():
                    follower.show(abs(anchor.layer - chain.start.layer), self._embedding(plane), anchor.mask)
        return self._followers.get(chain)

    def _remembered(self, follower: Follower, steps: int, plane: Slice) -> SliceAnswer:
        started = time.perf_counter()
        embedding = self._embedding(plane)
        embedded = time.perf_counter()
        answer = follower.find(abs(steps), embedding, plane.shape_hw)
        found = time.perf_counter()
        timings = {"embed": 1000 * (embedded - started), "follow": 1000 * (found - embedded)}
        return SliceAnswer((answer,), answer.mask, timings)

    def _embedding(self, plane: Slice) -> NDArray[Any]:
        [embedding] = self._predictor.embeddings(self._encoding, [plane], self._state.window, self._cancel)
        return embedding

    def _encode_batch(self, chain: Chain) -> None:
        """Encode the next slices together, where that is faster than one by one."""
        batch = self._encoding.model.batch
        if batch > 1 and (abs(chain.last - chain.start.layer)) % batch == 0:
            layers = range(chain.last + chain.step, chain.stop, chain.step)[:batch]
            planes = [plane for layer in layers if (plane := self._base.neighbour(layer)) is not None]
            self._predictor.embeddings(self._encoding, planes, self._state.window, self._cancel)

    def _laid_over(self, plane: Slice, mask: BoolArray, answer: SliceAnswer | None) -> Prediction:
        patch = plane.patch(mask, self._mask)
        self._mask.write(patch.extent, patch.mask_kji)
        score, timings_ms = (answer.score, answer.timings_ms) if answer else (None, {})
        self._scores += [] if score is None else [score]
        model = self._encoding.model
        return Prediction({self._state.target: patch}, score, timings_ms, model.note, self._memory, model.device)

    def _clear_left_behind(self, chains: Sequence[Chain]) -> Iterator[Prediction]:
        """Clear the slices that an earlier run carried the mask to, and this one, that came by, did not reach."""
        passed = {layer for one in chains for layer in range(one.start.layer + one.step, one.stop, one.step)}
        for record in tuple(self._memory.records.values()):
            offset = self._base.layers_to(record.plane)
            if offset is None or record.prompts or round(offset) in self._reached or round(offset) not in passed:
                continue
            self._memory = self._memory.without(record.plane)
            yield self._laid_over(record.plane, np.zeros(record.plane.shape_hw, dtype=bool), None)

    def _summary(self, chains: Sequence[Chain]) -> str:
        """Say where it ended, and why."""
        notes = [self._encoding.model.note]
        for chain in chains:
            last = self._base.neighbour(chain.last)
            where = last.name if last is not None else ""
            if chain.far is None:
                end = "the span's end" if self._span.is_limited else "the image's end"
                notes.append(f"{'forward' if chain.step > 0 else 'backward'} to {where}: {chain.why or end}")
            elif chain.why and chain.start.mask.any():
                notes.append(f"between prompted slices no farther than {where}: {chain.why}")
        return "; ".join(note for note in notes if note)
