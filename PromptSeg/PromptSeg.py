"""PromptSeg: the panel, the parameters and the logic of the module. Everything else is in PromptSegLib."""

import logging
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

_checkout = Path(__file__).resolve().parents[1]
if (_checkout / "PromptSegLib" / "__init__.py").is_file() and str(_checkout) not in sys.path:
    sys.path.insert(0, str(_checkout))  # installed, PromptSegLib lies beside this file

from PromptSegLib.availability import TOOL_FEATURES, Situation, reasons
from PromptSegLib.background import Background
from PromptSegLib.errors import Cancelled, PromptSegError
from PromptSegLib.executor import ThreadExecutor
from PromptSegLib.imaging import cleanup
from PromptSegLib.models import Models, missing_package
from PromptSegLib.mrml.cases import OpenCase
from PromptSegLib.mrml.console_lines import console_lines
from PromptSegLib.mrml.display import (
    editor_node,
    is_shown_in_3d,
    overwrite_mode,
    overwrite_modes,
    show_in_3d,
    show_volume,
)
from PromptSegLib.mrml.export import export_labelmap, save_labelmap
from PromptSegLib.mrml.scene_session import SceneSession, has_saved_session
from PromptSegLib.mrml.state_node import StateNode
from PromptSegLib.mrml.tools import DrawingView, PromptTools
from PromptSegLib.mrml.transforms import node_to_world
from PromptSegLib.mrml.view_geometry import jump_slices
from PromptSegLib.panel_texts import answer_text, middle_ras, prompt_row, timings_text
from PromptSegLib.prompts import ClassPrompt, TextPrompt
from PromptSegLib.session import SessionObserver
from PromptSegLib.shared_executor import SharedExecutor
from PromptSegLib.shortcuts import Shortcuts
from PromptSegLib.span import Span
from PromptSegLib.worklist import Worklist

_SLICER_DATA = "https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/"
_SAMPLES = (
    ("CTChest", "CT-chest.nrrd", "4507b664690840abb6cb9af2d919377ffc4ef75b167cb6fd0f747befdb12e38e"),
    ("MRHead", "MR-head.nrrd", "cc211f0dfd9a05ca3841ce1141b292898b2dd2d3f08286affadf823a7e58df93"),
)
_TOOL_BUTTONS = {tool: tool.replace("+", "Plus").replace("-", "Minus") + "Button" for tool in TOOL_FEATURES}
_YIELD_INTERVAL_MS = 20
_YIELD_S = 0.005
_SURFACE_DELAY_MS = 300
_ROW_PX = 22
_TIMINGS_KEPT = 200

#
# PromptSeg
#


class PromptSeg(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("PromptSeg")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "Markups"]
        parent.contributors = ["PromptSeg contributors"]
        parent.helpText = _(
            "Segment by clicks, boxes, scribbles, lassos and names. Choose a volume and a tool, click in a slice "
            "view; correct with further clicks; go on with the next structure. Everything is saved with the "
            "scene. For research use only. Images stay on this computer."
        )
        parent.acknowledgementText = _("Each model's authors are named in the panel, with what to cite.")
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """Add Slicer's own public CT and MR to the category PromptSeg of the Sample Data module."""
    import SampleData

    for name, fileName, sha256 in _SAMPLES:
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="PromptSeg",
            sampleName=name,
            uris=_SLICER_DATA + sha256,
            fileNames=fileName,
            checksums=f"SHA256:{sha256}",
            nodeNames=name,
        )


def install(package):
    """Install a Python package: torch as the PyTorch extension does it, others beside what Slicer has."""
    if package == "torch":
        import PyTorchUtils

        PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False)
    else:
        slicer.util.pip_install(package)


#
# PromptSegParameterNode
#


@parameterNodeWrapper
class PromptSegParameterNode:
    """What the panel is set to, saved with the scene; prompts are kept by the session, see PromptSegLib.mrml."""

    volume: slicer.vtkMRMLVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode
    model: str = "default"
    runAtOnce: bool = True
    brushDiameter_mm: float = 5.0
    hidePrompts: bool = False
    autoJump: bool = True


#
# PromptSegWidget
#


class PromptSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._isEntered = False
        self._updateIsDue = False
        self._isUpdating = False
        self._keys = []
        self._toolTips = {}

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/PromptSeg.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.shortcuts = Shortcuts.from_json(slicer.util.settingsValue("PromptSeg/shortcuts", ""))

        self._yieldTimer = qt.QTimer()
        self._yieldTimer.interval = _YIELD_INTERVAL_MS
        self._yieldTimer.connect("timeout()", self._onYield)
        self.logic = PromptSegLogic()
        self.logic.observer = _PanelObserver(self)
        self.logic.hostIsNeeded = self._onHostIsNeeded
        self.logic.later = lambda function: qt.QTimer.singleShot(_SURFACE_DELAY_MS, function)
        self.logic.tools = PromptTools(
            slicer.mrmlScene,
            self._sliceViews,
            lambda function: qt.QTimer.singleShot(0, function),
            self._scheduleUpdate,
            self._showError,
        )

        self._fillLists()
        self._connectControls()
        if slicer.app.layoutManager() is not None:
            slicer.app.layoutManager().connect("layoutChanged(int)", self._onLayoutChanged)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self._onSceneReplaced)
        self.addObserver(scene, scene.EndImportEvent, self._onSceneReplaced)
        self.addObserver(scene, scene.NodeRemovedEvent, self._scheduleUpdate)
        self.initializeParameterNode()

    def cleanup(self):
        self.exit()
        self.setParameterNode(None)
        self.logic.close()
        self._yieldTimer.stop()
        if slicer.app.layoutManager() is not None:
            slicer.app.layoutManager().disconnect("layoutChanged(int)", self._onLayoutChanged)
        self.removeObservers()

    def enter(self):
        self._isEntered = True
        self._bindKeys()
        self.initializeParameterNode()
        with self._reporting():
            if self.logic.session is not None:
                self.logic.session.take_edits()

    def exit(self):
        self._isEntered = False
        self._releaseKeys()
        self.logic.tools.drop()

    def onReload(self):
        for name in [name for name in sys.modules if name.partition(".")[0] == "PromptSegLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    # Parameters and scene

    def initializeParameterNode(self):
        self.setParameterNode(PromptSegParameterNode(self.logic.getParameterNode()))
        node = self._parameterNode
        if node.volume is None:
            node.volume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")

    def setParameterNode(self, node):
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._scheduleUpdate)
        self._parameterNode = node
        if node is not None:
            self._parameterNodeGuiTag = node.connectGui(self.ui)
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._scheduleUpdate)
            self._scheduleUpdate()

    def _onSceneStartClose(self, caller, event):
        self.logic.closeSession()
        self.setParameterNode(None)

    def _onSceneReplaced(self, caller, event):
        self.logic.closeSession()
        if self._isEntered:
            self.initializeParameterNode()

    def _followParameters(self):
        """Bring session and tool in line with the nodes and the model that are chosen."""
        node, logic = self._parameterNode, self.logic
        StateNode.remove_orphans(slicer.mrmlScene)
        chosen = (node.volume, node.segmentation)
        if logic.session and (logic.session.volume_node, logic.session.segmentation_node) != chosen:
            logic.closeSession()
        if logic.session is None and all(chosen) and has_saved_session(*chosen):
            self._openSession()
        with self._reporting():
            logic.useModel(node.model)
        if logic.session is not None:
            logic.session.auto = node.runAtOnce
            logic.session.show_prompts(not node.hidePrompts)
        logic.tools.brush_mm = node.brushDiameter_mm

    def _openSession(self):
        """Return the session of the chosen nodes, opened when it is not yet; None when that is not possible."""
        node = self._parameterNode
        if self.logic.session is None and node.volume is not None:
            with self._reporting():
                session = self.logic.openSession(node.volume, node.segmentation, node.model)
                node.segmentation = session.segmentation_node
        return self.logic.session

    # The panel

    def _fillLists(self):
        ui = self.ui
        for name in self.logic.models.names():
            ui.modelComboBox.addItem(f"{name}: {self.logic.models.title(name)}", name)
        for title in (_("Nothing: segments may overlap"), _("Visible segments"), _("All segments")):
            ui.overwriteComboBox.addItem(title)
        for title in (_("Both ways"), _("Forward"), _("Backward")):
            ui.directionComboBox.addItem(title)
        ui.promptsTable.setHorizontalHeaderLabels([_("Prompt"), _("Slice"), _("Position (RAS, mm)")])
        ui.shortcutsTable.setHorizontalHeaderLabels([_("Action"), _("Key")])
        for table in (ui.promptsTable, ui.shortcutsTable):
            table.horizontalHeader().setStretchLastSection(True)
            table.verticalHeader().setVisible(False)
            table.verticalHeader().setDefaultSectionSize(_ROW_PX)
        ui.segmentsTable.setSelectionMode(qt.QAbstractItemView.SingleSelection)
        ui.segmentsTable.opacityColumnVisible = False
        ui.segmentsTable.statusColumnVisible = False
        ui.progressBar.setVisible(False)
        ui.statusLabel.setVisible(False)
        ui.timingsText.setMaximumBlockCount(_TIMINGS_KEPT)
        self._showKeys()
        self._showCache()

    def _connectControls(self):
        ui = self.ui
        for tool, name in _TOOL_BUTTONS.items():
            getattr(ui, name).connect("clicked(bool)", lambda checked, tool=tool: self.onTool(tool, checked))
        for control, action in self._actions().items():
            getattr(ui, f"{control}Button").connect("clicked()", lambda action=action: self._do(action))
        ui.segmentsTable.connect("selectionChanged(QItemSelection,QItemSelection)", self.onSegmentChosen)
        ui.modelComboBox.connect("currentIndexChanged(int)", self.onModelChosen)
        ui.overwriteComboBox.connect(
            "activated(int)", lambda row: editor_node(slicer.mrmlScene).SetOverwriteMode(overwrite_modes()[row])
        )
        ui.promptsTable.connect("cellEntered(int,int)", self.onPromptHovered)
        ui.promptsTable.connect("cellClicked(int,int)", self.onPromptClicked)
        ui.shortcutsTable.connect("cellChanged(int,int)", self.onKeyChanged)
        ui.show3DButton.connect("clicked(bool)", lambda on: show_in_3d(self._parameterNode.segmentation, on))
        ui.outlineCheckBox.connect("clicked(bool)", lambda on: self._display().SetVisibility2DFill(not on))
        ui.opacitySlider.connect("valueChanged(double)", self.onOpacity)

    def _actions(self):
        """Return what each button does that does one thing."""
        logic, node = self.logic, lambda: self._parameterNode
        return {
            "addSegment": self.onAddSegment,
            "next": self.onNext,
            "getWeights": self.onGetWeights,
            "importWeights": self.onImportWeights,
            "removeWeights": lambda: logic.models.remove_weights(node().model),
            "name": self.onName,
            "run": lambda: logic.session.predict(logic.tools.view_now()),
            "cancel": logic.cancel,
            "undo": lambda: logic.session.undo(),
            "redo": lambda: logic.session.redo(),
            "reset": lambda: logic.session.reset(),
            "deletePrompt": self.onDeletePrompt,
            "propagate": lambda: logic.session.propagate(Span(direction=self._direction()), logic.tools.view_now()),
            "island": lambda: logic.cleanUp(cleanup.keep_largest_island),
            "holes": lambda: logic.cleanUp(cleanup.fill_holes),
            "smooth": lambda: logic.cleanUp(logic.smoothed),
            "exportLabelmap": lambda: export_labelmap(node().segmentation, node().volume),
            "exportFile": self.onExportFile,
            "copyPython": self.onCopyPython,
            "segmentEditor": self.onSegmentEditor,
            "openFolder": lambda: self.onOpenWorklist(qt.QFileDialog.getExistingDirectory()),
            "openCsv": lambda: self.onOpenWorklist(qt.QFileDialog.getOpenFileName(None, "", "", "*.csv")),
            "saveCase": lambda: logic.case.save(),
            "previousCase": lambda: self._openCase(logic.case.worklist.index - 1),
            "nextCase": lambda: self._openCase(logic.case.worklist.index + 1),
            "clearCache": self.onClearCache,
        }

    @contextmanager
    def _reporting(self):
        """Show what goes wrong within the block in the panel."""
        try:
            yield
        except PromptSegError as error:
            self._showError(error)

    def _do(self, slot):
        self._setStatus("")
        with self._reporting():
            slot()
        self._showCache()
        self._scheduleUpdate()

    def _showCache(self):
        self.ui.cacheLabel.text = self.logic.models.cache_text()

    def _showError(self, error):
        if not isinstance(error, Cancelled):
            logging.error("PromptSeg: %s", error, exc_info=error)
            text = str(error)
            self._setStatus(text[:1].upper() + text[1:], isError=True)
            missing = missing_package(error)
            if missing:
                qt.QTimer.singleShot(0, lambda: self._offerPackage(missing))
        self._scheduleUpdate()

    def _offerPackage(self, name):
        """Install what the model lacks, if the user wants; "default" and "classical" lack nothing."""
        if slicer.util.confirmYesNoDisplay(_("This model needs {name}. Install it now?").format(name=name)):
            with slicer.util.tryWithErrorDisplay(_("The installation failed."), waitCursor=True):
                install(name)
                self._setStatus(_("Installed {name}: place the prompt again.").format(name=name))

    def _setStatus(self, text, isError=False):
        self.ui.statusLabel.text = text
        self.ui.statusLabel.setStyleSheet("color: #c0392b;" if isError else "")
        self.ui.statusLabel.setVisible(bool(text))

    def _scheduleUpdate(self, caller=None, event=None):
        if not self._updateIsDue:
            self._updateIsDue = True
            qt.QTimer.singleShot(0, self.update)

    def update(self):
        """Show everything as it is now."""
        self._updateIsDue = False
        if self._parameterNode is None or self._isUpdating:
            return
        self._isUpdating = True
        try:
            self._followParameters()
            self._showSession()
            self._showModel()
            self._showDisplay()
            self._showWorklist()
            self._enableControls()
        finally:
            self._isUpdating = False

    def _showSession(self):
        ui, session = self.ui, self.logic.session
        ui.segmentsTable.setSegmentationNode(self._parameterNode.segmentation)
        prompts = session.prompts() if session else ()
        if session and session.target in session.targets:
            ui.segmentsTable.setSelectedSegmentIDs([session.target])
        row = ui.promptsTable.currentRow()
        ui.promptsTable.setRowCount(len(prompts))
        for index, prompt in enumerate(prompts):
            for column, text in enumerate(prompt_row(prompt, session.image.grid)):
                ui.promptsTable.setItem(index, column, qt.QTableWidgetItem(text))
        if row >= len(prompts):
            ui.promptsTable.setCurrentCell(-1, -1)
        answer = session.prediction if session else None
        ui.resultLabel.text = answer_text(answer) if answer else _("No prediction yet.")

    def _showModel(self):
        ui, name = self.ui, self._parameterNode.model
        index = ui.modelComboBox.findData(name)
        if index != ui.modelComboBox.currentIndex:
            ui.modelComboBox.setCurrentIndex(index)
        capabilities = self.logic.models.capabilities(name)
        ui.modelLabel.text = self.logic.models.text(name)
        classes = list(capabilities.classes) if capabilities else []
        if [ui.nameComboBox.itemText(n) for n in range(ui.nameComboBox.count)] != classes:
            ui.nameComboBox.clear()
            ui.nameComboBox.addItems(classes)

    def _display(self):
        """Return the display node of the chosen segmentation, or None."""
        segmentation = self._parameterNode.segmentation if self._parameterNode else None
        return segmentation.GetDisplayNode() if segmentation else None

    def _showDisplay(self):
        ui, display = self.ui, self._display()
        for control in (ui.outlineCheckBox, ui.opacitySlider):
            control.enabled = display is not None
        if display is not None:
            ui.outlineCheckBox.checked = not display.GetVisibility2DFill()
            ui.opacitySlider.value = display.GetOpacity()
            ui.show3DButton.checked = is_shown_in_3d(self._parameterNode.segmentation)
        ui.overwriteComboBox.setCurrentIndex(overwrite_modes().index(overwrite_mode(slicer.mrmlScene)))

    def _showWorklist(self):
        worklist = self.logic.case.worklist if self.logic.case else None
        self.ui.worklistLabel.text = (
            f"{worklist.current.name} ({worklist.index + 1}/{len(worklist)}, {worklist.done} {_('done')})"
            if worklist
            else _("No worklist")
        )

    def _enableControls(self):
        """Enable what can be used; the tool tips of the rest say what is missing."""
        found = reasons(self._situation())
        if found.get(self.logic.tools.tool):
            self.logic.tools.drop()
        for control, reason in found.items():
            button = getattr(self.ui, _TOOL_BUTTONS.get(control, f"{control}Button"))
            toolTip = self._toolTips.setdefault(control, button.toolTip)
            button.enabled = not reason
            button.toolTip = f"{toolTip}\n{_(reason)}" if reason else toolTip
        self.ui.nameComboBox.enabled = self.ui.nameButton.enabled
        self.ui.directionComboBox.enabled = self.ui.propagateButton.enabled
        for tool, name in _TOOL_BUTTONS.items():
            getattr(self.ui, name).checked = self.logic.tools.tool == tool
        self.ui.progressBar.setVisible(self.logic.isBusy)

    def _situation(self):
        node, session, models = self._parameterNode, self.logic.session, self.logic.models
        worklist = self.logic.case.worklist if self.logic.case else None
        return Situation(
            capabilities=models.capabilities(node.model),
            problem=models.problem(node.model),
            has_volume=node.volume is not None and node.volume.GetImageData() is not None,
            has_session=session is not None,
            has_prompts=bool(session and session.prompts()),
            has_mask=bool(session and session.target in session.targets and not session.is_empty),
            has_segments=bool(node.segmentation and node.segmentation.GetSegmentation().GetNumberOfSegments()),
            can_undo=bool(session and session.can_undo),
            can_redo=bool(session and session.can_redo),
            is_busy=self.logic.isBusy,
            runs_at_once=node.runAtOnce,
            is_prompt_selected=self.ui.promptsTable.currentRow() >= 0,
            weights=models.weights_state(node.model),
            is_fetching=self.logic.background.busy,
            has_worklist=worklist is not None,
            has_previous_case=bool(worklist and worklist.has_previous),
            has_next_case=bool(worklist and worklist.has_next),
        )

    def _sliceViews(self):
        manager = slicer.app.layoutManager()
        for name in manager.sliceViewNames() if manager else []:
            sliceWidget = manager.sliceWidget(name)
            view = sliceWidget.sliceView()
            yield DrawingView(view.interactor(), sliceWidget.mrmlSliceNode(), view.scheduleRender)

    def _onLayoutChanged(self):
        """Take the tool in hand once more: there may be other views."""
        if self.logic.tools.tool:
            self.onTool(self.logic.tools.tool, True)

    # The event loop lets predictions run

    def _onHostIsNeeded(self, isNeeded):
        if isNeeded:
            self._yieldTimer.start()
        else:
            self._yieldTimer.stop()

    def _onYield(self):
        # An idle event loop holds the interpreter: the worker gets 1 % of the time without this sleep, 68 % with.
        time.sleep(_YIELD_S)
        self.logic.drain()

    # Slots: input

    def onSegmentChosen(self):
        chosen = list(self.ui.segmentsTable.selectedSegmentIDs())
        if self._isUpdating or not chosen:
            return
        session = self._openSession()
        if session is None or chosen[0] == session.target:
            return
        with self._reporting():
            session.select(chosen[0])
            if self._parameterNode.autoJump and not session.is_empty:
                jump_slices(slicer.mrmlScene, session.segmentation_node.GetSegmentCenterRAS(chosen[0]))
        self._scheduleUpdate()

    def onAddSegment(self):
        if self.logic.session is None and not self._parameterNode.segmentation:
            self._openSession()  # makes the segmentation, with its first segment
        else:
            self.logic.addSegment(self._openSession())

    def onNext(self):
        self.logic.session.accept()
        self.logic.addSegment(self.logic.session)
        if self.logic.tools.tool.endswith("-"):
            self.onTool(self.logic.tools.tool[:-1] + "+", True)

    # Slots: model

    def onModelChosen(self, index):
        name = self.ui.modelComboBox.itemData(index)
        if self._isUpdating or self._parameterNode is None or name == self._parameterNode.model:
            return
        with self._reporting():
            if self.logic.session is not None:
                self.logic.session.cancel()
            self._parameterNode.model = name
        self._scheduleUpdate()

    def _accepts(self):
        """Ask what has to be asked before weights are fetched or taken."""
        questions = self.logic.models.questions(self._parameterNode.model)
        return all(slicer.util.confirmYesNoDisplay(question.text) for question in questions)

    def onGetWeights(self):
        if self._accepts():
            work = self.logic.models.fetching(self._parameterNode.model)
            self.logic.background.start(work, self.onProgress, self.onWeightsDone)

    def onImportWeights(self):
        path = qt.QFileDialog.getOpenFileName(self.parent, _("Weights file"))
        if path and self._accepts():
            work = self.logic.models.importing(self._parameterNode.model, path)
            self.logic.background.start(work, self.onProgress, self.onWeightsDone)

    def onClearCache(self):
        if slicer.util.confirmYesNoDisplay(_("Remove all downloaded weights?")):
            self.logic.models.store.clear()

    # Slots: prompts

    def onTool(self, tool, checked):
        self._setStatus("")
        session = self._openSession() if checked else None
        if session is None:
            self.logic.tools.drop()
        else:
            with self._reporting():
                self.logic.tools.take(tool, session)
        self._scheduleUpdate()

    def onName(self):
        session = self._openSession()
        if session is not None:
            session.add(self.logic.namePrompt(session, self.ui.nameComboBox.currentText))

    def _promptAt(self, row):
        prompts = self.logic.session.prompts() if self.logic.session else ()
        return prompts[row] if 0 <= row < len(prompts) else None

    def onPromptHovered(self, row, column):
        if self.logic.session is not None:
            self.logic.session.highlight(self._promptAt(row))

    def onPromptClicked(self, row, column):
        middle = middle_ras(self._promptAt(row)) if self._promptAt(row) else None
        if middle is not None and self._parameterNode.autoJump:
            jump_slices(slicer.mrmlScene, node_to_world([middle], self._parameterNode.volume)[0])
        self._scheduleUpdate()

    def onDeletePrompt(self):
        self.logic.session.remove(self._promptAt(self.ui.promptsTable.currentRow()))
        self.ui.promptsTable.setCurrentCell(-1, -1)

    # Slots: result

    def _direction(self):
        return ("both", "forward", "backward")[self.ui.directionComboBox.currentIndex]

    def onOpacity(self, value):
        if not self._isUpdating and self._display() is not None:
            self._display().SetOpacity(value)

    def onExportFile(self):
        path = qt.QFileDialog.getSaveFileName(self.parent, _("Save segments"), "segments.nii.gz")
        if path:
            save_labelmap(self._parameterNode.segmentation, self._parameterNode.volume, path)
            self._setStatus(_("Saved {path}.").format(path=path))

    def onCopyPython(self):
        qt.QApplication.clipboard().setText(console_lines(self.logic.session))
        self._setStatus(_("The lines are on the clipboard: paste them into the Python console."))

    def onSegmentEditor(self):
        node, session = self._parameterNode, self.logic.session
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
        editor.setSegmentationNode(node.segmentation)
        editor.setSourceVolumeNode(node.volume)
        if session is not None:
            editor.setCurrentSegmentID(session.target)

    # Slots: worklist

    def onOpenWorklist(self, path):
        if path:
            self.logic.case = OpenCase(slicer.mrmlScene, Worklist.open(path))
            self._openCase(self.logic.case.worklist.index)

    def _openCase(self, index):
        self.logic.tools.drop()
        self.logic.closeSession()
        self.logic.case.open(index)
        self._parameterNode.volume = self.logic.case.volume_node
        self._parameterNode.segmentation = self.logic.case.segmentation_node
        show_volume(slicer.app.applicationLogic(), self.logic.case.volume_node)

    # Slots: settings

    def _showKeys(self):
        table = self.ui.shortcutsTable
        table.blockSignals(True)
        table.setRowCount(len(self.shortcuts.items()))
        for row, (action, key) in enumerate(self.shortcuts.items()):
            name = qt.QTableWidgetItem(action)
            name.setFlags(qt.Qt.ItemIsEnabled)
            table.setItem(row, 0, name)
            table.setItem(row, 1, qt.QTableWidgetItem(key))
        table.blockSignals(False)

    def onKeyChanged(self, row, column):
        table = self.ui.shortcutsTable
        with self._reporting():
            self.shortcuts.bind(table.item(row, 0).text(), qt.QKeySequence(table.item(row, 1).text()).toString())
            qt.QSettings().setValue("PromptSeg/shortcuts", self.shortcuts.to_json())
        self._showKeys()
        if self._isEntered:
            self._bindKeys()

    def _bindKeys(self):
        """Listen to the keys, in the main window and while the panel is open only."""
        self._releaseKeys()
        for action, key in self.shortcuts.items():
            if key:
                shortcut = qt.QShortcut(slicer.util.mainWindow() or self.parent)
                shortcut.setKey(qt.QKeySequence(key))
                button = getattr(self.ui, _TOOL_BUTTONS.get(action, f"{action}Button"))
                shortcut.connect("activated()", lambda button=button: button.click())
                self._keys.append(shortcut)

    def _releaseKeys(self):
        for shortcut in self._keys:
            shortcut.setEnabled(False)
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._keys = []

    # Told by the session and by downloads

    def onBusyChanged(self, isBusy):
        self.ui.progressBar.setValue(0)
        if isBusy:
            self._setStatus(_("Predicting…"))
        elif self.logic.session is None or self.logic.session.error is None:
            self._setStatus("")
            answer = self.logic.session.prediction if self.logic.session else None
            if answer is not None:
                self.ui.timingsText.appendPlainText(timings_text(answer))
        self._scheduleUpdate()

    def onProgress(self, fraction, what):
        self.ui.progressBar.setValue(int(100 * fraction))
        self._setStatus(what)

    def onWeightsDone(self, result, error):
        self._setStatus("" if error else _("The weights are here."))
        if error is not None:
            self._showError(error)
        self._showCache()
        self._scheduleUpdate()


class _PanelObserver(SessionObserver):
    """Tells the panel what happens in the session."""

    def __init__(self, widget):
        self._widget = widget

    def prompts_changed(self, target):
        self._widget._scheduleUpdate()

    def masks_changed(self, boxes):
        self._widget._scheduleUpdate()

    def busy_changed(self, busy):
        self._widget.onBusyChanged(busy)

    def progress(self, fraction, what):
        self._widget.onProgress(fraction, what)

    def failed(self, error):
        self._widget._showError(error)


#
# PromptSegLogic
#


class PromptSegLogic(ScriptedLoadableModuleLogic):
    """One session at a time on the nodes of the scene; works without a panel.

    observer, later, hostIsNeeded: how a panel takes part, see SceneSession and ThreadExecutor.
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self.observer = SessionObserver()
        self.later = lambda function: function()
        self.hostIsNeeded = lambda isNeeded: None
        self.models = Models()
        self.session = None
        self.tools = None
        self.case = None
        self._model = "default"
        self._needs = 0
        self.executor = ThreadExecutor(self._count)
        self.background = Background(self._count)

    def _count(self, isNeeded):
        """Need the host for as long as predictions or downloads do."""
        self._needs += 1 if isNeeded else -1
        self.hostIsNeeded(self._needs > 0)

    @property
    def isBusy(self):
        return self.background.busy or (self.session is not None and self.session.busy)

    def openSession(self, volumeNode, segmentationNode=None, model="default"):
        """Return the session on these nodes; the one before is closed, its prompts are in the scene."""
        self.closeSession()
        self._model = "default" if self.models.problem(model) else model
        self.session = SceneSession(
            volumeNode,
            segmentationNode,
            predictor=self._model,
            executor=SharedExecutor(self.executor),
            observer=self.observer,
            editor_node=editor_node(volumeNode.GetScene()),
            later=self.later,
            view_now=self.tools.view_now if self.tools else lambda: None,
        )
        return self.session

    def useModel(self, model):
        """Let `model` answer as soon as it can: prompts and segments stay."""
        if self.session is not None and model != self._model and not self.models.problem(model):
            self._model = model
            self.session.use(model)

    def closeSession(self):
        session, self.session = self.session, None
        if self.tools is not None:
            self.tools.drop()
        if session is not None:
            session.close()

    def close(self):
        self.closeSession()
        self.background.close()
        self.executor.close()

    def drain(self):
        """Deliver what predictions and downloads have to tell."""
        self.executor.drain()
        self.background.drain()

    def cancel(self):
        self.background.cancel()
        if self.session is not None:
            self.session.cancel()

    def addSegment(self, session):
        name = session.segmentation_node.GetSegmentation().GenerateUniqueSegmentID("Segment_1")
        return session.add_target(name.replace("_", " "))

    def namePrompt(self, session, text):
        """Return `text` as the name of a class that the model knows, else as free words."""
        isClass = text in session.capabilities.classes or "text" not in session.capabilities.prompts
        return ClassPrompt(text) if isClass else TextPrompt(text)

    def cleanUp(self, function):
        """Set the mask of the selected segment to what `function` makes of it; undo takes it back."""
        self.session.set_mask(function(self.session.mask_kji))

    def smoothed(self, mask):
        spacing_mm = self.session.image.grid.spacing_kji_mm
        return cleanup.smooth(mask, spacing_mm, max(spacing_mm))


#
# PromptSegTest
#


class PromptSegTest(ScriptedLoadableModuleTest):
    """What "Reload and Test" runs; the tests proper are in Testing."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_aSegmentIsMadeInTheConsoleAsInThePanel()

    def test_aSegmentIsMadeInTheConsoleAsInThePanel(self):
        import numpy as np

        array = np.zeros((20, 30, 40), dtype=np.int16)
        array[5:15, 8:22, 10:30] = 100
        volumeNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        slicer.util.updateVolumeFromArray(volumeNode, array)
        logic = PromptSegLogic()
        session = logic.openSession(volumeNode)
        session.set_mask(array > 0)
        self.assertEqual(int(session.mask_kji.sum()), int((array > 0).sum()))
        session.undo()
        self.assertEqual(int(session.mask_kji.sum()), 0)
        logic.close()
