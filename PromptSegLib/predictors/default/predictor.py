"""The default predictor: small networks that ship inside, trained on randomised synthetic images alone.

A region around the prompts is shown to the network, 2D for an image of one slice, 3D for a volume; what it is not
sure of, the image's edges decide. Other opinions shift its odds where that has shown to help: the classical predictor's
at the first click, with strokes and for boxes in volumes; that of the image's level sets for all boxes; and what
strokes of both signs in a slice tell by their looks and places. The region is the view that was clicked in, or of the
scale on which the answers agree; it grows when the mask reaches its border, and closes in on what was found in it. View
and box also say how large the structure may be.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from PromptSegLib.bitmask import BitMask, BoolArray
from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.certainty import Certainty
from PromptSegLib.geometry import Extent, Float32Array, flip_axes
from PromptSegLib.imaging.roi import Roi
from PromptSegLib.imaging.voxels import box_around
from PromptSegLib.imaging.windowing import is_ct
from PromptSegLib.predictors.base import Capabilities, Prediction, TargetState
from PromptSegLib.predictors.default.correction import closer_by, corrected, is_correction
from PromptSegLib.predictors.default.evidence import Evidence
from PromptSegLib.predictors.default.expected_size import ExpectedSize
from PromptSegLib.predictors.default.network import PromptNetwork, load_network
from PromptSegLib.predictors.default.opinions import Opinions
from PromptSegLib.predictors.default.prompt_maps import PromptMaps, prompt_maps
from PromptSegLib.predictors.default.refinement import refined
from PromptSegLib.predictors.default.scale_choice import Look, most_agreed
from PromptSegLib.predictors.default.seen_image import SeenImage
from PromptSegLib.predictors.default.tuning import TUNED
from PromptSegLib.prompts import Lasso, Scribble, VoxelScribble
from PromptSegLib.view import View
from PromptSegLib.volume import Image


class DefaultPredictor:
    """networks: ones to use in place of those shipped, by their dimensions. device: "auto", or such as "cpu"."""

    capabilities = Capabilities(
        name="default",
        title="Default (synthetic-trained)",
        summary="small networks trained on synthetic images alone: any modality, fast on a CPU, no download; "
        "for research, to be corrected by further clicks; knows no anatomy, weak on thin vessels",
        dimensions=frozenset({2, 3}),
        prompts=frozenset(
            sign_kind
            for kind in ("point", "box2d", "box3d", "scribble", "lasso")
            for sign_kind in (f"{kind}+", f"{kind}-")
        )
        | {"mask"},
        code_license="Apache-2.0",
        corrects=True,
        weights_license="Apache-2.0",
        devices=("cuda", "mps", "cpu"),
    )

    def __init__(self, networks: Mapping[int, PromptNetwork] | None = None, *, device: str = "auto") -> None:
        self._networks = dict(networks or {})
        self._device = device

    def encode(self, image: Image, cancel: CancelToken, progress: Progress) -> SeenImage:
        """Load the network, which takes longer than a click.

        Raises:
            VolumeError: no voxel is finite.
        """
        array = image.reference.array
        if array.dtype.kind == "f" and not any(np.isfinite(part).any() for part in array):
            image.reference.finite_range  # noqa: B018 - raises, with the reason
        dims = 2 if image.grid.is_single_slice else 3
        if dims not in self._networks:
            progress(0.0, "loading the network")
            self._networks[dims] = load_network(dims, self._device)
        return SeenImage(image, self._networks[dims], dims, is_ct(image.reference))

    def predict(
        self, encoding: SeenImage, state: TargetState, cancel: CancelToken, progress: Progress
    ) -> Iterator[Prediction]:
        """Yield one prediction; see the module."""
        evidence = Evidence.of(state, encoding.grid)
        if evidence.is_empty:
            return
        question = _Inquiry(encoding, state, evidence, cancel)
        if is_correction(state, evidence):
            yield question.correction()
            return
        look, maps = question.answered(progress)
        with question.timed("refine"):
            values, speaks = question.settled(look, maps)
        with question.timed("paste"):
            patch = evidence.pasted(values, speaks, look.roi, state)
            around = patch.extent.padded(2).intersection(look.roi.extent)
            certainty = Certainty.of(around, look.roi.to_source(0.5 + 0.5 * values, around))
        network = encoding.network
        yield Prediction(
            {state.target: patch},
            look.expected_dice,
            question.timings_ms,
            network.note,
            device=network.device,
            certainty=certainty,
        )


class _Inquiry:
    """One state of one target, on its way to an answer."""

    def __init__(self, scene: SeenImage, state: TargetState, evidence: Evidence, cancel: CancelToken) -> None:
        self.timings_ms: dict[str, float] = {}
        self._scene = scene
        self._state = state
        self._cancel = cancel
        self._is_apart = evidence.is_apart(state, scene.grid) and not is_correction(state, evidence)
        # Another part of the structure is found for itself.
        self._evidence = evidence.without_earlier() if self._is_apart else evidence
        self._mask = None if self._is_apart else state.mask
        self._bounds = self._evidence.bounds_with_newest(scene.grid)
        self._is_drawn = any(isinstance(prompt, Scribble | VoxelScribble | Lasso) for prompt in state.prompts[-1:])
        signs = [is_positive for _, is_positive in evidence.said]
        # The first stroke of the other sign, in a slice: later ones correct.
        is_new_sign = len(signs) > 1 and signs[-1] not in signs[:-1]
        self._is_contrast = scene.dims == 2 and self._is_drawn and is_new_sign and evidence.limit is None
        self._expected_size = self._expectation()
        self._opinions = Opinions(
            scene,
            state,
            cancel,
            is_first=state.mask is None,
            is_boxed=evidence.limit is not None,
            is_drawn=self._is_drawn,
            is_contrast=self._is_contrast,
        )
        is_fine = self._mask is not None or self._is_drawn
        self._first_side, self._next_side = (
            scene.network.side if is_fine else min(scene.network.side, side[scene.dims])
            for side in (TUNED.first_side, TUNED.next_side)
        )

    def correction(self) -> Prediction:
        """Return the given mask with those errors put right that prompts lie in; see `is_correction`."""
        state, network = self._state, self._scene.network
        assert state.mask is not None
        roi, usual_depth = self._region_to_correct(state.mask)
        look, maps = self._look(roi)
        with self.timed("correct"):
            patch, certainty = corrected(state, self._evidence, look, maps, usual_depth)
        return Prediction(
            {state.target: patch},
            look.expected_dice,
            self.timings_ms,
            network.note,
            device=network.device,
            certainty=certainty,
        )

    def _region_to_correct(self, mask: BitMask) -> tuple[Roi, float]:
        """Return the region for a correction, around all of the mask or the newest prompt, and how deep it is there."""
        scene, side_mm = self._scene, self._scene.side_mm(self._bounds)
        whole = self._region(side_mm, self._first_side)
        part, depth = closer_by(whole, mask)
        if part == 1:
            return whole, depth
        around = box_around(self._evidence.newest_kji)
        newest_mm = float((np.array(around.shape_kji) * scene.grid.spacing_kji_mm).max())
        finest_mm = TUNED.finest_corrected * self._first_side * float(scene.grid.spacing_mm.min())
        near_mm = min(side_mm, max(part * side_mm, finest_mm, TUNED.margin * newest_mm))
        return self._region(near_mm, self._first_side, around), depth * part * side_mm / near_mm

    def timed(self, stage: str) -> _Timed:
        return _Timed(self.timings_ms, stage)

    def answered(self, progress: Progress) -> tuple[Look, PromptMaps]:
        """Return the network's answer, in the region that suits the structure, and what it was shown."""
        look, maps, may_close_in = self._first_look()
        for turn in range(1, TUNED.most_looks):
            better = self._better(look, may_close_in)
            if better is None:
                break
            progress(turn / TUNED.most_looks, "looking again")
            look, maps = self._look(*better)
            may_close_in = False
        if self._is_apart:
            return look, maps
        with self.timed("other opinions"):
            return self._opinions.shift(look, maps, progress), maps

    def settled(self, look: Look, maps: PromptMaps) -> tuple[Float32Array, BoolArray]:
        """Return how surely each working voxel belongs to the structure, -1 to 1, and where the mask follows that."""
        roi, evidence = look.roi, self._evidence
        allowed = np.ones(roi.shape_kji, dtype=bool) if evidence.limit is None else roi.box(evidence.limit)
        values = refined(look.logits, maps.image, maps.positive > 0, maps.negative > 0, allowed)
        values[~allowed] = -1
        if self._state.mask is None:
            return values, np.ones(roi.shape_kji, dtype=bool)
        if self._is_apart:
            return values, values > 0
        return values, self._heard(values > 0, maps.previous > 0.5, roi)

    def _look(self, roi: Roi, previous: Float32Array | None = None) -> tuple[Look, PromptMaps]:
        self._cancel.check()
        scene = self._scene
        with self.timed("roi"):
            if previous is None and self._mask is not None:
                previous = roi.read_mask(self._mask)
            maps = prompt_maps(roi, scene.image.reference, self._state, self._evidence, previous, scene.is_ct)
        self._cancel.check()
        with self.timed("network"):
            logits = scene.logits(maps)
        if self._expected_size is not None:
            voxel_mm = float(scene.sides_mm(roi.step_kji)[0])
            logits = self._expected_size.brought_to(logits, voxel_mm)
        return Look(roi, logits), maps

    def _expectation(self) -> ExpectedSize | None:
        """Return what the first prompts say of the structure's size; a mask says more."""
        scene, view, limit = self._scene, self._state.view, self._evidence.limit
        if self._mask is not None:
            return None
        if limit is not None:
            return ExpectedSize.in_box(scene.sides_mm(limit.shape_kji))
        return None if view is None else ExpectedSize.in_view(view, scene.dims)

    def _first_look(self) -> tuple[Look, PromptMaps, bool]:
        """Return the first answer worth going on with, and whether to look again from nearer by."""
        scene, view = self._scene, self._state.view
        finest = TUNED.finest_of_contrast if self._is_contrast else TUNED.finest
        side_mm, longest_mm = scene.side_mm(self._bounds, finest), scene.longest_mm
        if self._mask is not None or self._evidence.limit is not None:
            return *self._look(self._region(side_mm, self._first_side)), False
        looks = []
        if view is not None or side_mm >= longest_mm:
            seen_mm = longest_mm if view is None else min(max(view.size_mm), longest_mm)
            look, maps = self._look(self._seen_region(view, max(side_mm, seen_mm)))
            if look.expected_dice > TUNED.sure or side_mm >= longest_mm:
                return look, maps, True
            looks = [look]
        sides_mm = np.geomspace(side_mm, longest_mm, TUNED.scales[scene.dims])
        looks += [self._look(self._region(side_mm, TUNED.scale_side[scene.dims]))[0] for side_mm in sides_mm]
        chosen = looks[most_agreed(looks)]
        again = self._region(self._side_mm(chosen.roi), self._next_side)
        return *self._look(*(self._better(chosen, may_close_in=True) or (again, None))), False

    def _side_mm(self, roi: Roi) -> float:
        return float((np.array(roi.shape_kji) * roi.step_kji * self._scene.grid.spacing_kji_mm).max())

    def _seen_region(self, view: View | None, side_mm: float) -> Roi:
        """Return the region about the middle of the view, where people have the structure, if it holds the prompts."""
        around = self._region(side_mm, self._first_side)
        if view is None:
            return around
        middle = flip_axes(self._scene.grid.to_ijk(view.center_ras))
        seen = self._scene.region(middle, side_mm, max(around.shape_kji))
        return seen if seen.extent.contains(self._bounds) else around

    def _region(self, side_mm: float, side: int, bounds: Extent | None = None) -> Roi:
        bounds = bounds or self._bounds
        middle = (np.array(bounds.start_kji) + bounds.stop_kji - 1) / 2
        return self._scene.region(middle, side_mm, side)

    def _better(self, look: Look, may_close_in: bool) -> tuple[Roi, Float32Array | None] | None:
        """Return a larger region when the structure needs more room, or a smaller one and what was found."""
        scene, roi = self._scene, look.roi
        found = Extent.of_mask(look.logits > 0)
        if found is None or self._evidence.limit is not None:
            return None
        side_mm, bounds = self._side_mm(roi), roi.source_extent(found).union(self._bounds)
        needed_mm = min(scene.side_mm(bounds), scene.longest_mm)
        if roi.touched_faces(found).any():
            needed_mm = min(max(needed_mm, TUNED.stride * side_mm), scene.longest_mm)
        if needed_mm > TUNED.room * side_mm:
            return self._region(needed_mm, self._next_side, bounds), None
        if self._mask is None and may_close_in and needed_mm < TUNED.close_in * side_mm:
            closer = self._region(needed_mm, self._next_side, bounds)
            return closer, roi.carried((look.logits > 0).astype(np.float32), closer)
        return None

    def _heard(self, new: BoolArray, old: BoolArray, roi: Roi) -> BoolArray:
        """Return the working voxels that the newest prompt speaks of, among those at which `old` is to change.

        What it adds, if positive, or takes away, if negative, must begin near to it; the contrary must be near. Near
        is what is no farther from it than a part of the mask's size.
        """
        newest, bounds = roi.mark(self._evidence.newest_kji), Extent.of_mask(old)
        if bounds is None or not newest.any():
            return np.ones(roi.shape_kji, dtype=bool)
        distance, size = ndimage.distance_transform_edt(~newest), max(bounds.shape_kji)
        if self._is_contrast:
            size *= TUNED.contrast_reach
        more, less = new & ~old, old & ~new
        meant, contrary = (more, less) if self._evidence.newest_is_positive else (less, more)
        parts, count = ndimage.label(meant, np.ones((3, 3, 3)))
        nearest = ndimage.minimum(distance, parts, range(1, count + 1))
        changes = np.array([False, *(nearest <= TUNED.reach * size)])[parts]
        changes |= contrary & (distance <= TUNED.contrary_reach * size)
        # The border around what changes is drawn anew with it.
        heard: BoolArray = ndimage.binary_dilation(changes) & (changes | (new == old))
        return heard


@dataclass
class _Timed:
    """Adds the milliseconds that a block takes to a stage."""

    timings_ms: dict[str, float]
    stage: str
    started: float = field(default=0.0, init=False)

    def __enter__(self) -> None:
        self.started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        elapsed_ms = 1000 * (time.perf_counter() - self.started)
        self.timings_ms[self.stage] = self.timings_ms.get(self.stage, 0.0) + elapsed_ms
