"""One session at a time has a volume and a segmentation in hand; those that are over are freed."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from fakes import BallPredictor
from scenes import add_segmentation, add_volume

from PromptSegLib.errors import PromptError, SceneError, UnknownPredictorError
from PromptSegLib.mrml.boot import start_scene
from PromptSegLib.mrml.scene_session import SceneSession
from PromptSegLib.prompts import Point
from PromptSegLib.session.observer import SessionObserver

SHAPE = (20, 24, 28)
A, B = Point((10.0, 10.0, 10.0)), Point((16.0, 12.0, 9.0))


@pytest.fixture
def a_volume():
    with start_scene() as standalone:
        yield add_volume(standalone.scene, np.zeros(SHAPE, np.int16))


class Heard(SessionObserver):
    def __init__(self):
        self.errors = []

    def failed(self, error):
        self.errors.append(str(error))


def a_session(volume, segmentation=None, **options):
    return SceneSession(volume, segmentation, predictor=BallPredictor(4.0), **options)


def test_a_console_line_run_again_goes_on_and_wipes_nothing(a_volume):
    session = a_session(a_volume)
    session.add(A)
    liver, segmentation, mask = session.target, session.segmentation_node, session.mask_kji
    session = a_session(a_volume, segmentation)
    session.add_target("lesion")
    assert np.array_equal(session.mask(liver), mask)
    session.add(B)
    assert session.prompts(liver) == (A,)
    assert np.array_equal(session.mask(liver), mask)


def test_the_session_before_says_so_and_does_nothing_more(a_volume):
    heard = Heard()
    old = a_session(a_volume, observer=heard)
    old.add(A)
    new = a_session(a_volume, old.segmentation_node)
    assert len(heard.errors) == 1
    assert "took over" in heard.errors[0]
    assert not old.is_open
    mask = new.mask_kji
    uses = {
        "add": lambda: old.add(B),
        "undo": old.undo,
        "redo": old.redo,
        "reset": old.reset,
        "accept": old.accept,
        "remove": lambda: old.remove(A),
        "replace": lambda: old.replace(A, B),
        "predict": old.predict,
        "set_mask": lambda: old.set_mask(np.ones(SHAPE)),
        "add_target": lambda: old.add_target("no"),
        "select": lambda: old.select(old.target),
        "take_edits": old.take_edits,
        "mask": lambda: old.mask_kji,
    }
    for use in uses.values():
        with pytest.raises(SceneError, match="took over"):
            use()
    new.point_node().AddControlPointWorld(B.position_ras)
    assert new.prompts() == (A, B)
    assert len(new.targets) == 1
    new.undo()
    assert np.array_equal(new.mask_kji, mask)
    assert len(heard.errors) == 1


def test_a_session_that_cannot_be_made_takes_nothing_over(a_volume):
    old = a_session(a_volume)
    with pytest.raises(UnknownPredictorError):
        SceneSession(a_volume, old.segmentation_node, predictor="no such model")
    with pytest.raises(PromptError, match="one of the targets"):
        a_session(a_volume, old.segmentation_node, segment_id="no such segment")
    old.add(A)
    assert old.mask_kji.any()


def test_sessions_on_other_nodes_go_on_side_by_side(a_volume):
    one = a_session(a_volume)
    other = a_session(a_volume, add_segmentation(a_volume.GetScene(), a_volume, {}))
    one.add(A)
    other.add(B)
    assert one.prompts() == (A,)
    assert other.prompts() == (B,)


@pytest.mark.parametrize("end", ["taken over", "closed", "bound to other nodes"])
def test_a_session_that_is_over_is_freed(a_volume, end):
    session = a_session(a_volume)
    session.add(A)
    session.point_node(False).AddControlPointWorld(B.position_ras)
    image, segmentation, is_there = session.image, session.segmentation_node, weakref.ref(session)
    if end == "taken over":
        session = a_session(a_volume, segmentation)
    elif end == "closed":
        session.close()
        session = None
    else:
        session = a_session(add_volume(a_volume.GetScene(), np.zeros(SHAPE, np.int16)))
    gc.collect()
    assert is_there() is None
    a_volume.Modified()
    assert len(gc.get_referrers(image)) <= 2
    again = a_session(a_volume, segmentation)
    assert again.prompts() == (A, Point(B.position_ras, False))


def test_a_closed_session_says_what_to_do(a_volume):
    session = a_session(a_volume)
    session.close()
    with pytest.raises(SceneError, match="closed: make another"):
        session.add(A)
