"""How long it takes to measure: `python Testing/Benchmarks/measure_speed.py`.

A volume of 512 x 512 x 600 voxels with 100 segments, volumes and intensities alone, then everything; and the live
figures of a segment whose box of 100 x 100 x 100 voxels changed. Processor time is what counts on a busy machine.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from PromptSegLib.bitmask import Patch
from PromptSegLib.geometry import Extent
from PromptSegLib.measurement.measure import measure
from PromptSegLib.measurement.segmentation import Segmentation
from PromptSegLib.measurement.tally import Tally
from PromptSegLib.volume import Volume

IJK_TO_RAS = np.diag([0.8, 0.8, 1.0, 1.0])


def labels_of(shape, count, rng):
    """Return a labelmap of ellipsoids as large as organs."""
    labels = np.zeros(shape, np.uint8)
    for value in range(1, count + 1):
        radii = rng.integers(20, 70, 3)
        centre = [int(rng.integers(0, n)) for n in shape]
        box = tuple(slice(max(0, c - r), min(n, c + r)) for c, r, n in zip(centre, radii, shape, strict=True))
        places = np.ogrid[box]
        inside = sum(((p - c) / r) ** 2 for p, c, r in zip(places, centre, radii, strict=True)) <= 1
        labels[box][inside] = value
    return labels


def timed(what, function):
    """Run a function, and print its wall time, its processor time, and the most memory so far."""
    wall, processor = time.perf_counter(), time.process_time()
    result = function()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what:32} {wall:7.2f} s, processor {processor:7.2f} s, peak memory {peak:.2f} GiB", flush=True)
    return result


def live(shape, values):
    """Print how long a changed box of 100 x 100 x 100 voxels takes."""
    rng = np.random.default_rng(1)
    tally = Tally(Segmentation.of_labels(Volume(np.zeros(shape, np.uint8), IJK_TO_RAS)).grid, values)
    extent = Extent((100, 100, 100), (200, 200, 200))
    seconds, processor = [], []
    for _ in range(11):
        mask = rng.random(extent.shape_kji) < 0.5
        started, started_processor = time.perf_counter(), time.process_time()
        tally.update(Patch(extent, mask))
        seconds.append(time.perf_counter() - started)
        processor.append(time.process_time() - started_processor)
    print(
        f"{'live, box of 100^3':32} {1000 * np.median(seconds):7.1f} ms, processor {1000 * np.median(processor):.1f} ms"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, default=100)
    parser.add_argument("--suv", action="store_true", help="measure SUVs, too")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = (600, 512, 512)
    volume = Volume(rng.integers(-1000, 1000, shape, dtype=np.int16), IJK_TO_RAS)
    labels = Volume(labels_of(shape, arguments.segments, rng), IJK_TO_RAS)
    segmentation = timed("labels found", lambda: Segmentation.of_labels(labels))
    timed("volumes and intensities", lambda: measure(segmentation, volume, shapes=False))
    timed("everything", lambda: measure(segmentation, volume))
    if arguments.suv:
        timed("everything and SUVs", lambda: measure(segmentation, volume, suv_factor=1e-3))
    live(shape, volume.array)


if __name__ == "__main__":
    main()
