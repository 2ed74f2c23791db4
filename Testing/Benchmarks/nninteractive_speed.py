"""Time clicks of nnInteractive through a session, against its package driven directly with the same prompts.

    python Testing/Benchmarks/nninteractive_speed.py [--shape 300,512,512] [--clicks 8] [--threads 2] [--published]

Both ways take turns within one process, click by click; the masks must be equal. "more" is what a click of the
session takes beside the package's own call within it. Without a GPU, CPU time is counted, which a busy machine leaves
as it is. Then each way runs in a process of its own for the peak of its memory. The network is one in words that sees
192 voxels and takes almost no time, so that what is added shows; --published puts random weights into the published
network's architecture instead, which takes minutes without a GPU.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).parents[2]))

from nninteractive_model import ClosedForm, architecture, save_model
from torch import nn

from PromptSegLib.cancel import CancelToken, no_progress
from PromptSegLib.geometry import flip_axes
from PromptSegLib.predictors.nninteractive.local import LocalSession
from PromptSegLib.predictors.nninteractive.predictor import NnInteractive
from PromptSegLib.prompts import Point
from PromptSegLib.session.session import Session

PATCH = 192
clock = time.perf_counter if torch.cuda.is_available() else time.process_time
WAYS = ("package", "session")


class PackageAlone:
    """The package, driven directly: its own session, image and mask."""

    def __init__(self, folder: Path, array: np.ndarray, network: nn.Module) -> None:
        self.session = LocalSession(folder, "auto", network).session
        self.session.set_image(array[None])
        self.mask = np.zeros(array.shape, dtype=np.uint8)
        self.session.set_target_buffer(self.mask)

    def click(self, point_kji: tuple[int, ...], positive: bool) -> None:
        self.session.add_point_interaction(point_kji, positive)


class ThroughSession:
    """This library's session with the package behind it."""

    def __init__(self, folder: Path, array: np.ndarray, network: nn.Module) -> None:
        predictor = NnInteractive(folder, network=network)
        self.session = Session(array, predictor)
        self.within_ms = 0.0
        predictor.encode(self.session.image, CancelToken(), no_progress)
        package = predictor._local.session
        package.add_point_interaction = self._timed(package.add_point_interaction)

    def _timed(self, call):
        def timed(*arguments, **keywords):
            started = clock()
            try:
                return call(*arguments, **keywords)
            finally:
                self.within_ms += 1000 * (clock() - started)

        return timed

    def click(self, point_kji: tuple[int, ...], positive: bool) -> None:
        point_ras = self.session.image.grid.to_ras(flip_axes(point_kji))
        self.session.add(Point(tuple(point_ras.tolist()), positive))

    @property
    def mask(self) -> np.ndarray:
        return self.session.mask_kji


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="300,512,512", help="of the volume, k,j,i; int16 (default: %(default)s)")
    parser.add_argument("--clicks", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--published", action="store_true", help="the published network, random weights")
    parser.add_argument("--way", choices=WAYS, help="run this one only, and print its peak of memory in MiB")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shape = tuple(int(n) for n in arguments.shape.split(","))
    array = np.random.default_rng(0).normal(0, 300, shape).astype(np.int16)
    clicks = [
        (tuple(n // 2 + int(d) for n, d in zip(shape, offset, strict=True)), number % 3 != 2)
        for number, offset in enumerate(np.random.default_rng(1).integers(-12, 13, (arguments.clicks, 3)))
    ]
    with tempfile.TemporaryDirectory() as folder:
        model = save_model(Path(folder) / "model", PATCH, decay=0.98)
        network = published_network() if arguments.published else ClosedForm(9)
        if arguments.way:
            print_peak(model, array, network, clicks, arguments.way)
            return
        compare(model, array, network, clicks)
    for way in WAYS:
        own = [sys.executable, __file__, *sys.argv[1:], "--way", way]
        print(
            f"peak of memory, {way}: {subprocess.run(own, capture_output=True, text=True, check=True).stdout.strip()}"
        )


def published_network() -> nn.Module:
    """The published architecture with random weights."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    torch.manual_seed(0)
    known = architecture((32, 64, 128, 256, 320, 320), (1, 3, 4, 6, 6, 6))
    return get_network_from_plans(*known.values(), 8, 2, deep_supervision=False).eval()


def compare(model: Path, array: np.ndarray, network: nn.Module, clicks: list) -> None:
    """Click both ways in turn and print the milliseconds of each click."""
    ways = [PackageAlone(model, array, network), ThroughSession(model, array, network)]
    spent: list[list[float]] = [[], []]
    more: list[float] = []
    print(f"{'click':>5} {'package ms':>11} {'session ms':>11} {'more ms':>8}")
    for number, (point, positive) in enumerate(clicks):
        # Who is first in a pair changes: what one has put into the caches helps the other.
        for way in (0, 1) if number % 2 else (1, 0):
            ways[1].within_ms, started = 0.0, clock()
            ways[way].click(point, positive)
            spent[way].append(1000 * (clock() - started))
            if way == 1:
                more.append(spent[1][-1] - ways[1].within_ms)
            if isinstance(network, ClosedForm):
                network.inputs.clear()
        package, session = spent[0][-1], spent[1][-1]
        if number:  # the first one includes what is done once for an image
            print(f"{number:>5} {package:>11.1f} {session:>11.1f} {more[-1]:>8.1f}")
    np.testing.assert_array_equal(ways[0].mask != 0, ways[1].mask)
    package, session = (statistics.median(times[1:]) for times in spent)
    print(
        f"median: package {package:.1f} ms, session {session:.1f} ms, of which {statistics.median(more[1:]):.1f} more"
    )
    undo(ways[1], clicks)


def undo(way: ThroughSession, clicks: list) -> None:
    """Print what a click costs after one step back, and after several."""
    for steps in (1, 3):
        for _ in range(steps):
            way.session.undo()
        way.click(*clicks[-1])
        timings = way.session.prediction.timings_ms
        print(f"after {steps} undone: {timings['replay']:.1f} ms to go back, then {timings['network']:.1f} ms")


def print_peak(model: Path, array: np.ndarray, network: nn.Module, clicks: list, way: str) -> None:
    chosen = PackageAlone if way == "package" else ThroughSession
    driven = chosen(model, array, network)
    for click in clicks[:3]:
        driven.click(*click)
        if isinstance(network, ClosedForm):
            network.inputs.clear()
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{kilobytes / 1024:.0f} MiB, of which the image is {array.nbytes / 2**20:.0f}")


if __name__ == "__main__":
    main()
