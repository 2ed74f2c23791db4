"""`promptseg demo`: from clicks to a segmentation, with the time of each stage and a picture."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PromptSegLib.command import arguments as parsing
from PromptSegLib.command.console import ProgressBar, warn
from PromptSegLib.io import Segment, write_segmentation
from PromptSegLib.io.output_file import check_can_be_written
from PromptSegLib.io.prompts import write_prompts
from PromptSegLib.prompts import Prompt
from PromptSegLib.session.session import Session

if TYPE_CHECKING:
    from PromptSegLib.command.demo_scene import Outcome, Sample

_MOST_CLICKS = 5
_GOOD_DICE = 0.95
_SEGMENTATION = "segmentation.seg.nrrd"


def add_parser(commands: argparse._SubParsersAction[parsing.Parser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "demo",
        help="segment a sample by clicks, with times and a picture",
        description="Without IMAGE: Slicer's public sample CT where it can be reached, else a phantom.",
    )
    parser.add_argument("image", nargs="?", type=Path, metavar="IMAGE", help="file, or folder with a DICOM series")
    point = parsing.numbers(2, 3)
    parsing.add_in_order(parser, "--positive", point, "X,Y,Z", "a click on the structure, see promptseg segment")
    parsing.add_in_order(parser, "--negative", point, "X,Y,Z", "a click beside it")
    parser.add_argument("--frame", choices=("ras", "lps", "ijk"), help="of the clicks")
    parser.add_argument("--window", type=parsing.numbers(2), metavar="LOW,HIGH", help="intensities that matter")
    parsing.add_image_options(parser)
    parsing.add_model_options(parser)
    parser.add_argument("-o", "--output", type=Path, default=Path("demo"), metavar="FOLDER", help="(default: demo)")
    parser.add_argument("--phantom", action="store_true", help="take the phantom, fetch nothing")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    # Here and below imported late: what needs scipy takes a quarter of a second to load.
    from PromptSegLib.command.demo_scene import choose_scene

    check_can_be_written(arguments.output / _SEGMENTATION)
    with _timed("image") as say:
        scene = choose_scene(arguments)
        say(repr(scene.volume))
    outcome = segment_by_clicks(scene, arguments.model, arguments.device)
    write_results(outcome, arguments.output)
    draw_picture(outcome, arguments.output / "demo.png")
    leave_scene(outcome, arguments.output)
    return 0


def segment_by_clicks(scene: Sample, model: str, device: str = "auto") -> Outcome:
    """Segment with the scene's clicks and, where the truth is known, those that a careful user would add."""
    from PromptSegLib.command.demo_scene import Outcome

    session = Session(scene.volume, model, device=device, observer=ProgressBar(), window=scene.window)
    _print("model", f"{session.capabilities.name}: {session.capabilities.summary}")
    for number, click in enumerate(_clicks(scene, session), start=1):
        with _timed(f"click {number}") as say:
            session.add(click)
            say(_stages(session, click))
        _print("", _result(scene, session))
    return Outcome(scene, session.prompts(), Segment(scene.name, session.mask_kji))


def write_results(outcome: Outcome, folder: Path) -> None:
    """Leave the segmentation, as .seg.nrrd and as NIfTI, and the clicks in `folder`."""
    names = (_SEGMENTATION, "segmentation.nii.gz")
    with _timed("files") as say:
        for name in names:
            write_segmentation(folder / name, [outcome.segment], outcome.scene.volume.grid)
        write_prompts(folder / "prompts.json", {outcome.scene.name: outcome.prompts})
        say(f"{folder}: {', '.join(names)}, prompts.json")


def draw_picture(outcome: Outcome, path: Path) -> None:
    """Leave a picture of the slices through the first click, where matplotlib is there."""
    from PromptSegLib.command.demo_picture import draw_slices

    scene = outcome.scene
    try:
        with _timed("picture") as say:
            center_ras = scene.clicks[0].positions_ras()[0]
            draw_slices(path, scene.volume, center_ras, outcome.prompts, [outcome.segment], scene.window)
            say(str(path))
    except ImportError as error:
        warn(f"no picture without {error.name}: pip install 'promptseg[plot]'")


def leave_scene(outcome: Outcome, folder: Path) -> None:
    """Leave a scene that Slicer opens, and a picture of its views, where slicer-core is there."""
    try:
        from PromptSegLib.command.demo_nodes import write_scene
    except ImportError as error:
        warn(f"no scene without {error.name}: pip install 'promptseg[mrml]'")
        return
    with _timed("scene") as say:
        write_scene(outcome, folder / "scene.mrb", folder / "views.png")
        say(f"{folder}: scene.mrb, views.png")


def _clicks(scene: Sample, session: Session) -> Iterator[Prompt]:
    from PromptSegLib.evaluation.clicks import next_click
    from PromptSegLib.evaluation.metrics import dice

    yield from scene.clicks
    if scene.truth_kji is None:
        return
    for _ in range(_MOST_CLICKS - len(scene.clicks)):
        click = next_click(session.mask_kji, scene.truth_kji, scene.volume.grid)
        if click is None or dice(session.mask_kji, scene.truth_kji) >= _GOOD_DICE:
            return
        yield click


def _stages(session: Session, click: Prompt) -> str:
    """Say where a click is, and how long each stage of its answer took."""
    x, y, z = click.positions_ras()[0]
    timings_ms = session.prediction.timings_ms if session.prediction else {}
    stages = [f"{stage} {ms:.0f} ms" for stage, ms in timings_ms.items() if stage != "total" and ms >= 0.5]
    return f"{click.sign} at R {x:.1f}, A {y:.1f}, S {z:.1f} mm: {', '.join(stages)}"


def _result(scene: Sample, session: Session) -> str:
    from PromptSegLib.evaluation.metrics import dice

    segment = Segment(scene.name, session.mask_kji)
    text = f"{scene.name} {segment.size_on(scene.volume.grid)}"
    if scene.truth_kji is not None:
        text += f", Dice {dice(segment.mask_kji, scene.truth_kji):.3f} with the truth"
    return text


@contextmanager
def _timed(stage: str) -> Iterator[Callable[[str], None]]:
    """Print the stage, how long it took, and what was said meanwhile."""
    said: list[str] = []
    started = time.perf_counter()
    yield said.append
    _print(stage, " ".join(said), time.perf_counter() - started)


def _print(stage: str, text: str, seconds: float | None = None) -> None:
    print(f"{stage:8} {'' if seconds is None else f'{seconds:.2f} s':>8}  {text}", flush=True)
