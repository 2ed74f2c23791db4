"""Time a click's whole way: from the mouse in a slice view to the pixels that show the segment.

    python Testing/Benchmarks/latency.py [DATA] [--model default] [--quick] [--json OUT.json]

Clicks with real mouse events in a real slice view, zoomed so that a structure takes a third of it, three times for
each of some structures: on phantoms of 256 x 256 x 256 and 512 x 512 x 300 voxels, and on the volumes in DATA, a folder
or a .yaml as for `promptseg benchmark`. Prints for each volume the median and the 95th percentile of each stage in ms,
the memory, and how a click compares with a full-volume write, as most tools do it, and with Slicer's Grow from Seeds.
Ratios, other than milliseconds, mean the same on every machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "support")]

from placing import start_placing, stop_placing  # noqa: E402
from scenes import add_segmentation, add_volume, ijk_to_ras_of, oriented_image  # noqa: E402

from PromptSegLib.evaluation.baselines import GrowFromSeeds  # noqa: E402
from PromptSegLib.evaluation.clicks import next_click  # noqa: E402
from PromptSegLib.evaluation.field_of_view import STRUCTURE_PART, StructureView  # noqa: E402
from PromptSegLib.evaluation.manifest import read_data  # noqa: E402
from PromptSegLib.evaluation.memory import peak_memory_mib, reset_peak_memory  # noqa: E402
from PromptSegLib.evaluation.metrics import dice  # noqa: E402
from PromptSegLib.evaluation.phantom import make_abdomen  # noqa: E402
from PromptSegLib.geometry import Extent  # noqa: E402
from PromptSegLib.mrml.boot import start_scene  # noqa: E402
from PromptSegLib.mrml.headless.slice_view import SliceView  # noqa: E402
from PromptSegLib.mrml.scene_session import SceneSession  # noqa: E402
from PromptSegLib.mrml.view_geometry import view_of  # noqa: E402
from PromptSegLib.session.session import Session  # noqa: E402
from PromptSegLib.volume import Volume  # noqa: E402

CLICKS = 3
# A view as on a screen of today.
VIEW_PIXELS = (800, 800)
PHANTOMS = {
    "phantom 256 x 256 x 256": {"shape_kji": (256, 256, 256), "spacing_mm": (1.4, 1.4, 1.0)},
    "phantom 512 x 512 x 300": {"shape_kji": (300, 512, 512), "spacing_mm": (0.75, 0.75, 1.0)},
}
QUICK = {"phantom 96 x 96 x 48": {"shape_kji": (48, 96, 96), "spacing_mm": (3.8, 3.8, 4.8)}}
PHANTOM_STRUCTURES = ("kidney left", "spleen", "gallbladder", "aorta", "liver")
MOST_STRUCTURES = 5


@dataclass(frozen=True, eq=False)
class Subject:
    """A volume with the masks of some structures: (k, j, i), bool."""

    name: str
    volume: Volume
    masks: dict[str, np.ndarray]


def main() -> None:
    """Measure each volume and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, metavar="DATA")
    parser.add_argument("--model", default="default")
    parser.add_argument("--quick", action="store_true", help="a small phantom in place of the two large ones")
    parser.add_argument("--json", type=Path, metavar="OUT.json")
    arguments = parser.parse_args()
    found = {}
    for subject in subjects(arguments.data, QUICK if arguments.quick else PHANTOMS):
        found[subject.name] = measured(subject, arguments.model)
        report(subject, found[subject.name])
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def subjects(data: Path | None, phantoms: dict[str, dict]) -> Iterator[Subject]:
    for name, options in phantoms.items():
        phantom = make_abdomen(**options)
        present = [one for one in PHANTOM_STRUCTURES if one in phantom.clicks]
        yield Subject(name, phantom.volume, {one: phantom.mask(one) for one in present})
    if data is None:
        return
    by_image: dict[Path, list] = {}
    for case in read_data(data).cases:
        by_image.setdefault(case.image, []).append(case)
    for cases in by_image.values():
        loaded = [one for one in (case.load() for case in cases) if one.dimensions == 3]
        largest = sorted(loaded, key=lambda one: -int(one.truth_kji.sum()))[:MOST_STRUCTURES]
        if largest:
            case = largest[0].case
            masks = {one.case.structure: one.truth_kji for one in largest}
            yield Subject(f"{case.dataset}/{case.image_name}", largest[0].volume, masks)


def measured(subject: Subject, model: str) -> dict:
    """Click on every structure; return times by stage in ms, the Dice in the end, and what takes how long otherwise."""
    reset_peak_memory()
    before = peak_memory_mib()
    rows: list[dict[str, float]] = []
    scores = {}
    with start_scene() as host:
        node = add_volume(host.scene, subject.volume.array, subject.volume.ijk_to_ras, window_level=(400, 40))
        with SliceView(host, "Axial", size=VIEW_PIXELS) as view:
            view.show(node)
            view.render()
            session = SceneSession(node, None, predictor=model, view_now=lambda: view_of(view.node, node))
            for number, (name, truth) in enumerate(subject.masks.items()):
                if number:
                    session.add_target(name)
                zoom(view, truth, session.image.grid)
                rows += clicks(session, view, truth)
                scores[name] = dice(session.mask_kji, truth)
            peak = peak_memory_mib()
            session.close()
        write_ms = full_write_ms(node, next(iter(subject.masks.values())))
    first, *others = rows  # the first one loads the model, and prepares the image
    stages = dict.fromkeys(stage for row in others for stage in row)
    return {
        "stages_ms": {stage: spread([row.get(stage, 0.0) for row in others]) for stage in stages},
        "click_to_pixels_ms": spread([sum(row.values()) for row in others]),
        "first_click_ms": sum(first.values()),
        "dice": scores,
        "memory_mib": {"before": before, "peak": peak, "image": subject.volume.array.nbytes / 2**20},
        "full_volume_write_ms": write_ms,
        "grow_from_seeds_ms": grow_from_seeds_ms(subject),
    }


def zoom(view: SliceView, truth: np.ndarray, grid) -> None:
    """Let the structure take a third of the view."""
    side_mm = longest_mm(truth, grid) / STRUCTURE_PART
    view.node.SetFieldOfView(side_mm, side_mm, view.node.GetFieldOfView()[2])


def clicks(session: SceneSession, view: SliceView, truth: np.ndarray) -> Iterator[dict[str, float]]:
    """Click where a careful user would; yield the stages of each click in ms, in their order, all of them together."""
    for _ in range(CLICKS):
        click = next_click(session.mask_kji, truth, session.image.grid)
        if click is None:
            return
        view.jump_to(click.position_ras, center=True)
        view.render()
        start_placing(session.point_node(click.positive))
        x, y = (side / 2 for side in view.size)
        view.move((x, y))
        prompts = len(session.prompts())
        started = time.perf_counter()
        view.click((x, y))
        answered = time.perf_counter()
        view.render()
        shown = time.perf_counter()
        stop_placing(session.volume_node.GetScene())
        if len(session.prompts()) != prompts + 1:
            raise RuntimeError(f"expected a click at {click.position_ras} to become a prompt, got {session.prompts()}")
        timings = dict(session.prediction.timings_ms)
        inside = timings.pop("total")
        write = timings.pop("write")
        timings["rest of the model"] = max(0.0, inside - write - sum(timings.values()))
        timings |= {"write": write, "scene and markups": 1000 * (answered - started) - inside}
        yield {**timings, "draw": 1000 * (shown - answered)}


def full_write_ms(volume_node, mask: np.ndarray, repeats: int = 5) -> float:
    """Replace a segment by a mask of the whole volume; return the median time in ms."""
    segmentation = add_segmentation(volume_node.GetScene(), volume_node, {"full": np.zeros(mask.shape, dtype=bool)})
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        image = oriented_image(mask, ijk_to_ras_of(volume_node))
        logic.SetBinaryLabelmapToSegment(image, segmentation, "full", logic.MODE_REPLACE)
        times.append(1000 * (time.perf_counter() - started))
    return float(np.median(times))


def grow_from_seeds_ms(subject: Subject) -> float:
    """Grow the structure of the least extent from a click and a frame of which it takes a third; return ms.

    That one alone: for large ones, Grow from Seeds takes minutes and gigabytes.
    """
    grid = subject.volume.grid
    truth = min(subject.masks.values(), key=lambda mask: longest_mm(mask, grid))
    session = Session(subject.volume, GrowFromSeeds())
    click = next_click(np.zeros_like(truth), truth, grid)
    session.add(click, StructureView(truth, grid).of(click))
    return session.prediction.timings_ms["total"]


def longest_mm(mask: np.ndarray, grid) -> float:
    """Return the longest side, in mm, of the box around a mask."""
    return float((np.array(Extent.of_mask(mask).shape_kji) * grid.spacing_kji_mm).max())


def spread(times) -> dict[str, float]:
    return {"median": float(np.median(times)), "p95": float(np.percentile(times, 95))}


def report(subject: Subject, found: dict) -> None:
    whole = found["click_to_pixels_ms"]
    print(f"{subject.name}: {subject.volume!r}")
    print(f"  {'':24s}{'median':>10s}{'95 %':>10s}{'share':>8s}")
    for stage, times in found["stages_ms"].items():
        share = times["median"] / whole["median"]
        print(f"  {stage:24s}{times['median']:10.1f}{times['p95']:10.1f}{share:8.0%}")
    print(f"  {'click to pixels, ms':24s}{whole['median']:10.1f}{whole['p95']:10.1f}")
    print(f"  the first click of all, the model loaded and the image prepared: {found['first_click_ms']:.0f} ms")
    rivals = {
        "full_volume_write_ms": "a full-volume write",
        "grow_from_seeds_ms": "Grow from Seeds, smallest structure",
    }
    for rival, name in rivals.items():
        print(f"  {found[rival]:.0f} ms for {name}: a click takes {whole['median'] / found[rival]:.2f} of it")
    scores = ", ".join(f"{name} {score:.2f}" for name, score in found["dice"].items())
    print(f"  Dice after {CLICKS} clicks: {scores}")
    memory = found["memory_mib"]
    if memory["peak"] is not None:
        print(
            f"  memory: {memory['peak'] - memory['before']:.0f} MiB more at most; the image has {memory['image']:.0f}"
        )
    print(flush=True)


if __name__ == "__main__":
    main()
