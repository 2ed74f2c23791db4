"""The default model on a few phantoms: how good after three clicks, and where the time goes. Kept as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from image_files import write_with_itk

from PromptSegLib.evaluation.columns import dice_columns
from PromptSegLib.evaluation.corrections import by_shape, corrections
from PromptSegLib.evaluation.folders import find_cases
from PromptSegLib.evaluation.latency import latencies
from PromptSegLib.evaluation.phantom import make_abdomen
from PromptSegLib.evaluation.results import by_dimensions, table
from PromptSegLib.evaluation.runner import Settings, run_benchmark
from PromptSegLib.evaluation.shape_phantoms import make_shape
from PromptSegLib.predictors.registry import capabilities_of

RECORDED = Path(__file__).parents[1] / "Data" / "regression.json"
RECORD_COMMAND = "python Testing/Benchmarks/record_regression.py"
MODEL = "default"
CLICKS = 3
# How far the Dice may fall, and how often as large a stage's share of the time may be.
DICE_TOLERANCE, SHARE_FACTOR = 0.02, 2.0
# A stage with a smaller share is lost in the noise of the clock.
LEAST_SHARE = 0.15
# Of correcting clicks so many may lose.
MOST_LOSING = 0.05

_VOLUMES = {0: ("liver", "spleen", "kidney left"), 1: ("kidney right", "aorta", "gallbladder")}
_SLICES = {2: ("liver", "spleen", "aorta", "spine"), 3: ("liver", "kidney left", "kidney right", "spleen")}


def measure(folder):
    """Return what `RECORDED` holds, measured anew on phantoms written to `folder`."""
    cases = find_cases(write_phantoms(folder))
    # Nothing else is measured meanwhile: the first click would show what it takes to load the model.
    warm_up = Settings((MODEL,), ("clicks",), clicks=1, has_surfaces=False, device="cpu")
    run_benchmark([cases[0], cases[-1]], warm_up)
    settings = Settings((MODEL,), ("clicks",), clicks=CLICKS, has_surfaces=False, device="cpu")
    results = run_benchmark(cases, settings)
    correcting = Settings((MODEL,), ("corrections",), has_surfaces=False, device="cpu")
    corrected = run_benchmark(find_cases(write_shapes(folder / "shapes")), correcting)
    last = next(column for column in dice_columns(CLICKS) if column.title == f"{CLICKS} clicks")
    return {
        "model": capabilities_of(MODEL).name,
        "dice_after_3_clicks": {
            row.group: round(row.means[0].value, 4) for row in table(results, [last], by_dimensions)
        },
        "corrections": measured_corrections(corrected),
        "share_of_time": {
            one.group: {stage: round(share, 3) for stage, share in one.shares.items()} for one in latencies(results)
        },
    }


def write_phantoms(folder):
    """Write bodies as volumes, and others as single slices, with the labels of some of their structures."""
    for seed, names in _VOLUMES.items():
        body = make_abdomen((48, 96, 96), (3.8, 3.8, 4.8), seed=seed)
        _write(folder / f"volume {seed}", body, body.volume.array, body.labels_kji, names)
    for seed, names in _SLICES.items():
        body = make_abdomen((3, 192, 192), (1.9, 1.9, 3.0), seed=seed)
        _write(folder / f"slice {seed}", body, body.volume.array[1:2], body.labels_kji[1:2], names)
    return folder


def write_shapes(folder):
    """Write slices with a structure of three kinds of shape."""
    folder.mkdir(parents=True)
    for kind in ("compact", "ring", "tree"):
        volume, truth = make_shape(kind, (1, 96, 96), seed=3)
        np.savez(folder / f"{kind}.npz", image=volume.array, mask=truth.astype(np.uint8))
    return folder


def measured_corrections(results):
    """Return the mean Dice of masks from elsewhere after three clicks, by shape, and the share of clicks that lost."""
    found = corrections(results, by_shape)
    return {
        "dice": {one.group: round(one.dice, 4) for one in found if one.turn == CLICKS},
        "losing": round(float(np.mean([one.losing for one in found])), 4),
    }


def _write(folder, body, image_kji, labels_kji, names):
    folder.mkdir(parents=True)
    kept = np.where(np.isin(labels_kji, [body.values[name] for name in names]), labels_kji, 0).astype(np.uint8)
    write_with_itk(folder / "image.nii.gz", image_kji, body.volume.ijk_to_ras)
    write_with_itk(folder / "labels.nii.gz", kept, body.volume.ijk_to_ras)


def complaints(before, now):
    """Return what got worse from `before` to `now` by more than is allowed, a sentence each."""
    if before["model"] != now["model"]:
        return [f"the default model is {now['model']}, not {before['model']} any more: record it, {RECORD_COMMAND}"]
    found = []
    for group, dice in before["dice_after_3_clicks"].items():
        if now["dice_after_3_clicks"][group] < dice - DICE_TOLERANCE:
            found.append(
                f"Dice after 3 clicks, {group}: {dice:.3f} before, {now['dice_after_3_clicks'][group]:.3f} now"
            )
    for shape, dice in before["corrections"]["dice"].items():
        if now["corrections"]["dice"][shape] < dice - DICE_TOLERANCE:
            found.append(
                f"Dice of corrections, {shape}: {dice:.3f} before, {now['corrections']['dice'][shape]:.3f} now"
            )
    if now["corrections"]["losing"] > max(before["corrections"]["losing"], MOST_LOSING):
        found.append(f"correcting clicks that lose: {now['corrections']['losing']:.0%} now")
    for group, shares in now["share_of_time"].items():
        for stage, share in shares.items():
            earlier = before["share_of_time"][group].get(stage, 0.0)
            if share >= LEAST_SHARE and share > SHARE_FACTOR * earlier:
                found.append(
                    f"share of {stage!r} in the time of a click, {group}: {earlier:.0%} before, {share:.0%} now"
                )
    return found


def read_recorded():
    return json.loads(RECORDED.read_text(encoding="utf-8"))
