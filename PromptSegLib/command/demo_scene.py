"""What the demonstration works on: the user's image, Slicer's sample CT, or a phantom."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.command.arguments import UsageError
from PromptSegLib.command.console import ProgressBar, warn
from PromptSegLib.command.positions import prompt_at
from PromptSegLib.command.sample_image import sample_image
from PromptSegLib.errors import VolumeError, WeightsError
from PromptSegLib.evaluation.clicks import middle_kji
from PromptSegLib.evaluation.phantom import make_abdomen
from PromptSegLib.geometry import Grid, flip_axes
from PromptSegLib.io import Segment, open_image, read_volume
from PromptSegLib.prompts import Point, Prompt
from PromptSegLib.view import Window
from PromptSegLib.volume import Volume

# HU; level 40, width 400, as radiology shows soft tissue.
_SOFT_TISSUE_WINDOW = Window(-160.0, 240.0)
_SOFT_TISSUE_HU = (0, 150)
# An image that goes down to this is taken for a CT: air is -1000 HU.
_AIR_HU = -900
_COARSE_MM = 4.0


@dataclass(frozen=True, eq=False)
class Sample:
    """An image and the clicks to begin with.

    name: of the structure. truth_kji: where it is, bool, None when that is not known.
    """

    volume: Volume
    name: str
    clicks: tuple[Prompt, ...]
    window: Window | None = None
    truth_kji: BoolArray | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the demonstration came to."""

    scene: Sample
    prompts: tuple[Prompt, ...]
    segment: Segment


def choose_scene(arguments: argparse.Namespace) -> Sample:
    """Return what the command line asks for.

    Raises:
        PromptSegError: says what was expected and what came.
    """
    window = Window(*arguments.window) if arguments.window else None
    if arguments.image is not None:
        return _scene_of_file(arguments, window)
    if arguments.given:
        raise UsageError("expected IMAGE for --positive and --negative to lie in; see promptseg demo --help")
    volume = None if arguments.phantom else _sample()
    window = window or _SOFT_TISSUE_WINDOW
    if volume is not None:
        return Sample(volume, "soft tissue", (deepest_soft_tissue(volume),), window)
    phantom = make_abdomen()
    return Sample(phantom.volume, "liver", (phantom.clicks["liver"],), window, phantom.mask("liver"))


def deepest_soft_tissue(volume: Volume) -> Point:
    """Return a click on the voxel of a CT that is farthest from all that is not soft tissue, to 4 mm.

    Raises:
        VolumeError: there is no soft tissue: 0 to 150 HU.
    """
    step_kji = [max(1, int(_COARSE_MM / spacing)) for spacing in volume.grid.spacing_kji_mm]
    coarse = volume.array[tuple(slice(None, None, step) for step in step_kji)]
    low, high = _SOFT_TISSUE_HU
    # Noise must not count as a border.
    tissue = ndimage.median_filter((coarse > low) & (coarse < high), size=[min(3, n) for n in coarse.shape])
    if not tissue.any():
        raise VolumeError(f"expected a CT with soft tissue, {low} to {high} HU, got none in {volume!r}")
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, :3] *= flip_axes(step_kji)
    grid = Grid((tissue.shape[0], tissue.shape[1], tissue.shape[2]), matrix)
    x, y, z = grid.to_ras(flip_axes(middle_kji(np.asarray(tissue, dtype=bool), grid)))
    return Point((float(x), float(y), float(z)))


def _scene_of_file(arguments: argparse.Namespace, window: Window | None) -> Sample:
    if not arguments.given or arguments.given[0][0] != "positive":
        raise UsageError("expected a click on the structure first: --positive X,Y,Z; see promptseg demo --help")
    file = open_image(arguments.image, arguments.series)
    volume = file.volume(arguments.time_point)
    frame = arguments.frame or ("ijk" if file.is_picture else "ras")
    clicks = tuple(prompt_at(option, numbers, frame, volume.grid) for option, numbers in arguments.given)
    if window is None and volume.finite_range[0] <= _AIR_HU:
        window = _SOFT_TISSUE_WINDOW
        warn(f"taken for a CT, with the window {window.low:g},{window.high:g}; --window chooses another")
    return Sample(volume, "segment", clicks, window)


def _sample() -> Volume | None:
    progress = ProgressBar()
    try:
        return read_volume(sample_image(progress.progress))
    except WeightsError as error:
        warn(f"no sample CT, going on with a phantom: {' '.join(str(error).split())}")
        return None
    finally:
        progress.clear()
