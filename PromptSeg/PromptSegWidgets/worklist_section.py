"""Worklist: many images, one after the other."""

import qt
import slicer
from slicer.i18n import tr as _

from PromptSegLib.io.worklist import Worklist
from PromptSegLib.mrml.cases import OpenCase
from PromptSegLib.mrml.display import show_volume
from PromptSegWidgets.section import Section


class WorklistSection(Section):
    def actions(self):
        return {
            "openFolder": lambda: self.openWorklist(qt.QFileDialog.getExistingDirectory(None, _("Folder of images"))),
            "openCsv": lambda: self.openWorklist(
                qt.QFileDialog.getOpenFileName(None, _("List of images"), "", "CSV (*.csv)")
            ),
            "saveCase": lambda: self.logic.case.save(),
            "previousCase": lambda: self.openCase(self.logic.case.worklist.index - 1),
            "nextCase": lambda: self.openCase(self.logic.case.worklist.index + 1),
        }

    @property
    def worklist(self):
        """The worklist that is open, or None."""
        return self.logic.case.worklist if self.logic.case else None

    def show(self):
        worklist = self.worklist
        self.ui.worklistLabel.text = (
            f"{worklist.current.name} ({worklist.index + 1}/{len(worklist)}, {worklist.done} {_('done')})"
            if worklist
            else _("No worklist")
        )

    def openWorklist(self, path):
        if path:
            self.logic.case = OpenCase(slicer.mrmlScene, Worklist.open(path))
            self.openCase(self.logic.case.worklist.index)

    def openCase(self, index):
        self.logic.tools.drop()
        self.logic.closeSession()
        self.logic.case.open(index)
        self.parameters.volume = self.logic.case.volume_node
        self.parameters.segmentation = self.logic.case.segmentation_node
        show_volume(slicer.app.applicationLogic(), self.logic.case.volume_node)
