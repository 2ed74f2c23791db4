"""Segments as files and as labelmap nodes."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import slicer

from PromptSegLib.errors import SceneError, SceneFileError
from PromptSegLib.io.output_file import replacing_file


def export_labelmap(segmentation_node: Any, volume_node: Any) -> Any:
    """Add a labelmap volume on the volume's grid: 1, 2, … for the segments in their order, later ones on top.

    Raises:
        SceneError: there is no segment with voxels.
    """
    segmentation = segmentation_node.GetSegmentation()
    ids = list(segmentation.GetSegmentIDs())
    scene = segmentation_node.GetScene()
    node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", f"{segmentation_node.GetName()} labels")
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if not ids or not logic.ExportSegmentsToLabelmapNode(segmentation_node, ids, node, volume_node):
        scene.RemoveNode(node)
        raise SceneError(f"expected at least one segment with voxels, got none in {segmentation_node.GetName()!r}")
    return node


def put_beside(segmentation_node: Any, volume_node: Any) -> int:
    """Move the segmentation into its volume's study in the subject hierarchy, and return its item there.

    Slicer's DICOM exporter looks for the image that a segmentation is of in the same study.
    """
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(segmentation_node.GetScene())
    item = hierarchy.GetItemByDataNode(segmentation_node)
    study = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(volume_node))
    if study:
        hierarchy.SetItemParent(item, study)
    return int(item)


def save_labelmap(segmentation_node: Any, volume_node: Any, path: str | PathLike[str]) -> None:
    """Write the labelmap of `export_labelmap` to a NIfTI, NRRD or MetaImage file.

    Raises:
        SceneFileError: the file cannot be read or written.
    """
    node = export_labelmap(segmentation_node, volume_node)
    try:
        _write(node, Path(path))
    finally:
        scene = node.GetScene()
        color_node = node.GetDisplayNode().GetColorNode() if node.GetDisplayNode() else None
        scene.RemoveNode(node)
        if color_node is not None and color_node.GetSingletonTag() is None:
            scene.RemoveNode(color_node)


def save_segmentation(segmentation_node: Any, path: str | PathLike[str]) -> None:
    """Write the segments, names and colours to a .seg.nrrd file, which appears whole or not at all.

    Raises:
        SceneFileError: the file cannot be written; what was there stays then.
        VolumeError: as before, as its folder cannot be written.
    """
    target = Path(path)
    storage = slicer.vtkMRMLSegmentationStorageNode()
    with replacing_file(target, "".join(target.suffixes[-2:])) as part:
        storage.SetFileName(str(part))
        if not storage.WriteData(segmentation_node) or not part.is_file():
            raise SceneFileError(f"could not save the segmentation to {target}")


def load_segmentation(segmentation_node: Any, path: str | PathLike[str]) -> None:
    """Read a .seg.nrrd file into a segmentation node.

    Raises:
        SceneFileError: the file cannot be read or written.
    """
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    if not storage.ReadData(segmentation_node):
        raise SceneFileError(f"could not read a segmentation from {path}")


def load_volume(scene: Any, path: str | PathLike[str]) -> Any:
    """Add the volume of an image file to `scene`.

    Raises:
        SceneFileError: the file cannot be read or written.
    """
    source = Path(path)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", source.name.split(".")[0])
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(source))
    if not source.is_file() or not storage.ReadData(node):
        scene.RemoveNode(node)
        raise SceneFileError(f"could not read a volume from {source}")
    node.CreateDefaultDisplayNodes()
    return node


def _write(node: Any, path: Path) -> None:
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    if not path.parent.is_dir() or not storage.WriteData(node):
        raise SceneFileError(f"could not save the labelmap to {path}")
