"""Prompts as JSON."""

from __future__ import annotations

import base64
import json
import tracemalloc
import zlib

import numpy as np
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from PromptSegLib.errors import PromptError
from PromptSegLib.io.prompts import prompts_from_json, prompts_to_json, read_prompts, write_prompts
from PromptSegLib.prompts import Box, MaskPrompt, Point


@given(strategies.grids(), st.data())
def test_prompts_of_every_kind_come_back_as_they_were(grid, data):
    names = data.draw(st.lists(st.text(), unique=True, max_size=3))
    targets = {name: tuple(data.draw(st.lists(strategies.prompts_in(grid), max_size=3))) for name in names}
    text = prompts_to_json(targets)
    assert prompts_from_json(text) == targets
    assert prompts_to_json(prompts_from_json(text)) == text


def test_a_file_names_frame_and_unit_and_can_be_read_by_people(tmp_path):
    path = tmp_path / "prompts.json"
    write_prompts(path, {"Milz größe": [Point((1.5, 2, -3), positive=False)]})
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["frame"] == "RAS"
    assert content["unit"] == "mm"
    assert content["targets"] == [
        {"name": "Milz größe", "prompts": [{"kind": "point", "position_ras": [1.5, 2.0, -3.0], "positive": False}]}
    ]
    assert read_prompts(path) == {"Milz größe": (Point((1.5, 2.0, -3.0), False),)}


def test_a_mask_takes_its_bits_and_no_more():
    mask = np.zeros((100, 100, 100), dtype=bool)
    mask[10:90, 20:80, 30:70] = True
    assert len(prompts_to_json({"a": [MaskPrompt(mask, np.eye(4))]})) < 2000


def _file(**changes):
    return {"format": "promptseg-prompts", "version": 1, "frame": "RAS", "unit": "mm", "targets": []} | changes


def _with_prompt(record):
    return _file(targets=[{"name": "a", "prompts": [record]}])


POINT = {"kind": "point", "position_ras": [1, 2, 3], "positive": True}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "a prompts file with"),
        ({}, "a prompts file with"),
        (_file(format="other"), "a prompts file with"),
        (_file(version=2), "version 1, got 2"),
        (_file(frame="LPS"), "frame 'RAS', got 'LPS'"),
        (_file(unit="m"), "unit 'mm', got 'm'"),
        (_file(targets=None), "a list of targets"),
        (_file(targets=[1]), "targets with a name"),
        (_file(targets=[{"name": 5, "prompts": []}]), "targets with a name"),
        (_file(targets=[{"name": "a"}]), "a list of prompts"),
        (_file(targets=[{"name": "a", "prompts": []}] * 2), "each target once, got 'a' twice"),
        (_with_prompt("point"), "a kind out of point, box"),
        (_with_prompt({"kind": "circle"}), "a kind out of point, box"),
        (_with_prompt({"kind": ["point"]}), "a kind out of point, box"),
        (_with_prompt(POINT | {"colour": "red"}), "position_ras, positive for a point, got colour"),
        (_with_prompt(POINT | {"positive": 1}), "true or false for positive"),
        (_with_prompt(POINT | {"position_ras": [1, 2]}), "three finite numbers"),
        (_with_prompt(POINT | {"position_ras": [1, 2, float("nan")]}), "three finite numbers"),
        (_with_prompt({"kind": "point"}), "a complete point"),
        (_with_prompt({"kind": "box", "center_ras": [0, 0, 0], "size_mm": [1, -1, 1]}), "corners swapped"),
        (
            _with_prompt({"kind": "box", "center_ras": [0, 0, 0], "size_mm": [1, 1, 1], "axes": [[1, 0], [0, 1, 0]]}),
            "a box's axes",
        ),
        (_with_prompt({"kind": "scribble", "points_ras": [[0, 0, 0]], "width_mm": "wide"}), "brush width"),
        (_with_prompt({"kind": "text", "text": 5}), "at least one letter"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_path(tmp_path, content, message):
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(PromptError, match=message) as refused:
        read_prompts(path)
    assert "wrong.json: " in str(refused.value)


def _mask_record(shape=(2, 3, 4), bits=None, **changes):
    bits = np.packbits(np.ones(24, dtype=bool)).tobytes() if bits is None else bits
    packed = base64.b64encode(zlib.compress(bits)).decode()
    return {
        "kind": "mask",
        "shape_kji": shape,
        "ijk_to_ras": np.eye(4).tolist(),
        "bits_zlib_base64": packed,
    } | changes


@pytest.mark.parametrize(
    "record",
    [
        _mask_record(bits=b"\xff\xff"),
        _mask_record(bits=b"\xff" * 5),
        _mask_record(shape=(2, 3)),
        _mask_record(shape=(0, 3, 4)),
        _mask_record(shape=(10**9, 10**9, 10**9)),
        _mask_record(shape="abc"),
        _mask_record(ijk_to_ras=[[1, 0], [0, 1]]),
        _mask_record(ijk_to_ras=np.zeros((4, 4)).tolist()),
        _mask_record(bits_zlib_base64="no bits"),
        _mask_record(bits_zlib_base64=base64.b64encode(b"no zlib").decode()),
        _mask_record(bits_zlib_base64=None),
        {"kind": "mask"},
    ],
)
def test_a_mask_whose_bits_do_not_fit_is_refused(record):
    with pytest.raises(PromptError, match="a mask prompt with shape_kji, ijk_to_ras and bits_zlib_base64 that fit"):
        prompts_from_json(json.dumps(_with_prompt(record)))


def test_a_mask_of_nothing_is_refused():
    with pytest.raises(PromptError, match="at least one voxel set"):
        prompts_from_json(json.dumps(_with_prompt(_mask_record(bits=b"\x00" * 3))))


@pytest.mark.parametrize("content", [b"", b'{"format": "promptseg', b"\xff\xfe\x00", b"\x93NUMPY"])
def test_an_unreadable_or_truncated_file_is_refused(tmp_path, content):
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(PromptError, match=r"broken\.json"):
        read_prompts(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(PromptError, match=r"readable prompts file.*nowhere\.json"):
        read_prompts(tmp_path / "nowhere.json")


def test_a_box_read_from_a_file_is_the_box_written():
    box = Box((1, 2, 3), (4, 0, 6), strategies.rotation(1).T, positive=False)
    assert prompts_from_json(prompts_to_json({"a": [box]}))["a"] == (box,)


@pytest.mark.parametrize("number", ["1" + "0" * 400, "-1" + "0" * 400, "1e400", "1e300", "NaN"])
@pytest.mark.parametrize(
    "prompt",
    [
        '{"kind": "point", "position_ras": [N, 0, 0]}',
        '{"kind": "box", "center_ras": [0, 0, 0], "size_mm": [N, 1, 1]}',
        '{"kind": "box", "center_ras": [0, 0, 0], "size_mm": [1, 1, 1], "axes": [[N, 0, 0], [0, 1, 0], [0, 0, 1]]}',
        '{"kind": "scribble", "points_ras": [[0, 0, 0]], "width_mm": N}',
        '{"kind": "lasso", "points_ras": [[0, 0, 0], [N, 0, 0], [0, 1, 0]]}',
        '{"kind": "mask", "shape_kji": [N, 1, 1], "ijk_to_ras": [], "bits_zlib_base64": ""}',
    ],
)
def test_a_number_that_is_no_length_is_refused(number, prompt):
    text = json.dumps(_with_prompt("P")).replace('"P"', prompt.replace("N", number))
    with pytest.raises(PromptError) as refused:
        prompts_from_json(text)
    assert len(str(refused.value)) < 400


def test_masks_that_unpack_to_more_than_the_memory_are_refused_before(monkeypatch):
    zeros = zlib.compressobj(9)
    packed = b"".join(zeros.compress(bytes(1 << 20)) for _ in range(32)) + zeros.flush()
    record = _mask_record(shape=(1, 1, 1 << 28), bits_zlib_base64=base64.b64encode(packed).decode())
    content = _with_prompt(record)
    content["targets"][0]["prompts"].append(record)
    tracemalloc.start()
    try:
        with pytest.raises(PromptError, match="masks of at most 268,435,456 voxels in all"):
            prompts_from_json(json.dumps(content))
        with pytest.raises(PromptError, match="shape_kji"):
            prompts_from_json(json.dumps(_with_prompt(record | {"shape_kji": (1, 1, (1 << 28) + 1)})))
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_a_file_without_end_is_refused(tmp_path):
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(PromptError, match="at most 16,777,216 characters"):
        read_prompts(path)
