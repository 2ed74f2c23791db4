"""Time SAM's family on slices, against a plain implementation of the same network.

    python Testing/Benchmarks/sam_speed.py [--size mid] [--threads 2]

Plain: attention whose scores are all in memory, an image encoded at each click. Ours: the predictor within a session.
Prints seconds and the peak of memory, each way in a process of its own. Weights are random, so masks are not looked
at; for the propagation both are given the masks of a tube. On a GPU half and single precision are compared too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from PromptSegLib.cancel import CancelToken
from PromptSegLib.imaging.windowing import as_rgb
from PromptSegLib.predictors.sam import encoder as sam_encoder
from PromptSegLib.predictors.sam import network as sam
from PromptSegLib.predictors.sam.predictor import SamMed2D, SamVitB
from PromptSegLib.predictors.sam.transforms import LongestSideFrame, StretchedFrame
from PromptSegLib.predictors.slices.embedding_cache import EmbeddingCache
from PromptSegLib.predictors.slices.model import ObjectAnswer
from PromptSegLib.prompts import Point
from PromptSegLib.session.session import Session
from PromptSegLib.span import Span
from PromptSegLib.view import Window
from PromptSegLib.volume import Volume

SIZES = {
    "small": (SamVitB, {"image_size": 256, "width": 192, "depth": 6, "heads": 3, "global_blocks": (2, 5)}),
    "mid": (SamVitB, {"image_size": 512, "width": 384, "heads": 6}),
    "vit-b": (SamVitB, {}),
    "sam-med2d": (SamMed2D, {}),
}
SHAPE = (34, 320, 320)
SLICES = 30
WINDOW = Window(0, 1000)
REPEATS = 3
STAGES = ("encode", "first click", "next click", f"{SLICES} slices", "peak MiB")


def main() -> None:
    """Run both ways, each in a process, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="mid")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--way", choices=("plain", "ours"), help="run this one only, and print JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.way:
        print(json.dumps({"plain": plain, "ours": ours}[arguments.way](arguments.size)))
        return
    results = {way: in_a_process(way, arguments) for way in ("plain", "ours")}
    print(f"{arguments.size}, {SHAPE[2]} x {SHAPE[1]} pixels, {arguments.threads} threads, {describe_device()}; s")
    print(f"{'':14}" + "".join(f"{stage:>14}" for stage in STAGES))
    for way, seconds in results.items():
        print(f"{way:14}" + "".join(f"{seconds[stage]:14.3f}" for stage in STAGES))
    print(f"{'times better':14}" + "".join(f"{results['plain'][s] / results['ours'][s]:14.1f}" for s in STAGES))
    first, following = (results["ours"][stage] for stage in ("first click", "next click"))
    print(f"the next click is {first / following:.0f} times faster than the first")
    if torch.cuda.is_available():
        compare_precisions(arguments.size)


def in_a_process(way: str, arguments: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--size", arguments.size, "--threads", str(arguments.threads), "--way", way]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def describe_device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def network_of(size: str) -> sam.Sam:
    """Return the network of a size, with the same random weights each time."""
    kind, changes = SIZES[size]
    torch.manual_seed(0)
    of_that_size = type(kind.__name__, (kind,), {"configuration": changes})
    network = of_that_size(object()).build().eval().requires_grad_(False)
    for name, values in network.named_parameters():
        if "rel_pos" in name or "pos_embed" in name:
            nn.init.normal_(values, std=0.02)
    return network


def volume_and_tube() -> tuple[Volume, np.ndarray]:
    """Return noise around a tube along k, and the tube's mask on each slice (j, i)."""
    rng = np.random.default_rng(0)
    j, i = np.mgrid[: SHAPE[1], : SHAPE[2]]
    tube = (j - SHAPE[1] / 2) ** 2 + (i - SHAPE[2] / 2) ** 2 < 40**2
    return Volume((400 * tube + rng.normal(300, 50, SHAPE)).astype(np.int16), np.diag([-1, -1, 2, 1.0])), tube


def report(encode: list[float], first: list[float], following: list[float], carried: float) -> dict[str, float]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return dict(zip(STAGES, [*map(statistics.median, (encode, first, following)), carried, peak], strict=True))


def timed(work) -> float:
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


# The plain way


class PlainAttention(sam_encoder.RelativeAttention):
    """All scores of all heads at once."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        batch, height, width, channels = tokens.shape
        qkv = self.qkv(tokens).view(batch, height * width, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        attended = (scores + self.bias(query, height, width)).softmax(dim=-1) @ value
        return self.proj(attended.transpose(1, 2).reshape(batch, height, width, channels))


@torch.inference_mode()
def plain(size: str) -> dict[str, float]:
    network = network_of(size)
    for block in network.image_encoder.blocks:
        block.attn.__class__ = PlainAttention
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device)
    kind, _ = SIZES[size]
    frame = (StretchedFrame if kind is SamMed2D else LongestSideFrame)(SHAPE[1:], network.config.image_size)
    volume, tube = volume_and_tube()
    labels = torch.ones(1, 1, dtype=torch.long)

    def encoded(k: int) -> torch.Tensor:
        return network.encode(frame.image(as_rgb(volume.array[k], WINDOW)).to(device))

    def click(k: int, low_res: torch.Tensor | None = None) -> torch.Tensor:
        points = frame.points(torch.tensor([[[160.0, 160.0]]]))
        masks, iou = network.decode(encoded(k), points, labels, mask=low_res)
        best = masks[:, iou.argmax(dim=1)]
        (frame.logits(best) > 0).cpu().numpy()
        return best

    def next_slice(k: int) -> None:
        box = frame.boxes(torch.tensor([[120.0, 120, 200, 200]]))
        given = frame.low_res(torch.from_numpy(tube).float()[None, None], [4 * s for s in grid])
        masks, _ = network.decode(encoded(k), frame.points(torch.tensor([[[160.0, 160.0]]])), labels, box, given)
        (frame.logits(masks) > 0).cpu().numpy()

    low_res = click(0)
    grid = [side // 4 for side in low_res.shape[2:]]
    return report(
        [timed(lambda k=k: encoded(k)) for k in range(REPEATS)],
        [timed(lambda k=k: click(k)) for k in range(REPEATS)],
        [timed(lambda k=k: click(k, low_res)) for k in range(REPEATS)],
        timed(lambda: [next_slice(k) for k in range(1, SLICES + 1)]),
    )


# Our way


def ours(size: str) -> dict[str, float]:
    kind, _ = SIZES[size]
    predictor = kind(network_of(size), cache=EmbeddingCache())
    volume, tube = volume_and_tube()
    session = Session(volume, predictor, window=WINDOW)

    def click(k: int, x: float = 160.0) -> None:
        session.add(Point(tuple(volume.grid.to_ras((x, 160.0, k)))))

    click(SLICES + 3)  # loads and warms up
    session.reset()
    first = [timed(lambda k=k: click(k)) for k in range(REPEATS)]
    following = [timed(lambda k=k: click(k, 150.0)) for k in range(REPEATS)]
    encoding = predictor.encode(session.image, CancelToken(), lambda *_: None)
    encode = []
    for k in range(REPEATS):
        image = as_rgb(volume.array[SLICES - k], WINDOW)
        encode.append(timed(lambda image=image: encoding.model.embed([image], CancelToken())))

    session = Session(volume, predictor, window=WINDOW)
    answer = encoding.model.answer
    # The network answers, and its random masks are replaced by what is there.
    encoding.model.answer = lambda *asked: [ObjectAnswer(tube, 0.9, one.logits) for one in answer(*asked)]
    predictor._cache = EmbeddingCache()
    click(0)
    last = tuple(volume.grid.to_ras((0, 0, SLICES)))
    carried = timed(lambda: session.propagate(Span((tuple(volume.grid.to_ras((0, 0, 0))), last))))
    assert session.mask_kji.any(axis=(1, 2)).sum() == SLICES + 1, session.prediction.note
    return report(encode, first, following, carried)


def compare_precisions(size: str) -> None:
    """Print how long an embedding takes in half and in single precision on the GPU, and how alike the masks are."""
    kind, _ = SIZES[size]
    volume, _ = volume_and_tube()
    masks, embed_ms, click_ms = [], [], []
    for is_half in (True, False):
        predictor = kind(network_of(size), cache=EmbeddingCache())
        session = Session(volume, predictor, window=WINDOW)
        session.add(Point(tuple(volume.grid.to_ras((160.0, 160.0, SLICES)))))
        if not is_half:
            predictor._model._device.autocast = contextlib.nullcontext
        session.reset()
        timings = []
        for k in range(REPEATS):
            session.add(Point(tuple(volume.grid.to_ras((160.0, 160.0, k)))))
            timings.append(session.prediction.timings_ms)
        masks.append(session.mask_kji)
        embed_ms.append(min(one["embed"] for one in timings))
        click_ms.append(min(one["decode"] for one in timings))
    dice = 2 * (masks[0] & masks[1]).sum() / (masks[0].sum() + masks[1].sum())
    print(f"GPU, ms: embedding {embed_ms[0]:.1f} in half precision, {embed_ms[1]:.1f} in single;", end=" ")
    print(f"click {click_ms[1]:.1f}; Dice of both {dice:.4f}")


if __name__ == "__main__":
    main()
