"""`promptseg train-default`: make the default model's weights anew, from synthetic images alone."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PromptSegLib.command import arguments as parsing

if TYPE_CHECKING:
    import torch

    from PromptSegLib.training.recipe import Recipe

_EPILOG = """\
FOLDER gets log.jsonl, the checkpoint state.pt and the weights so far, prompt_unet_2d.npz or prompt_unet_3d.npz, as
they lie in PromptSegLib/weights/default. The same command takes a run up that was stopped, and continues one that is
finished when --steps is larger. The synthetic images are kept beside the checkpoint (128 KB each in 2D, 1.8 MB in 3D).
"""


def add_parser(commands: argparse._SubParsersAction[parsing.Parser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "train-default",
        help="train the default model on synthetic images",
        description="Train the default model on synthetic images, which are made on the way. No data is needed.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dims", type=int, choices=(2, 3), required=True, help="of the network's images")
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="of the run (default: train-2d, train-3d)")
    parser.add_argument("--steps", type=int, metavar="N", help="gradient steps in all (default: the recipe's)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(default: %(default)s)")
    parser.add_argument(
        "--start", type=Path, metavar="WEIGHTS", help="begin with these shipped weights; --dims 3 also takes 2D ones"
    )
    parser.add_argument(
        "--finish", action="store_true", help="go on from --start at a lower rate, on small batches: a core is enough"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 … (default: %(default)s)")
    parser.add_argument("--gpus", type=int, default=1, metavar="N", help="train on N GPUs at once, N times the batch")
    parser.add_argument("--threads", type=int, metavar="N", help="of the CPU")
    parser.add_argument(
        "--makers",
        type=int,
        default=0,
        metavar="N",
        help="processes that make synthetic images ahead, on the CPU; with a GPU best as many as there are cores "
        "(default: %(default)s: the device makes them when they are needed)",
    )
    parser.add_argument(
        "--samples", type=Path, metavar="PNG", help="only draw views of synthetic images, with targets and prompts"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import torch

    from PromptSegLib.predictors.torch_device import best_device, checked_device
    from PromptSegLib.training.recipe import recipe_for

    if arguments.threads is not None:
        torch.set_num_threads(max(1, arguments.threads))
    device = best_device() if arguments.device == "auto" else checked_device(arguments.device)
    if arguments.finish and arguments.start is None:
        raise parsing.UsageError("expected --start WEIGHTS with --finish, got none: what is to be finished?")
    recipe = recipe_for(arguments.dims, steps=arguments.steps, seed=arguments.seed, finish=arguments.finish)
    if arguments.samples is not None:
        _draw(recipe, arguments.samples, device)
        return 0
    if arguments.gpus > 1:
        _train_together(arguments, recipe)
    else:
        _train(arguments, recipe, device)
    return 0


def _train_together(arguments: argparse.Namespace, recipe: Recipe) -> None:
    """Train on several GPUs at once."""
    import torch

    from PromptSegLib.training.ranks import run_ranks

    if arguments.gpus > torch.cuda.device_count():
        raise parsing.UsageError(f"expected --gpus {torch.cuda.device_count()} or fewer, got {arguments.gpus}")
    with tempfile.TemporaryDirectory() as folder:
        run_ranks(arguments.gpus, f"file://{folder}/meeting", partial(_train_rank, arguments, recipe))


def _train_rank(arguments: argparse.Namespace, recipe: Recipe, number: int) -> None:
    import torch

    torch.cuda.set_device(number)
    _train(arguments, recipe, torch.device("cuda", number))


def _train(arguments: argparse.Namespace, recipe: Recipe, device: torch.device) -> None:
    from PromptSegLib.training.trainer import Trainer

    folder = arguments.output or Path(f"train-{recipe.dims}d")
    start = None if arguments.start is None else _start(arguments.start, recipe)
    began = time.monotonic()

    def report(entry: dict[str, Any]) -> None:
        told = "  ".join(f"{key} {value}" for key, value in entry.items() if key != "step")
        print(
            f"step {entry['step']:6} of {recipe.steps}  {(time.monotonic() - began) / 60:6.1f} min  {told}", flush=True
        )

    trainer = Trainer(recipe, folder, device=device, start=start, makers=arguments.makers, report=report)
    if trainer.step >= recipe.steps:
        print(f"{folder}: its {trainer.step} steps are done; --steps N continues it", file=sys.stderr)
        return
    trainer.run()
    print(f"{folder / f'prompt_unet_{recipe.dims}d.npz'}: the weights after {trainer.step} steps")


def _start(path: Path, recipe: Recipe) -> dict[str, torch.Tensor]:
    """Weights to begin with, inflated where they are of the 2D network."""
    import torch

    from PromptSegLib.predictors.default.prompt_unet import PromptUNet
    from PromptSegLib.training.inflation import inflated
    from PromptSegLib.weights.readers import check_state_dict
    from PromptSegLib.weights.shipped import read_shipped

    configuration, arrays = read_shipped(path)
    weights = {key: torch.from_numpy(array).float() for key, array in arrays.items()}
    torch.manual_seed(recipe.seed)
    wanted = PromptUNet(recipe.dims, recipe.widths).state_dict()
    if configuration["dims"] == 2 and recipe.dims == 3:
        weights = inflated(weights, wanted)
    check_state_dict({key: value.shape for key, value in wanted.items()}, weights)
    return weights


def _draw(recipe: Recipe, path: Path, device: torch.device) -> None:
    """Leave a picture of views as the network is shown them."""
    from matplotlib import image

    from PromptSegLib.training.sample_sheet import sample_sheet

    path.parent.mkdir(parents=True, exist_ok=True)
    image.imsave(path, sample_sheet(recipe, device))
    print(f"{path}: targets yellow, boxes blue, masks to correct purple, positive prompts green, negative ones red")
