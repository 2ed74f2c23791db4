"""Time what the scene adds to a prediction: writes of a box into a large segmentation, and a click's whole way.

    python Testing/Benchmarks/scene_writes.py

Prints medians and 95th percentiles in ms. A full-volume write by `slicer.util`'s way stands beside for comparison.
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

import numpy as np
import slicer

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "support")]

from fakes import BallPredictor  # noqa: E402
from scenes import add_segmentation, add_volume, ijk_to_ras_of, oriented_image  # noqa: E402

from PromptSegLib.bitmask import Patch  # noqa: E402
from PromptSegLib.execution.executor import ThreadExecutor  # noqa: E402
from PromptSegLib.geometry import Extent  # noqa: E402
from PromptSegLib.mrml.boot import start_scene  # noqa: E402
from PromptSegLib.mrml.scene_session import SceneSession  # noqa: E402
from PromptSegLib.predictors.base import Prediction  # noqa: E402

SHAPE = (300, 512, 512)
AFFINE = np.diag([0.7, 0.7, 1.5, 1.0])
REPEATS = 15


def main() -> None:
    """Run every measurement and print its line."""
    with start_scene() as standalone:
        volume = add_volume(standalone.scene, np.zeros(SHAPE, dtype=np.int16), AFFINE)
        print(f"volume {SHAPE[2]} x {SHAPE[1]} x {SHAPE[0]}, box 100 x 100 x 100, {REPEATS} repeats, ms")
        box_writes(volume)
        full_write(volume)
        clicks(volume)


def box_writes(volume) -> None:
    """Write balls in boxes of 100^3, as the segmentation fills up."""
    k, j, i = np.ogrid[:100, :100, :100]
    ball = (k - 50) ** 2 + (j - 50) ** 2 + (i - 50) ** 2 < 45**2
    session = SceneSession(volume, None, predictor=BallPredictor())
    store, key = session._segment_store, session.target

    column = itertools.count()

    def write(turn: int) -> dict:
        start = (100 + turn % 3, 200, 200 + next(column) % 97)
        extent = Extent(start, tuple(n + 100 for n in start))
        return store.write(key, Patch(extent, ball))

    report("box write, empty segmentation", measure(write))
    corners = np.zeros(SHAPE, dtype=bool)
    corners[0, 0, 0] = corners[-1, -1, -1] = True
    store.write(store.add("corners"), Patch(Extent.of_shape(SHAPE), corners))
    report("box write, layer over the whole volume", measure(write))
    for number in range(30):
        extent = Extent((9 * number, 5, 5), (9 * number + 4, 40, 40))
        store.write(store.add(f"{number}"), Patch(extent, np.ones(extent.shape_kji, dtype=bool)))
    report("box write, 32 segments", measure(write))
    report("box write and its undo", measure(lambda turn: store.apply(*last_of(write(turn)), revert=True)))
    editor = slicer.vtkSlicerSegmentEditorLogic()
    editor.SetMRMLScene(volume.GetScene())
    editor.SetSegmentEditorNode(session._rules)
    history = slicer.vtkSegmentationHistory()
    history.SetSegmentation(session.segmentation_node.GetSegmentation())
    report("Segment Editor's own history, save", measure(lambda turn: history.SaveState()))
    session.segmentation_node.CreateClosedSurfaceRepresentation()
    report("box write, surfaces shown (deferred)", measure(write))
    started = time.perf_counter()
    session.refresh_surfaces()
    print(f"{'surface refresh of one segment, deferred':48s} {1000 * (time.perf_counter() - started):8.1f}")
    session.close()


def full_write(volume) -> None:
    """Replace a segment by a mask of the whole volume, as most tools do."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[100:200, 200:300, 200:300] = True
    segmentation = add_segmentation(volume.GetScene(), volume, {"full": np.zeros(SHAPE, dtype=bool)})
    logic = slicer.vtkSlicerSegmentationsModuleLogic

    def write(turn: int) -> None:
        image = oriented_image(mask, ijk_to_ras_of(volume))
        logic.SetBinaryLabelmapToSegment(image, segmentation, "full", logic.MODE_REPLACE)

    report("full-volume write, for comparison", measure(write, repeats=5))


class ReadyPredictor(BallPredictor):
    """Answers at once with a ball of 40 mm that was made before, moved by a voxel each time."""

    def __init__(self):
        super().__init__()
        k, j, i = np.ogrid[:28, :58, :58]
        self.ball = ((k - 14) * 1.5) ** 2 + ((j - 29) * 0.7) ** 2 + ((i - 29) * 0.7) ** 2 < 20**2
        self.turn = 0

    def predict(self, encoding, state, cancel, progress):
        self.turn += 1
        start = (120, 190, 120 + self.turn)
        extent = Extent(start, tuple(a + n for a, n in zip(start, self.ball.shape, strict=True)))
        yield Prediction({state.target: Patch(extent, self.ball)})


def clicks(volume) -> None:
    """Go a click's whole way, with a predictor that takes no time: all of it is overhead."""
    for name, executor in (("immediate", None), ("thread", ThreadExecutor())):
        session = SceneSession(volume, None, predictor=ReadyPredictor(), executor=executor)
        stages: dict[str, list[float]] = {}
        for turn in range(REPEATS):
            started = time.perf_counter()
            session.add_world((100.0 + turn, 150.0, 200.0))
            submitted = time.perf_counter()
            session.wait(10)
            ended = time.perf_counter()
            timings = session.prediction.timings_ms
            stages.setdefault("click to submitted", []).append(1000 * (submitted - started))
            stages.setdefault("write", []).append(timings["write"])
            stages.setdefault("all", []).append(1000 * (ended - started))
        for stage, times in stages.items():
            report(f"click, {name} executor: {stage}", times)
        session.close()


def last_of(deltas: dict) -> tuple:
    return next(reversed(deltas.items()))


def measure(action, repeats: int = REPEATS) -> list[float]:
    times = []
    for turn in range(repeats):
        started = time.perf_counter()
        action(turn)
        times.append(1000 * (time.perf_counter() - started))
    return times


def report(name: str, times: list[float]) -> None:
    print(f"{name:48s} {np.median(times):8.1f} {np.percentile(times, 95):8.1f}")


if __name__ == "__main__":
    main()
