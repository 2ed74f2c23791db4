"""The logic of the module: one session at a time on the nodes of the scene, and what runs for it."""

import shutil

from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from PromptSegLib.execution.background import Background
from PromptSegLib.execution.executor import SharedExecutor, ThreadExecutor
from PromptSegLib.execution.process.executor import ProcessExecutor
from PromptSegLib.mrml.display import editor_node
from PromptSegLib.mrml.scene_session import SceneSession
from PromptSegLib.panel.models import Models
from PromptSegLib.panel.servers import Servers
from PromptSegLib.predictors.registry import Recipe
from PromptSegLib.session.observer import SessionObserver


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
        self.servers = Servers()
        self.session = None
        self.tools = None
        self.case = None
        self._chosen = Recipe("default")
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

    def openSession(self, volumes, segmentationNode=None, model="default", device="auto"):
        """Return the session on these nodes; the one before is closed, its prompts are in the scene.

        volumes: a volume node, or several by the names of the model's channels, the reference first.
        """
        self.closeSession()
        self._chosen = self.servers.recipe("default" if self.models.problem(model) else model, device)
        reference = next(iter(volumes.values())) if isinstance(volumes, dict) else volumes
        self.session = SceneSession(
            volumes,
            segmentationNode,
            predictor=self._chosen,
            executor=SharedExecutor(self.executor),
            observer=self.observer,
            editor_node=editor_node(reference.GetScene()),
            later=self.later,
            view_now=self.tools.view_now if self.tools else lambda: None,
        )
        return self.session

    def useModel(self, model, device="auto", volumes=None):
        """Let `model` answer on `device` as soon as it can: prompts and segments stay.

        volumes: as of `openSession`, where the model wants several; undo begins anew when the session
        has others.
        """
        session = self.session
        if session is None or self.models.problem(model):
            return
        if isinstance(volumes, dict) and dict(session.volume_nodes) != volumes:
            self.openSession(volumes, session.segmentation_node, model, device)
        elif (recipe := self.servers.recipe(model, device)) != self._chosen:
            self._chosen = recipe
            session.use(recipe)

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

    def setOwnProcess(self, isOn):
        """Run models in a process of their own, or in a thread of this one."""
        if isOn != isinstance(self.executor, ProcessExecutor):
            self.closeSession()
            self.executor.close()
            python = shutil.which("PythonSlicer")  # in Slicer, sys.executable may be Slicer itself
            self.executor = ProcessExecutor(self._count, python=python) if isOn else ThreadExecutor(self._count)

    def cancel(self):
        self.background.cancel()
        if self.session is not None:
            self.session.cancel()

    def addSegment(self, session):
        name = session.segmentation_node.GetSegmentation().GenerateUniqueSegmentID("Segment_1")
        return session.add_target(name.replace("_", " "))

    def cleanUp(self, function):
        """Set the mask of the selected segment to what `function` makes of it; undo takes it back."""
        self.session.set_mask(function(self.session.mask_kji))
