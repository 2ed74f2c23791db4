"""Proposals for the cases of a list: segmentations that a model makes, for a reader to accept or to correct."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PromptSegLib.certainty import Certainty
from PromptSegLib.command.case import Case, CaseSettings, segment_case
from PromptSegLib.errors import PromptError
from PromptSegLib.geometry import Grid
from PromptSegLib.imaging.doubt import unsureness
from PromptSegLib.io.certainty_file import write_certainties
from PromptSegLib.io.segmentation import segmentation_format
from PromptSegLib.predictors.base import Capabilities, Predictor
from PromptSegLib.session.observer import SessionObserver
from PromptSegLib.session.session import Session
from PromptSegLib.weights.catalogue import load_catalogue
from PromptSegLib.worklist.case import CaseState, WorklistCase
from PromptSegLib.worklist.errors import CaseTakenError
from PromptSegLib.worklist.worklist import FREE, Worklist

_LEFT_BEHIND_S = 3600.0


@dataclass(frozen=True)
class Proposal:
    """A segmentation that waits, in a file of its own, for a place in its list.

    segmentation: that file. grid: of the image. certainties: how sure the model is, by segment, where it says so.
    unsure: 0, sure, to 1: of its least sure segment; None where the model says nothing. model, version: which made it.
    """

    segmentation: Path
    grid: Grid
    certainties: dict[str, Certainty]
    unsure: float | None
    model: str
    version: str


def cases_to_propose(worklist: Worklist, states: Collection[CaseState] = FREE) -> tuple[WorklistCase, ...]:
    """Return the cases that nobody has begun and that have no segmentation; `states`: those that a case may be in."""
    return tuple(
        case
        for case in worklist.cases
        if case.state in states and (case.state is CaseState.PROPOSED or not case.is_saved)
    )


def make_proposal(
    case: WorklistCase, settings: CaseSettings, predictor: Predictor, observer: SessionObserver
) -> Proposal:
    """Segment `case`, by its prompts or by the names among `settings`, into a file beside its segmentation.

    Raises:
        PromptSegError: says what was expected and what came; nothing is left then.
    """
    if not settings.names and case.prompts is None:
        raise PromptError(f"expected prompts of {case.name} in the list, or names of structures, got neither")
    waiting = _waiting_file(case.segmentation)
    _clear_left_behind(waiting)
    said: list[tuple[Grid, dict[str, Certainty], list[float]]] = []
    to_segment = Case(case.image, waiting, case.prompts if not settings.names else None, channels=dict(case.channels))
    try:
        result = segment_case(to_segment, settings, predictor, observer, lambda session: said.append(_said(session)))
    except BaseException:
        waiting.unlink(missing_ok=True)
        raise
    (grid, certainties, unsure), capabilities = said[0], predictor.capabilities
    scores = [1 - segment["score"] for segment in result.segments if segment["score"] is not None]
    found = max(unsure or scores, default=None)
    return Proposal(waiting, grid, certainties, found, result.model, version_of(capabilities))


def take_proposal(
    worklist: Worklist, case: WorklistCase, proposal: Proposal, states: Collection[CaseState] = FREE
) -> WorklistCase:
    """Put `proposal` where the segmentation of `case` belongs, and record it, unless somebody has begun meanwhile.

    Raises:
        CaseTakenError: somebody has; the proposal is dropped.
        WorklistError: the list is locked or cannot be written; the proposal is dropped.
    """

    def put_in_place() -> None:
        # Whatever is there without being a proposal was made by somebody.
        if worklist.find(case).state is not CaseState.PROPOSED and case.is_saved:
            raise CaseTakenError(f"expected no segmentation of {case.name} yet, got {case.segmentation}")
        if proposal.certainties:
            write_certainties(case.certainty_file, proposal.certainties, proposal.grid)
        else:
            case.certainty_file.unlink(missing_ok=True)
        os.replace(proposal.segmentation, case.segmentation)

    try:
        return worklist.record(
            case,
            only_from=states,
            before=put_in_place,
            state=CaseState.PROPOSED,
            reader="",
            model=proposal.model,
            version=proposal.version,
            unsure=proposal.unsure,
        )
    finally:
        proposal.segmentation.unlink(missing_ok=True)


def version_of(capabilities: Capabilities) -> str:
    """Return the version of a model's weights; nothing where the catalogue has none."""
    catalogue = load_catalogue()
    return next((catalogue[name].version for name in capabilities.weights if name in catalogue), "")


class Pace:
    """How fast cases are done, and how long the rest takes: by the newest ones, as the first one loads the model."""

    _KEPT = 10

    def __init__(self) -> None:
        self._ends = [time.monotonic()]

    def done(self) -> None:
        """Note that a case is done."""
        self._ends = [*self._ends, time.monotonic()][-self._KEPT - 1 :]

    @property
    def per_minute(self) -> float:
        """Cases a minute, 0 before there is one."""
        count = len(self._ends) - 1
        return 60 * count / max(self._ends[-1] - self._ends[0], 1e-9) if count else 0.0

    def left_s(self, cases: int) -> float | None:
        """Return how many seconds so many cases take, None before that can be known."""
        return 60 * cases / self.per_minute if self.per_minute else None


def _said(session: Session) -> tuple[Grid, dict[str, Certainty], list[float]]:
    """Return how sure the answers of a session are, by segment, and how unsure each is as a whole."""
    certainties, unsure = {}, []
    for target in session.targets:
        certainty = session.certainty(target)
        if certainty is not None:
            certainties[target] = certainty
            unsure.append(unsureness(certainty.probability_kji, session.mask(target, certainty.extent)))
    return session.image.grid, certainties, unsure


def _waiting_file(segmentation: Path) -> Path:
    suffix = segmentation_format(segmentation)
    return segmentation.with_name(f".{segmentation.name[: -len(suffix)]}.proposed-{os.getpid()}{suffix}")


def _clear_left_behind(waiting: Path) -> None:
    """Remove what proposing this case left that was killed."""
    beginning = waiting.name.rpartition(".proposed-")[0]
    if not waiting.parent.is_dir():
        return
    for path in waiting.parent.iterdir():
        if path.name.startswith(f"{beginning}.proposed-"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _LEFT_BEHIND_S:
                    path.unlink()
