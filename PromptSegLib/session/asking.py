"""What a predictor is asked about a target: the prompts that it hears, the views they came from, the mask."""

from __future__ import annotations

from numpy.typing import ArrayLike

from PromptSegLib.bitmask import Patch
from PromptSegLib.errors import PromptError
from PromptSegLib.geometry import Extent, Grid
from PromptSegLib.imaging.rasterize import mask_on_grid
from PromptSegLib.predictors.base import Capabilities, TargetState
from PromptSegLib.predictors.registry import check_takes
from PromptSegLib.prompts import ClassPrompt, MaskPrompt, Prompt, TextPrompt, check_inside, checked_mask
from PromptSegLib.session.history import Step
from PromptSegLib.session.ledger import Ledger
from PromptSegLib.session.run import Question
from PromptSegLib.span import Span
from PromptSegLib.view import View, Window


def check_prompt(prompt: Prompt, capabilities: Capabilities, grid: Grid) -> None:
    """Check that a predictor takes `prompt`, and that it is within the image.

    Raises:
        PromptError: it is no prompt, outside of the image, or a class that the predictor does not know.
        UnsupportedPromptError: the predictor does not take it.
    """
    if not isinstance(prompt, Prompt):
        raise PromptError(f"expected a prompt, such as Point((1.0, 2.0, 3.0)), got {prompt!r}")
    check_takes(capabilities, prompt)
    check_inside(prompt, grid)


def mask_of(prompt: MaskPrompt, grid: Grid) -> Patch:
    """Return the voxels of `grid` that a mask prompt holds.

    Raises:
        PromptError: it holds none.
    """
    patch = mask_on_grid(prompt, grid)
    if not patch.mask_kji.any():
        raise PromptError(f"expected a mask that holds the centre of a voxel, got {prompt}")
    return patch


def patch_of_mask(mask_kji: ArrayLike, grid: Grid) -> Patch:
    """Return a mask of the whole `grid`, (k, j, i), see `checked_mask`, as the box that holds it.

    Raises:
        PromptError: its shape is not the grid's, or its values are of no mask.
    """
    mask = checked_mask(mask_kji)
    if mask.shape != grid.shape_kji:
        raise PromptError(f"expected a mask of shape {grid.shape_kji} (k, j, i), got {mask.shape}")
    extent = Extent.of_mask(mask) or Extent((0, 0, 0), (0, 0, 0))
    return Patch(extent, mask[extent.slices])


class Asking:
    """Makes questions of what is in `ledger`, for a predictor with these capabilities."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._views: dict[Prompt, View] = {}

    def note_view(self, prompt: Prompt, view: View | None) -> None:
        """Note the view that `prompt` was placed in, if there was one."""
        if view is not None:
            self._views[prompt] = view

    def note_moved(self, old: Prompt, new: Prompt) -> None:
        """Note that `new` takes the place of `old`, in the same view."""
        self.note_view(new, self._views.get(old))

    def heard(self, prompts: tuple[Prompt, ...], capabilities: Capabilities) -> tuple[Prompt, ...]:
        """Return those of `prompts` that the predictor gets: no names, where it knows none."""
        takes = capabilities.takes
        return tuple(prompt for prompt in prompts if not isinstance(prompt, ClassPrompt | TextPrompt) or takes(prompt))

    def check(self, target: str, capabilities: Capabilities) -> None:
        """Check that there is something to ask about `target`: a prompt that is heard, or a mask to refine.

        Raises:
            PromptError: there is neither.
        """
        prompts = self._ledger.record(target).prompts
        has_mask = "mask" in capabilities.prompts and self._ledger.store.snapshot(target) is not None
        if not has_mask and not self.heard(prompts, capabilities):
            got = ", ".join(prompt.kind for prompt in prompts) or "none"
            raise PromptError(
                f"expected at least one prompt for {target!r} that {capabilities.name!r} takes, got {got}"
            )

    def asked(
        self,
        targets: tuple[str, ...],
        capabilities: Capabilities,
        step: Step | None,
        *,
        window: Window | None,
        view: View | None,
        span: Span | None,
        redraw: bool,
        label: str,
    ) -> tuple[TargetState, Question]:
        """Return what the predictor is told, and what the run is about that it answers; see there.

        label: of a step of its own; what is handed over to a predictor has one.
        """
        target, *others = targets
        prompts = self.heard(self._ledger.record(target).prompts, capabilities)
        mask, maker = self._ledger.store.snapshot(target), capabilities.name
        state = TargetState(
            target,
            prompts,
            mask=mask,
            feedback=self._ledger.feedback(target, maker),
            window=window,
            view=view,
            views={prompt: self._views[prompt] for prompt in prompts if prompt in self._views},
            span=span,
            others={other: self._ledger.record(other).prompts for other in others},
            mask_is_given=mask is not None and self._ledger.record(target).maker != maker,
            redraw=redraw,
        )
        # What is handed over comes from elsewhere whatever becomes of it.
        is_own = not state.mask_is_given or (state.redraw and not label)
        question = Question(
            targets,
            step,
            view,
            label or ("predict" if span is None else "propagate"),
            maker if is_own else "",
            mask if state.mask_is_given else None,
        )
        return state, question
