"""Input: the segments, one of which prompts go to."""

import qt
import slicer

from PromptSegLib.mrml.view_geometry import jump_slices
from PromptSegWidgets.section import Section


class InputSection(Section):
    def connect(self):
        table = self.ui.segmentsTable
        table.setSelectionMode(qt.QAbstractItemView.SingleSelection)
        table.opacityColumnVisible = False
        table.statusColumnVisible = False
        table.connect("selectionChanged(QItemSelection,QItemSelection)", self.onSegmentChosen)

    def actions(self):
        return {"addSegment": self.onAddSegment, "next": self.onNext}

    def show(self):
        self.ui.segmentsTable.setSegmentationNode(self.parameters.segmentation)
        if self.session and self.session.target in self.session.targets:
            self.ui.segmentsTable.setSelectedSegmentIDs([self.session.target])

    def onSegmentChosen(self):
        chosen = list(self.ui.segmentsTable.selectedSegmentIDs())
        if self.panel.isShowing or not chosen:
            return
        session = self.panel.openSession()
        if session is None or chosen[0] == session.target:
            return
        with self.panel.reporting():
            session.select(chosen[0])
            if self.parameters.autoJump and not session.is_empty:
                jump_slices(slicer.mrmlScene, session.segmentation_node.GetSegmentCenterRAS(chosen[0]))
        self.panel.scheduleUpdate()

    def onAddSegment(self):
        if self.session is None and not self.parameters.segmentation:
            self.panel.openSession()  # makes the segmentation, with its first segment
        else:
            self.logic.addSegment(self.panel.openSession())

    def onNext(self):
        """Accept the segment and start the next one; whatever comes first to it belongs to it."""
        self.session.accept()
        self.logic.addSegment(self.session)
        if self.logic.tools.tool.endswith("-"):
            self.panel.prompts.onTool(self.logic.tools.tool[:-1] + "+", True)
