"""Show whether models run rightly on an accelerator: the same prompts on the CPU and there, and what differs.

    python Testing/Benchmarks/device_check.py [--device cuda] [--models default-2d,sam-vit-b]

Each model gets four clicks where a careful user would click, and a box, or two names, on a phantom. Its line tells how
far the first logits are apart, in parts of their range; how many voxels of the worst mask differ, in parts of the
union of both; the seconds of the first prompt, which moves the network and warms up, and the median of the others, on
both; and the peak of the device's memory. On CUDA some models are asked again with nearly all memory taken: the CPU
has to answer. What is beyond the expectation in `device_models.MODELS` is marked, and the exit status is 1. Models
whose packages are missing are skipped: `default` and SAM-Med3D need SimpleITK, SAM 2.1 and SAT need transformers.

Weights follow from the names of their keys: such masks mean nothing, and more of their voxels are near a change than
in real ones. Only `default` has its own; its Dice after each click is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import statistics
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "support")]

from device_models import MODELS, Model  # noqa: E402

from PromptSegLib.evaluation.boxes import box_with_margin  # noqa: E402
from PromptSegLib.evaluation.clicks import next_click  # noqa: E402
from PromptSegLib.evaluation.metrics import dice  # noqa: E402
from PromptSegLib.evaluation.phantom import make_abdomen  # noqa: E402
from PromptSegLib.predictors.torch_device import OUT_OF_MEMORY_NOTE  # noqa: E402
from PromptSegLib.session.session import Session  # noqa: E402

CLICKS, STRUCTURE = 4, "liver"
# In the drill: the weights of the first model fit into what is left, those of the second one do not.
DRILLED, LEFT_MIB = ("default-3d", "sam-med3d"), 32
LOGITS_KEPT = 10**6


@dataclass
class Answers:
    """What came of `prompts`: masks (k, j, i) and seconds, one for each; the first logits, some of them; the rest."""

    prompts: list[Any] = field(default_factory=list)
    masks: list[np.ndarray] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    logits: list[torch.Tensor] = field(default_factory=list)
    note: str = ""
    device: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", default=",".join(MODELS), metavar="NAME,NAME", help="default: %(default)s")
    arguments = parser.parse_args()
    device, is_cuda = arguments.device, torch.device(arguments.device).type == "cuda"
    if is_cuda and not torch.cuda.is_available():
        parser.error(f"expected a device that is here, got {device}")
    print(f"{torch.cuda.get_device_name(device) if is_cuda else device}, beside {torch.get_num_threads()} CPU threads")
    print(f"{'':15}{'logits':>8}{'most':>7}{'voxels':>9}{'most':>7}{'first s, CPU':>14}{device:>8}", end="")
    print(f"{'later s, CPU':>14}{device:>8}{'peak MiB':>10}")
    failures = 0
    for name in arguments.models.split(","):
        for look in (check, drill) if is_cuda and name in DRILLED else (check,):
            try:
                wrong = look(name, MODELS[name], device)
            except Exception as error:  # noqa: BLE001 - the others are still to be looked at
                cause = error.__cause__ or error
                if isinstance(cause, ModuleNotFoundError):
                    print(f"{name:15}skipped: {cause}")
                    break
                traceback.print_exc(file=sys.stdout)
                wrong = ["failed"]
            for complaint in wrong:
                print(f"{name:15}!! {complaint}")
            failures += bool(wrong)
            sys.stdout.flush()
    print("all as expected" if not failures else f"{failures} not as expected")
    sys.exit(failures > 0)


def check(name: str, model: Model, device: str) -> list[str]:
    """Print the model's lines; return what is not as expected."""
    here = answers(model, "cpu")
    is_cuda = torch.device(device).type == "cuda"
    if is_cuda:
        torch.cuda.reset_peak_memory_stats(device)
    there = answers(model, device, here.prompts)
    peak = f"{torch.cuda.max_memory_allocated(device) / 2**20:.0f}" if is_cuda else "-"
    [one], [other] = here.logits, there.logits
    logits = float((one - other).abs().max() / (one.max() - one.min()))
    voxels = max(map(apart, here.masks, there.masks))
    print(f"{name:15}{logits:8.4f}{model.logits:7.3f}{voxels:9.4f}{model.voxels:7.3f}", end="")
    print(f"{here.seconds[0]:14.2f}{there.seconds[0]:8.2f}", end="")
    print(f"{statistics.median(here.seconds[1:]):14.3f}{statistics.median(there.seconds[1:]):8.3f}{peak:>10}")
    if name.startswith("default"):
        truth = make_abdomen(*model.grid).mask(STRUCTURE)
        for where, found in (("CPU", here), (device, there)):
            scores = " ".join(f"{dice(mask, truth):.4f}" for mask in found.masks[:CLICKS])
            print(f"{'':15}Dice after each click, {where}: {scores}")
    wrong = {
        "masks that are empty or full show nothing": not all(0.005 < mask.mean() < 0.995 for mask in here.masks),
        "the logits are further apart than expected": not logits <= model.logits,  # also where they are not finite
        "the masks are further apart than expected": not voxels <= model.voxels,
        f"answered on {there.device}: {there.note}": torch.device(there.device).type != torch.device(device).type,
    }
    return [complaint for complaint, is_so in wrong.items() if is_so]


def drill(name: str, model: Model, device: str) -> list[str]:
    """Ask with nearly no memory left on the device; return what is not as expected."""
    here = answers(model, "cpu", most=1)
    gc.collect()
    torch.cuda.empty_cache()
    taken = torch.empty(torch.cuda.mem_get_info(device)[0] - LEFT_MIB * 2**20, dtype=torch.uint8, device=device)
    try:
        there = answers(model, device, here.prompts)
    finally:
        del taken
        torch.cuda.empty_cache()
    voxels = apart(here.masks[0], there.masks[0])
    print(f"{name:15}with {LEFT_MIB} MiB left: on {there.device}, voxels {voxels:.4f} apart; {there.note!r}")
    is_told = there.device == "cpu" and OUT_OF_MEMORY_NOTE in there.note
    return [] if is_told and voxels < 1e-3 else ["expected the CPU's mask, and its note"]


def answers(model: Model, device: str, prompts: Sequence[Any] = (), most: int = CLICKS + 1) -> Answers:
    """Ask a fresh predictor for `prompts`, or where none are given for `most` that follow from its own answers."""
    phantom = make_abdomen(*model.grid)
    predictor, network = model.make(device)
    session = Session({"ct": phantom.volume}, predictor)
    truth, grid = phantom.mask(STRUCTURE), phantom.volume.grid
    found = Answers()
    try:
        with listening(network, model.answer, found.logits):
            for number in range(len(prompts or model.names) or most):
                if prompts or model.names:
                    prompt = (prompts or model.names)[number]
                elif number == CLICKS:
                    prompt = box_with_margin(truth, grid)
                else:
                    prompt = next_click(session.mask_kji, truth, grid)
                started = time.perf_counter()
                session.add_classes([prompt]) if model.names else session.add(prompt)
                found.seconds.append(time.perf_counter() - started)
                found.prompts.append(prompt)
                found.masks.append(session.mask_kji)
    finally:
        network.to("cpu")  # it is used again, and the next model's peak is its own
    found.note, found.device = session.prediction.note, session.prediction.device
    return found


@contextlib.contextmanager
def listening(network: nn.Module, method: str, heard: list[torch.Tensor]) -> Iterator[None]:
    """Append some of the logits of the first call of the network's `method`, float32 and flat, to `heard`."""
    answer = getattr(network, method)

    def answer_aloud(*asked: Any, **options: Any) -> Any:
        answered = answer(*asked, **options)
        if not heard:
            logits = (answered[0] if isinstance(answered, tuple) else answered).flatten()
            some = logits[:: 1 + len(logits) // LOGITS_KEPT]
            heard.append(some.to("cpu", torch.float32, copy=True))
        return answered

    setattr(network, method, answer_aloud)
    try:
        yield
    finally:
        delattr(network, method)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Return how many voxels differ, in parts of the union."""
    return float((one ^ other).sum() / max(1, (one | other).sum()))


if __name__ == "__main__":
    main()
