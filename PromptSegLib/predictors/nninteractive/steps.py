"""An nnInteractive session led to where a target is, whatever it was last asked.

Such a session holds all prompts, drawn into channels of the whole image, and the mask; its own undo goes back one
step. What it holds follows from the mask and from the order of the prompts alone. So it need not be the history: it
goes on where the next prompt follows from what it holds, takes its own step back where that is enough, and else is
given the mask and the earlier prompts again, without predicting. That costs a fraction of a prediction, and leaves
it exactly as it was: undo is as deep as the session's, and targets take turns.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.bitmask import BitMask, Patch
from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.geometry import Extent
from PromptSegLib.predictors.base import Prediction, TargetState
from PromptSegLib.predictors.nninteractive.image import OrientedImage
from PromptSegLib.predictors.nninteractive.prompts import Bounds, Interaction, OfficialSession, Takes
from PromptSegLib.prompts import MaskPrompt, Prompt

PATCH_SIZE = (192, 192, 192)
"""Voxels that the published network sees, before it zooms out."""


@dataclass(frozen=True, eq=False)
class AnsweredSteps:
    """The feedback of a prediction: stands for the mask that it made. prompts: those since the last mask prompt."""

    prompts: tuple[Prompt, ...]


@dataclass(frozen=True, eq=False)
class _Standing:
    """Where a session is: `prompts` are said, and its mask is the one that `mask_of` stands for.

    changed: what was answered last, None for nothing: whoever wrote it down may have left a part of it out.
    """

    prompts: tuple[Prompt, ...]
    mask_of: object
    changed: Patch | None = None

    def is_on_the_way(self, prompts: Sequence[Prompt], mask_of: object, mask: BitMask) -> bool:
        """Tell whether from here only prompts are to be said until `prompts` are, with the mask as it is."""
        if self.mask_of is not mask_of or tuple(prompts[: len(self.prompts)]) != self.prompts:
            return False
        return self.changed is None or np.array_equal(mask.read(self.changed.extent), self.changed.mask_kji)


class _NoMask:
    """Stands for the empty mask that a session begins with."""


_NO_MASK = _NoMask()


class SteppingSession:
    """Answers target states with `session`, one image at a time.

    patch_size: voxels that its network sees. recover: called with what a call to the session raised; returns a
    session to try again with, or raises the error again.
    """

    def __init__(
        self,
        session: OfficialSession,
        patch_size: Sequence[int] = PATCH_SIZE,
        recover: Callable[[RuntimeError], OfficialSession] | None = None,
    ) -> None:
        self.session = session
        self.patch_size = tuple(patch_size)
        self._recover = recover
        self._image: OrientedImage | None = None
        self._mask = np.zeros((0, 0, 0), dtype=np.uint8)
        self._known_for: tuple[OrientedImage, Takes] | None = None
        self._known: dict[Prompt, Interaction] = {}
        self._here: _Standing | None = None  # None: not known, since a call failed
        self._before: _Standing | None = None  # where the session's own undo leads to

    def show(self, image: OrientedImage) -> None:
        """Give the session an image, unless it has it."""
        if self._image is not image:
            self._retrying(lambda: self._show(image))

    def answers(
        self, image: OrientedImage, state: TargetState, cancel: CancelToken, progress: Progress
    ) -> Iterator[Prediction]:
        """Answer `state` by one prediction, or by several where no window holds all prompts not yet answered.

        Raises:
            Cancelled: somebody asked for that.
            PromptError: a prompt marks no voxel.
            RuntimeError: what the session raises.
        """
        prompts = _since_mask_prompt(state.prompts)
        interactions = self._interactions(image, prompts, state)
        answered = state.feedback.prompts if isinstance(state.feedback, AnsweredSteps) else ()
        if prompts == answered and state.feedback is not None:
            yield Prediction({}, feedback=state.feedback)
            return
        mask_of: object = state.feedback or (_NO_MASK if state.mask is None else object())
        mask = state.mask or BitMask(image.source.grid.shape_kji)
        said = _common(prompts, answered)
        turns = self._turns(interactions, said, mask, image) if prompts else [0]
        for number, turn in enumerate(turns):
            cancel.check()
            progress(number / len(turns), "predicting")
            timings: dict[str, float] = {}
            say = functools.partial(self._turn, image, prompts[: turn + 1], interactions, mask, mask_of, timings)
            started = time.perf_counter()
            written = self._retrying(say)
            timings["network"] = 1000 * (time.perf_counter() - started) - timings.get("replay", 0.0)
            started = time.perf_counter()
            patch = self._changed(image, mask, written)
            assert self._here is not None, "a prediction was made"
            self._here = dataclasses.replace(self._here, changed=patch)
            mask_of = self._here.mask_of
            timings["paste"] = 1000 * (time.perf_counter() - started)
            notes = dict.fromkeys(each.note for each in interactions[said : turn + 1] if each.note)
            said = turn + 1
            patches = {} if patch is None else {state.target: patch}
            yield Prediction(patches, timings_ms=timings, note="; ".join(notes), feedback=mask_of)
            if patch is not None and turn != turns[-1]:
                mask = mask.copy()
                mask.write(patch.extent, patch.mask_kji)

    def _turn(
        self,
        image: OrientedImage,
        prompts: tuple[Prompt, ...],
        interactions: Sequence[Interaction],
        mask: BitMask,
        mask_of: object,
        timings: dict[str, float],
    ) -> Bounds | None:
        """Predict for the last of `prompts`, from `mask`; without prompts, for the mask. Returns the box written."""
        self._show(image)
        if not prompts:
            return self._refine(image, mask)
        started = time.perf_counter()
        if self._stand(image, prompts[:-1], interactions, mask, mask_of):
            timings["replay"] = 1000 * (time.perf_counter() - started)
        return self._say(prompts[-1], interactions[len(prompts) - 1], AnsweredSteps(prompts))

    def _interactions(self, image: OrientedImage, prompts: Sequence[Prompt], state: TargetState) -> list[Interaction]:
        """Return what `prompts` are on the image; found once for each as long as it is among them."""
        takes = Takes.of(self.session)
        known = self._known if self._known_for == (image, takes) else {}
        views = dict(state.views)
        if state.view is not None and prompts:
            views.setdefault(prompts[-1], state.view)
        found = [known.get(one) or Interaction.of(one, image.grid, takes, views.get(one)) for one in prompts]
        self._known_for, self._known = (image, takes), dict(zip(prompts, found, strict=True))
        return found

    def _turns(
        self, interactions: Sequence[Interaction], answered: int, mask: BitMask, image: OrientedImage
    ) -> list[int]:
        """Return after which interactions to predict: the last one, and each that no later window shows.

        The first `answered` need none, nor do those that the mask meets already, as after an edit by hand.
        """
        turns = [len(interactions) - 1]
        for number in range(len(interactions) - 2, answered - 1, -1):
            interaction = interactions[number]
            if self._window(interactions[turns[0]]).contains(_voxel(interaction.middle_kji)):
                continue
            extent = interaction.marked.extent
            there = image.axes.from_source(mask.read(image.axes.inverse.extent(extent)))
            if not interaction.is_met_by(there):
                turns.insert(0, number)
        return turns

    def _window(self, interaction: Interaction) -> Extent:
        """Return what the network sees at first when it predicts for `interaction`."""
        zoom = 1.0
        if interaction.kind != "point":
            sides = zip(interaction.marked.extent.shape_kji, self.patch_size, strict=True)
            zoom = max(1.0, *((side + patch // 3) / patch for side, patch in sides))
        half = [round(patch * zoom) // 2 for patch in self.patch_size]
        return _voxel(interaction.middle_kji).padded(half)

    # The session

    def _retrying(self, call: Callable[[], Bounds | None]) -> Bounds | None:
        try:
            return call()
        except RuntimeError as error:
            if self._recover is None:
                raise
            self.session = self._recover(error)
            self._image = None
        return call()

    def _show(self, image: OrientedImage) -> None:
        if self._image is image:
            return
        self._image = self._here = self._before = None
        self.session.set_image(image.voxels[None])
        self._mask = np.zeros(image.grid.shape_kji, dtype=np.uint8)
        self.session.set_target_buffer(self._mask)
        # Wait until the image is prepared: another one that came before would lock the package up for good.
        self.session.add_point_interaction([0, 0, 0], True, False)
        self.session.reset_interactions()
        self._image, self._here = image, _Standing((), _NO_MASK)

    def _stand(
        self,
        image: OrientedImage,
        prompts: Sequence[Prompt],
        interactions: Sequence[Interaction],
        mask: BitMask,
        mask_of: object,
    ) -> bool:
        """Lead the session to where `prompts` are said and its mask is `mask`, and tell whether it had to go back."""
        here, before = self._here, self._before
        is_on_the_way = here is not None and here.is_on_the_way(prompts, mask_of, mask)
        if not is_on_the_way:
            self._here = self._before = None
            if before is not None and before.is_on_the_way(prompts, mask_of, mask) and self.session.undo():
                self._here = before
            else:
                self._begin_with(image, mask, mask_of)
        assert self._here is not None
        for number in range(len(self._here.prompts), len(prompts)):
            self._say(prompts[number], interactions[number], None)
        return not is_on_the_way

    def _begin_with(self, image: OrientedImage, mask: BitMask, mask_of: object) -> None:
        if mask.any():
            self.session.add_initial_seg_interaction(_oriented(image, mask), run_prediction=False)
        else:
            self.session.reset_interactions()
        self._here = _Standing((), mask_of)

    def _refine(self, image: OrientedImage, mask: BitMask) -> Bounds | None:
        """Let the network look at all of `mask`, to which nothing was said."""
        self._here = self._before = None
        written = self.session.add_initial_seg_interaction(_oriented(image, mask), run_prediction=True)
        self._here = _Standing((), AnsweredSteps(()))
        return written

    def _say(self, prompt: Prompt, interaction: Interaction, answered: AnsweredSteps | None) -> Bounds | None:
        """Say one thing, and predict when that makes `answered`."""
        before, self._before, self._here = self._here, None, None
        assert before is not None, "the session was led there"
        written = interaction.give(self.session, answered is not None)
        mask_of, changed = (answered, None) if answered is not None else (before.mask_of, before.changed)
        self._before, self._here = before, _Standing((*before.prompts, prompt), mask_of, changed)
        return written

    def _changed(self, image: OrientedImage, mask: BitMask, written: Bounds | None) -> Patch | None:
        """Return what differs from `mask` in the box that was written to, None when nothing does."""
        if written is None:
            return None
        (k0, k1), (j0, j1), (i0, i1) = written
        box = Extent((k0, j0, i0), (k1, j1, i1))
        there = image.axes.inverse.extent(box)
        after = image.axes.to_source(self._mask[box.slices]) != 0
        changed = Extent.of_mask(after != mask.read(there))
        return None if changed is None else Patch(changed.shifted(there.start_kji), after[changed.slices])


def _since_mask_prompt(prompts: tuple[Prompt, ...]) -> tuple[Prompt, ...]:
    """Return what was said after the last mask prompt: that is in the mask, and begins everything anew."""
    masks = [number for number, prompt in enumerate(prompts) if isinstance(prompt, MaskPrompt)]
    return prompts[masks[-1] + 1 :] if masks else prompts


def _common(prompts: Sequence[Prompt], others: Sequence[Prompt]) -> int:
    """Return how many prompts, from the first, are the same."""
    number = 0
    while number < min(len(prompts), len(others)) and prompts[number] == others[number]:
        number += 1
    return number


def _voxel(index_kji: tuple[int, int, int]) -> Extent:
    k, j, i = index_kji
    return Extent(index_kji, (k + 1, j + 1, i + 1))


def _oriented(image: OrientedImage, mask: BitMask) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image.axes.from_source(mask.read()), dtype=np.uint8)
