"""Worklist: two readings of a case compared, and what the other one has right taken over."""

from pathlib import Path

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from PromptSegLib.bitmask import MaskDelta
from PromptSegLib.geometry import flip_axes
from PromptSegLib.io.output_file import replacing
from PromptSegLib.measurement.agreement import (
    agreement,
    agreements_as_csv,
    compared_readings,
    mask_on,
    masks_of_both,
)
from PromptSegLib.measurement.segmentation_file import read_segmentation
from PromptSegLib.mrml.change_overlay import ChangeOverlay
from PromptSegLib.mrml.measuring import segmentation_from_node
from PromptSegLib.mrml.view_geometry import jump_slices
from PromptSegWidgets.section import Section
from PromptSegWidgets.table import setUpTable

_WIDTHS_PX = (92, 52, 40, 76)


class ReadingsSection(Section):
    def connect(self):
        self._overlay = None
        self._compared = None  # the case whose readings the table is of
        self._other = None  # the other reader's segments
        self._rows = ()
        table = self.ui.readingsTable
        setUpTable(table, [_("Segment"), _("Dice"), _("mm"), _("Only this"), _("Only other")], _WIDTHS_PX)
        table.connect("cellClicked(int,int)", self.onRow)
        table.connect("itemChanged(QTableWidgetItem*)", lambda *_: self.panel.scheduleUpdate())

    def actions(self):
        return {
            "secondReading": self.onSecondReading,
            "compareReadings": self.onCompare,
            "compareList": self.onCompareList,
            "takeReading": self.onTake,
        }

    def others(self):
        """Return the other readings of the open case that have a segmentation."""
        worklist = self.panel.worklist
        if worklist.openCaseNow is None:
            return []
        current = worklist.worklist.current
        return [one for one in worklist.worklist.readings(current) if one.key != current.key and one.is_saved]

    def ticked(self):
        """Return the segments to take from the other reading."""
        table = self.ui.readingsTable
        rows = range(min(table.rowCount, len(self._rows)))
        return [self._rows[row].segment for row in rows if table.item(row, 0).checkState() == qt.Qt.Checked]

    def show(self):
        case, combo = self.panel.worklist.openCaseNow, self.ui.readingComboBox
        if self._compared is not None and (case is None or case.segmentation_node is not self._compared):
            self._forget()
        titles = [one.reader or one.segmentation.name for one in self.others()]
        if titles != [combo.itemText(index) for index in range(combo.count)]:
            combo.clear()
            for title in titles:
                combo.addItem(title)
        self.ui.compareReadingsButton.checked = self._compared is not None

    def onSecondReading(self):
        """Go on in a reading of one's own: with what was changed here, or else from nothing."""
        worklist, case = self.panel.worklist, self.logic.case
        isChanged = case.is_changed
        reading = worklist.worklist.add_reading(worklist.worklist.current)
        if isChanged:
            case.go_on_as(reading)
        else:
            worklist.openCase(reading)

    def onCompare(self):
        if self._compared is not None:
            self._forget()
            return
        other = self.others()[max(self.ui.readingComboBox.currentIndex, 0)]
        case = self.logic.case
        self._other = read_segmentation(other.segmentation)
        self._compared = case.segmentation_node
        self._fill()
        if self._rows:
            self._showRow(min(range(len(self._rows)), key=lambda row: self._rows[row].dice))

    def _fill(self):
        self._rows = agreement(segmentation_from_node(self._compared), self._other)
        table = self.ui.readingsTable
        table.blockSignals(True)
        table.setRowCount(len(self._rows))
        for row, one in enumerate(self._rows):
            distance = "" if one.distance_mm is None else f"{one.distance_mm:.1f}"
            volumes = [f"{ml:.2f} mL" for ml in (one.only_first_ml, one.only_second_ml)]
            for column, text in enumerate((one.segment, f"{one.dice:.3f}", distance, *volumes)):
                item = qt.QTableWidgetItem(text)
                if column == 0:
                    item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable)
                    item.setCheckState(qt.Qt.Unchecked)
                table.setItem(row, column, item)
        table.blockSignals(False)
        mean = sum(one.dice for one in self._rows) / max(len(self._rows), 1)
        self.ui.readingsLabel.text = _("Mean Dice {mean:.3f}").format(mean=mean) if self._rows else _("No segments")

    def onRow(self, row, column):
        if self._compared is not None and 0 <= row < len(self._rows):
            with self.panel.reporting():
                self._showRow(row)

    def _showRow(self, row):
        """Show in colours where both differ in a segment, and go to the middle of it."""
        mine = segmentation_from_node(self._compared)
        ours, theirs, box = masks_of_both(mine, self._other, self._rows[row].segment)
        self._hide()
        delta = MaskDelta.of(box, theirs & ~ours, ours & ~theirs) if box.size else None
        if delta is None:
            return
        self._overlay = ChangeOverlay(self.logic.case.volume_node)
        self._overlay.show(delta, mine.grid.ijk_to_ras)
        middle_kji = np.add(delta.extent.start_kji, np.subtract(delta.extent.stop_kji, 1)) / 2
        jump_slices(slicer.mrmlScene, mine.grid.to_ras(flip_axes(middle_kji)))

    def onTake(self):
        """Make the ticked segments those of the other reader, in one step."""
        session = self.panel.openSession()
        if session is None:
            return
        segmentation = session.segmentation_node.GetSegmentation()
        masks = {}
        for name in self.ticked():
            key = segmentation.GetSegmentIdBySegmentName(name) or session.add_target(name)
            masks[key] = mask_on(self._other, name, session.image.grid)
        session.set_masks(masks)
        self._hide()
        self._fill()

    def onCompareList(self):
        readings = compared_readings(self.panel.worklist.worklist)
        rows = [
            (one.first.name, one.first.reader, one.second.reader, each) for one in readings for each in one.segments
        ]
        if not rows:
            problem = next((one.problem for one in readings), _("No image has two readings that were saved."))
            self.panel.setStatus(problem, isError=True)
            return
        mean = sum(row[3].dice for row in rows) / len(rows)
        text = _("Mean Dice {mean:.3f} of {count}, lowest {low:.3f}").format(
            mean=mean, count=len(rows), low=min(row[3].dice for row in rows)
        )
        self.ui.readingsLabel.text = text
        path = qt.QFileDialog.getSaveFileName(None, _("Save the table"), "agreement.csv", "CSV (*.csv)")
        if path:
            with replacing(Path(path)) as file:
                file.write(agreements_as_csv(rows).encode())
            self.panel.setStatus(_("Saved {path}.").format(path=path))

    def _hide(self):
        if self._overlay is not None:
            self._overlay.hide()
            self._overlay = None

    def _forget(self):
        self._hide()
        self._compared = self._other = None
        self._rows = ()
        self.ui.readingsTable.setRowCount(0)
        self.ui.readingsLabel.text = ""
