"""Time a click of SAM-Med3D by stage, against the official module with the official pre-processing.

    python Testing/Benchmarks/sam_med3d_speed.py [--medim FOLDER] [--size full] [--repeats 3]

Official: PyPI's `medim`, from a folder of its own:

    pip install --target FOLDER --no-deps medim==0.1.2 appdirs requests urllib3 idna certifi charset-normalizer

The volume is resampled as a whole, a window cut out and standardised, and its mask brought back to the whole volume,
by the same library as in the official script. Without medim only ours is timed. Ours: the predictor within a session,
stage by stage. Both have the same random weights and take turns; the medians' ratios are printed, and how far their
logits are apart. With a GPU both run there, and half precision is compared with single. Last, the peak of resident
memory, each way in a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).parents[2]))

from sam_med3d_script import prepare_region, region_about, region_to_image, resample_isotropic

from PromptSegLib.cancel import CancelToken
from PromptSegLib.evaluation.memory import peak_memory_mib
from PromptSegLib.geometry import flip_axes
from PromptSegLib.imaging.aligned_sampling import AlignedSampling
from PromptSegLib.predictors.sam_med3d.network import SAMMed3D
from PromptSegLib.predictors.sam_med3d.predictor import SamMed3D
from PromptSegLib.predictors.torch_device import best_device
from PromptSegLib.prompts import Point
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume

SIZES: dict[str, dict[str, Any]] = {
    "small": {"width": 192, "depth": 4, "heads": 4, "global_blocks": (1, 3), "prompt_width": 192},
    "full": {},
}
SHAPE_KJI = (260, 400, 400)
CLICKS_IJK = ((200, 210, 130), (208, 205, 128))
STAGES = ("prepare", "encode", "decode", "bring back")

Stages = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--medim", type=Path, help="folder that holds the package medim")
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: the process's own time, for a busy machine"
    )
    parser.add_argument("--memory-of", choices=("official", "ours"), help="run this one once, and print its peak")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.clock == "cpu":
        time.perf_counter = time.process_time  # all stages, those of the predictor too, are timed by it
    if arguments.medim:
        sys.path.append(str(arguments.medim))
    ways: dict[str, Callable[[], Way]] = {"ours": lambda: Ours(arguments.size)}
    if importlib.util.find_spec("medim"):
        ways["official"] = lambda: Official(arguments.size)
    if arguments.memory_of:
        way = ways[arguments.memory_of]()
        for place in CLICKS_IJK:
            way.click(place)
        print(peak_memory_mib() or 0)
        return
    made = {name: make() for name, make in ways.items()}
    print_table(measure(made, arguments.repeats), arguments)
    if len(made) == 2:
        apart = np.abs(made["ours"].logits - made["official"].logits).max()
        print(f"logits of both are apart by {apart:.1e} at most")
    for name in made:
        print(f"peak resident memory, {name}: {memory_of(name, arguments):.0f} MiB")
    if torch.cuda.is_available():
        compare_precisions(arguments.size)


def measure(ways: dict[str, Way], repeats: int) -> dict[str, list[tuple[Stages, Stages]]]:
    """Return the stages of a first and a second click, for each way and repeat; the ways take turns."""
    for way in ways.values():
        way.start_over()
        way.click(CLICKS_IJK[0])  # warms up
    found: dict[str, list[tuple[Stages, Stages]]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            way.start_over()
            first, second = (way.click(place) for place in CLICKS_IJK)
            found[name].append((first, second))
    return found


def print_table(found: dict[str, list[tuple[Stages, Stages]]], arguments: argparse.Namespace) -> None:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {arguments.threads} threads"
    print(f"{arguments.size} network, {'x'.join(map(str, SHAPE_KJI))} int16, {device}; ms of {arguments.clock} time")
    print(f"{'':24}" + "".join(f"{stage:>12}" for stage in (*STAGES, "in all")))
    for number, click in enumerate(("first click", "next click")):
        rows = {}
        for name, repeats in found.items():
            stages = [repeat[number] for repeat in repeats]
            rows[name] = [statistics.median(stage[key] for stage in stages) for key in STAGES]
            rows[name].append(statistics.median(sum(stage.values()) for stage in stages))
            print(f"{click + ', ' + name:24}" + "".join(f"{ms:12.0f}" for ms in rows[name]))
        if len(rows) == 2:
            ratios = (theirs / max(mine, 1e-3) for theirs, mine in zip(rows["official"], rows["ours"], strict=True))
            print(f"{'  official / ours':24}" + "".join(f"{ratio:12.1f}" for ratio in ratios))


def memory_of(name: str, arguments: argparse.Namespace) -> float:
    command = [sys.executable, __file__, "--size", arguments.size, "--memory-of", name]
    command += ["--medim", str(arguments.medim)] if arguments.medim else []
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def state_dict_of(size: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    network = SAMMed3D(**SIZES[size])
    for name, values in network.named_parameters():
        if "rel_pos" in name or "pos_embed" in name:
            torch.nn.init.normal_(values, std=0.02)
    return network.state_dict()


def volume() -> Volume:
    """Return noise about a ball, as large as a CT of the abdomen."""
    rng = np.random.default_rng(0)
    array = rng.integers(-80, 80, SHAPE_KJI, dtype=np.int16)
    j, i = np.ogrid[: SHAPE_KJI[1], : SHAPE_KJI[2]]
    for k, layer in enumerate(array):
        layer[(2 * (k - 130)) ** 2 + (j - 210) ** 2 + (i - 200) ** 2 < 60**2] += 150
    return Volume(array, np.diag([0.8, 0.8, 1.5, 1.0]))


class Stopwatch:
    """Adds the milliseconds of named stages."""

    def __init__(self) -> None:
        self.stages = dict.fromkeys(STAGES, 0.0)

    @contextlib.contextmanager
    def __call__(self, stage: str):
        started = time.perf_counter()
        yield
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.stages[stage] += 1000 * (time.perf_counter() - started)


class Way:
    """One way to answer a first click, and a second one in the same window. logits: of the newest click, coarse."""

    logits: np.ndarray

    def start_over(self) -> None:
        raise NotImplementedError

    def click(self, place_ijk: tuple[int, int, int]) -> Stages:
        raise NotImplementedError


class Official(Way):
    """medim's module in the steps of the official script; the embedding is kept for the next click."""

    def __init__(self, size: str) -> None:
        from medim.models.sam_med3d import build_sam3D_vit_b_ori

        named = {
            "encoder_embed_dim": "width",
            "encoder_depth": "depth",
            "encoder_num_heads": "heads",
            "encoder_global_attn_indexes": "global_blocks",
            "prompt_embed_dim": "prompt_width",
        }
        changes = {theirs: SIZES[size][ours] for theirs, ours in named.items() if ours in SIZES[size]}
        self._device = best_device()
        self._model = build_sam3D_vit_b_ori(**changes)
        self._model.load_state_dict(state_dict_of(size))
        self._model.to(self._device).eval()
        self._volume = volume()
        self._mask = np.zeros(SHAPE_KJI, dtype=np.uint8)
        self.start_over()

    def start_over(self) -> None:
        self._embedding = self._low_res = self._region = None
        self._voxels: list[np.ndarray] = []

    @torch.no_grad()
    def click(self, place_ijk: tuple[int, int, int]) -> Stages:
        watch, grid = Stopwatch(), self._volume.grid
        if self._embedding is None:
            with watch("prepare"):
                isotropic, isotropic_grid = resample_isotropic(self._volume.array, grid)
                self._canonical = AlignedSampling.in_ras_order(isotropic_grid).grid
                voxel = flip_axes(self._canonical.nearest_kji(grid.to_ras(place_ijk)))
                self._region = region_about(isotropic_grid, voxel, voxel + 1)
                window = torch.from_numpy(prepare_region(isotropic, self._region))[None, None]
            with watch("encode"):
                self._embedding = self._model.image_encoder(window.to(self._device))
            self._low_res = torch.zeros(1, 1, 32, 32, 32, device=self._device)
        with watch("decode"):
            self._voxels.append(flip_axes(self._region.grid.nearest_kji(grid.to_ras(place_ijk))))
            points = torch.from_numpy(np.array(self._voxels)).float()[None].to(self._device)
            labels = torch.ones(1, len(self._voxels), device=self._device)
            encoder = self._model.prompt_encoder
            sparse, dense = encoder(points=[points, labels], boxes=None, masks=self._low_res)
            self._low_res, _ = self._model.mask_decoder(
                image_embeddings=self._embedding,
                image_pe=encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
            )
            self.logits = self._low_res[0, 0].cpu().numpy()
        with watch("bring back"):
            fine = functional.interpolate(self._low_res, size=(128,) * 3, mode="trilinear", align_corners=False)
            mask = (fine.sigmoid()[0, 0] > 0.5).cpu().numpy().astype(np.uint8)
            self._mask = region_to_image(mask, self._region.grid, grid)
        return watch.stages


class Ours(Way):
    """The predictor in a session. Bringing back includes writing the mask and its history."""

    def __init__(self, size: str) -> None:
        with torch.device("meta"):
            network = SAMMed3D(**SIZES[size])
        network.load_state_dict(state_dict_of(size), assign=True)
        self._predictor = SamMed3D(network, most_grown=0)
        self._volume = volume()
        self.start_over()

    def start_over(self) -> None:
        self._session = Session(self._volume, self._predictor)
        self._predictor.encode(self._session.image, CancelToken(), lambda *_: None)
        model = self._predictor._model
        assert model is not None
        embed = type(model).embed

        def timed_embed(*arguments: Any) -> Any:
            started = time.perf_counter()
            embedding = embed(model, *arguments)
            self._encode_ms = 1000 * (time.perf_counter() - started)
            return embedding

        model.embed = timed_embed  # type: ignore[method-assign]

    def click(self, place_ijk: tuple[int, int, int]) -> Stages:
        self._encode_ms = 0.0
        self._session.add(Point(tuple(self._volume.grid.to_ras(place_ijk))))
        answer = self._session.prediction
        assert answer is not None
        [tile] = answer.feedback.tiles
        self.logits = tile.logits
        timings = answer.timings_ms
        return {
            "prepare": timings["embed"] - self._encode_ms,
            "encode": self._encode_ms,
            "decode": timings["decode"],
            "bring back": timings["total"] - timings["embed"] - timings["decode"],
        }


def compare_precisions(size: str) -> None:
    """Print how long a window takes in half and in single precision on the GPU, and how alike the masks are."""
    logits, encode_ms = [], []
    for is_half in (True, False):
        way = Ours(size)
        if not is_half:
            way._predictor._model._device.autocast = contextlib.nullcontext  # type: ignore[union-attr]
        way.click(CLICKS_IJK[0])
        way.start_over()
        encode_ms.append(way.click(CLICKS_IJK[0])["encode"])
        logits.append(way.logits)
    masks = [one > 0 for one in logits]
    dice = 2 * (masks[0] & masks[1]).sum() / (masks[0].sum() + masks[1].sum())
    print(f"GPU: a window in {encode_ms[0]:.0f} ms in half precision, {encode_ms[1]:.0f} in single; Dice {dice:.4f}")


if __name__ == "__main__":
    main()
