"""Run the module's tests inside Slicer and leave a picture of its main window; the exit status tells success.

    Slicer --testing --no-splash --additional-module-paths PromptSeg --python-script run_in_slicer.py picture.png

with absolute paths; picture.png may be left out. The status is 0 when all tests passed and the picture shows a segment.
"""

import sys
import time
import traceback
import unittest
from pathlib import Path

import numpy as np
import qt
import slicer
import vtk

FOLDER = Path(__file__).resolve().parent
TIMEOUT_S = 120.0
BALL_IJK = (24, 24, 12)


def main(arguments):
    """Run all; return the exit status."""
    sys.path.insert(0, str(FOLDER))
    try:
        has_passed = run_tests()
        if arguments:
            take_picture(Path(arguments[0]))
    except Exception:  # noqa: BLE001 - whatever it is, Slicer has to end, and to say so
        traceback.print_exc()
        return slicer.util.EXIT_FAILURE
    return slicer.util.EXIT_SUCCESS if has_passed else slicer.util.EXIT_FAILURE


def run_tests():
    suite = unittest.defaultTestLoader.loadTestsFromName("PromptSegWidgetTest")
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    return result.wasSuccessful() and result.testsRun > 0


def take_picture(path):
    """Open the module, click on a ball, and keep what the main window shows then."""
    slicer.mrmlScene.Clear(False)
    k, j, i = np.ogrid[:24, :48, :48]
    inside = (i - BALL_IJK[0]) ** 2 + (j - BALL_IJK[1]) ** 2 + (k - BALL_IJK[2]) ** 2 <= 8**2
    volume = slicer.util.addVolumeFromArray(np.where(inside, 200, -100).astype(np.int16), name="ball")
    slicer.util.selectModule("PromptSeg")
    widget = slicer.modules.PromptSegWidget
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    widget.ui.volumeSelector.setCurrentNode(volume)
    process_events()
    widget.ui.pointPlusButton.click()
    process_events()
    widget.logic.session.point_node(True).AddControlPoint(vtk.vtkVector3d(*BALL_IJK))
    deadline = time.monotonic() + TIMEOUT_S
    process_events()
    while widget.logic.isBusy:
        if time.monotonic() > deadline:
            raise TimeoutError(f"expected an answer within {TIMEOUT_S:.0f} s")
        process_events()
    if not widget.logic.session.mask_kji[BALL_IJK[::-1]]:
        raise AssertionError(f"expected a segment at the click, got none: {widget.ui.statusLabel.text}")
    slicer.util.forceRenderAllViews()
    process_events()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not slicer.util.mainWindow().grab().save(str(path)):
        raise OSError(f"expected to write a picture, could not: {path}")


def process_events(duration_s=0.2):
    """Let the event loop run; answers are taken in there."""
    loop = qt.QEventLoop()
    qt.QTimer.singleShot(int(1000 * duration_s), loop.quit)
    loop.exec_()


if __name__ == "__main__":
    slicer.util.exit(main(sys.argv[1:]))
