"""Follow-up: an earlier time point's masks carried over, and its lesions compared with these."""

from pathlib import Path

import qt
from slicer.i18n import tr as _

from PromptSegLib.io.output_file import replacing
from PromptSegLib.measurement.carry_over import CarryOver
from PromptSegLib.measurement.follow_up import follow_up
from PromptSegLib.measurement.page import page_of
from PromptSegLib.mrml.carried_masks import CarriedMasks
from PromptSegLib.mrml.measuring import segmentation_from_node, time_point_from_nodes, volume_of
from PromptSegLib.mrml.transforms import matrix_between
from PromptSegWidgets.section import Section


class FollowUpSection(Section):
    def connect(self):
        self.ui.earlierSelector.connect("currentNodeChanged(vtkMRMLNode*)", lambda *_: self.panel.scheduleUpdate())
        self._carried = None
        self._carriedTo = None  # the session that the masks wait in
        self._waiting = ()  # what the label says that waits

    def actions(self):
        return {"carryOver": self.onCarryOver, "dropCarried": self.onDrop, "compare": self.onCompare}

    def show(self):
        if self._carried is not None:
            if self._carriedTo is not self.session or self._carried.node.GetScene() is None:
                self.onDrop()
            else:
                self._carried.show()
                if tuple(self._carried.carry.pending) != self._waiting:
                    self._showWaiting()

    @property
    def earlier(self):
        """The segmentation of the earlier time point, None while there is none."""
        node = self.ui.earlierSelector.currentNode()
        return node if node is not self.parameters.segmentation else None

    @property
    def isWaiting(self):
        """Whether masks wait for a point."""
        return self._carried is not None

    def onCarryOver(self):
        self.onDrop()
        session = self.panel.openSession()
        if session is None:
            return
        from_world = matrix_between(None, session.volume_node)
        carry = CarryOver(segmentation_from_node(self.earlier), from_world)
        self._carried, self._carriedTo = CarriedMasks(carry, session.volume_node), session
        session.carry_over(carry)
        self._showWaiting()

    def _showWaiting(self):
        waiting = self._waiting = tuple(self._carried.carry.pending)
        if waiting:
            text = _("Take Point + and click on each that is still there: {names}.")
            self.ui.followUpLabel.text = text.format(names=", ".join(waiting))
        else:
            self.ui.followUpLabel.text = _("All masks are confirmed.")
            self._forget()

    def onDrop(self):
        if self._carried is not None:
            self._carried.close()
            self._forget()
            self.ui.followUpLabel.text = ""

    def _forget(self):
        if self._carriedTo is not None:
            self._carriedTo.carry_over(None)
        self._carried = self._carriedTo = None

    def onCompare(self):
        earlier, parameters = self.earlier, self.parameters
        times = [
            time_point_from_nodes(earlier, volume_of(earlier)),
            time_point_from_nodes(parameters.segmentation, parameters.volume),
        ]
        names = {name for time in times for name in time.segmentation.names}
        found = follow_up(times, nodes=[name for name in names if "lymph node" in name.casefold()])
        now = found.evaluations[-1]
        self.ui.followUpLabel.text = f"{now.overall.category} (RECIST 1.1): {now.overall.rule}"
        path = qt.QFileDialog.getSaveFileName(None, _("Save the page"), "follow-up.html", "HTML (*.html)")
        if path:
            with replacing(Path(path)) as file:
                file.write(page_of(found).encode())
            self.panel.setStatus(_("Saved {path}.").format(path=path))
