"""Input: the volume, or one for each channel that the model wants, and the segments."""

import qt
import slicer
from slicer.i18n import tr as _

from PromptSegLib.mrml.view_geometry import jump_slices
from PromptSegWidgets.section import Section

_CHANNEL = "channel."  # begins the roles of the references that keep the channels' volumes


class InputSection(Section):
    def connect(self):
        self._channelSelectors = {}
        self.ui.channelsFrame.setVisible(False)
        for selector in (self.ui.volumeSelector, self.ui.segmentationSelector):
            self._narrow(selector)
        table = self.ui.segmentsTable
        table.setSelectionMode(qt.QAbstractItemView.SingleSelection)
        table.opacityColumnVisible = False
        table.statusColumnVisible = False
        table.connect("selectionChanged(QItemSelection,QItemSelection)", self.onSegmentChosen)

    @staticmethod
    def _narrow(selector):
        """Let a node's name be longer than there is room for it."""
        selector.sizeAdjustPolicy = qt.QComboBox.AdjustToMinimumContentsLengthWithIcon

    def actions(self):
        return {"addSegment": self.onAddSegment, "next": self.onNext}

    @property
    def channels(self):
        """Names of the channels that the chosen model wants; the first is the chosen volume."""
        capabilities = self.logic.models.capabilities(self.parameters.model)
        return capabilities.channels if capabilities else ()

    def volumes(self):
        """Return the chosen volume, or volumes by channel where the model names them; without those not chosen."""
        if not self.channels:
            return self.parameters.volume
        node = self.parameters.parameterNode
        others = {name: node.GetNodeReference(_CHANNEL + name) for name in self.channels[1:]}
        chosen = {self.channels[0]: self.parameters.volume, **others}
        return {name: volume for name, volume in chosen.items() if volume is not None}

    def roles(self):
        """Return the roles of the parameter node's references to what is chosen here."""
        return ["volume", "segmentation", *(_CHANNEL + name for name in self.channels[1:])]

    def missingChannels(self):
        """Return the channels that no volume is chosen for."""
        return [name for name in self.channels if name not in self.volumes()]

    def show(self):
        if tuple(self._channelSelectors) != self.channels[1:]:
            self._makeChannelSelectors()
        for name, selector in self._channelSelectors.items():
            selector.setCurrentNode(self.parameters.parameterNode.GetNodeReference(_CHANNEL + name))
        title = _("Volume ({channel}):").format(channel=self.channels[0]) if self.channels else _("Volume:")
        self.ui.volumeLabel.text = title
        self.ui.segmentsTable.setSegmentationNode(self.parameters.segmentation)
        if self.session and self.session.target in self.session.targets:
            self.ui.segmentsTable.setSelectedSegmentIDs([self.session.target])

    def _makeChannelSelectors(self):
        """Make a selector for each channel but the first."""
        layout = self.ui.channelsFrame.layout()
        for widget in [layout.itemAt(index).widget() for index in range(layout.count())]:
            layout.removeWidget(widget)
            widget.hide()
            widget.deleteLater()
        layout.setColumnStretch(1, 1)
        self._channelSelectors = {}
        for row, name in enumerate(self.channels[1:]):
            selector = slicer.qMRMLNodeComboBox()
            selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
            selector.noneEnabled = True
            selector.addEnabled = False
            selector.removeEnabled = False
            self._narrow(selector)
            selector.setMRMLScene(slicer.mrmlScene)
            selector.toolTip = _("The {channel} image of the same patient, on any grid").format(channel=name)
            selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node, name=name: self.onChannel(name, node))
            label = qt.QLabel(_("Volume ({channel}):").format(channel=name))
            label.toolTip = selector.toolTip
            layout.addWidget(label, row, 0)
            layout.addWidget(selector, row, 1)
            self._channelSelectors[name] = selector
        self.ui.channelsFrame.setVisible(bool(self._channelSelectors))

    def onChannel(self, name, node):
        if self.parameters is not None and not self.panel.isShowing:
            self.parameters.parameterNode.SetNodeReferenceID(_CHANNEL + name, node.GetID() if node else None)
            self.panel.scheduleUpdate()

    def forget(self, node):
        """Choose nothing for the channels that `node` was chosen for."""
        for selector in self._channelSelectors.values():
            if selector.currentNode() is node:
                selector.setCurrentNode(None)

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
        makesFirst = self.session is None and not self.parameters.segmentation
        session = self.panel.openSession()
        if session is not None and not makesFirst:
            self.logic.addSegment(session)

    def onNext(self):
        """Accept the segment and start the next one; whatever comes first to it belongs to it."""
        self.session.accept()
        self.logic.addSegment(self.session)
        if self.logic.tools.tool.endswith("-"):
            self.panel.prompts.onTool(self.logic.tools.tool[:-1] + "+", True)
