"""Measurements in the scene: a table, and diameters as lines in the views."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import vtk

from PromptSegLib.measurement.diameters import Diameter
from PromptSegLib.measurement.measure import Measurement
from PromptSegLib.measurement.table import cell_text, table

_DIAMETER = "PromptSeg.Diameter"
_COLOURS = {"longest": (1.0, 0.42, 0.42), "across": (0.4, 0.85, 1.0), "longest in 3D": (1.0, 0.83, 0.23)}


def add_table_node(scene: Any, name: str, rows: Sequence[Measurement]) -> Any:
    """Add a table with the measurements, a column for each figure with its unit in the name; or fill the one there is.

    Columns of numbers are numbers; what is not known is NaN in them.
    """
    node = scene.GetFirstNodeByName(name)
    if node is None or not node.IsA("vtkMRMLTableNode"):
        node = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    content = vtk.vtkTable()
    titles, lines = table(rows)
    for index, title in enumerate(titles):
        cells = [line[index] for line in lines]
        known = [cell for cell in cells if cell is not None]
        is_number = bool(known) and all(type(cell) in (int, float) for cell in known)
        column = vtk.vtkDoubleArray() if is_number else vtk.vtkStringArray()
        column.SetName(title)
        for cell in cells:
            number = math.nan if cell is None else cell
            column.InsertNextValue(number if is_number else cell_text(cell))
        content.AddColumn(column)
    node.SetAndObserveTable(content)
    node.SetLocked(True)
    return node


def show_diameters(scene: Any, measurements: Iterable[Measurement]) -> list[Any]:
    """Draw the diameters of measurements as lines, in the place of those that were drawn before; return the lines."""
    remove_diameters(scene)
    nodes = []
    for one in measurements:
        if one.axial is None or one.longest is None:
            continue
        called = f"{one.segment} {one.part}" if one.part else one.segment
        lines = {"longest": one.axial.longest, "across": one.axial.perpendicular, "longest in 3D": one.longest}
        nodes += [_add_line(scene, called, kind, line) for kind, line in lines.items()]
    return nodes


def remove_diameters(scene: Any) -> None:
    """Take the lines of `show_diameters` out of the scene."""
    for node in diameters_in(scene):
        scene.RemoveNode(node)


def _add_line(scene: Any, called: str, kind: str, line: Diameter) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", f"{called} {kind} {line.length_mm:.1f} mm")
    node.SetAttribute(_DIAMETER, kind)
    for end in line.ends_ras:
        node.AddControlPointWorld(vtk.vtkVector3d(*end))
    node.SetLocked(True)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    for set_colour in (display.SetColor, display.SetSelectedColor):
        set_colour(*_COLOURS[kind])
    display.SetPropertiesLabelVisibility(False)
    display.SetPointLabelsVisibility(False)
    return node


def jump_target(measurement: Measurement) -> tuple[float, float, float] | None:
    """Return where to look at a measurement: the middle of its longest axial diameter, world RAS."""
    if measurement.axial is None:
        return measurement.centroid_ras
    one, other = measurement.axial.longest.ends_ras
    r, a, s = ((x + y) / 2 for x, y in zip(one, other, strict=True))
    return r, a, s


def diameters_in(scene: Any) -> list[Any]:
    """Return the lines of `show_diameters`."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLMarkupsLineNode")
    nodes = [scene.GetNthNodeByClass(n, "vtkMRMLMarkupsLineNode") for n in range(count)]
    return [node for node in nodes if node.GetAttribute(_DIAMETER)]
