"""What a step costs as a session goes on: clicks, drags, hand edits, segments and targets, in memory and in a scene.

    python Testing/Benchmarks/session_scaling.py [--quick]

Prints a curve for each: how many there are, and the median processor time, in ms, of the ten steps up to there; the
predictor, which answers at once. The last columns are the longest step of all and what the history takes. Times should
grow no more than what is shown does, and no step should take 50 ms on an idle machine.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "support")]

from fakes import BallPredictor, ball_patch  # noqa: E402
from scenes import add_segmentation, add_volume, ijk_to_ras_of, oriented_image  # noqa: E402

from PromptSegLib.mrml.boot import start_scene  # noqa: E402
from PromptSegLib.mrml.scene_session import SceneSession  # noqa: E402
from PromptSegLib.predictors.base import Prediction  # noqa: E402
from PromptSegLib.prompts import Point  # noqa: E402
from PromptSegLib.session.session import Session  # noqa: E402
from PromptSegLib.volume import Volume  # noqa: E402

SHAPE = (60, 160, 160)
STEPS = 10


class LastBall(BallPredictor):
    """Answers with a ball around the newest point, however many there are, and wants 256 KiB to see again."""

    def __init__(self) -> None:
        super().__init__(radius_mm=6.0)

    def predict(self, encoding, state, cancel, progress):
        points = [prompt for prompt in state.prompts if isinstance(prompt, Point)]
        patch = ball_patch(encoding.grid, points[-1:], self.radius_mm)
        yield Prediction({state.target: patch}, feedback=np.zeros((1, 256, 256), np.float32))


def places() -> Iterator[Point]:
    """Yield points, positive and negative, all over the volume."""
    rng = np.random.default_rng(0)
    while True:
        k, j, i = (rng.uniform(8, n - 8) for n in SHAPE)
        yield Point((float(i), float(j), float(k)), bool(rng.random() < 0.7))


def main() -> None:
    quick = "--quick" in sys.argv
    clicks, drags, segments, targets = (60, 60, 30, 20) if quick else (1000, 1000, 500, 200)
    print(f"volume {SHAPE[2]} x {SHAPE[1]} x {SHAPE[0]}; ms")
    session = Session(Volume(np.zeros(SHAPE, np.int16)), LastBall())
    curve("click, in memory", session, clicks, adding(session))
    curve("drag of one of them, in memory", session, drags, dragging(session))
    with start_scene() as standalone:
        volume = add_volume(standalone.scene, np.zeros(SHAPE, np.int16))
        session = SceneSession(volume, None, predictor=LastBall())
        curve("click, in a scene", session, clicks, adding(session))
        curve("drag of one of them, in a scene", session, drags, dragging(session))
        curve("undo, in a scene", session, drags, lambda turn: session.undo())
        session.reset()
        curve("click placed in a view", session, clicks, placing(session))
        session.close()
        session = SceneSession(volume, None, predictor=LastBall())
        curve("click after an edit by hand", session, min(clicks, 300), editing(session))
        session.close()
        session = SceneSession(volume, None, predictor=LastBall())
        curve("first click in a new target", session, targets, starting(session))
        curve("click, among these targets", session, 2 * STEPS, adding(session))
        session.close()
        for count in sorted({1, segments // 10, segments}):
            add = np.zeros(SHAPE, bool)
            add[0, 0, :8] = True
            segmentation = add_segmentation(standalone.scene, volume, {f"{n}": add for n in range(min(count, 5))})
            for number in range(5, count):
                segmentation.GetSegmentation().AddEmptySegment(f"{number}", f"{number}")
            session = SceneSession(volume, segmentation, "0", predictor=LastBall())
            curve(f"click, among {count} segments", session, 2 * STEPS, adding(session))
            session.close()


def adding(session: Session) -> Callable[[int], None]:
    points = places()
    return lambda turn: session.add(next(points))


def dragging(session: Session) -> Callable[[int], None]:
    points = places()

    def drag(turn: int) -> None:
        session.replace(session.prompts()[-1], next(points))

    return drag


def placing(session: SceneSession) -> Callable[[int], None]:
    points = places()

    def place(turn: int) -> None:
        point = next(points)
        session.point_node(point.positive).AddControlPointWorld(point.position_ras)

    return place


def editing(session: SceneSession) -> Callable[[int], None]:
    import slicer

    points, logic = places(), slicer.vtkSlicerSegmentationsModuleLogic

    def edit_and_click(turn: int) -> None:
        mask = np.zeros(SHAPE, dtype=bool)
        mask[5 + turn % 20, 5:9, 5:9] = True
        image = oriented_image(mask, ijk_to_ras_of(session.volume_node))
        logic.SetBinaryLabelmapToSegment(image, session.segmentation_node, session.target, logic.MODE_MERGE_MASK)
        started = time.process_time()
        session.add(next(points))
        edit_and_click.took = time.process_time() - started

    return edit_and_click


def starting(session: SceneSession) -> Callable[[int], None]:
    points = places()

    def start(turn: int) -> None:
        session.add_target(f"target {turn}")
        session.add(next(points))

    return start


def curve(name: str, session: Session, count: int, step: Callable[[int], None]) -> None:
    """Do `step` so often, and print what the last ten took at ten places on the way."""
    times = []
    for turn in range(count):
        started = time.process_time()
        step(turn)
        times.append(1000 * getattr(step, "took", time.process_time() - started))
    at = sorted({max(STEPS, round(count * part)) for part in (0, 0.1, 0.25, 0.5, 0.75, 1)})
    medians = "".join(f"{n:6d}:{np.median(times[n - STEPS : n]):6.1f}" for n in at)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    history = session.history_nbytes / 2**20
    memory = f"history {history:5.0f} MiB, process {rss:.0f} MiB"
    print(f"{name:34s}{medians}   longest {max(times):6.1f}, {memory}", flush=True)


if __name__ == "__main__":
    main()
