"""Measure: live figures of the selected segment, and a table of all of them."""

import math
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from PromptSegLib.bitmask import Patch
from PromptSegLib.errors import PromptError, PromptSegError
from PromptSegLib.geometry import Extent
from PromptSegLib.io.output_file import replacing
from PromptSegLib.measurement.table import as_csv, rows_of
from PromptSegLib.measurement.tally import Tally
from PromptSegLib.measurement.texts import axial_text, live_text, mean_text, part_text, volume_text
from PromptSegLib.mrml.measurement_nodes import (
    add_table_node,
    diameters_in,
    jump_target,
    remove_diameters,
    show_diameters,
)
from PromptSegLib.mrml.measuring import measure_nodes, measured_list, value_unit
from PromptSegLib.mrml.view_geometry import jump_slices
from PromptSegWidgets.section import Section
from PromptSegWidgets.table import setUpTable

_SLAB = 32
_REST_MS = 500


class MeasureSection(Section):
    def connect(self):
        table = self.ui.measureTable
        setUpTable(table, [_("Segment"), _("Part"), _("mL"), _("Axial, mm"), _("Mean")], (92, 34, 56, 86))
        table.connect("cellClicked(int,int)", self.onRow)
        self.ui.measureCollapsibleButton.connect("contentsCollapsed(bool)", lambda *_: self.panel.scheduleUpdate())
        self.ui.suvFactorEdit.connect("editingFinished()", self.panel.scheduleUpdate)
        self._rows = []
        self._tally = None
        self._tallied = None  # the session, its image and the segment that are counted
        self._unitVolume = self._unit = None
        self._measured = None  # the segmentation that the table is of
        self._diameters = ""
        self._rest = qt.QTimer()
        self._rest.setSingleShot(True)
        self._rest.interval = _REST_MS
        self._rest.connect("timeout()", self.onRest)

    def actions(self):
        return {
            "measure": self.onMeasure,
            "diameters": self.onDiameters,
            "measureCsv": self.onCsv,
            "measureList": self.onList,
        }

    def show(self):
        if self.parameters.segmentation is not self._measured and self._rows:
            self._fill([])
        self.ui.diametersButton.checked = bool(diameters_in(slicer.mrmlScene))
        self._showLive()

    @property
    def hasRows(self):
        """Whether something was measured."""
        return bool(self._rows)

    # The selected segment

    def takeChange(self, boxes):
        """Count what changed in the selected segment. boxes: the changed boxes by segment."""
        session = self.session
        if self._tally is not None and self._tallied == self._toTally():
            extent = boxes.get(session.target)
            if extent is not None and extent.size:
                self._tally.update(Patch(extent, session.mask(session.target, extent)))
                self._startRest()

    def _showLive(self):
        session, label = self.session, self.ui.liveLabel
        if self.ui.measureCollapsibleButton.collapsed or session is None or session.target not in session.targets:
            self._tally = self._tallied = None
            label.text = _("No segment yet.")
            return
        if self._tallied != self._toTally():
            self._count(session)
        name = session.segmentation_node.GetSegmentation().GetSegment(session.target).GetName()
        unit = self._unitOf(self.parameters.volume)
        label.text = f"{name}: {live_text(self._tally, unit.name, unit.factor or 1.0)}{self._diameters}"

    def _count(self, session):
        """Count the selected segment from the beginning, some slices at a time."""
        reference = session.image.reference
        values = reference.array if reference.components == 1 else None
        self._tally = Tally(session.image.grid, values)
        depth, height, width = session.image.grid.shape_kji
        for k in range(0, depth, _SLAB):
            extent = Extent((k, 0, 0), (min(k + _SLAB, depth), height, width))
            self._tally.update(Patch(extent, session.mask(session.target, extent)))
        self._tallied = self._toTally()
        self._startRest()

    def _toTally(self):
        """Return the session, its image and the segment that are to be counted, None without a session."""
        return (self.session, self.session.image, self.session.target) if self.session is not None else None

    def _startRest(self):
        self._diameters = ""
        self._rest.start()

    def onRest(self):
        """Measure the diameters of the selected segment: nothing changed for a while."""
        session = self.session
        if self._tally is None or self._tallied != self._toTally() or session.busy:
            return
        name = session.segmentation_node.GetSegmentation().GetSegment(session.target).GetName()
        try:
            (found,) = measure_nodes(session.segmentation_node, None, names=[name])
        except PromptSegError:  # two segments of one name, a nonlinear transform: Measure all says which
            return
        self._diameters = f", {axial_text(found)}" if found.axial else ""
        self.panel.scheduleUpdate()

    def _unitOf(self, volume):
        """Return what the values of a volume are; the headers of its files are read once."""
        if self._unitVolume is not volume:
            self._unitVolume, self._unit = volume, value_unit(volume)
        return self._unit

    # All of them

    def _factor(self):
        """Return the factor to SUV that was typed in, None when there is none."""
        text = self.ui.suvFactorEdit.text.strip()
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            raise PromptError(f"expected a number above 0 as the factor to SUV, got {text!r}")
        return value

    def onMeasure(self):
        parameters = self.parameters
        self._fill([])
        factor = self._factor()
        unit = value_unit(parameters.volume, factor) if factor else self._unitOf(parameters.volume)
        self._fill(rows_of(measure_nodes(parameters.segmentation, parameters.volume, unit)))
        self._measured = parameters.segmentation
        name = f"{parameters.segmentation.GetName()} measurements"
        add_table_node(slicer.mrmlScene, name, self._rows)
        if unit.problem:
            self.panel.setStatus(_("No SUVs: {problem}").format(problem=unit.problem))
        else:
            self.panel.setStatus(_("Measured; the table {name!r} is in the scene.").format(name=name))

    def _fill(self, rows):
        """Show these measurements in the table."""
        self._rows, table = rows, self.ui.measureTable
        table.setRowCount(len(self._rows))
        for index, row in enumerate(self._rows):
            volume, axial = (text.rsplit(" ", 1)[0] for text in (volume_text(row.volume_ml), axial_text(row)))
            for column, text in enumerate((row.segment, part_text(row), volume, axial, mean_text(row))):
                table.setItem(index, column, qt.QTableWidgetItem(text))

    def _chosen(self):
        row = self.ui.measureTable.currentRow()
        return self._rows[row] if 0 <= row < len(self._rows) else None

    def onRow(self, row, column):
        chosen = self._chosen()
        place = jump_target(chosen) if chosen is not None else None
        if place is not None and self.parameters.autoJump:
            jump_slices(slicer.mrmlScene, place)
        if chosen is not None and diameters_in(slicer.mrmlScene):
            show_diameters(slicer.mrmlScene, [chosen])

    def onDiameters(self):
        if diameters_in(slicer.mrmlScene):
            remove_diameters(slicer.mrmlScene)
        else:
            chosen = self._chosen()
            wholes = [row for row in self._rows if not row.part]
            show_diameters(slicer.mrmlScene, [chosen] if chosen is not None else wholes)

    def onCsv(self):
        self._save(as_csv(self._rows))

    def onList(self):
        text, failed = measured_list(self.logic.case.worklist)
        self._save(text, failed)

    def _save(self, text, failed=()):
        path = qt.QFileDialog.getSaveFileName(None, _("Save measurements"), "measurements.csv", "CSV (*.csv)")
        if path:
            with replacing(Path(path)) as file:
                file.write(text.encode())
            left = f" {_('Left out')}: {'; '.join(failed)}" if failed else ""
            self.panel.setStatus(_("Saved {path}.").format(path=path) + left, isError=bool(failed))
