"""What a worker process has been told already, so that it is told only what is new."""

from __future__ import annotations

import itertools
import pickle
import weakref
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from PromptSegLib.bitmask import BitMask, MaskDelta
from PromptSegLib.errors import PredictionError
from PromptSegLib.execution.engine import Engine
from PromptSegLib.execution.process.protocol import Ask, Channel, Forget, MakeEngine, Message, ShareImage
from PromptSegLib.execution.process.shared_block import offsets_of, write_block
from PromptSegLib.predictors.base import TargetState
from PromptSegLib.predictors.registry import Recipe
from PromptSegLib.prompts import Prompt
from PromptSegLib.volume import Image


class Feedback:
    """Stands here for what the predictor returned as feedback there. `worker`: the key of the memory it is in."""

    def __init__(self, number: int, worker: object) -> None:
        self.number = number
        self.worker = worker


@dataclass(eq=False)
class _KnownImage:
    """revisions: of the engines on that image, when its voxels were shared."""

    number: int
    revisions: weakref.WeakKeyDictionary[Engine, int] = field(default_factory=weakref.WeakKeyDictionary)


@dataclass(eq=False)
class _KnownTarget:
    mask: BitMask
    prompts: tuple[Prompt, ...] = ()


@dataclass(eq=False)
class _KnownEngine:
    number: int
    image: int
    targets: dict[str, _KnownTarget] = field(default_factory=dict)


class WorkerMemory:
    """Used by the thread that asks. Images, engines and feedback that are gone here are forgotten there."""

    def __init__(self) -> None:
        self.blocks: list[Path] = []
        self._key = object()
        self._numbers = itertools.count(1)
        self._images: weakref.WeakKeyDictionary[Image, _KnownImage] = weakref.WeakKeyDictionary()
        self._engines: weakref.WeakKeyDictionary[Engine, _KnownEngine] = weakref.WeakKeyDictionary()
        self._forgotten: deque[Forget] = deque()

    def check(self, engine: Engine) -> None:
        """Check that the predictor of `engine` can be made again there.

        Raises:
            PredictionError: it has no recipe, or one with an option that cannot be sent.
        """
        if engine not in self._engines:
            _check_can_be_made_again(engine)

    def messages(self, job: int, engine: Engine, state: TargetState) -> list[Message]:
        """Return what the worker must be told to answer `state` with `engine`, in order.

        Raises:
            OSError: there is no room to share the voxels.
        """
        messages: list[Message] = []
        image = self._image(engine, messages)
        known = self._engine(engine, image, messages)
        messages.append(self._ask(job, known, engine, state))
        return messages

    def forgotten(self) -> list[Forget]:
        """Return what the worker can forget, once."""
        return [self._forgotten.popleft() for _ in range(len(self._forgotten))]

    def feedback(self, number: int | None) -> Feedback | None:
        """Return what stands here for the worker's feedback `number`. May be called in any thread."""
        if number is None:
            return None
        feedback = Feedback(number, self._key)
        weakref.finalize(feedback, self._forgotten.append, Forget("feedback", number))
        return feedback

    def _image(self, engine: Engine, messages: list[Message]) -> _KnownImage:
        image = engine.image
        known = self._images.get(image)
        if known is None:
            known = self._images[image] = _KnownImage(next(self._numbers))
            weakref.finalize(image, self._forgotten.append, Forget("image", known.number))
            is_new = True
        else:
            on_it = [(other, revision) for other, revision in known.revisions.items() if other.image is image]
            is_new = any(other.revision != revision for other, revision in on_it)
        if is_new:
            try:
                messages.append(self._share(image, known.number))
            except OSError:
                del self._images[image]
                raise
            for other in list(known.revisions):
                known.revisions[other] = other.revision
        known.revisions.setdefault(engine, engine.revision)
        return known

    def _share(self, image: Image, number: int) -> ShareImage:
        volumes = image.channels
        arrays = [volume.array for volume in volumes.values()]
        self.blocks.append(block := write_block(arrays))
        return ShareImage(
            number,
            block,
            tuple(
                Channel(name, volume.name, volume.array.dtype.str, volume.array.shape, offset, volume.ijk_to_ras)
                for (name, volume), offset in zip(volumes.items(), offsets_of(arrays), strict=True)
            ),
        )

    def _engine(self, engine: Engine, image: _KnownImage, messages: list[Message]) -> _KnownEngine:
        known = self._engines.get(engine)
        if known is None:
            known = self._engines[engine] = _KnownEngine(next(self._numbers), 0)
            weakref.finalize(engine, self._forgotten.append, Forget("engine", known.number))
        if known.image != image.number:
            known.image = image.number
            known.targets.clear()
            messages.append(MakeEngine(known.number, image.number, _recipe(engine)))
        return known

    def _ask(self, job: int, known: _KnownEngine, engine: Engine, state: TargetState) -> Ask:
        shape_kji = engine.image.grid.shape_kji
        target = known.targets.setdefault(state.target, _KnownTarget(BitMask(shape_kji)))
        kept = 0
        for before, now in zip(target.prompts, state.prompts, strict=False):
            if before is not now:
                break
            kept += 1
        mask = BitMask(shape_kji) if state.mask is None else state.mask
        change = _change(target.mask, mask)
        target.prompts, target.mask = state.prompts, mask
        feedback = state.feedback
        is_known = isinstance(feedback, Feedback) and feedback.worker is self._key
        return Ask(
            job,
            known.number,
            state.target,
            kept,
            state.prompts[kept:],
            change,
            feedback.number if is_known else None,
            state.window,
            state.view,
            {n: state.views[prompt] for n, prompt in enumerate(state.prompts) if prompt in state.views},
            state.span,
            state.others,
            state.mask_is_given,
            state.redraw,
        )


def _recipe(engine: Engine) -> Recipe:
    if engine.recipe is None:
        kind = type(engine.predictor).__qualname__
        raise PredictionError(
            f"expected a predictor by name, 'default' or 'package.module:Class', got a {kind} object: it cannot be "
            "made again in another process"
        )
    return engine.recipe


def _check_can_be_made_again(engine: Engine) -> None:
    """Raise PredictionError when there is no recipe, or it has ingredients that cannot be sent."""
    for option, value in _recipe(engine).options.items():
        try:
            pickle.dumps(value)
        except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
            raise PredictionError(
                f"expected options that can be sent to another process, got {option}, which is a "
                f"{type(value).__qualname__}: {engine.predictor.capabilities.name!r} cannot be made again there"
            ) from error


def _change(before: BitMask, now: BitMask) -> MaskDelta | None:
    extent = now.difference(before)
    return None if extent is None else MaskDelta.between(extent, before.read(extent), now.read(extent))
