"""What the default model's accuracy rests on: parts of its training and of its answers are taken away in turn.

    python Testing/Benchmarks/default_ablations.py train RUNS             small 2D networks, three seeds of each kind
    python Testing/Benchmarks/default_ablations.py training RUNS DATA     how good these are
    python Testing/Benchmarks/default_ablations.py inference NOTES DATA   how good the shipped ones are, used otherwise

Training: every kind takes as many steps on as many images, 40 minutes of one core in all; a seed is that of weights,
prompts and images. The networks are judged on synthetic images that none was trained on, and by the predictor on the
slices of DATA, a benchmark's folder or manifest. Inference: the shipped networks, or those of --weights, by the
predictor, on slices and volumes. The simulated users are the benchmark's: they click, box, and have scribbled.

Results are kept in RUNS and NOTES, and a command that was stopped goes on there; after a change of the predictor, name
another folder. Tables are in Markdown. The first row is the mean Dice, all others are differences from it, with the
95 % interval of a bootstrap over structures. Of several seeds, a structure has the mean, and behind each interval
stands from where to where single seeds are: the interval knows nothing of other seeds. Bold are differences whose
interval leaves 0 out and on whose sign all seeds agree.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
import torch

from PromptSegLib.evaluation.cases import BenchmarkCase
from PromptSegLib.evaluation.columns import dice_columns
from PromptSegLib.evaluation.manifest import read_data
from PromptSegLib.evaluation.protocols import PROTOCOLS
from PromptSegLib.evaluation.results import values_by_case
from PromptSegLib.evaluation.runner import Settings
from PromptSegLib.evaluation.statistics import mean_with_interval
from PromptSegLib.evaluation.trial import Trial, run_trial
from PromptSegLib.predictors.default.network import load_network
from PromptSegLib.predictors.default.predictor import DefaultPredictor
from PromptSegLib.predictors.default.prompt_unet import PromptUNet
from PromptSegLib.session.session import Session
from PromptSegLib.training.held_out import HeldOut
from PromptSegLib.training.label_maps import IDS
from PromptSegLib.training.pool import Pool, Renderer
from PromptSegLib.training.recipe import Phase, Recipe
from PromptSegLib.training.rendering import render
from PromptSegLib.training.slots import Slots
from PromptSegLib.training.trainer import Trainer
from PromptSegLib.training.views import Views
from PromptSegLib.weights.shipped import read_shipped, shipped_path

SEEDS, STEPS, SIDE, BATCH, CHUNKS = (0, 1, 2), 600, 96, 16, 16
HELD_OUT_VIEWS, CLICKS = 192, 10

Figures = dict[str, dict[str, float]]
"""Dice by the figure's name and the structure's."""


def plainly_rendered(draws, maps):
    """Images (B, *S) in [0, 1] of label maps: an intensity for each class, and a little noise."""
    means = draws.uniform(0.0, 1.0, len(maps.labels), 2 * IDS).gather(1, maps.classes)
    image = means.gather(1, maps.labels.flatten(1)).view(maps.labels.shape)
    image = torch.where(maps.vessels, 1.0 - image, image)
    return (image + 0.02 * draws.normal(*image.shape)).clamp(0.0, 1.0)


class WholeImages(Slots):
    """Users who always look at the whole image."""

    def _set_views(self, who, views):
        super()._set_views(who, Views(torch.zeros_like(views.center), torch.ones_like(views.half), views.rotation))

    def _look_again(self, who, mask):
        pass


class Kind(NamedTuple):
    widths: tuple[int, ...] = (32, 64, 128, 192, 256)
    renderer: Renderer = render
    slots: type[Slots] = Slots


KINDS = {
    "full": Kind(),
    "plain rendering": Kind(renderer=plainly_rendered),
    "half the widths": Kind(widths=(16, 32, 64, 96, 128)),
    "no view crops": Kind(slots=WholeImages),
}


def train(runs: Path) -> None:
    """Leave the weights of each kind and seed in a folder of their own, beside the images, which the trainer finds."""
    for seed in SEEDS:
        for name, kind in KINDS.items():
            phases = (Phase(1.0, SIDE, BATCH),)
            recipe = Recipe(2, kind.widths, phases, STEPS, seed, first_chunks=CHUNKS, most_chunks=CHUNKS)
            images = runs / ("images" if kind.renderer is render else f"images, {name}")
            Pool(images, 2, seed, recipe.chunk_size, "cpu", renderer=kind.renderer).prepare(CHUNKS)
            folder = runs / f"{name}, seed {seed}"
            Trainer(recipe, folder, pools=images, slots=kind.slots).run(evaluate_every=None)
            print(folder, flush=True)


def report_training(runs: Path, data: Path) -> None:
    held_out = HeldOut(runs / "images", 2, count=HELD_OUT_VIEWS, size=SIDE)
    slices = cases_of(data, 2)
    synthetic, real = ({name: [] for name in KINDS} for _ in range(2))
    for folder, name in ((runs / f"{name}, seed {seed}", name) for seed in SEEDS for name in KINDS):
        if read_shipped(weights := folder / "prompt_unet_2d.npz")[0]["steps"] < STEPS:
            raise SystemExit(f"{folder} is not trained to its end: give the command train again")
        synthetic[name].append(kept(folder / "synthetic.json", figures_of_views, held_out, weights))
        real[name].append(kept(folder / "slices.json", figures_of, slices, weights, ("clicks", "box")))
    print_table("Held-out synthetic images", synthetic)
    print_table("Slices, by the predictor", real)


def figures_of_views(held_out: HeldOut, weights: Path) -> Figures:
    configuration, arrays = read_shipped(weights)
    network = PromptUNet(2, configuration["widths"])
    network.load_state_dict({key: torch.from_numpy(array).float() for key, array in arrays.items()})
    return {kind: {str(n): float(v) for n, v in enumerate(values)} for kind, values in held_out.dice(network).items()}


def as_it_is(expected, logits, voxel_mm):
    """What `ExpectedSize.brought_to` returns when nothing is expected."""
    return logits


def not_refined(logits, image, positive, negative, allowed):
    """What `refined` returns, without what the image says: the network decides, but for prompted voxels."""
    certainty = np.tanh(np.clip(logits, -20, 20) / 2)
    certainty[positive] = np.maximum(certainty[positive], 0.5)
    certainty[negative] = np.minimum(certainty[negative], -0.5)
    return certainty.astype(np.float32)


def first_opinion(opinions, look, *_):
    """What `Opinions` return when others have no say."""
    return look


SIDES = {2: (96, 128, 192), 3: (48, 64)}
DEFAULT = "PromptSegLib.predictors.default"
OPINIONS = f"{DEFAULT}.opinions.Opinions"
USES = {
    "full": {},
    "doubtful voxels not refined": {"without": (f"{DEFAULT}.predictor.refined", not_refined)},
    "no hint of the size": {"without": (f"{DEFAULT}.predictor.ExpectedSize.brought_to", as_it_is)},
    "no other opinions": {"without": (f"{OPINIONS}.shift", first_opinion)},
    "no level sets in boxes": {"without": (f"{OPINIONS}.of_level_sets", first_opinion)},
    "no looks and places of strokes": {"without": (f"{OPINIONS}.of_strokes", first_opinion)},
    "field of view not told": {"has_view": False},
}


def report_inference(notes: Path, data: Path, weights: Sequence[Path], pool: ProcessPoolExecutor) -> None:
    tables = []
    for path in weights:
        configuration = read_shipped(path)[0]
        dims, side = configuration["dims"], configuration["sizes"][-1]
        cases, protocols = cases_of(data, dims), ("clicks", "box", "human")
        folder = notes / f"{dims}d-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
        rows = USES | {f"working grid of {other}": {"side": other} for other in SIDES[dims] if other != side}
        for name, use in rows.items():
            rows[name] = pool.submit(kept, folder / f"{name}.json", figures_of, cases, path, protocols, **use)
        tables.append((f"{dims}D, working grid of {side} unless said otherwise", rows))
    for title, rows in tables:
        print_table(title, {name: [row.result()] for name, row in rows.items()})


def cases_of(data: Path, dims: int) -> list[BenchmarkCase]:
    """Return the cases that the benchmark would look at, of that many dimensions."""
    loaded, least = (case.load() for case in read_data(data).cases), Settings(()).least_voxels
    return [one.case for one in loaded if one.dimensions == dims and one.truth_kji.sum() >= least]


def figures_of(
    cases: Sequence[BenchmarkCase], weights: Path, protocols: Sequence[str], *, side=None, without=None, has_view=True
) -> Figures:
    """Return what the benchmark finds of the default predictor with these weights.

    side: working voxels a side, else those of the weights. without: what is put in the place of what, as for
    `mock.patch`. has_view: whether the field of view is told.
    """
    dims = read_shipped(weights)[0]["dims"]
    network = load_network(dims, "cpu", weights)
    network.side = side or network.side
    predictor, records = DefaultPredictor({dims: network}), []
    with mock.patch(*without) if without else nullcontext():
        for case in cases:
            loaded = case.load()
            session = Session(loaded.volume, predictor, window=case.window)
            for protocol in (PROTOCOLS[name] for name in protocols):
                for repetition in range(protocol.repetitions_of(loaded)):
                    trial = Trial(protocol, repetition, CLICKS, has_view, has_surfaces=False)
                    records.append({"case": case.key, **run_trial(trial, loaded, session)})
    figures = {column.title: values_by_case(records, column) for column in dice_columns(CLICKS)}
    return {title: values for title, values in figures.items() if values}


def kept(path: Path, make: Callable[..., Figures], *arguments, **options) -> Figures:
    """Return what the file holds; where there is none it is made and written first."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(make(*arguments, **options)), encoding="utf-8")
        part.replace(path)
    return json.loads(path.read_text(encoding="utf-8"))


def print_table(title: str, rows: dict[str, list[Figures]]) -> None:
    """Print rows of one or more seeds, all but the first as differences from the first."""
    first, *_ = rows.values()
    heads = [f"{figure} ({len(structures)})" for figure, structures in first[0].items()]
    print(f"\n{title}: {len(first)} seed{'s'[: len(first) > 1]}, structures in parentheses\n")
    print(f"| | {' | '.join(heads)} |\n|{'---|' * (1 + len(heads))}")
    for name, seeds in rows.items():
        sign, cells = "" if seeds is first else "+", []
        for figure, structures in first[0].items():
            found, reference = (np.array([[f[figure][s] for s in structures] for f in row]) for row in (seeds, first))
            cells.append(cell(found - reference if sign else found, sign))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def cell(found: np.ndarray, sign: str) -> str:
    """Tell mean, interval and spread of Dice, or of its differences, (seeds, structures)."""
    mean, seeds = mean_with_interval(found.mean(0)), found.mean(1)
    text = f"{mean.value:{sign}.3f} [{mean.low:{sign}.3f}, {mean.high:{sign}.3f}]"
    if sign and mean.low * mean.high > 0 and seeds.min() * seeds.max() > 0:
        text = f"**{text}**"
    return text if len(found) == 1 else f"{text} {seeds.min():{sign}.3f} … {seeds.max():{sign}.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("train", "training", "inference"))
    parser.add_argument("folder", type=Path, help="RUNS or NOTES")
    parser.add_argument("data", type=Path, nargs="?", help="DATA")
    parser.add_argument("--weights", type=Path, nargs="+", default=[shipped_path(2), shipped_path(3)], metavar="FILE")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes of inference, of a thread each")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.command == "train":
        train(arguments.folder)
    elif arguments.data is None:
        parser.error("expected DATA")
    elif arguments.command == "training":
        report_training(arguments.folder, arguments.data)
    else:
        with ProcessPoolExecutor(arguments.jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
            report_inference(arguments.folder, arguments.data, arguments.weights, pool)


if __name__ == "__main__":
    main()
