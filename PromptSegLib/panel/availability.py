"""Which controls of the panel can be used now, and if not, why not."""

from __future__ import annotations

from dataclasses import dataclass, field

from PromptSegLib.panel.worklist_availability import WorklistSituation, worklist_reasons
from PromptSegLib.predictors.base import Capabilities

TOOL_FEATURES = {
    "point+": "point+",
    "point-": "point-",
    "box2d": "box2d+",
    "box3d": "box3d+",
    "scribble+": "scribble+",
    "scribble-": "scribble-",
    "lasso+": "lasso+",
    "lasso-": "lasso-",
}
"""What a predictor must take for each tool to be of use, out of `PROMPT_FEATURES`."""

_NO_DICOM_EXPORT = "Install the extension QuantitativeReporting: it brings Slicer's exporter of DICOM segmentations."
_NO_CERTAINTY = "This segment is not as a model left it that says how sure it is."


@dataclass(frozen=True)
class Situation:
    """What decides over the controls. capabilities: of the chosen predictor, None when it cannot be used at all."""

    capabilities: Capabilities | None = None
    problem: str = ""
    has_volume: bool = False
    has_session: bool = False
    has_prompts: bool = False
    has_name: bool = False
    """Whether one of the segment's prompts is a name."""
    has_mask: bool = False
    has_certainty: bool = False
    """Whether the segment is as an answer left it that says how sure it is."""
    has_segments: bool = False
    has_dicom_export: bool = False
    can_undo: bool = False
    can_redo: bool = False
    is_busy: bool = False
    runs_at_once: bool = True
    is_prompt_selected: bool = False
    weights: str = ""
    """Of the chosen predictor: "ready", "missing", "incomplete"; empty when it needs none."""
    is_fetching: bool = False
    worklist: WorklistSituation = field(default_factory=WorklistSituation)
    is_own: bool = False
    """Whether the chosen predictor is one of the user's own models."""
    has_measurements: bool = False
    """Whether the table of measurements has rows."""
    shows_diameters: bool = False
    has_earlier: bool = False
    """Whether a segmentation of an earlier time point is chosen."""
    has_waiting: bool = False
    """Whether masks of an earlier time point wait for a point."""


def reasons(situation: Situation) -> dict[str, str]:
    """Return for each control why it cannot be used, nothing where it can."""
    s = situation
    no_volume = "" if s.has_volume else "Choose a volume first."
    no_session = no_volume or ("" if s.has_session else "Place a prompt or add a segment first.")
    no_prompts = no_session or ("" if s.has_prompts else "This segment has no prompts.")
    no_mask = no_session or ("" if s.has_mask else "This segment is empty.")
    no_segments = no_volume or ("" if s.has_segments else "There is no segment yet.")
    found = {tool: no_volume or _tool_problem(s, feature) for tool, feature in TOOL_FEATURES.items()}
    found["name"] = no_volume or _name_problem(s)
    found["which"] = no_volume
    found |= {
        "addSegment": no_volume,
        "next": no_mask if not s.has_prompts else no_session,
        "run": no_prompts or ("Prompts are answered at once." if s.runs_at_once else s.problem),
        "cancel": "" if s.is_busy else "Nothing is running.",
        "undo": no_session or ("" if s.can_undo else "There is nothing to undo."),
        "redo": no_session or ("" if s.can_redo else "There is nothing to redo."),
        "reset": no_prompts,
        "deletePrompt": no_prompts or ("" if s.is_prompt_selected else "Choose a prompt in the list first."),
        "certainty": no_session or ("" if s.has_certainty else _NO_CERTAINTY),
        "propagate": no_prompts or _propagation_problem(s),
        "copyPython": no_session,
        "island": no_mask,
        "holes": no_mask,
        "smooth": no_mask,
        "exportLabelmap": no_segments,
        "exportFile": no_segments,
        "exportDicom": no_segments or ("" if s.has_dicom_export else _NO_DICOM_EXPORT),
        "show3D": no_segments,
        "segmentEditor": no_segments,
    }
    found |= _weights_reasons(s) | worklist_reasons(s.worklist) | _measuring_reasons(s, no_volume, no_segments)
    return found


def prompt_in_hand(tool: str) -> str:
    """Return what the tool in hand gives, out of `PromptSegLib.panel.advice.PROMPTS`; nothing without a tool."""
    kinds = {
        "point": "click",
        "box2d": "box2d",
        "box3d": "box3d",
        "scribble": "scribble",
        "lasso": "lasso",
        "ask": "name",
    }
    return kinds.get(tool.rstrip("+-"), "")


_HINTS = {
    "point": "Click in a slice view, or on a surface in 3D.",
    "box2d": "Drag a box around the structure in a slice view.",
    "box3d": "Click at two opposite corners of the structure.",
    "scribble": "Paint along the structure in a slice view.",
    "lasso": "Draw around the structure in a slice view.",
    "ask": "Click where the structure is: once, or at two corners for a box.",
}


def hint(situation: Situation, tool: str) -> str:
    """Return what to do next, with `tool` in hand or without one."""
    s = situation
    if not s.has_volume:
        return "Load an image and choose it as the volume."
    if s.problem:
        return s.problem
    if tool:
        return _HINTS[tool.rstrip("+-")]
    if s.has_prompts and not s.runs_at_once:
        return "Press Run to have the prompts answered."
    if _waits_for_name(s):
        return "Tick structures, or type a name, then press Segment."
    return "Take a tool, then click or drag in the views."


def _weights_reasons(s: Situation) -> dict[str, str]:
    fetching = "A download is under way." if s.is_fetching else ""
    no_weights = fetching or ("" if s.weights else "This model needs no weights.")
    here = "The weights are here already."
    not_here = "The weights are not here."
    no_own = "" if s.is_own else "Choose one of your own models first."
    return {
        "getWeights": no_weights or (here if s.weights == "ready" else ""),
        "importWeights": no_weights or (here if s.weights == "ready" else ""),
        "importFolder": no_weights or (here if s.weights == "ready" else ""),
        "removeWeights": no_weights or (not_here if s.weights == "missing" else ""),
        "clearCache": fetching,
        "addModel": fetching,
        "renameModel": fetching or no_own,
        "exportModel": fetching or no_own,
        "removeModel": fetching or no_own,
    }


def _measuring_reasons(s: Situation, no_volume: str, no_segments: str) -> dict[str, str]:
    no_rows = "" if s.has_measurements else "Press Measure all first."
    no_earlier = "" if s.has_earlier else "Choose the segmentation of an earlier time point."
    return {
        "measure": no_segments,
        "diameters": "" if s.shows_diameters else no_rows,
        "measureCsv": no_rows,
        "measureList": "" if s.worklist.has_done_case else "Open a worklist and save a case first.",
        "carryOver": no_volume or no_earlier,
        "dropCarried": "" if s.has_waiting else "No mask waits for a point.",
        "compare": no_segments or no_earlier,
    }


def _tool_problem(situation: Situation, feature: str) -> str:
    if situation.capabilities is None or situation.problem:
        return situation.problem
    if feature not in situation.capabilities.prompts:
        return f"{situation.capabilities.title} does not take this kind of prompt."
    if _waits_for_name(situation):
        return "Segment a structure by its name first: a click or a box then says which part is meant."
    return ""


def _waits_for_name(situation: Situation) -> bool:
    """Whether the model can do nothing before it is told a name.

    Without clicks on what does not belong it does not go by clicks: they say which part of what is named is meant.
    """
    capabilities = situation.capabilities
    if capabilities is None or situation.has_name:
        return False
    return capabilities.takes_names and "point-" not in capabilities.prompts


def _propagation_problem(situation: Situation) -> str:
    if situation.capabilities is None or situation.problem:
        return situation.problem
    if 3 in situation.capabilities.dimensions:
        return f"{situation.capabilities.title} segments the whole volume at once."
    return ""


def _name_problem(situation: Situation) -> str:
    if situation.capabilities is None or situation.problem:
        return situation.problem
    if not situation.capabilities.prompts & {"class", "text"}:
        return f"{situation.capabilities.title} takes no names."
    return ""
