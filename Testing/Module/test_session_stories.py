"""By mouse: points dragged again and again, segments deleted in the table, a session in the console meanwhile."""

import numpy as np
from calls import calls_in

from PromptSegLib.mrml.scene_session import SceneSession
from PromptSegLib.predictors import registry
from PromptSegLib.prompts import Point


def points_in(user, mask_kji):
    return [
        prompt for prompt in user.session.prompts() if mask_kji[tuple(np.rint(prompt.position_ras[::-1]).astype(int))]
    ]


def test_a_point_is_dragged_twenty_times_and_the_last_costs_what_the_first_did(user, image):
    user.tool("pointPlus")
    user.click((20, 15, 10))
    user.press("pointPlus")
    costs, at = [], (20, 15, 10)
    for turn in range(20):
        to = (16 + (5 * turn) % 9, 11 + (3 * turn) % 8, 10)
        costs.append(calls_in(lambda at=at, to=to: user.drag([at, to])))
        assert len(user.session.prompts()) == 1
        assert user.session.mask_kji[to[2], to[1], to[0]]
        at = to
    assert sum(costs[-5:]) < 1.5 * sum(costs[:5])
    assert user.size == 257 or user.size < 300  # one ball, and nothing of the twenty before
    for _ in range(20):
        user.press("undo")
    assert user.session.mask_kji[10, 15, 20]
    user.press("undo")
    assert user.size == 0


def test_after_a_segment_is_deleted_in_the_table_a_click_knows_nothing_of_it(user, image):
    user.tool("pointPlus")
    user.click((10, 15, 10))
    user.session.segmentation_node.GetSegmentation().RemoveSegment(user.session.target)
    user.look()
    assert user.ui.promptsTable.rowCount == 0
    user.click((28, 15, 10))
    assert user.status == ""
    assert user.ui.promptsTable.rowCount == 1
    assert user.session.mask_kji[10, 15, 28]
    assert not user.session.mask_kji[10, 15, 10]


def test_a_session_in_the_console_has_the_nodes_until_the_user_goes_on_in_the_panel(user, image):
    user.tool("pointPlus")
    user.click((20, 15, 10))
    segmentation, first = user.session.segmentation_node, user.session.mask_kji
    console = SceneSession(image, segmentation, predictor=registry.create_predictor("default"))
    user.look()
    assert user.session is None
    assert "took over" in user.status
    assert not user.ui.pointPlusButton.checked
    assert console.is_open
    assert np.array_equal(console.mask_kji, first)
    console.add(Point((28.0, 15.0, 10.0)))
    user.look()
    assert user.session is None
    assert console.is_open
    user.tool("pointPlus")
    assert not console.is_open
    assert len(user.session.prompts()) == 2
    user.click((10, 15, 10))
    assert user.session.mask_kji[10, 15, [10, 20, 28]].all()
