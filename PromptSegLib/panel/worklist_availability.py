"""Which controls of the worklist can be used now, and if not, why not."""

from __future__ import annotations

from dataclasses import dataclass

_NO_DOUBT = "It is not known how sure a model is of this segment: propose it, or let a model answer that says so."


@dataclass(frozen=True)
class WorklistSituation:
    """What decides over the controls. has_case: one of the list is in the scene."""

    is_open: bool = False
    has_previous: bool = False
    has_next: bool = False
    has_case: bool = False
    has_segments: bool = False
    has_done_case: bool = False
    has_todo: bool = False
    has_doubt: bool = False
    """Whether it is known of a segment how sure a model is of each voxel."""
    is_proposing: bool = False
    problem: str = ""
    """Of the chosen model."""
    has_reading: bool = False
    """Whether there is another reading of the image, saved."""
    has_ticked: bool = False
    """Whether segments of it are ticked."""


def worklist_reasons(s: WorklistSituation) -> dict[str, str]:
    """Return for each control why it cannot be used, nothing where it can."""
    none = "" if s.is_open else "Open a folder or a CSV file of cases first."
    no_case = none or ("" if s.has_case else "Open a case of the list first.")
    no_reading = no_case or ("" if s.has_reading else "There is no other reading of this image that was saved.")
    proposing = "Proposals are under way." if s.is_proposing else ""
    return {
        "previousCase": none or ("" if s.has_previous else "This is the first case."),
        "nextCase": none or ("" if s.has_next else "This is the last case."),
        "saveCase": no_case or ("" if s.has_segments else "There is no segment to save."),
        "accept": no_case or ("" if s.has_segments else "There is no segment to accept."),
        "reject": no_case,
        "lookNext": "" if s.has_doubt else _NO_DOUBT,
        "secondReading": no_case,
        "proposeAll": none or proposing or s.problem or ("" if s.has_todo else "No case is to do."),
        "stopProposing": "" if s.is_proposing else "No proposals are under way.",
        "compareReadings": no_reading,
        "compareList": none,
        "takeReading": no_reading or ("" if s.has_ticked else "Press Compare, then tick segments in the table."),
    }
