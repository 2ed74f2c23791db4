"""SAM-UNet answers prompts on slices as the official implementation does, from the image to the mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from key_made_weights import state_dict_from_keys
from references import ELSEWHERE, FOLDERS, Reference, needs_all_references
from tiny_networks import TinySamUNet, tiny_sam_unet

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import Cancelled, WeightsError
from PromptSegLib.predictors.registry import create_predictor
from PromptSegLib.predictors.sam_unet.network import SamUNet
from PromptSegLib.predictors.sam_unet.predictor import SamUNet34, SamUNet50
from PromptSegLib.predictors.slices.embedding_cache import EmbeddingCache
from PromptSegLib.prompts import Box, Point
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume
from PromptSegLib.weights.store import WeightsStore

PICTURE = np.diag([-1.0, -1.0, 1.0, 1.0])  # pixels of a picture: x to the left, y to posterior


def session_on(image, predictor, **options):
    return Session(Volume(image[None], PICTURE), predictor, **options)


def prompts_of(reference, case, grid):
    """Return the prompts of a case: its box, whose corners are centres of pixels, then its points."""
    found = []
    if f"{case}_box" in reference:
        x0, y0, x1, y1 = reference[f"{case}_box"]
        found.append(Box.from_indices(grid, (x0, y0, 0), (x1, y1, 0)))
    if f"{case}_points" in reference:
        labels = reference[f"{case}_point_labels"]
        points = zip(reference[f"{case}_points"], labels, strict=True)
        found += [Point(tuple(grid.to_ras((x, y, 0))), bool(label)) for (x, y), label in points]
    return found


def answer(session):
    """Return the logits (1, 1, h, w) of the only slice, and its mask (1, 1, H, W)."""
    [record] = session.prediction.feedback.records.values()
    [low_res] = record.logits
    return torch.from_numpy(low_res[None, None]), session.mask_kji[None]


def assert_met(reference, case, session):
    low_res, mask = answer(session)
    reference.assert_met(f"{case}_lowres", low_res)
    reference.assert_mask_met(f"{case}_mask", torch.from_numpy(np.where(mask, 1.0, -1.0)))


def checked(predictor, reference, cases):
    for case in cases:
        session = session_on(reference.image(), predictor, auto=False)
        for prompt in prompts_of(reference, case, session.image.grid):
            session.add(prompt)
        session.predict()
        assert_met(reference, case, session)
        assert session.prediction.score is None


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_picture_is_answered_as_by_the_official_one(folder):
    predictor = SamUNet34(tiny_sam_unet(), device="cpu", cache=EmbeddingCache())
    reference = Reference(folder, "sam_unet_tiny")
    checked(predictor, reference, ("points", "box", "box_point"))
    session = session_on(reference.image(), predictor)
    for prompt in prompts_of(reference, "refine", session.image.grid):
        session.add(prompt)
    session.predict()  # its own logits are fed back, as they are
    assert_met(reference, "refine", session)


@needs_all_references
def test_with_resnet_50_a_picture_is_answered_as_by_the_official_one():
    with torch.device("meta"):
        network = SamUNet(50).eval()
    network.load_state_dict(state_dict_from_keys(ELSEWHERE / "sam_unet_res50_keys.json"), assign=True)
    predictor = SamUNet50(network, device="cpu", cache=EmbeddingCache())
    checked(predictor, Reference(ELSEWHERE, "sam_unet_full"), ("box",))


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "model"])
def test_weights_are_imported_from_a_file_after_consent(tmp_path, wrapped):
    state_dict = tiny_sam_unet().state_dict()
    torch.save({"model": state_dict} if wrapped else state_dict, tmp_path / "mine.pth")
    store = WeightsStore(tmp_path / "store")
    with pytest.raises(WeightsError, match="CC BY-NC-SA"):
        store.import_file("sam-unet-res34", tmp_path / "mine.pth")
    store.import_file("sam-unet-res34", tmp_path / "mine.pth", consent=True)
    masks = []
    for options in ({"weights": store}, {"checkpoint": tmp_path / "mine.pth"}):
        predictor = TinySamUNet(device="cpu", cache=EmbeddingCache(), **options)
        reference = Reference(FOLDERS[0].values[0], "sam_unet_tiny")
        session = session_on(reference.image(), predictor)
        session.add(*prompts_of(reference, "box", session.image.grid))
        assert_met(reference, "box", session)
        masks.append(session.mask_kji)
    np.testing.assert_array_equal(*masks)


def test_without_weights_it_says_that_none_are_published(tmp_path, monkeypatch):
    monkeypatch.setenv("PROMPTSEG_WEIGHTS_DIR", str(tmp_path))
    for name in ("sam-unet-res34", "sam-unet-res50"):
        with pytest.raises(WeightsError, match=rf"github\.com/Hhankyangg[\s\S]*promptseg weights import {name}"):
            create_predictor(name)


def test_encoding_stops_between_blocks_when_cancelled():
    cancel = CancelToken()
    model = SamUNet34(tiny_sam_unet(), device="cpu").loaded()
    cancel.cancel()
    with pytest.raises(Cancelled):
        model.embed([np.zeros((40, 50, 3), np.uint8)], cancel)
