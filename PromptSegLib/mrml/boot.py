"""A MRML scene without the application: for the command line, tests and pictures.

Inside Slicer scene and logics exist already and nothing here is called. Any number of scenes may be started, one
after the other or side by side; none of them leaves anything in the `slicer` package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

# File, name and kind of the contexts that the terminologies logic insists on reading; the wheel has no such files.
# The names are Slicer's, so that the default terminology of a new segment refers to a context that exists.
_TERMINOLOGIES = (
    (
        "SegmentationCategoryTypeModifier-SlicerGeneralAnatomy",
        "Segmentation category and type - 3D Slicer General Anatomy list",
        "segment",
    ),
    (
        "SegmentationCategoryTypeModifier-DICOM-Master",
        "Segmentation category and type - DICOM master list",
        "segment",
    ),
    ("AnatomicRegionAndModifier-DICOM-Master", "Anatomic codes - DICOM master list", "anatomic"),
)
_SCHEMA = "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/{}-context-schema.json#"
_TISSUE = {"CodingSchemeDesignator": "SCT", "CodeValue": "85756007", "CodeMeaning": "Tissue"}


@dataclass(frozen=True, eq=False)
class StandaloneScene:
    """A scene with what the application puts around it; close it, or use it in a `with` statement.

    Attributes:
        scene: vtkMRMLScene with the colour tables, the units, the default slice orientations and the singletons of
            selection, interaction and crosshair.
        application_logic: vtkSlicerApplicationLogic that knows the logics.
        logics: Colors, Volumes, Segmentations, Markups and others, by the name of their module in Slicer.
    """

    scene: Any
    application_logic: Any
    logics: Mapping[str, Any]

    def close(self) -> None:
        """Remove every node; scene and logics then go with the last reference to them."""
        # No SetMRMLScene(None): the logics would load their defaults once more, and complain.
        self.scene.Clear(True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def start_scene() -> StandaloneScene:
    """Return a new empty scene with its logics; needs the slicer-core wheel. About 20 ms after the import."""
    import slicer
    import vtk

    scene = slicer.vtkMRMLScene()
    application_logic = slicer.vtkSlicerApplicationLogic()
    application_logic.SetMRMLScene(scene)
    application_logic.SetSliceLogics(vtk.vtkCollection())
    application_logic.SetViewLogics(vtk.vtkCollection())
    color_logic = application_logic.GetColorLogic()
    logics = {
        "Colors": color_logic,
        "Terminologies": slicer.vtkSlicerTerminologiesModuleLogic(),
        "SubjectHierarchy": slicer.vtkSlicerSubjectHierarchyModuleLogic(),
        "Units": slicer.vtkSlicerUnitsLogic(),
        "Transforms": slicer.vtkSlicerTransformLogic(),
        "Volumes": slicer.vtkSlicerVolumesLogic(),
        "Segmentations": slicer.vtkSlicerSegmentationsModuleLogic(),
        "Markups": slicer.vtkSlicerMarkupsLogic(),
        "Models": slicer.vtkSlicerModelsLogic(),
        "Sequences": slicer.vtkSlicerSequencesLogic(),
        "ScriptedLoadableModule": slicer.vtkSlicerScriptedLoadableModuleLogic(),
    }
    with TemporaryDirectory(prefix="promptseg-") as share_directory:
        _write_terminologies(Path(share_directory))
        logics["Terminologies"].SetModuleShareDirectory(share_directory)
        for name, logic in logics.items():
            logic.SetMRMLApplicationLogic(application_logic)
            logic.SetMRMLScene(scene)
            application_logic.SetModuleLogic(name, logic)

    color_logic.AddDefaultColorNodes()
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    return StandaloneScene(scene, application_logic, logics)


def _write_terminologies(folder: Path) -> None:
    """Write contexts that hold the default entry, Tissue, and nothing else."""
    for stem, name, kind in _TERMINOLOGIES:
        context: dict[str, object] = {"@schema": _SCHEMA.format(kind)}
        if kind == "segment":
            context["SegmentationCategoryTypeContextName"] = name
            context["SegmentationCodes"] = {"Category": [{**_TISSUE, "Type": [_TISSUE]}]}
        else:
            context["AnatomicContextName"] = name
            context["AnatomicCodes"] = {"AnatomicRegion": []}
        (folder / f"{stem}.term.json").write_text(json.dumps(context), encoding="utf-8")
