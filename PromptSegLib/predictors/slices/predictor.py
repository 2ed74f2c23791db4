"""A network for pictures on the slices of a volume: each prompt is answered on the slice that it was meant for."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.bitmask import BitMask, BoolArray
from PromptSegLib.cancel import CancelToken, Progress, no_progress
from PromptSegLib.errors import PromptError
from PromptSegLib.imaging.windowing import IntensityRule, as_grey, as_rgb
from PromptSegLib.predictors.base import Prediction, TargetState
from PromptSegLib.predictors.slices.embedding_cache import EmbeddingCache
from PromptSegLib.predictors.slices.memory import SliceMemory, SliceRecord
from PromptSegLib.predictors.slices.model import ObjectAnswer, ObjectPrompts, SliceModel
from PromptSegLib.predictors.slices.prompts import objects_like, objects_on
from PromptSegLib.predictors.slices.slice_choice import slice_through, slices_of_prompts
from PromptSegLib.predictors.slices.slices import Slice
from PromptSegLib.predictors.weighted import WeightedPredictor
from PromptSegLib.prompts import MaskPrompt, Prompt
from PromptSegLib.view import View, Window
from PromptSegLib.volume import Image, Volume
from PromptSegLib.weights.places import default_folder
from PromptSegLib.weights.store import WeightsStore

Place = tuple[Hashable, Window | None]


class SliceEncoding:
    """An image, the network for it, and what was found out about it.

    keys: of the embeddings of its slices, by slice and window. newest_image: the slice shown last, as the network
    sees it, by the same.
    """

    def __init__(self, volume: Volume, model: SliceModel, rule: IntensityRule) -> None:
        self.volume = volume
        self.model = model
        self.keys: dict[Place, str] = {}
        self.newest_image: tuple[Place, NDArray[Any]] | None = None
        self._rule = rule
        self._window_of_all: tuple[Window | None] | None = None

    def usual_window(self, pixels: NDArray[Any]) -> Window | None:
        """Return the window for `pixels`, a slice of the volume, when nobody gave one."""
        if self._rule.over == "slice":
            return self._rule.window(self.volume, pixels)
        if self._window_of_all is None:
            self._window_of_all = (self._rule.window(self.volume, pixels),)
        return self._window_of_all[0]


Group = tuple[Slice, tuple[Prompt, ...]]
"""A slice and the prompts on it, in their order."""


@dataclasses.dataclass(frozen=True, eq=False)
class SliceAnswer:
    """What a slice's mask is: all of its objects. score: their mean, None when the network does not say."""

    objects: Sequence[ObjectAnswer]
    mask: BoolArray
    timings_ms: Mapping[str, float]

    @property
    def score(self) -> float | None:
        scores = [answer.score for answer in self.objects if answer.score is not None]
        return sum(scores) / len(scores) if scores else None


class SlicePredictor(WeightedPredictor[SliceModel]):
    """Base of the predictors whose network sees one slice at a time; they differ in their network and the constants.

    Prompts are grouped by slice (see `slices_of_prompts`), and a slice is predicted anew only when its prompts
    changed. An embedding is computed once for each slice and kept in `cache`, by default one that all predictors of
    the process share. The first channel of an image is used. The other arguments are `WeightedPredictor`'s.
    """

    intensities: ClassVar[IntensityRule]
    sees_colour: ClassVar[bool] = True

    def __init__(
        self,
        network: Any = None,
        *,
        device: str = "auto",
        weights: WeightsStore | None = None,
        checkpoint: Path | str | None = None,
        cache: EmbeddingCache | None = None,
    ) -> None:
        super().__init__(network, device=device, weights=weights, checkpoint=checkpoint)
        self._cache = cache or shared_cache()

    # The seam to a session

    def encode(self, image: Image, cancel: CancelToken, progress: Progress) -> SliceEncoding:
        """Load the network; slices are encoded when they are prompted."""
        model = self.loaded(progress)
        cancel.check()
        return SliceEncoding(image.reference, model, self.intensities)

    def predict(
        self, encoding: SliceEncoding, state: TargetState, cancel: CancelToken, progress: Progress
    ) -> Iterator[Prediction]:
        """Answer each slice whose prompts changed; when none did, refine that of the newest prompt.

        Of a mask that is not its own only the slice looked at is refined, or that of the newest prompt.
        """
        given = self._given_slice(encoding, state)
        groups = self.groups(encoding, state) if given is None or self._takes_any(state) else []
        changed = self._to_answer(groups, state)
        if given is not None and given[0].key not in {plane.key for plane, _ in groups}:
            groups.append(given)
        newest = groups[-1]
        if not changed or (is_handed_over(state) and newest not in changed):
            changed.append(newest)
        yield from self._answer_groups(changed, encoding, state, cancel, progress)

    # The seam to what carries masks from slice to slice

    def predict_changed(
        self, encoding: SliceEncoding, state: TargetState, cancel: CancelToken, progress: Progress
    ) -> Iterator[Prediction]:
        """Answer each slice whose prompts changed; nothing when none did.

        A slice with a mask stays as it is when nobody remembers how it came there: it was edited by hand.
        """
        changed = self._to_answer(self.groups(encoding, state), state)
        yield from self._answer_groups(changed, encoding, state, cancel, progress)

    def groups(self, encoding: SliceEncoding, state: TargetState) -> list[Group]:
        """Return the slices and their prompts, that of the newest prompt last.

        Raises:
            PromptError: without any.
        """
        prompts = [prompt for prompt in state.prompts if self.takes(prompt)]
        if not prompts:
            raise PromptError(
                f"expected one of {', '.join(sorted(self.capabilities.prompts - {'mask'}))} for "
                f"{self.capabilities.name!r}, got {', '.join(p.kind + p.sign for p in state.prompts) or 'nothing'}"
            )
        views = dict(state.views)
        if state.view is not None:
            views.setdefault(prompts[-1], state.view)
        known = memory_of(state).slices_of_prompts
        planes = slices_of_prompts(prompts, encoding.volume.grid, views, known)
        groups: dict[Hashable, Group] = {}
        for prompt in prompts:
            plane = planes[prompt]
            _, group = groups.pop(plane.key, (plane, ()))
            groups[plane.key] = plane, (*group, prompt)
        return list(groups.values())

    def takes(self, prompt: Prompt) -> bool:
        """Tell whether it is a prompt on a slice that the network can use."""
        return self.capabilities.takes(prompt) and not isinstance(prompt, MaskPrompt)

    def answer(
        self,
        encoding: SliceEncoding,
        plane: Slice,
        window: Window | None,
        objects: Sequence[ObjectPrompts],
        cancel: CancelToken,
    ) -> SliceAnswer:
        """Return the mask of `objects` on a slice. Without any, nothing is there."""
        size = plane.shape_hw
        if not objects:
            return SliceAnswer((), np.zeros(size, dtype=bool), {})
        started = time.perf_counter()
        [embedding] = self.embeddings(encoding, [plane], window, cancel)
        embedded = time.perf_counter()
        answers = encoding.model.answer(embedding, size, objects)
        mask = np.logical_or.reduce([one.mask for one in answers])
        decoded = time.perf_counter()
        timings = {"embed": 1000 * (embedded - started), "decode": 1000 * (decoded - embedded)}
        return SliceAnswer(answers, mask, timings)

    def embeddings(
        self, encoding: SliceEncoding, planes: Sequence[Slice], window: Window | None, cancel: CancelToken
    ) -> list[NDArray[Any]]:
        """Return the embedding of each slice; those that are not in the cache are made, as many at once as pays."""
        keys, images, found = [], {}, {}
        for plane in planes:
            key = self._key(encoding, plane, window)
            keys.append(key)
            cached = self._cache.get(key)
            if cached is not None:
                found[key] = cached
            else:
                images[key] = self.image_of(encoding, plane, window)
        for start in range(0, len(images), encoding.model.batch):
            batch = list(images)[start : start + encoding.model.batch]
            made = encoding.model.embed([images[key] for key in batch], cancel)
            for key, embedding in zip(batch, made, strict=True):
                found[key] = embedding
                self._cache.put(key, embedding)
        return [found[key] for key in keys]

    def image_of(self, encoding: SliceEncoding, plane: Slice, window: Window | None) -> NDArray[Any]:
        """Return what the network is shown of a slice: (h, w, 3), uint8, or (h, w), 0 to 1."""
        place = plane.key, window
        if encoding.newest_image is None or encoding.newest_image[0] != place:
            pixels = plane.pixels(encoding.volume)
            shown = window or encoding.usual_window(pixels)
            image = as_rgb(pixels, shown) if self.sees_colour else as_grey(pixels, shown)
            encoding.newest_image = place, image
        return encoding.newest_image[1]

    def encode_ahead(
        self,
        encoding: SliceEncoding,
        view: View,
        window: Window | None,
        cancel: CancelToken,
        progress: Progress = no_progress,
        reach: int = 2,
    ) -> None:
        """Encode the slice in `view` and `reach` neighbours on each side, the nearest first, while nobody waits.

        Raises:
            Cancelled: within a fraction of a slice, when somebody does.
        """
        shown = slice_through(encoding.volume.grid, view.center_ras, view.normal_ras)
        offsets = [0, *(sign * layers for layers in range(1, reach + 1) for sign in (1, -1))]
        planes = [plane for offset in offsets if (plane := shown.neighbour(offset)) is not None]
        for number, plane in enumerate(planes):
            cancel.check()
            progress(number / len(planes), "encoding neighbour slices")
            if self._key(encoding, plane, window) not in self._cache:
                self.embeddings(encoding, [plane], window, cancel)

    # Within

    def _takes_any(self, state: TargetState) -> bool:
        return any(self.takes(prompt) for prompt in state.prompts)

    def _given_slice(self, encoding: SliceEncoding, state: TargetState) -> Group | None:
        """Return the slice looked at when a mask that is not the predictor's own is on it."""
        if (
            state.view is None
            or state.mask is None
            or not is_handed_over(state)
            or "mask" not in self.capabilities.prompts
        ):
            return None
        plane = slice_through(encoding.volume.grid, state.view.center_ras, state.view.normal_ras)
        return (plane, ()) if plane.read(state.mask).any() else None

    def _to_answer(self, groups: Sequence[Group], state: TargetState) -> list[Group]:
        """Return the slices whose prompts changed; those with a mask that is not the predictor's own stay."""
        changed = self._changed(groups, state)
        if state.mask is not None and is_handed_over(state):
            changed = [(plane, prompts) for plane, prompts in changed if not plane.read(state.mask).any()]
        return changed

    @staticmethod
    def _changed(groups: Sequence[Group], state: TargetState) -> list[Group]:
        memory, changed = memory_of(state), []
        for plane, prompts in groups:
            record = memory.record(plane)
            if record is None or record.prompts != prompts or record.window != state.window:
                changed.append((plane, prompts))
        return changed

    def _answer_groups(
        self,
        groups: Sequence[Group],
        encoding: SliceEncoding,
        state: TargetState,
        cancel: CancelToken,
        progress: Progress,
    ) -> Iterator[Prediction]:
        memory = memory_of(state)
        mask = state.mask.copy() if state.mask else BitMask(encoding.volume.grid.shape_kji)
        for number, (plane, prompts) in enumerate(groups):
            cancel.check()
            progress(number / len(groups), f"slice {number + 1} of {len(groups)}")
            to_refine = self._mask_to_refine(plane, prompts, mask, memory, state)
            if prompts or to_refine is None:
                objects = objects_on(plane, prompts, memory.record(plane), to_refine)
            else:
                objects = objects_like(to_refine)
            answer = self.answer(encoding, plane, state.window, objects, cancel)
            logits = tuple(one.logits for one in answer.objects if one.logits is not None)
            memory = memory.with_record(SliceRecord(plane, prompts, state.window, logits))
            patch = plane.patch(answer.mask, mask)
            mask.write(patch.extent, patch.mask_kji)
            note = self._note(encoding, state, answer)
            device = encoding.model.device
            yield Prediction({state.target: patch}, answer.score, answer.timings_ms, note, memory, device)

    @staticmethod
    def _mask_to_refine(
        plane: Slice, prompts: Sequence[Prompt], mask: BitMask, memory: SliceMemory, state: TargetState
    ) -> BoolArray | None:
        """Return what is on a slice now, if it is to be refined and not just crossed by other slices' masks."""
        is_meant = (
            state.mask_is_given
            or not memory.records
            or memory.record(plane) is not None
            or any(isinstance(prompt, MaskPrompt) for prompt in state.prompts)
            or not any(getattr(prompt, "positive", True) for prompt in prompts)
        )
        current = plane.read(mask) if is_meant else None
        return current if current is not None and current.any() else None

    def _key(self, encoding: SliceEncoding, plane: Slice, window: Window | None) -> str:
        """Return the hash of what the embedding follows from."""
        place = plane.key, window
        if place not in encoding.keys:
            image = self.image_of(encoding, plane, window)
            content = hashlib.sha256(f"{encoding.model.fingerprint} {image.shape} {image.dtype}".encode())
            content.update(np.ascontiguousarray(image).data)
            encoding.keys[place] = content.hexdigest()
        return encoding.keys[place]

    def _note(self, encoding: SliceEncoding, state: TargetState, answer: SliceAnswer) -> str:
        notes = [encoding.model.note]
        left_out = sum(not self.takes(prompt) and not isinstance(prompt, MaskPrompt) for prompt in state.prompts)
        if left_out:
            notes.append(f"left out, as {self.capabilities.title} does not take them: {left_out} prompts")
        if not answer.objects:
            notes.append("negative prompts alone, and nothing on this slice to take them from")
        return "; ".join(note for note in notes if note)


def is_handed_over(state: TargetState) -> bool:
    """Tell whether there is a mask that the predictor did not make: another one did, or it was edited by hand."""
    return state.mask is not None and not memory_of(state).records


def memory_of(state: TargetState) -> SliceMemory:
    """Return what was answered before, as far as the mask is still what came of it."""
    return state.feedback if isinstance(state.feedback, SliceMemory) else SliceMemory()


@cache
def shared_cache() -> EmbeddingCache:
    """Return the cache that all predictors of this process share."""
    return EmbeddingCache(default_folder().with_name("embeddings"))
