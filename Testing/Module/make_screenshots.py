"""Make the pictures of the panel in Resources/Screenshots, with a real CT and the default model.

Needs PROMPTSEG_TEST_DATA, see Testing/support: `python Testing/Module/make_screenshots.py [FOLDER]`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "support"), str(ROOT / "Testing" / "Module")]

import numpy as np
import slicer
from scipy import ndimage
from standin.application import PANEL_WIDTH_PX, Application, qt
from user import User

from PromptSegLib.geometry import flip_axes
from PromptSegLib.mrml.export import load_volume
from PromptSegLib.mrml.picture import scene_picture
from PromptSegLib.mrml.png import write_png
from PromptSegLib.mrml.slice_view import SliceView

# Values in labels.nii.gz, and what the panel calls them.
STRUCTURES = (
    (1, "Spleen", (0.62, 0.44, 0.65)),
    (3, "Left kidney", (0.73, 0.4, 0.15)),
    (5, "Liver", (0.87, 0.51, 0.4)),
)
CORRECTIONS = 4
PANEL_HEIGHT_PX = 900


def main(folder: Path) -> None:
    data = Path(os.environ["PROMPTSEG_TEST_DATA"], "data", "ct_abdomen")
    with Application() as app:
        qt.QApplication.setFont(qt.QFont("DejaVu Sans", 10))
        orientations = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}
        views = {name: SliceView(app.host, turned, (400, 400), name) for name, turned in orientations.items()}
        app.layoutManager().set_views(views)
        user = User(app, views)
        labels_node = load_volume(app.host.scene, data / "labels.nii.gz")
        labels_kji = slicer.util.arrayFromVolume(labels_node).copy()
        app.host.scene.RemoveNode(labels_node)
        volume_node = load_volume(app.host.scene, data / "image.nii.gz")
        volume_node.SetName("CT abdomen")
        volume_node.GetDisplayNode().SetAutoWindowLevel(False)
        volume_node.GetDisplayNode().SetWindowLevel(400, 40)
        user.show(volume_node)
        grab(user, folder / "panel-idle.png")

        for number, (label, name, color) in enumerate(STRUCTURES):
            user.press("next" if number else "addSegment")
            segment(user, labels_kji == label, name, color)
        grab(user, folder / "panel-prompts.png")
        middle = user.world(inside(labels_kji == STRUCTURES[-1][0]))
        segmentation = user.session.segmentation_node
        picture = scene_picture(app.host, volume_node, segmentation, point_ras=middle, view_size=300)
        write_png(folder / "four-up.png", picture)
        user.press("certainty")
        picture = scene_picture(app.host, volume_node, segmentation, point_ras=middle, view_size=300)
        write_png(folder / "certainty.png", picture)
        user.press("certainty")

        user.tool("pointPlus")
        user.widget.logic.hostIsNeeded = lambda needed: None  # nobody takes the answer, so that it runs on
        views["Red"].click(user.go_to(inside(labels_kji == STRUCTURES[-1][0])))
        user.look()
        grab(user, folder / "panel-running.png")
        user.press("cancel")
        user.go_to((60, 50, 15))
        views["Red"].click(views["Red"].ras_to_xy(user.world((-12, 50, 15))))
        user.look()
        grab(user, folder / "panel-error.png")


def segment(user: User, truth_kji: np.ndarray, name: str, color: tuple[float, float, float]) -> None:
    """Click into the structure, then where it is most wrong, as somebody would who sees it."""
    shown = user.session.segmentation_node.GetSegmentation().GetSegment(user.session.target)
    shown.SetName(name)
    shown.SetColor(*color)
    wrong = truth_kji
    for _ in range(CORRECTIONS + 1):
        point_ijk = inside(wrong)
        is_missing = truth_kji[tuple(flip_axes(point_ijk))]
        user.tool("pointPlus" if is_missing else "pointMinus")
        user.click(point_ijk, timeout_s=600)
        mask = user.session.mask_kji
        wrong = truth_kji ^ mask
        print(name, "Dice", round(2 * (mask & truth_kji).sum() / (mask.sum() + truth_kji.sum()), 3))


def inside(mask_kji: np.ndarray) -> np.ndarray:
    """Return the voxel (i, j, k) of `mask_kji` that is farthest from its border."""
    depth = ndimage.distance_transform_edt(np.pad(mask_kji, 1))[1:-1, 1:-1, 1:-1]
    return flip_axes(np.unravel_index(depth.argmax(), depth.shape))


def grab(user: User, path: Path) -> None:
    user.look()
    window = slicer.util.mainWindow()
    window.resize(PANEL_WIDTH_PX, PANEL_HEIGHT_PX)
    user.look()
    assert window.grab().save(str(path))
    print(path)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "Resources" / "Screenshots"
    target.mkdir(parents=True, exist_ok=True)
    main(target)
