"""ScribblePrompt answers prompts on slices as the official implementation does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from key_made_weights import state_dict_from_keys
from references import KEPT_HERE, Reference
from tiny_networks import tiny_scribbleprompt

from PromptSegLib.errors import WeightsError
from PromptSegLib.predictors.registry import create_predictor
from PromptSegLib.predictors.scribbleprompt.predictor import ScribblePromptPredictor
from PromptSegLib.predictors.scribbleprompt.transforms import ScribblePromptFrame, prompt_channels
from PromptSegLib.prompts import Box, Point, VoxelScribble
from PromptSegLib.session.session import Session
from PromptSegLib.view import Window
from PromptSegLib.volume import Volume
from PromptSegLib.weights.catalogue import load_catalogue

PICTURE = np.diag([-1.0, -1.0, 1.0, 1.0])
WINDOW = Window(0.0, 1.0)


def session_with(image, network=None, **changes):
    predictor = ScribblePromptPredictor(network or tiny_scribbleprompt(), device="cpu")
    return Session(Volume(image[None], PICTURE), predictor, **changes)


def logits_of(session):
    [record] = session.prediction.feedback.records.values()
    return record.logits[0]


def test_clicks_give_the_official_logits():
    reference = Reference(KEPT_HERE, "scribbleprompt_tiny")
    session = session_with(reference["image"][0, 0], auto=False, window=WINDOW)
    for (x, y), label in zip(reference["clicks_point_coords"][0], reference["clicks_point_labels"][0], strict=True):
        session.add(Point(tuple(session.image.grid.to_ras((x, y, 0))), bool(label)))
    session.predict()
    reference.assert_met("clicks_logits", torch.from_numpy(logits_of(session)[None, None]))
    np.testing.assert_array_equal(session.mask_kji[0], logits_of(session) > 0)


def test_boxes_scribbles_clicks_and_the_last_logits_go_into_their_channels():
    rng = np.random.default_rng(3)
    image = rng.random((200, 150)).astype(np.float32)
    network, seen = tiny_scribbleprompt(), []
    forward = network.forward
    network.forward = lambda channels: seen.append(channels) or forward(channels)
    session = session_with(image, network, window=WINDOW)
    grid = session.image.grid
    session.add(Box.from_indices(grid, (20, 30, 0), (99, 149, 0)))
    first = logits_of(session)
    marked = np.array([[x, y, 0] for x in range(40, 80) for y in range(60, 66)])
    session.add(VoxelScribble(tuple(map(tuple, grid.to_ras(marked)))))
    session.add(Point(tuple(grid.to_ras((5, 7, 0))), positive=False))

    strokes = torch.zeros(1, 2, 200, 150)
    strokes[0, 0, 60:66, 40:80] = 1
    frame = ScribblePromptFrame((200, 150))
    boxes = torch.tensor([[[20, 30, 100, 150]]])
    expected = prompt_channels(
        frame.maps(torch.from_numpy(image)[None, None]),
        boxes=frame.boxes(boxes),
        scribbles=frame.maps(strokes),
        logits=torch.from_numpy(first)[None, None],
    )
    torch.testing.assert_close(seen[1], expected, atol=1e-5, rtol=0)
    x, y = int(5 * 128 / 150), int(7 * 128 / 200)
    assert seen[2][0, 3, y, x] == 1
    assert seen[2][0, 3].sum() == 1


def test_a_slice_is_shown_from_its_own_black_to_its_own_white():
    rng = np.random.default_rng(3)
    volume = Volume((rng.normal(0, 1, (4, 60, 50)) * [[[1]], [[10]], [[100]], [[1000]]]).astype(np.float32))
    network, seen = tiny_scribbleprompt(), []
    forward = network.forward
    network.forward = lambda channels: seen.append(channels) or forward(channels)
    session = Session(volume, ScribblePromptPredictor(network, device="cpu"))
    for k in (1, 3):
        session.add(Point((20.0, 20.0, float(k))))
    for channels in seen:
        assert channels[0, 0].min() < 0.1
        assert channels[0, 0].max() > 0.9


def test_missing_weights_say_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("PROMPTSEG_WEIGHTS_DIR", raising=False)
    with pytest.raises(WeightsError, match=r"are not here\.[\s\S]*promptseg weights import scribbleprompt"):
        create_predictor("scribbleprompt")


def test_the_published_network_runs_from_an_offline_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PROMPTSEG_WEIGHTS_DIR", str(tmp_path))
    state_dict = state_dict_from_keys(KEPT_HERE / "scribbleprompt_unet_keys.json")
    torch.save(state_dict, tmp_path / load_catalogue()["scribbleprompt"].file().path)
    session = Session(Volume(np.random.default_rng(0).random((3, 40, 50))), create_predictor("scribbleprompt"))
    session.add(Point((20.0, 20.0, 1.0)))
    assert session.mask_kji[1].any()
    assert not session.mask_kji[[0, 2]].any()
