"""Is a click where the mask is most probably wrong worth more than one anywhere that it is unsure?

    PROMPTSEG_TEST_DATA=FOLDER python Testing/Benchmarks/where_to_look.py [--clicks 5] [--sets ct_abdomen …] [-o FILE]

A simulated user clicks into the middle of each structure and then corrects the default model's mask, at places chosen
in one of three ways: where `next_doubt` points, at random in the unsure region (probabilities from 0.25 to 0.75), and
in the middle of the largest error, which needs the truth. The click is positive where the truth is, else negative, even
where the mask is right already. Prints Dice by click with 95 % intervals, as Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.evaluation.clicks import middle_kji, next_click
from PromptSegLib.evaluation.metrics import dice
from PromptSegLib.evaluation.statistics import mean_with_interval
from PromptSegLib.geometry import flip_axes
from PromptSegLib.imaging.doubt import next_doubt
from PromptSegLib.io import read_volume
from PromptSegLib.predictors.registry import create_predictor
from PromptSegLib.prompts import Point
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume

LEAST_VOXELS = 200
WAYS = ("doubt", "random", "error")
TITLES = {"doubt": "where to look next", "random": "random, unsure region", "error": "largest true error"}
SETS = ("ct_abdomen", "mr_abdomen", "acdc/heart_001", "acdc/heart_011", "acdc/heart_021", "acdc/heart_031")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clicks", type=int, default=5)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--most", type=int, default=8, help="structures of an image, the largest ones (default: 8)")
    parser.add_argument("-o", "--output", type=Path, help="all Dices, as JSON")
    arguments = parser.parse_args()
    data = Path(os.environ["PROMPTSEG_TEST_DATA"], "data")
    predictor = create_predictor("default")
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for name in arguments.sets:
        volume = read_volume(data / name / "image.nii.gz")
        for label, truth in structures(data / name / "labels.nii.gz", arguments.most):
            started = time.monotonic()
            for way in WAYS:
                found[way].append(dices(volume, truth, predictor, way, arguments.clicks, seed=label))
            text = ", ".join(f"{way} {found[way][-1][-1]:.3f}" for way in WAYS)
            print(f"{name} {label}: {text} ({time.monotonic() - started:.1f} s)", file=sys.stderr, flush=True)
            if arguments.output:
                arguments.output.write_text(json.dumps(found))
    report(found, arguments.clicks)
    return 0


def structures(path: Path, most: int) -> Iterator[tuple[int, BoolArray]]:
    labels = read_volume(path).array
    values, counts = np.unique(labels[labels > 0], return_counts=True)
    for place in np.argsort(-counts)[:most]:
        if counts[place] >= LEAST_VOXELS:
            yield int(values[place]), labels == values[place]


def dices(volume: Volume, truth: BoolArray, predictor: object, way: str, clicks: int, seed: int) -> list[float]:
    """Return the Dice after the first click, and after each correction."""
    grid, chance = volume.grid, np.random.default_rng(seed)
    session = Session(volume, predictor)  # type: ignore[arg-type]
    session.add(point(grid, middle_kji(truth, grid), truth))
    reached = [dice(session.mask_kji, truth)]
    seen: list[tuple[float, float, float]] = []
    for _ in range(clicks):
        index = place(session, truth, way, chance, seen)
        if index is not None:
            click = point(grid, index, truth)
            seen.append(click.position_ras)
            session.add(click)
        reached.append(dice(session.mask_kji, truth))
    return reached


def point(grid, index_kji, truth: BoolArray) -> Point:
    x, y, z = grid.to_ras(flip_axes(index_kji))
    return Point((float(x), float(y), float(z)), positive=bool(truth[tuple(index_kji)]))


def place(session: Session, truth: BoolArray, way: str, chance: np.random.Generator, seen: list):
    """Return the voxel, k, j, i, to click at next, None when there is none."""
    grid, mask = session.image.grid, session.mask_kji
    if way == "error":
        click = next_click(mask, truth, grid)
        return None if click is None else grid.nearest_kji(click.position_ras)
    certainty = session.certainty()
    if certainty is None:
        return None
    probability = certainty.probability_kji
    if way == "random":
        unsure = np.argwhere((probability >= 0.25) & (probability <= 0.75))
        return None if not len(unsure) else unsure[chance.integers(len(unsure))] + certainty.extent.start_kji
    doubt = next_doubt(probability, mask[certainty.extent.slices], grid.cropped(certainty.extent), seen)
    return None if doubt is None else grid.nearest_kji(doubt.point_ras)


def report(found: dict[str, list[list[float]]], clicks: int) -> None:
    count = len(found["doubt"])
    print(f"Dice after each correction, mean of {count} structures [95 % interval]:\n")
    print(f"| place of the click | first click | {' | '.join(str(n) for n in range(1, clicks + 1))} |")
    print(f"|{'---|' * (clicks + 2)}")
    for way in WAYS:
        means = [str(mean_with_interval([one[n] for one in found[way]])) for n in range(clicks + 1)]
        print(f"| {TITLES[way]} | {' | '.join(means)} |")
    for other in ("random", "error"):
        gains = [
            str(mean_with_interval([a[n] - b[n] for a, b in zip(found["doubt"], found[other], strict=True)]))
            for n in range(clicks + 1)
        ]
        print(f"| {TITLES['doubt']} less {TITLES[other]} | {' | '.join(gains)} |")


if __name__ == "__main__":
    sys.exit(main())
