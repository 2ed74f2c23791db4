"""The default model is as good and as quick on phantoms as it was when that was recorded."""

from __future__ import annotations

import copy

import pytest
from regression import complaints, measure, read_recorded


def test_the_default_model_is_as_good_and_its_stages_take_their_shares(tmp_path):
    now = measure(tmp_path)
    print(now)
    assert complaints(read_recorded(), now) == []


BEFORE = {
    "model": "classical",
    "dice_after_3_clicks": {"2D": 0.8, "3D": 0.7},
    "corrections": {"dice": {"2D ring": 0.9}, "losing": 0.0},
    "share_of_time": {"2D": {"roi": 0.1, "geodesic": 0.9}, "3D": {"roi": 0.4, "geodesic": 0.5, "write": 0.1}},
}


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("dice_after_3_clicks", "3D"), 0.685, None),
        (("dice_after_3_clicks", "3D"), 0.675, "3D: 0.700 before, 0.675 now"),
        (("dice_after_3_clicks", "2D"), 0.95, None),
        (("corrections", "dice", "2D ring"), 0.87, "corrections, 2D ring: 0.900 before, 0.870 now"),
        (("corrections", "losing"), 0.06, "clicks that lose: 6% now"),
        (("corrections", "losing"), 0.04, None),
        (("share_of_time", "2D", "roi"), 0.19, None),
        (("share_of_time", "2D", "roi"), 0.21, "'roi' in the time of a click, 2D: 10% before, 21% now"),
        (("share_of_time", "3D", "new"), 0.2, "'new' in the time of a click, 3D: 0% before, 20% now"),
        (("share_of_time", "3D", "new"), 0.1, None),
        (("model",), "net", "record_regression.py"),
    ],
)
def test_what_got_worse_by_more_than_is_allowed_is_said(path, value, complaint):
    now = copy.deepcopy(BEFORE)
    place = now
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    found = complaints(BEFORE, now)
    assert len(found) == (complaint is not None)
    if complaint is not None:
        assert complaint in found[0]
