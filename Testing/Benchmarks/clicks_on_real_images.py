"""Dice after 1, 3, 5 and 10 simulated clicks on a real CT and MR, by the command line.

    PROMPTSEG_TEST_DATA=… python Testing/Benchmarks/clicks_on_real_images.py [--model default] [--in-process]

The simulated user clicks in the middle of the largest error, see `PromptSegLib.evaluation.clicks`. The images are
TotalSegmentator's test files (Apache-2.0), their labels that model's output. Each click is a run of `promptseg
segment` with all clicks so far, in the order given, as a file of prompts; --in-process keeps one session instead.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from PromptSegLib.evaluation.clicks import next_click
from PromptSegLib.evaluation.metrics import dice
from PromptSegLib.io import read_volume
from PromptSegLib.prompt_files import write_prompts
from PromptSegLib.prompts import Point
from PromptSegLib.session import Session
from PromptSegLib.volume import Volume

# TotalSegmentator's label values; those of CT and MR are the same for these organs, the aorta is not among the MR's.
STRUCTURES = {"liver": 5, "spleen": 1, "kidney right": 2, "kidney left": 3, "aorta": 52}
MR_STRUCTURES = {"liver": 5, "spleen": 1, "kidney right": 2, "kidney left": 3}
REPORTED = (1, 3, 5, 10)

Segment = Callable[[list[Point]], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--in-process", action="store_true")
    arguments = parser.parse_args()
    data = Path(os.environ["PROMPTSEG_TEST_DATA"]) / "data"
    print(f"{'':28s}" + "".join(f"{count:>7d}" for count in REPORTED) + "   ms a click")
    for case, structures in (("ct_abdomen", STRUCTURES), ("mr_abdomen", MR_STRUCTURES)):
        image = data / case / "image.nii.gz"
        volume = read_volume(image)
        labels = read_volume(data / case / "labels.nii.gz").array
        rows = []
        for name, value in structures.items():
            truth = labels == value
            if not truth.any():
                continue
            segment = (
                in_process(volume, arguments.model) if arguments.in_process else by_command(image, arguments.model)
            )
            scores, milliseconds = click_through(segment, truth, volume)
            rows.append(scores)
            report(f"{case}, {name}", scores, milliseconds)
        report(f"{case}, mean", np.mean(rows, axis=0).tolist())


def click_through(segment: Segment, truth: np.ndarray, volume: Volume) -> tuple[list[float], float]:
    """Return the Dice after each click, and the median time of a click in ms."""
    mask, clicks, scores, times = np.zeros_like(truth), [], [], []
    for _ in range(max(REPORTED)):
        click = next_click(mask, truth, volume.grid)
        if click is not None:
            clicks.append(click)
            started = time.perf_counter()
            mask = segment(clicks)
            times.append(1000 * (time.perf_counter() - started))
        scores.append(dice(mask, truth))
    return scores, float(np.median(times))


def in_process(volume: Volume, model: str) -> Segment:
    """Return a function that adds the newest click to one session."""
    session = Session(volume, model)

    def segment(clicks: list[Point]) -> np.ndarray:
        session.add(clicks[-1])
        return session.mask_kji

    return segment


def by_command(image: Path, model: str) -> Segment:
    """Return a function that runs `promptseg segment` with all clicks."""

    def segment(clicks: list[Point]) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            prompts, output = Path(folder) / "prompts.json", Path(folder) / "mask.nii.gz"
            write_prompts(prompts, {"structure": clicks})
            command = [sys.executable, "-m", "PromptSegLib", "segment", str(image), "-o", str(output)]
            subprocess.run(
                [*command, "--model", model, "--prompts", str(prompts)], check=True, stdout=subprocess.DEVNULL
            )
            return read_volume(output).array > 0

    return segment


def report(name: str, scores: list[float], milliseconds: float | None = None) -> None:
    columns = "".join(f"{scores[count - 1]:7.3f}" for count in REPORTED)
    print(f"{name:28s}{columns}" + ("" if milliseconds is None else f"{milliseconds:13.0f}"), flush=True)


if __name__ == "__main__":
    main()
