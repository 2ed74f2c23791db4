"""Which controls can be used, in every situation that the panel can be in."""

from __future__ import annotations

import dataclasses

import pytest
from fakes import BallPredictor, ValuePredictor
from hypothesis import given
from hypothesis import strategies as st

from PromptSegLib.panel.availability import TOOL_FEATURES, Situation, hint, reasons
from PromptSegLib.panel.worklist_availability import WorklistSituation
from PromptSegLib.predictors.base import Capabilities

SLICES = dataclasses.replace(BallPredictor.capabilities, title="Slices", dimensions=frozenset({2}))
POINTS = Capabilities("points", "Points", "", frozenset({3}), frozenset({"point+", "point-"}), "MIT")
FIELDS = {
    field.name: st.booleans() for field in dataclasses.fields(Situation) if field.name.startswith(("has_", "can_"))
}
WORKLISTS = st.builds(
    WorklistSituation,
    **{field.name: st.booleans() for field in dataclasses.fields(WorklistSituation) if field.type == "bool"},
)
SITUATIONS = st.builds(
    Situation,
    worklist=WORKLISTS,
    capabilities=st.sampled_from([SLICES, POINTS, ValuePredictor.capabilities, BallPredictor.capabilities]),
    problem=st.sampled_from(["", "The weights are not here."]),
    is_busy=st.booleans(),
    runs_at_once=st.booleans(),
    is_prompt_selected=st.booleans(),
    is_fetching=st.booleans(),
    weights=st.sampled_from(["", "ready", "missing", "incomplete"]),
    **FIELDS,
)
READY = Situation(BallPredictor.capabilities, has_volume=True, has_session=True, has_segments=True)


def usable(situation):
    return {control for control, reason in reasons(situation).items() if not reason}


@given(SITUATIONS)
def test_each_control_can_be_used_exactly_when_it_would_do_something(s):
    on, prompts, session = usable(s), s.capabilities.prompts, s.has_volume and s.has_session
    works = s.has_volume and not s.problem
    names_only = s.capabilities.takes_names and "point-" not in prompts and not s.has_name
    for tool, feature in TOOL_FEATURES.items():
        assert (tool in on) == (works and feature in prompts and not names_only)
    assert ("name" in on) == (works and s.capabilities.takes_names)
    assert ("addSegment" in on) == s.has_volume
    assert ("next" in on) == (session and (s.has_prompts or s.has_mask))
    assert ("run" in on) == (session and s.has_prompts and not s.runs_at_once and not s.problem)
    assert ("cancel" in on) == s.is_busy
    assert ("undo" in on) == (session and s.can_undo)
    assert ("redo" in on) == (session and s.can_redo)
    assert ("reset" in on) == (session and s.has_prompts)
    assert ("deletePrompt" in on) == (session and s.has_prompts and s.is_prompt_selected)
    assert ("propagate" in on) == (session and s.has_prompts and not s.problem and s.capabilities is SLICES)
    assert on.issuperset({"island", "holes", "smooth"}) == (session and s.has_mask)
    assert ("copyPython" in on) == session
    segments = s.has_volume and s.has_segments
    assert on.issuperset({"exportLabelmap", "exportFile", "show3D", "segmentEditor"}) == segments
    assert ("exportDicom" in on) == (segments and s.has_dicom_export)


@given(SITUATIONS)
def test_weights_and_worklists_have_rules_of_their_own(s):
    on = usable(s)
    assert ("getWeights" in on) == (s.weights in ("missing", "incomplete") and not s.is_fetching)
    assert ("getWeights" in on) == ("importWeights" in on) == ("importFolder" in on)
    assert ("removeWeights" in on) == (s.weights in ("ready", "incomplete") and not s.is_fetching)
    assert ("clearCache" in on) == (not s.is_fetching)
    w = s.worklist
    assert ("previousCase" in on) == (w.is_open and w.has_previous)
    assert ("nextCase" in on) == (w.is_open and w.has_next)
    assert ("saveCase" in on) == ("accept" in on) == (w.is_open and w.has_case and w.has_segments)
    assert ("reject" in on) == ("secondReading" in on) == (w.is_open and w.has_case)
    assert ("proposeAll" in on) == (w.is_open and w.has_todo and not w.is_proposing)
    assert ("stopProposing" in on) == w.is_proposing
    assert ("compareReadings" in on) == (w.is_open and w.has_case and w.has_reading)
    assert ("takeReading" in on) == (w.is_open and w.has_case and w.has_reading and w.has_ticked)


@given(SITUATIONS, st.sampled_from(["", "ask", *TOOL_FEATURES]))
def test_there_is_always_something_to_do_next(s, tool):
    assert hint(s, tool).endswith(".")


@pytest.mark.parametrize(
    ("situation", "text"),
    [
        (Situation(), "Load an image"),
        (dataclasses.replace(READY, problem="No weights."), "No weights."),
        (dataclasses.replace(READY, has_prompts=True, runs_at_once=False), "Press Run"),
        (dataclasses.replace(READY, capabilities=ValuePredictor.capabilities), "Tick structures"),
        (READY, "Take a tool"),
    ],
)
def test_what_comes_next_is_what_is_missing_first(situation, text):
    assert hint(situation, "").startswith(text)


def test_a_model_that_cannot_be_used_at_all_leaves_the_segments_in_hand():
    broken = dataclasses.replace(READY, capabilities=None, problem="It cannot be used.", has_mask=True, can_undo=True)
    on = usable(broken)
    assert not on & set(TOOL_FEATURES)
    assert on.issuperset({"undo", "island", "exportFile", "next"})
