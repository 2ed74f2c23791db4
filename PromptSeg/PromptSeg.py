"""PromptSeg in Slicer: the module. The work is done by PromptSegLib, which knows nothing of this file."""

import sys
from pathlib import Path

import numpy as np
import qt
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

# Installed, PromptSegLib is on the path; in a checkout it lies beside this module's folder.
_checkout = Path(__file__).resolve().parents[1]
if (_checkout / "PromptSegLib" / "__init__.py").is_file() and str(_checkout) not in sys.path:
    sys.path.insert(0, str(_checkout))


#
# PromptSeg
#


class PromptSeg(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("PromptSeg")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["PromptSeg contributors"]
        self.parent.helpText = _(
            "Interactive segmentation by clicks, boxes, scribbles, lassos and names, in 2D and 3D. "
            "For research use only. Images stay on this computer."
        )
        self.parent.acknowledgementText = _("The licences of the models are listed by <code>promptseg models</code>.")


#
# PromptSegWidget
#


class PromptSegWidget(ScriptedLoadableModuleWidget):
    """Shows which models there are, and how the Python console segments with them."""

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = PromptSegLogic()
        self.label = qt.QLabel(self.logic.guideText())
        self.label.setWordWrap(True)
        self.label.setTextInteractionFlags(qt.Qt.TextSelectableByMouse)
        self.layout.addWidget(self.label)
        self.layout.addStretch(1)

    def onReload(self):
        # Slicer reloads this file only; the library is imported anew by what is used next.
        for name in [name for name in sys.modules if name.partition(".")[0] == "PromptSegLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


#
# PromptSegLogic
#


class PromptSegLogic(ScriptedLoadableModuleLogic):
    """What the widget shows, without the widget."""

    def modelNames(self):
        """Return the names of the models, the default first."""
        from PromptSegLib import predictor_names

        return predictor_names()

    def guideText(self):
        """Return how to segment from the Python console, as rich text."""
        return _(
            "<p>Models: {models}</p>"
            "<p>In the Python console, with a volume in the scene:</p>"
            "<pre>import PromptSegLib as psl\n"
            "session = psl.SceneSession(slicer.util.getNode('CTChest'))\n"
            "session.add_world((-40.0, 20.0, -180.0))\n"
            "session.undo()</pre>"
        ).format(models=", ".join(self.modelNames()))


#
# PromptSegTest
#


class PromptSegTest(ScriptedLoadableModuleTest):
    """Segments a bright cube by a click, with nothing but what Slicer ships."""

    def runTest(self):
        self.setUp()
        self.test_aClickSelectsABrightCube()

    def test_aClickSelectsABrightCube(self):
        from PromptSegLib import Point, Session

        cube = np.zeros((40, 40, 40), dtype=np.int16)
        cube[10:30, 10:30, 10:30] = 200
        cube += np.random.default_rng(0).normal(0, 5, cube.shape).astype(np.int16)
        session = Session(cube)
        session.add(Point((20.0, 20.0, 20.0)))
        truth = np.zeros(cube.shape, dtype=bool)
        truth[10:30, 10:30, 10:30] = True
        overlap = 2 * (session.mask_kji & truth).sum() / (session.mask_kji.sum() + truth.sum())
        self.assertGreater(overlap, 0.9)
