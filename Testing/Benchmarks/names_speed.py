"""Memory and time of finding structures by their names, beside MONAI's sliding window with all classes kept.

    python Testing/Benchmarks/names_speed.py                      both, on the same volume, in processes of their own
    python Testing/Benchmarks/names_speed.py --whole              512 x 512 x 600 voxels, from the volume to the masks
    python Testing/Benchmarks/names_speed.py --shape 200 256 256 --classes liver spleen --width 32
    python Testing/Benchmarks/names_speed.py --nnunet 20          an nnU-Net of 20 classes, beside nnU-Net's predictor
    python Testing/Benchmarks/names_speed.py --nnunet 117 --shape 300 512 512 --way nnunet

The network is an STU-Net of 105 classes with random weights, small unless --width says otherwise: what is compared is
what happens around it. Both start from the same prepared image and end with labels on its grid.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from PromptSegLib.cancel import CancelToken
from PromptSegLib.predictors.stu_net.predictor import PLAN, StuNetS
from PromptSegLib.volume import Volume

WAYS = ("promptseg", "monai")
NNUNET_WAYS = ("nnunet", "nnunetv2")


def network_of(width):
    import torch

    from PromptSegLib.predictors.stu_net.network import STUNet

    torch.manual_seed(0)
    widths = [width * factor for factor in (1, 2, 4, 4, 4, 4)]
    return STUNet(widths=widths, depths=[1] * 6).eval()


def volume_of(shape_kji, spacing_mm):
    """Return noise that is smooth enough to have structures, int16."""
    rng = np.random.default_rng(0)
    values = rng.normal(0, 300, shape_kji).astype(np.float32)
    for axis in range(3):
        values += np.roll(values, 3, axis) + np.roll(values, 7, axis)
    return Volume(values.astype(np.int16), np.diag([*spacing_mm, 1.0]))


def promptseg(volume, width, step, classes):
    """Return the labels : (k, j, i) of `classes`, 1, 2, …, by the predictor's own path."""
    from PromptSegLib.predictors.names.model import ClassModel, Inference, PlannedImage

    plan = replace(PLAN, spacing_kji_mm=tuple(volume.grid.spacing_kji_mm))
    prepared = PlannedImage([volume], plan, CancelToken())
    model = ClassModel(network_of(width), "cpu", Inference(step=step))
    asked = [1 + PLAN.classes.index(name) for name in classes]
    started = time.perf_counter()
    patches = model.find(prepared, asked, None, lambda net, tile: net(tile), CancelToken(), lambda *_: None)
    seconds = time.perf_counter() - started
    labels = np.zeros(volume.grid.shape_kji, np.uint8)
    for number, patch in enumerate(patches, start=1):
        labels[patch.extent.slices][patch.mask_kji] = number
    return labels, seconds


def monai(volume, width, step, classes):
    """Return the same by `sliding_window_inference`, the probabilities of all classes kept until the end."""
    import torch
    from monai.inferers import sliding_window_inference

    from PromptSegLib.predictors.names.model import PlannedImage

    plan = replace(PLAN, spacing_kji_mm=tuple(volume.grid.spacing_kji_mm))
    data = torch.from_numpy(PlannedImage([volume], plan, CancelToken()).image.data)[None]
    network = network_of(width)
    started = time.perf_counter()
    with torch.inference_mode():
        probabilities = sliding_window_inference(
            data, PLAN.tile, 1, lambda tile: network(tile).softmax(dim=1), overlap=1 - step, mode="gaussian"
        )
        every = probabilities[0].argmax(dim=0).numpy()
    seconds = time.perf_counter() - started
    labels = np.zeros(volume.grid.shape_kji, np.uint8)
    for number, name in enumerate(classes, start=1):
        labels[every == 1 + PLAN.classes.index(name)] = number
    return labels, seconds


def results_of(folder, count, width):
    """Write results of nnU-Net with random weights and `count` classes; return the folder."""
    import nnunet_folders

    labels = {"background": 0, **{f"structure {n}": n for n in range(1, count + 1)}}
    how = nnunet_folders.configuration((1.5, 1.5, 1.5), (128, 128, 128), ("CTNormalization",))
    how["architecture"] = nnunet_folders.architecture(widths=[width * f for f in (1, 2, 4, 8, 8)])
    case = {"configurations": {"3d_fullres": how}, "labels": labels}
    every = nnunet_folders.kinds
    nnunet_folders.kinds = lambda: {**every(), "speed": case}
    return nnunet_folders.write_results(folder, "speed")


def nnunet(volume, folder, step, count):
    """Return the labels : (k, j, i) of all classes, by an nnU-Net as a session runs it."""
    from PromptSegLib.predictors.nnunet.predictor import NnUNet
    from PromptSegLib.session.session import Session

    predictor = NnUNet(folder, device="cpu", step=step)
    predictor.loaded()
    started = time.perf_counter()
    session = Session(volume, predictor)
    keys = session.add_classes(list(predictor.results.labels.values))
    seconds = time.perf_counter() - started
    labels = np.zeros(volume.grid.shape_kji, np.uint8)
    for number, key in enumerate(keys, start=1):
        labels[session.mask(key)] = number
    return labels, seconds


def nnunetv2(volume, folder, step, count):
    """Return the same by nnU-Net's own predictor."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(step, True, False, False, torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), None)
    started = time.perf_counter()
    image = volume.array[None].astype(np.float32)
    spacing = volume.grid.spacing_kji_mm.tolist()
    labels = predictor.predict_single_npy_array(image, {"spacing": spacing}, None, None, False)
    return labels, time.perf_counter() - started


def one_nnunet(arguments):
    import os
    import tempfile

    os.environ.setdefault("nnUNet_def_n_proc", "1")
    volume = volume_of(arguments.shape, (0.8, 0.8, 1.0))
    run = {"nnunet": nnunet, "nnunetv2": nnunetv2}[arguments.way]
    with tempfile.TemporaryDirectory() as root, contextlib.redirect_stdout(sys.stderr):
        folder = results_of(root, arguments.nnunet, arguments.width)
        before = peak_gib()
        labels, seconds = run(volume, folder, arguments.step, arguments.nnunet)
    if arguments.save:
        np.save(arguments.save, labels)
    return {"way": arguments.way, "seconds": seconds, "peak_GiB": peak_gib(), "before_GiB": before}


def whole(arguments):
    """Find structures in 512 x 512 x 600 voxels as a session does, and say what it took."""
    from PromptSegLib.session.session import Session

    volume = volume_of((600, 512, 512), (0.8, 0.8, 1.0))
    session = Session(volume, StuNetS(network_of(arguments.width), device="cpu", step=arguments.step))
    started = time.perf_counter()
    keys = session.add_classes(arguments.classes)
    return {
        "way": "session, 512 x 512 x 600",
        "seconds": time.perf_counter() - started,
        "timings_ms": {stage: round(ms) for stage, ms in session.ledger.record(keys[0]).answer.timings_ms.items()},
        "voxels": [int(session.mask(key).sum()) for key in keys],
        "peak_GiB": peak_gib(),
    }


def one_way(arguments):
    volume = volume_of(arguments.shape, (1.5, 1.5, 1.5))
    before = peak_gib()
    labels, seconds = {"promptseg": promptseg, "monai": monai}[arguments.way](
        volume, arguments.width, arguments.step, arguments.classes
    )
    if arguments.save:
        np.save(arguments.save, labels)
    return {"way": arguments.way, "seconds": seconds, "peak_GiB": peak_gib(), "before_GiB": before}


def peak_gib():
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


def child(arguments, *words):
    given = ["--shape", *map(str, arguments.shape), "--step", str(arguments.step), "--width", str(arguments.width)]
    command = [sys.executable, __file__, *given, "--classes", *arguments.classes, *words]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare(arguments):
    import tempfile

    ways, more = (NNUNET_WAYS, ["--nnunet", str(arguments.nnunet)]) if arguments.nnunet else (WAYS, [])
    with tempfile.TemporaryDirectory() as folder:
        files = {way: Path(folder, f"{way}.npy") for way in ways}
        ours, theirs = (child(arguments, "--way", way, "--save", str(files[way]), *more) for way in ways)
        mine, other = (np.load(files[way]) for way in ways)
    return {
        ways[0]: ours,
        ways[1]: theirs,
        "time_ratio": round(theirs["seconds"] / ours["seconds"], 2),
        "memory_ratio": round(theirs["peak_GiB"] / ours["peak_GiB"], 2),
        "voxels_that_differ": f"{100 * (mine != other).mean():.3f} %",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(160, 192, 192), metavar=("K", "J", "I"))
    parser.add_argument("--classes", nargs="+", default=["liver", "spleen"])
    parser.add_argument("--width", type=int, default=4, help="channels of the first level of the network")
    parser.add_argument("--step", type=float, default=0.5)
    parser.add_argument("--whole", action="store_true", help="a session on 512 x 512 x 600 voxels")
    parser.add_argument("--nnunet", type=int, default=0, metavar="CLASSES", help="an nnU-Net of so many classes")
    parser.add_argument("--way", choices=(*WAYS, *NNUNET_WAYS), help="one of the two alone")
    parser.add_argument("--save", help="where to put its labels")
    arguments = parser.parse_args()
    alone = one_nnunet if arguments.nnunet else one_way
    result = whole(arguments) if arguments.whole else alone(arguments) if arguments.way else compare(arguments)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
