"""A user's whole day, by mouse and button, on every geometry."""

import numpy as np
import pytest
import slicer
from scenes import add_volume_of, ijk_to_ras_of, oriented_image

from PromptSegLib.mrml.files import open_mrb, save_mrb

SHAPE = (30, 40, 50)


@pytest.fixture(params=["isotropic", "anisotropic", "oblique", "transformed"])
def volume_node(request, user, scene):
    array = np.random.default_rng(0).integers(0, 200, SHAPE).astype(np.int16)
    node = add_volume_of(scene, request.param, array)
    user.show(node)
    return node


def test_from_the_first_click_to_the_next_day(user, scene, volume_node, tmp_path):
    user.press("addSegment")
    user.tool("pointPlus")
    user.click((25, 20, 15))
    assert user.session.mask_kji[15, 20, 25]
    first = user.size
    assert first > 20

    user.tool("pointMinus")
    user.click((28, 20, 15))
    assert user.size < first
    shrunk = user.size

    states = [user.session.mask_kji]
    for tool, draw in (
        ("box2d", lambda: user.drag([(20, 15, 15), (30, 25, 15)])),
        ("scribblePlus", lambda: user.drag([(26, 22, 15), (36, 25, 15), (38, 30, 15)])),
        ("lassoPlus", lambda: user.drag([(4, 4, 15), (14, 4, 15), (14, 12, 15), (4, 12, 15)])),
    ):
        user.tool(tool)
        draw()
        assert user.status == ""
        assert user.session.mask_kji.sum() > states[-1].sum()
        states.append(user.session.mask_kji)
    assert [prompt.kind for prompt in user.session.prompts()] == ["point", "point", "box", "scribble", "lasso"]
    assert user.ui.promptsTable.rowCount == 5

    for step in (2, 1, 0):
        user.press("undo")
        np.testing.assert_array_equal(user.session.mask_kji, states[step])
    assert len(user.session.prompts()) == 2
    for step in (1, 2, 3):
        user.press("redo")
        np.testing.assert_array_equal(user.session.mask_kji, states[step])
    assert states[0].sum() == shrunk

    first_segment = user.session.target
    user.press("next")
    assert user.session.target != first_segment
    assert user.session.prompts() == ()
    user.tool("pointPlus")
    user.click((12, 30, 15))
    second = user.session.mask_kji

    edit_by_hand(user, (40, 10, 5))
    user.click((14, 30, 15))
    assert user.session.mask_kji[5, 10, 40]
    assert (user.session.mask_kji & second).sum() == second.sum()

    before = {key: user.session.mask(key) for key in user.session.targets}
    prompts = user.session.prompts()
    save_mrb(scene, tmp_path / "day.mrb")
    scene.Clear(False)
    user.look()
    assert user.session is None
    open_mrb(scene, tmp_path / "day.mrb")
    user.look()
    for view in user.views.values():
        view.show(user.ui.volumeSelector.currentNode())
    assert user.session is not None
    assert user.session.targets == tuple(before)
    assert len(user.session.prompts()) == len(prompts)
    for now, then in zip(user.session.prompts(), prompts, strict=True):
        np.testing.assert_allclose(now.positions_ras(), then.positions_ras(), atol=1e-9)

    count = user.size
    user.tool("pointPlus")
    user.click((14, 24, 15))
    assert user.status == ""
    assert user.size > count


def edit_by_hand(user, voxel_ijk):
    """Set one voxel of the selected segment, as the Segment Editor does."""
    user.press("segmentEditor")
    assert slicer.util.moduleSelector().selectedModule == "SegmentEditor"
    user.widget.exit()
    node = user.session.segmentation_node
    mask = np.zeros(SHAPE, dtype=bool)
    mask[voxel_ijk[2], voxel_ijk[1], voxel_ijk[0]] = True
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    image = oriented_image(mask, ijk_to_ras_of(user.session.volume_node))
    logic.SetBinaryLabelmapToSegment(image, node, user.session.target, logic.MODE_MERGE_MASK, image.GetExtent())
    user.widget.enter()
    user.look()
    user.tool("pointPlus")
