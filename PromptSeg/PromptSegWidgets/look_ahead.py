"""While a tool is in hand, the model prepares for the slice that is looked at, so that a click is answered sooner."""

import qt
import vtk

from PromptSegLib.errors import GeometryError
from PromptSegLib.mrml.view_geometry import view_of

_STILL_MS = 400  # a slice that stays for so long is being looked at, and not passed by


class LookAhead:
    """Asks the session to encode ahead, see `Session.encode_ahead`. panel: as of `Section`."""

    def __init__(self, panel):
        self.panel = panel
        self._sliceNodes = []
        self._lookedAt = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.interval = _STILL_MS
        self._timer.connect("timeout()", self._prepare)

    def show(self):
        """Follow the slice views as long as a tool is in hand and this is wanted."""
        isWanted = bool(self.panel.logic.tools.tool) and self.panel.parameters.preparesAhead
        sliceNodes = [view.slice_node for view in self.panel.sliceViews()] if isWanted else []
        if sliceNodes == self._sliceNodes:
            return
        self.stop()
        self._sliceNodes = sliceNodes
        for node in sliceNodes:
            self.panel.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._onSlice)
        if sliceNodes:
            self._onSlice(sliceNodes[0], None)

    def stop(self):
        self._timer.stop()
        for node in self._sliceNodes:
            self.panel.removeObserver(node, vtk.vtkCommand.ModifiedEvent, self._onSlice)
        self._sliceNodes = []

    def _onSlice(self, sliceNode, event):
        self._lookedAt = sliceNode
        self._timer.start()

    def _prepare(self):
        session = self.panel.logic.session
        if session is None or session.busy or self._lookedAt not in self._sliceNodes:
            return
        try:
            view = view_of(self._lookedAt, session.volume_node)
        except GeometryError:  # said when something is placed there
            return
        session.encode_ahead(view)
