"""The panel fits the width that Slicer gives it, and shows the order of work without scrolling."""

import itertools

import numpy as np
import pytest
from scenes import add_volume
from standin.application import PANEL_WIDTH_PX, Application, qt

HEIGHT_PX = 900
# On CTK's own widgets, the panel was 582 px wide where the stand-in's had 479: 400 px there are 329 here.
WIDTH_PX = 329
SECTIONS = ("input", "model", "prompts", "result", "handOn", "worklist", "settings")
FRAMES = ("channels", "server", "names")
LONG = "a volume whose name is as long as those that scanners give: T1w MPRAGE sagittal, contrast, 1 mm, corrected"


@pytest.fixture
def slicer_app(behind_the_scenes):
    """The application, with Slicer's size of fonts."""
    with Application() as application:
        before = qt.QApplication.font()
        qt.QApplication.setFont(qt.QFont("DejaVu Sans", 10))
        yield application
        qt.QApplication.setFont(before)


def unfold(user):
    """Open every section, and show what some models only have."""
    for name in SECTIONS:
        getattr(user.ui, f"{name}CollapsibleButton").collapsed = False
    for name in FRAMES:
        getattr(user.ui, f"{name}Frame").setVisible(True)


def width(user):
    """The least width of the panel, with the titles of its sections."""
    headers = [getattr(user.ui, f"{name}CollapsibleButton")._header for name in SECTIONS]
    margins = user.widget.parent.minimumSizeHint.width() - user.ui.PromptSeg.minimumSizeHint.width()
    return max(user.widget.parent.minimumSizeHint.width(), *(h.minimumSizeHint().width() + margins for h in headers))


def bottom(user, control):
    """How far below the top of the panel a control ends."""
    corner = control.mapTo(user.widget.parent, qt.QPoint(0, 0))
    return corner.y() + control.height


def test_the_panel_is_as_narrow_as_slicers_with_every_section_open(user, scene):
    user.show(add_volume(scene, np.zeros((10, 20, 20), np.int16), name=LONG))
    unfold(user)
    user.look()
    unfold(user)
    assert width(user) <= WIDTH_PX
    user.press("addSegment")
    user.ui.segmentsTable.segmentationNode().SetName(LONG)
    user.widget.setStatus(LONG.replace(" ", "_"), isError=True)
    user.look()
    assert width(user) <= WIDTH_PX
    assert user.widget.parent.width <= PANEL_WIDTH_PX  # nothing is cut off at the right


def test_what_is_chosen_is_told_by_the_folded_model_section_however_long(user, image, monkeypatch):
    assert user.ui.modelCollapsibleButton.collapsed
    assert user.ui.modelCollapsibleButton.text == "Model: Default: Shapes"
    monkeypatch.setattr(user.widget.logic.models, "entry", lambda name: LONG)
    user.widget.update()
    assert user.ui.modelCollapsibleButton.toolTip == f"Model: {LONG}"
    assert user.ui.modelCollapsibleButton.text == "Model: a volume whose name is as lo…"
    assert width(user) <= WIDTH_PX


def test_the_order_of_work_is_seen_without_scrolling(user, image):
    user.tool("pointPlus")
    user.click((20, 15, 10))
    ui = user.ui
    order = (ui.volumeSelector, ui.nextButton, ui.modelCollapsibleButton, ui.pointPlusButton, ui.undoButton)
    ends = [bottom(user, control) for control in (*order, ui.hintLabel, ui.promptsTable)]
    assert ends == sorted(ends)
    assert all(control.isVisible() for control in order)
    assert ends[-1] <= HEIGHT_PX


def test_controls_of_one_section_do_not_overlap(user, image):
    unfold(user)
    user.look()
    shown = [w for name, w in vars(user.ui).items() if name.endswith(("Button", "CheckBox")) and w.isVisible()]
    shown = [w for w in shown if not w.findChildren(qt.QLayout)]
    boxes = [qt.QRect(w.mapTo(user.widget.parent, qt.QPoint(0, 0)), w.size) for w in shown]
    assert len(boxes) > 30
    for first, second in itertools.combinations(boxes, 2):
        assert not first.intersects(second)
