"""Undo and redo under random sequences of all that a user can do, against a model that keeps every state."""

from __future__ import annotations

import dataclasses

import numpy as np
import strategies
from fakes import BallAndShellPredictor, BallPredictor, EditableMaskStore, ball_patch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from PromptSegLib.geometry import affine_from_parts
from PromptSegLib.prompts import MaskPrompt, Point
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume

VOLUME = Volume(
    np.zeros((7, 8, 11), dtype=np.uint8), affine_from_parts((1.0, 1.5, 2.0), strategies.rotation(7), (5, -3, 9))
)
GRID = VOLUME.grid
NAMES = ("segment", "liver", "spleen")


@dataclasses.dataclass(frozen=True)
class Target:
    """What the model knows of a target: its prompts, its mask, and the mask below what was predicted."""

    prompts: tuple = ()
    mask: bytes = b"\x00" * int(np.prod(GRID.shape_kji))
    base: bytes = b"\x00" * int(np.prod(GRID.shape_kji))


def array_of(mask):
    return np.frombuffer(mask, dtype=bool).reshape(GRID.shape_kji)


def predicted(base, prompts):
    """Return `base` with what `BallPredictor` answers to `prompts` laid over it."""
    mask = array_of(base).copy()
    points = [prompt for prompt in prompts if isinstance(prompt, Point)]
    if points:
        patch = ball_patch(GRID, points, 3.0)
        mask[patch.extent.slices] = patch.mask_kji
    return mask.tobytes()


class SessionModel(RuleBasedStateMachine):
    """`now`: target to what is expected of it. `past`, `future`: the changes that undo and redo make to it."""

    def __init__(self):
        super().__init__()
        self.session = Session(VOLUME, BallPredictor(radius_mm=3.0))
        self.now = {"segment": Target()}
        self.selected = "segment"
        self.past = []
        self.future = []

    def did(self, **changes):
        before = self.now[self.selected]
        self.now[self.selected] = after = dataclasses.replace(before, **changes)
        self.past.append((self.selected, before, after))
        self.future.clear()

    @property
    def target(self):
        return self.now[self.selected]

    @property
    def points(self):
        return [prompt for prompt in self.target.prompts if isinstance(prompt, Point)]

    @rule(data=st.data(), positive=st.booleans())
    def add_a_click(self, data, positive):
        point = Point(data.draw(strategies.positions_in(GRID)), positive)
        self.session.add(point)
        prompts = (*self.target.prompts, point)
        self.did(prompts=prompts, mask=predicted(self.target.mask, prompts))

    @rule(data=st.data())
    def add_a_mask(self, data):
        mask = data.draw(strategies.masks(GRID.shape_kji))
        mask[3, 4, 5] = True
        prompt = MaskPrompt(mask, GRID.ijk_to_ras)
        self.session.add(prompt)
        self.did(prompts=(*self.target.prompts, prompt), mask=mask.tobytes(), base=mask.tobytes())

    @precondition(lambda self: self.points)
    @rule(data=st.data())
    def remove_a_click(self, data):
        point = data.draw(st.sampled_from(self.points))
        self.session.remove(point)
        prompts = list(self.target.prompts)
        prompts.remove(point)
        self.did(prompts=tuple(prompts), mask=predicted(self.target.base, prompts))

    @precondition(lambda self: self.points)
    @rule(data=st.data())
    def drag_a_click(self, data):
        point = data.draw(st.sampled_from(self.points))
        moved = Point(data.draw(strategies.positions_in(GRID)), point.positive)
        self.session.replace(point, moved)
        prompts = list(self.target.prompts)
        prompts[prompts.index(point)] = moved
        self.did(prompts=tuple(prompts), mask=predicted(self.target.base, prompts))

    @rule()
    def reset(self):
        self.session.reset()
        self.did(prompts=(), mask=self.target.base)

    @rule()
    def accept(self):
        self.session.accept()
        self.did(prompts=(), base=self.target.mask)

    @rule(data=st.data())
    def set_the_mask(self, data):
        mask = data.draw(strategies.masks(GRID.shape_kji))
        self.session.set_mask(mask)
        self.did(mask=mask.tobytes(), base=mask.tobytes())

    @precondition(lambda self: len(self.now) < len(NAMES))
    @rule()
    def add_a_target(self):
        self.selected = NAMES[len(self.now)]
        assert self.session.add_target(self.selected) == self.selected
        self.now[self.selected] = Target()

    @rule(data=st.data())
    def select_a_target(self, data):
        self.selected = data.draw(st.sampled_from(sorted(self.now)))
        self.session.select(self.selected)

    @rule()
    def undo(self):
        assert (self.session.undo() is not None) == bool(self.past)
        if self.past:
            self.selected, before, _ = step = self.past.pop()
            self.now[self.selected] = before
            self.future.append(step)

    @rule()
    def redo(self):
        assert (self.session.redo() is not None) == bool(self.future)
        if self.future:
            self.selected, _, after = step = self.future.pop()
            self.now[self.selected] = after
            self.past.append(step)

    @invariant()
    def session_and_model_agree(self):
        assert self.session.target == self.selected
        assert self.session.targets == tuple(NAMES[: len(self.now)])
        assert self.session.can_undo == bool(self.past)
        assert self.session.can_redo == bool(self.future)
        for key, target in self.now.items():
            assert self.session.prompts(key) == target.prompts
            np.testing.assert_array_equal(self.session.mask(key), array_of(target.mask))


TestSessionModel = SessionModel.TestCase
TestSessionModel.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)


class EditedSession(RuleBasedStateMachine):
    """Clicks that change two targets at once, brush strokes by somebody else in between: undo walks back through
    every state there was, and redo forward again.
    """

    def __init__(self):
        super().__init__()
        self.store = EditableMaskStore(GRID.shape_kji)
        self.session = Session(VOLUME, BallAndShellPredictor(radius_mm=2.0), store=self.store)
        self.session.add_target("other")
        self.states = [self.state()]

    def state(self):
        keys = self.session.targets
        return {key: (self.session.prompts(key), self.store.read(key, GRID.extent).tobytes()) for key in keys}

    def remember(self):
        # A target that came later was empty before.
        for key in self.session.targets:
            for state in self.states:
                state.setdefault(key, ((), bytes(int(np.prod(GRID.shape_kji)))))
        self.states.append(self.state())

    @rule(data=st.data(), positive=st.booleans())
    def click(self, data, positive):
        self.session.add(Point(data.draw(strategies.positions_in(GRID)), positive))
        self.remember()

    @precondition(lambda self: self.session.prompts())
    @rule()
    def remove_the_first_click(self):
        self.session.remove(self.session.prompts()[0])
        self.remember()

    @rule()
    def reset(self):
        self.session.reset()
        self.remember()

    @rule(data=st.data())
    def brush(self, data):
        key = data.draw(st.sampled_from(self.session.targets))
        extent = data.draw(strategies.extents_in(GRID.shape_kji))
        before = self.store.read(key, extent)
        self.store.edit(key, extent, ~before)
        self.session.before_change()
        self.remember()

    @rule(data=st.data())
    def select(self, data):
        self.session.select(data.draw(st.sampled_from(self.session.targets)))

    @rule()
    def undo_and_redo_everything(self):
        for state in reversed(self.states[:-1]):
            assert self.session.undo() is not None
            assert self.state() == state
        assert self.session.undo() is None
        for state in self.states[1:]:
            assert self.session.redo() is not None
            assert self.state() == state
        assert self.session.redo() is None


TestEditedSession = EditedSession.TestCase
TestEditedSession.settings = settings(max_examples=50, stateful_step_count=15, deadline=None)
