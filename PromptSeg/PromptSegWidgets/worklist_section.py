"""Worklist: many images, one after the other: which ones, in which order, and which one is open."""

import qt
import slicer
from slicer.i18n import tr as _

from PromptSegLib.errors import PromptSegError, SceneFileError
from PromptSegLib.mrml.cases import OpenCase
from PromptSegLib.mrml.display import show_volume
from PromptSegLib.panel.texts import error_text
from PromptSegLib.panel.worklist_availability import WorklistSituation
from PromptSegLib.worklist.case import CaseState, by_unsureness
from PromptSegLib.worklist.reader import reader_by_login
from PromptSegLib.worklist.worklist import Worklist
from PromptSegWidgets.section import Section
from PromptSegWidgets.table import setUpTable

_READER_SETTING = "PromptSeg/reader"
_WIDTHS_PX = (72, 74, 56, 58)


class WorklistSection(Section):
    def connect(self):
        self._filled = None  # what the table shows
        self._unreadable = set()  # keys of cases that could not be opened
        self._begun = None  # the case that was tried to be begun
        self._refusal = ""  # why it could not be
        ui = self.ui
        for title in (_("All"), _("To do"), _("Proposed"), _("In work"), _("Accepted"), _("Rejected"), _("Mine")):
            ui.stateComboBox.addItem(title)
        for title in (_("In order"), _("Unsure first")):
            ui.orderComboBox.addItem(title)
        ui.stateComboBox.connect("currentIndexChanged(int)", lambda *_: self.panel.scheduleUpdate())
        ui.orderComboBox.connect("currentIndexChanged(int)", lambda *_: self.panel.scheduleUpdate())
        ui.readerEdit.text = slicer.util.settingsValue(_READER_SETTING, "") or reader_by_login()
        ui.readerEdit.connect("editingFinished()", self.onReader)
        table = ui.casesTable
        setUpTable(table, [_("Case"), _("State"), _("Reader"), _("Unsure"), _("Comment")], _WIDTHS_PX)
        table.connect("cellClicked(int,int)", self.onRow)

    def actions(self):
        return {
            "openFolder": lambda: self.openWorklist(qt.QFileDialog.getExistingDirectory(None, _("Folder of images"))),
            "openCsv": lambda: self.openWorklist(
                qt.QFileDialog.getOpenFileName(None, _("List of images"), "", "CSV (*.csv)")
            ),
            "saveCase": lambda: self.logic.case.save(),
            "previousCase": lambda: self.openCase(self.beside(-1)),
            "nextCase": lambda: self.openCase(self.beside(1)),
        }

    @property
    def worklist(self):
        """The worklist that is open, or None."""
        return self.logic.case.worklist if self.logic.case else None

    @property
    def openCaseNow(self):
        """What is open of it in the scene and chosen, or None."""
        case = self.logic.case
        return case if case and case.is_open and case.volume_node is self.parameters.volume else None

    def shown(self):
        """Return the cases that the table shows, in its order."""
        worklist, wanted = self.worklist, self.ui.stateComboBox.currentIndex
        cases = list(worklist.cases) if worklist else []
        if 0 < wanted <= len(CaseState):
            cases = [case for case in cases if case.state is list(CaseState)[wanted - 1]]
        elif wanted > 0:
            cases = [case for case in cases if case.reader == worklist.reader]
        return by_unsureness(cases) if self.ui.orderComboBox.currentIndex else cases

    def beside(self, step):
        """Return the case that the table shows after the open one, or before it for a step of -1; None: none.

        Cases that could not be opened are passed over: a click in the table tries them again.
        """
        cases, current = self.shown(), self.worklist.current
        place = next((n for n, case in enumerate(cases) if case.key == current.key), None)
        if place is None:
            places = {case.key: n for n, case in enumerate(self.worklist.cases)}
            later = (n for n, case in enumerate(cases) if places[case.key] > self.worklist.index)
            place = next(later, len(cases)) - (step > 0)
        following = cases[place + 1 :] if step > 0 else reversed(cases[:place])
        return next((case for case in following if case.key not in self._unreadable), None)

    def situation(self):
        """Return what decides over the controls of the whole worklist."""
        worklist, case, panel = self.worklist, self.openCaseNow, self.panel
        segmentation = case.segmentation_node if case else None
        isOpen = worklist is not None
        return WorklistSituation(
            is_open=isOpen,
            has_previous=isOpen and self.beside(-1) is not None,
            has_next=isOpen and self.beside(1) is not None,
            has_case=case is not None,
            has_segments=bool(segmentation and segmentation.GetSegmentation().GetNumberOfSegments()),
            has_done_case=bool(worklist and worklist.done),
            has_todo=isOpen and any(one.state is CaseState.TODO for one in worklist.cases),
            has_doubt=panel.review.hasDoubt,
            is_proposing=panel.proposals.isRunning,
            problem=self.logic.models.problem(self.parameters.model),
            has_reading=bool(panel.readings.others()),
            has_ticked=bool(panel.readings.ticked()),
        )

    def show(self):
        worklist = self.worklist
        self.ui.worklistLabel.text = (
            f"{worklist.current.name} ({worklist.index + 1}/{len(worklist)}, {worklist.done} {_('done')})"
            if worklist
            else _("No worklist")
        )
        self._claim()
        self._fill()
        self._showStatus()

    def _showStatus(self):
        """Tell here what happened while the section that tells it is folded, as it may be in a review."""
        told, here = self.ui.statusLabel, self.ui.listStatusLabel
        here.text = told.text if self.ui.promptsCollapsibleButton.collapsed else ""
        here.setStyleSheet(told.styleSheet)
        here.setVisible(bool(here.text))

    def _claim(self):
        """Begin the case that is open as soon as its segments change, so that nobody else does."""
        case = self.openCaseNow
        if case is None or self.logic.isBusy or not case.is_changed:
            return
        if self._begun != case.worklist.current.key:
            self._begun, self._refusal = case.worklist.current.key, ""
            try:
                case.worklist.claim(case.worklist.current)
            except PromptSegError as error:
                self._refusal = error_text(error)
        if self._refusal and not self.ui.statusLabel.text:
            self.panel.setStatus(self._refusal, isError=True)

    def _fill(self):
        cases = self.shown()
        current = self.worklist.current.key if self.worklist else None
        if (cases, current) == self._filled:
            return
        before = self._filled[0] if self._filled else []
        self._filled = cases, current
        table = self.ui.casesTable
        table.blockSignals(True)
        table.setRowCount(len(cases))
        for row, case in enumerate(cases):
            if row < len(before) and before[row] == case:
                continue
            unsure = "" if case.unsure is None else f"{case.unsure:.2f}"
            for column, text in enumerate((case.name, _(case.state.value), case.reader, unsure, case.comment)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(text)
                table.setItem(row, column, item)
        rows = [row for row, case in enumerate(cases) if case.key == current]
        table.setCurrentCell(rows[0] if rows else -1, 0)
        if rows:
            table.scrollToItem(table.item(rows[0], 0))
        table.blockSignals(False)

    def onRow(self, row, column):
        cases = self.shown()
        if 0 <= row < len(cases) and (self.openCaseNow is None or cases[row].key != self.worklist.current.key):
            self.panel.do(lambda: self.openCase(cases[row]))

    def onReader(self):
        reader = self.ui.readerEdit.text.strip()
        qt.QSettings().setValue(_READER_SETTING, reader)
        if self.worklist:
            self.worklist.reader = reader
            self.panel.scheduleUpdate()

    def openWorklist(self, path):
        if path:
            worklist = Worklist.open(path, self.ui.readerEdit.text.strip())
            if self.logic.case is not None:
                self.logic.case.save()
            self.logic.case, self._unreadable = OpenCase(slicer.mrmlScene, worklist), set()
            self.openCase(worklist.current)
            if worklist.problems:
                more = f" (+{len(worklist.problems) - 1})" if len(worklist.problems) > 1 else ""
                self.panel.setStatus(f"{worklist.problems[0]}{more}", isError=True)

    def openCase(self, case):
        self.logic.tools.drop()
        self.logic.closeSession()
        self.worklist.refresh()
        self.logic.case.save()
        try:
            self.logic.case.open(self.worklist.cases.index(self.worklist.find(case)))
        except SceneFileError:
            self._unreadable.add(case.key)
            raise
        self._unreadable.discard(case.key)
        self._begun = None
        self.panel.review.begin()
        self.parameters.volume = self.logic.case.volume_node
        self.parameters.segmentation = self.logic.case.segmentation_node
        show_volume(slicer.app.applicationLogic(), self.logic.case.volume_node)
