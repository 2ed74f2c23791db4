"""Recorded sessions of the official package: the same prompts give the same channels and the same masks here."""

from __future__ import annotations

import re

import numpy as np
import pytest
from nninteractive_model import ClosedForm, save_model
from references import ELSEWHERE, needs_all_references

from PromptSegLib.geometry import Extent, flip_axes
from PromptSegLib.predictors.nninteractive.predictor import NnInteractive
from PromptSegLib.prompts import Box, MaskPrompt, Point, VoxelScribble
from PromptSegLib.session.session import Session

SESSIONS = ("nninteractive_session", "nninteractive_session_zoom")


class Recorded:
    """A recorded session: what was said in each step, and what came of it."""

    def __init__(self, name):
        with np.load(ELSEWHERE / f"{name}.npz") as arrays:
            self.arrays = dict(arrays)
        self.steps = sorted({"_".join(key.split("_")[:2]) for key in self.arrays if key[0].isdigit()})

    def __getitem__(self, name):
        return self.arrays[name]

    @property
    def shape(self):
        return self["image"].shape

    def mask(self, name):
        bits = np.unpackbits(self[f"{name}_packed"], count=int(np.prod(self.shape)))
        return bits.reshape(self.shape).astype(bool)


def prompt_of(recorded, step, grid):
    """Return what was said, as a prompt in RAS; the recording's axes are k, j, i."""
    kind, sign = re.match(r"\d+_([a-z]+)\d?([+-])", step).groups()
    positive = sign == "+"
    if kind == "point":
        return Point(tuple(grid.to_ras(flip_axes(recorded[f"{step}_arg"]))), positive)
    if kind == "bbox":
        low, high = recorded[f"{step}_arg"][:, 0], recorded[f"{step}_arg"][:, 1] - 1
        return Box.from_indices(grid, flip_axes(low), flip_axes(high), positive)
    mask = recorded.mask(f"{step}_arg")
    if kind == "initial":
        return MaskPrompt(mask, grid.ijk_to_ras)
    centres = grid.to_ras(flip_axes(np.argwhere(mask)))
    return VoxelScribble(centres, positive) if kind == "scribble" else VoxelLasso(centres, positive)


class VoxelLasso(VoxelScribble):
    """A lasso given as the voxels that it surrounds, as the recording has it."""

    kind = "lasso"


def channels_of(predictor):
    return predictor._local.session.interactions


@needs_all_references
@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_of_the_official_package_is_met_step_by_step(name, tmp_path):
    recorded = Recorded(name)
    network = ClosedForm()
    folder = save_model(tmp_path / "model", int(recorded["patch"][0]), float(recorded["decay"]))
    predictor = NnInteractive(folder, network=network, device="cpu")
    session = Session(recorded["image"], predictor)
    grid = session.image.grid
    for step in recorded.steps:
        network.inputs.clear()
        session.auto = "0" not in step.partition("_")[2]  # "scribble0": said, but nothing was predicted
        if "undo" in step:
            assert session.undo() == "add lasso-"
        else:
            session.add(prompt_of(recorded, step, grid))
        np.testing.assert_array_equal(session.mask_kji, recorded.mask(f"{step}_target"), err_msg=step)
        if f"{step}_first_input_prompts" in recorded.arrays:
            assert len(network.inputs) == recorded[f"{step}_n_calls"], step
            seen = network.inputs[0][0].numpy()
            np.testing.assert_allclose(seen[1:], recorded[f"{step}_first_input_prompts"], rtol=0, atol=2e-3)
            np.testing.assert_allclose(seen[0, ::8, ::8, ::8], recorded[f"{step}_first_input_image_s8"], atol=1e-4)
            assert predictor._local.session.current_interaction_intensity == recorded[f"{step}_intensity"]
            box = Extent(*zip(*recorded[f"{step}_last_bbox"].tolist(), strict=True))
            assert session.prediction.extent is None or box.contains(session.prediction.extent)
    channels = channels_of(predictor)
    assert [int((channel != 0).sum()) for channel in channels] == recorded["interactions_final_nonzero"].tolist()
    assert [float(channel.max()) for channel in channels] == recorded["interactions_final_max"].tolist()
    preprocessed = predictor._local.session.preprocessed_image[0, ::8, ::8, ::8]
    np.testing.assert_allclose(preprocessed, recorded["preprocessed_s8"], atol=1e-4)
