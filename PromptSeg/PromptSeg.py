"""PromptSeg: the module, its parameters and its panel. The logic is in PromptSegWidgets, the rest in PromptSegLib."""

import logging
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

_checkout = Path(__file__).resolve().parents[1]
if (_checkout / "PromptSegLib" / "__init__.py").is_file() and str(_checkout) not in sys.path:
    sys.path.insert(0, str(_checkout))  # installed, PromptSegLib lies beside this file

from PromptSegLib.errors import Cancelled, ConsentError, PromptSegError
from PromptSegLib.mrml.display import shown_window
from PromptSegLib.mrml.scene_session import has_saved_session
from PromptSegLib.mrml.state_node import StateNode
from PromptSegLib.mrml.tools import DrawingView, PromptTools
from PromptSegLib.panel.models import missing_package
from PromptSegLib.panel.texts import error_text
from PromptSegWidgets.enabling import Enabling
from PromptSegWidgets.follow_up_section import FollowUpSection
from PromptSegWidgets.input_section import InputSection
from PromptSegWidgets.installation import install
from PromptSegWidgets.logic import PromptSegLogic
from PromptSegWidgets.look_ahead import LookAhead
from PromptSegWidgets.measure_section import MeasureSection
from PromptSegWidgets.model_section import ModelSection
from PromptSegWidgets.names_section import NamesSection
from PromptSegWidgets.own_models_section import OwnModelsSection
from PromptSegWidgets.panel_observer import PanelObserver
from PromptSegWidgets.parameter_binding import KeptParameters, ParameterBinding
from PromptSegWidgets.prompts_section import TOOL_BUTTONS, PromptsSection
from PromptSegWidgets.result_section import ResultSection
from PromptSegWidgets.sample_data import registerSampleData
from PromptSegWidgets.settings_section import SettingsSection
from PromptSegWidgets.which_section import WhichSection
from PromptSegWidgets.worklist_proposals import ProposalsSection
from PromptSegWidgets.worklist_readings import ReadingsSection
from PromptSegWidgets.worklist_review import ReviewSection
from PromptSegWidgets.worklist_section import WorklistSection

_ICONS = ("next", "run", "cancel", "undo", "redo")
_PACKAGES = ("PromptSegLib", "PromptSegWidgets")
_YIELD_INTERVAL_MS = 20
_YIELD_S = 0.005
_SURFACE_DELAY_MS = 300
_AFTER_SELECTORS = -1.0  # priority of an observer; those of node selectors have 0

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


#
# PromptSegParameterNode
#


@parameterNodeWrapper
class PromptSegParameterNode:
    """What the panel is set to, saved with the scene; prompts are kept by the session, see PromptSegLib.mrml."""

    volume: slicer.vtkMRMLScalarVolumeNode  # one of the classes that derive from it, too, such as vector volumes
    segmentation: slicer.vtkMRMLSegmentationNode
    model: str = "default"
    device: str = "auto"
    windowAsShown: bool = False
    redrawsAll: bool = False
    runAtOnce: bool = True
    brushDiameter_mm: Annotated[float, WithinRange(0.5, 50.0)] = 5.0
    hidePrompts: bool = False
    autoJump: bool = True
    preparesAhead: bool = True


#
# PromptSegWidget
#


class PromptSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. What its sections do is in PromptSegWidgets; here is what they share."""

    def __init__(self, parent=None):
        self.parameters = None
        self.isShowing = False
        self.logic = None
        self._binding = None  # of the parameters to the controls
        self._before = None  # the parameters as they were before another scene was put in this one
        self._refused = None  # what was chosen when the session that is saved could not be opened
        self._isEntered = False
        self._updateIsDue = False
        # Last: without a parent it calls `setup`. It makes the VTKObservationMixin, too; a second making of that
        # forgets the observers that `setup` added.
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/PromptSeg.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)

        self._yieldTimer = qt.QTimer()
        self._yieldTimer.interval = _YIELD_INTERVAL_MS
        self._yieldTimer.connect("timeout()", self._onYield)
        self.logic = PromptSegLogic()
        self.logic.observer = PanelObserver(self)
        self.logic.hostIsNeeded = self._onHostIsNeeded
        self.logic.later = lambda function: qt.QTimer.singleShot(_SURFACE_DELAY_MS, function)
        self.logic.tools = PromptTools(
            slicer.mrmlScene,
            self.sliceViews,
            lambda function: qt.QTimer.singleShot(0, function),
            self.scheduleUpdate,
            self.showError,
        )
        self._makeSections()

        if slicer.app.layoutManager() is not None:
            slicer.app.layoutManager().connect("layoutChanged(int)", self._onLayoutChanged)
        self._observeScene()
        self.initializeParameterNode()
        if getattr(self.parent, "isEntered", False):  # made anew while it is shown
            self.enter()

    def _observeScene(self):
        """Let go of the nodes before the scene is closed or another is put in it, and find them again after that.

        In between, the selectors empty themselves, and would empty the parameters as well.
        """
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._onSceneStartClose)
        self.addObserver(scene, scene.StartImportEvent, self._onSceneStartImport)
        for event in (scene.EndCloseEvent, scene.EndImportEvent):
            self.addObserver(scene, event, self._onSceneReplaced, priority=_AFTER_SELECTORS)
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self._onNodeGoes)
        self.addObserver(scene, scene.NodeRemovedEvent, self.scheduleUpdate)

    def _makeSections(self):
        ui = self.ui
        for name in (*TOOL_BUTTONS.values(), *(f"{name}Button" for name in _ICONS)):
            getattr(ui, name).icon = qt.QIcon(self.resourcePath(f"Icons/{name.removesuffix('Button')}.png"))
        ui.statusLabel.setVisible(False)
        self.model, self.prompts, self.settings = ModelSection(self), PromptsSection(self), SettingsSection(self)
        self.input, self.names, self.which = InputSection(self), NamesSection(self), WhichSection(self)
        self.worklist, self.review = WorklistSection(self), ReviewSection(self)
        self.proposals, self.readings = ProposalsSection(self), ReadingsSection(self)
        self.measure, self.followUp = MeasureSection(self), FollowUpSection(self)
        worklist = (self.worklist, self.review, self.proposals, self.readings)
        others = (OwnModelsSection(self), self.names, ResultSection(self), *worklist, self.measure, self.followUp)
        self._sections = (self.input, self.model, self.which, self.prompts, self.settings, *others)
        self._enabling, self._lookAhead = Enabling(self), LookAhead(self)
        for section in self._sections:
            for control, action in section.actions().items():
                getattr(ui, f"{control}Button").connect("clicked()", lambda action=action: self.do(action))
        self.settings.showCache()

    def cleanup(self):
        self.exit()
        self.setParameterNode(None)
        self.proposals.close()
        self.logic.close()
        self._yieldTimer.stop()
        if slicer.app.layoutManager() is not None:
            slicer.app.layoutManager().disconnect("layoutChanged(int)", self._onLayoutChanged)
        self.removeObservers()

    def enter(self):
        self._isEntered = True
        self.settings.bindKeys()
        self.initializeParameterNode()
        with self.reporting():
            if self.logic.session is not None:
                self.logic.session.take_edits()

    def exit(self):
        self._isEntered = False
        self.settings.releaseKeys()
        self._lookAhead.stop()
        self.logic.tools.drop()

    def onReload(self):
        for name in [name for name in sys.modules if name.partition(".")[0] in _PACKAGES]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    # Parameters and scene

    def initializeParameterNode(self):
        node = self.logic.getParameterNode()
        if self.parameters is None or self.parameters.parameterNode is not node:
            if self._before is not None:
                self._before.restore(node)
                self._before = None
            self.setParameterNode(PromptSegParameterNode(node))
        if self.parameters.volume is None:
            self.parameters.volume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")

    def setParameterNode(self, parameters):
        if self._binding is not None:
            self._binding.release()
        self.parameters = parameters
        self._binding = None
        if parameters is not None:
            self._binding = ParameterBinding(parameters, self.ui, self.scheduleUpdate)
            self.scheduleUpdate()

    def _onSceneStartClose(self, caller, event):
        self._letGo()
        self._before = None

    def _onSceneStartImport(self, caller, event):
        if self.parameters is not None:
            self._before = KeptParameters(self.parameters.parameterNode, self.input.roles())
        self._letGo()

    def _letGo(self):
        self.logic.closeSession()
        self.setParameterNode(None)

    def _onSceneReplaced(self, caller, event):
        self.logic.closeSession()
        if self._isEntered:
            self.initializeParameterNode()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeGoes(self, caller, event, node):
        """Choose nothing in place of a node that goes; a selector would choose the node above it in its list."""
        if self.parameters is None:
            return
        for name in ("volume", "segmentation"):
            if getattr(self.parameters, name) is node:
                setattr(self.parameters, name, None)
        self.input.forget(node)

    def _followParameters(self):
        """Bring session and tool in line with what is chosen."""
        parameters, logic = self.parameters, self.logic
        StateNode.remove_orphans(slicer.mrmlScene)
        chosen = (parameters.volume, parameters.segmentation)
        if logic.session and (logic.session.volume_node, logic.session.segmentation_node) != chosen:
            logic.closeSession()
        wanted = (*chosen, logic.servers.recipe(parameters.model, parameters.device))
        if logic.session is not None and not logic.session.is_open:
            logic.closeSession()
            self._refused = wanted  # another session has the nodes: it keeps them until the user goes on here
        if logic.session is None and all(chosen) and wanted != self._refused and has_saved_session(*chosen):
            self._refused = None if self.openSession() else wanted
        if not self.input.missingChannels():
            with self.reporting():
                logic.useModel(parameters.model, parameters.device, self.input.volumes())
        if logic.session is not None:
            logic.session.auto = parameters.runAtOnce
            logic.session.redraw = parameters.redrawsAll
            logic.session.window = shown_window(parameters.volume) if parameters.windowAsShown else None
            logic.session.show_prompts(not parameters.hidePrompts)
        logic.tools.brush_mm = parameters.brushDiameter_mm

    def openSession(self):
        """Return the session of the chosen nodes, opened when it is not yet; None when that is not possible."""
        parameters = self.parameters
        if self.logic.session is None and parameters.volume is not None:
            volumes, model = self.input.volumes(), parameters.model
            if self.input.missingChannels():  # until they are chosen, another model has the segments in hand
                volumes, model = parameters.volume, "default"
            with self.reporting():
                session = self.logic.openSession(volumes, parameters.segmentation, model, parameters.device)
                parameters.segmentation = session.segmentation_node
        return self.logic.session

    # What the sections share

    @contextmanager
    def reporting(self):
        """Show what goes wrong within the block in the panel."""
        try:
            yield
        except PromptSegError as error:
            self.showError(error)

    def do(self, action):
        """Do what a button stands for."""
        self.setStatus("")
        with self.reporting():
            action()
        self.settings.showCache()
        self.scheduleUpdate()

    def setStatus(self, text, isError=False):
        self.ui.statusLabel.text = text
        self.ui.statusLabel.setStyleSheet("color: #d9534f;" if isError else "")
        self.ui.statusLabel.setVisible(bool(text))
        self.ui.hintLabel.setVisible(not text)

    def showError(self, error):
        if not isinstance(error, Cancelled):
            logging.error("PromptSeg: %s", error, exc_info=error)
            self.setStatus(error_text(error), isError=True)
            missing = missing_package(error)
            if isinstance(error, ConsentError):
                qt.QTimer.singleShot(0, lambda: self.model.askForConsent(error_text(error)))
            elif missing:
                qt.QTimer.singleShot(0, lambda: self._offerPackage(missing))
        self.scheduleUpdate()

    def _offerPackage(self, name):
        """Install what the model lacks, if the user wants; "default" and "classical" lack nothing."""
        if slicer.util.confirmYesNoDisplay(_("This model needs {name}. Install it now?").format(name=name)):
            with slicer.util.tryWithErrorDisplay(_("The installation failed."), waitCursor=True):
                install(name)
                self.setStatus(_("Installed {name}: place the prompt again.").format(name=name))

    # Showing

    def scheduleUpdate(self, caller=None, event=None):
        if not self._updateIsDue:
            self._updateIsDue = True
            qt.QTimer.singleShot(0, self.update)

    def update(self):
        """Show everything as it is now."""
        self._updateIsDue = False
        if self.parameters is None or self.isShowing:
            return
        self.isShowing = True
        try:
            with self.logic.models.one_look():
                self._followParameters()
                for part in (*self._sections, self._enabling, self._lookAhead):
                    part.show()
        finally:
            self.isShowing = False

    def sliceViews(self):
        """Yield the slice views of the layout."""
        manager = slicer.app.layoutManager()
        for name in manager.sliceViewNames() if manager else []:
            sliceWidget = manager.sliceWidget(name)
            view = sliceWidget.sliceView()
            yield DrawingView(view.interactor(), sliceWidget.mrmlSliceNode(), view.scheduleRender)

    def _onLayoutChanged(self):
        """Take the tool in hand once more: there may be other views."""
        if self.logic.tools.tool:
            self.prompts.onTool(self.logic.tools.tool, True)

    # Told by the event loop, the session and downloads

    def _onHostIsNeeded(self, isNeeded):
        if isNeeded:
            self._yieldTimer.start()
        else:
            self._yieldTimer.stop()

    def _onYield(self):
        # An idle event loop holds the interpreter: the worker gets 1 % of the time without this sleep, 68 % with.
        time.sleep(_YIELD_S)
        self.logic.drain()

    def onBusyChanged(self, isBusy):
        self.ui.progressBar.setValue(0)
        session = self.logic.session
        if isBusy:
            self.setStatus(_("Predicting…"))
        elif session is None or session.error is None:
            self.setStatus("")
            if session is not None and session.prediction is not None:
                self.settings.log(session.prediction)
        self.scheduleUpdate()

    def onProgress(self, fraction, what):
        self.ui.progressBar.setValue(int(100 * fraction))
        self.setStatus(what)


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
