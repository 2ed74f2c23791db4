"""Interactive segmentation of medical images: prompts in, labelmaps out.

    import PromptSegLib as psl

    session = psl.Session(psl.read_volume("ct.nii.gz"))
    session.add(psl.Point((12.0, -30.5, 101.0)))
    session.mask_kji

Names are imported when they are first used: `import PromptSegLib` loads nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PromptSegLib.errors import PromptSegError
    from PromptSegLib.geometry import Extent, Grid
    from PromptSegLib.io import Segment, read_volume, write_segmentation
    from PromptSegLib.io.prompts import read_prompts, write_prompts
    from PromptSegLib.measurement.agreement import agreement
    from PromptSegLib.measurement.carry_over import CarryOver
    from PromptSegLib.measurement.follow_up import TimePoint, follow_up
    from PromptSegLib.measurement.measure import measure
    from PromptSegLib.measurement.segmentation import Segmentation
    from PromptSegLib.measurement.segmentation_file import read_segmentation
    from PromptSegLib.mrml.scene_session import SceneSession
    from PromptSegLib.predictors.registry import capabilities_of, create_predictor, predictor_names
    from PromptSegLib.prompts import (
        Box,
        ClassPrompt,
        Lasso,
        MaskPrompt,
        Point,
        Scribble,
        TextPrompt,
        VoxelScribble,
    )
    from PromptSegLib.session.observer import SessionObserver
    from PromptSegLib.session.session import Session
    from PromptSegLib.view import View, Window
    from PromptSegLib.volume import Image, Volume
    from PromptSegLib.worklist.case import CaseState, WorklistCase
    from PromptSegLib.worklist.worklist import Worklist

__all__ = [
    "Box",
    "CarryOver",
    "CaseState",
    "ClassPrompt",
    "Extent",
    "Grid",
    "Image",
    "Lasso",
    "MaskPrompt",
    "Point",
    "PromptSegError",
    "SceneSession",
    "Scribble",
    "Segment",
    "Segmentation",
    "Session",
    "SessionObserver",
    "TextPrompt",
    "TimePoint",
    "View",
    "Volume",
    "VoxelScribble",
    "Window",
    "Worklist",
    "WorklistCase",
    "agreement",
    "capabilities_of",
    "create_predictor",
    "follow_up",
    "measure",
    "predictor_names",
    "read_prompts",
    "read_segmentation",
    "read_volume",
    "write_prompts",
    "write_segmentation",
]

_NAMES_BY_MODULE = {
    "errors": ("PromptSegError",),
    "geometry": ("Extent", "Grid"),
    "io": ("Segment", "read_volume", "write_segmentation"),
    "measurement.agreement": ("agreement",),
    "measurement.carry_over": ("CarryOver",),
    "measurement.follow_up": ("TimePoint", "follow_up"),
    "measurement.measure": ("measure",),
    "measurement.segmentation": ("Segmentation",),
    "measurement.segmentation_file": ("read_segmentation",),
    "predictors.registry": ("capabilities_of", "create_predictor", "predictor_names"),
    "io.prompts": ("read_prompts", "write_prompts"),
    "prompts": ("Box", "ClassPrompt", "Lasso", "MaskPrompt", "Point", "Scribble", "TextPrompt", "VoxelScribble"),
    "mrml.scene_session": ("SceneSession",),
    "session.observer": ("SessionObserver",),
    "session.session": ("Session",),
    "view": ("View", "Window"),
    "volume": ("Image", "Volume"),
    "worklist.case": ("CaseState", "WorklistCase"),
    "worklist.worklist": ("Worklist",),
}
_MODULE_OF = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'PromptSegLib' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"PromptSegLib.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
