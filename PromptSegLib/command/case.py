"""One image with its prompts, segmented and written."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, overload

from PromptSegLib.command.console import warn
from PromptSegLib.command.initial_mask import start_from_mask
from PromptSegLib.command.positions import prompt_at
from PromptSegLib.errors import FormatWarning, PromptError, VolumeError
from PromptSegLib.geometry import Grid
from PromptSegLib.imaging.co_registration import as_image
from PromptSegLib.io import Segment, flatten, open_image, read_volume, segmentation_format, write_segmentation
from PromptSegLib.io.one_line import one_line
from PromptSegLib.io.output_file import check_can_be_written
from PromptSegLib.io.prompts import read_prompts
from PromptSegLib.io.segmentation import check_fits
from PromptSegLib.predictors.base import Predictor
from PromptSegLib.predictors.naming import target_named
from PromptSegLib.predictors.slices.slice_choice import slices_of_prompts
from PromptSegLib.predictors.slices.slices import ArraySlice
from PromptSegLib.prompts import ClassPrompt, Prompt, TextPrompt
from PromptSegLib.session.mask_store import MemoryMaskStore
from PromptSegLib.session.observer import SessionObserver
from PromptSegLib.session.session import Session
from PromptSegLib.span import Span
from PromptSegLib.view import Window
from PromptSegLib.volume import SINGLE_CHANNEL, Image, Volume

_DEFAULT_NAME = "segment"


@dataclass(frozen=True)
class Case:
    """What to segment.

    channels: further images, by their names. image_name: the name of `image` among them; where it is empty, the one
    that the model needs besides. given: (option, numbers) of prompts on the command line, in their order.
    """

    image: Path
    output: Path
    prompts: Path | None = None
    given: Sequence[tuple[str, tuple[float, ...]]] = ()
    initial: Path | None = None
    channels: Mapping[str, Path] = field(default_factory=dict)
    image_name: str = ""

    @property
    def inputs(self) -> list[Path]:
        """All files that are read."""
        files = (self.image, *self.channels.values(), self.prompts, self.initial)
        return [path for path in files if path is not None]


@dataclass(frozen=True)
class Carry:
    """How far to carry segments from the slices prompted. slices: first and last along the axis of these, or None."""

    direction: Literal["both", "forward", "backward"] = "both"
    slices: tuple[int, int] | None = None


@dataclass(frozen=True)
class CaseSettings:
    """How to segment.

    names: structures to be found by their names, a segment of each. values: label value of segments by name.
    frame: of positions, None for the image's own. redraw: an initial mask is drawn anew, not just corrected. carry:
    None for not.
    """

    names: tuple[ClassPrompt | TextPrompt, ...] = ()

    frame: str | None = None
    values: Mapping[str, int] = field(default_factory=dict)
    window: Window | None = None
    redraw: bool = False
    time_point: int | None = None
    series: str | None = None
    carry: Carry | None = None


@dataclass(frozen=True)
class Result:
    """What became of a case. segments: what there is to say of each."""

    case: Case
    model: str
    segments: Sequence[Mapping[str, Any]]

    def as_json(self) -> dict[str, Any]:
        paths = {"image": str(self.case.image), "output": str(self.case.output)}
        return {**paths, "model": self.model, "segments": list(self.segments)}

    def as_text(self) -> str:
        return "\n".join([str(self.case.output), *(f"  {_described(segment)}" for segment in self.segments)])


def segment_case(
    case: Case,
    settings: CaseSettings,
    predictor: Predictor,
    observer: SessionObserver,
    look: Callable[[Session], None] = lambda session: None,
) -> Result:
    """Segment a case and write its output. look: gets the session when all is answered.

    Raises:
        PromptSegError: says what was expected and what came.
    """
    _check_output(case)
    image_file = open_image(case.image, settings.series)
    volume = image_file.volume(settings.time_point)
    check_fits(case.output, volume.grid)
    frame = settings.frame or ("ijk" if image_file.is_picture else "ras")
    image = _with_channels(volume, case, predictor.capabilities.channels)
    given = tuple(prompt_at(option, numbers, frame, volume.grid) for option, numbers in case.given)
    notes = _window_notes(settings.window, case.image, volume)
    if settings.names:
        session, values = _ask_for_names(case, settings, image, predictor, observer, given)
    else:
        session, values = _answer_prompts(case, settings, image, predictor, observer, given, notes)
    look(session)
    segments = _SegmentsOf(session, values)
    notes += _written(case.output, segments, volume.grid)
    for note in notes:
        warn(one_line(note))
    reports = [_report(session, segment, image_file.is_picture) for segment in segments]
    return Result(case, session.capabilities.name, reports)


class _SegmentsOf(Sequence[Segment]):
    """The segments of a session, each made when it is asked for: all at once take a volume's memory each."""

    def __init__(self, session: Session, values: Mapping[str, int]) -> None:
        self._session = session
        self._values = values

    def __len__(self) -> int:
        return len(self._session.targets)

    @overload
    def __getitem__(self, index: int) -> Segment: ...

    @overload
    def __getitem__(self, index: slice) -> list[Segment]: ...

    def __getitem__(self, index: int | slice) -> Segment | list[Segment]:
        targets = self._session.targets[index]
        if isinstance(targets, tuple):
            return [self._segment(target) for target in targets]
        return self._segment(targets)

    def _segment(self, target: str) -> Segment:
        return Segment(target, self._session.mask(target), self._values[target])


def _ask_for_names(
    case: Case,
    settings: CaseSettings,
    image: Image,
    predictor: Predictor,
    observer: SessionObserver,
    given: tuple[Prompt, ...],
) -> tuple[Session, dict[str, int]]:
    """Find the structures asked for, where `given` wants them. Returns the session and the segments' values."""
    if beside := [name for name, path in (("prompts", case.prompts), ("an initial mask", case.initial)) if path]:
        raise PromptError(f"expected names alone or with places, got {' and '.join(beside)} of {case.image}, too")
    names = [target_named(predictor.capabilities, prompt) for prompt in settings.names]
    _check_labels(settings.values, names)
    session = _session(image, predictor, dict.fromkeys(names), settings, observer)
    session.auto = True
    session.add_classes(settings.names, given)
    return session, _label_values(names, settings.values)


def _answer_prompts(
    case: Case,
    settings: CaseSettings,
    image: Image,
    predictor: Predictor,
    observer: SessionObserver,
    given: tuple[Prompt, ...],
    notes: list[str],
) -> tuple[Session, dict[str, int]]:
    """Answer the prompts of the case and those `given` beside. Returns the session and the segments' values.

    notes: gets what there is to say of the initial mask.
    """
    targets = _targets(case, settings, given)
    values = _label_values(list(targets), settings.values)
    session = _session(image, predictor, targets, settings, observer)
    if case.initial is not None:
        notes += start_from_mask(session, case.initial, values, settings.values)
    # A file's prompts are answered one by one, which gives the mask that its session had; others all at once.
    session.auto = case.prompts is not None
    for target, prompts in targets.items():
        session.select(target)
        for prompt in prompts:
            session.add(prompt)
        if session.prediction is None:
            session.predict()
        if settings.carry is not None:
            session.propagate(_span(settings.carry, image.grid, session.prompts()))
    return session, _label_values(list(session.targets), values)


def _span(carry: Carry, grid: Grid, prompts: Sequence[Prompt]) -> Span:
    if carry.slices is None:
        return Span(direction=carry.direction)
    newest = list(slices_of_prompts(prompts, grid, {}, {}).values())[-1]
    if not isinstance(newest, ArraySlice):
        raise PromptError(f"expected no --slices with an {newest.name}: its stack has no numbers")
    first, last = (ArraySlice(grid, newest.axis, index).points_ras((0, 0)) for index in carry.slices)
    return Span((tuple(first.tolist()), tuple(last.tolist())), carry.direction)


def _check_output(case: Case) -> None:
    segmentation_format(case.output)
    check_can_be_written(case.output)
    if case.output.exists() and any(path.exists() and path.samefile(case.output) for path in case.inputs):
        raise VolumeError(f"expected an output other than the inputs, got {case.output}")


def _with_channels(volume: Volume, case: Case, needed: Sequence[str]) -> Image:
    """Read the case's further channels.

    Raises:
        VolumeError: it cannot be known which one `volume` is.
    """
    if not case.channels:
        return as_image({case.image_name or (needed[0] if len(needed) == 1 else SINGLE_CHANNEL): volume})
    left = [name for name in needed if name not in case.channels]
    if not case.image_name and needed and len(left) != 1:
        raise VolumeError(
            f"expected --channel for all but one of {', '.join(needed)}, the one that {case.image} is, got "
            f"{', '.join(case.channels)}; or all of them, and no IMAGE"
        )
    name = case.image_name or (left[0] if left else SINGLE_CHANNEL)
    return as_image({name: volume} | {name: read_volume(path) for name, path in case.channels.items()})


def _targets(case: Case, settings: CaseSettings, given: tuple[Prompt, ...]) -> dict[str, tuple[Prompt, ...]]:
    """Return the prompts of each segment. Those of the command line, `given`, belong to the only one."""
    targets = read_prompts(case.prompts) if case.prompts is not None else {}
    if not targets:
        if len(settings.values) > 1:
            raise PromptError(f"expected one --label for one segment, got {', '.join(settings.values)}")
        targets = {next(iter(settings.values), _DEFAULT_NAME): ()}
    if given and len(targets) > 1:
        raise PromptError(f"expected prompts of one segment beside --positive and the like, got {', '.join(targets)}")
    _check_labels(settings.values, targets)
    prompts = {name: (*prompts, *given) for name, prompts in targets.items()}
    # A mask to go on from may speak for itself.
    if case.initial is None and (without := [name for name, own in prompts.items() if not own]):
        raise PromptError(f"expected at least one prompt for {', '.join(without)}, got none")
    return prompts


def _check_labels(values: Mapping[str, int], targets: Collection[str]) -> None:
    if unknown := [name for name in values if name not in targets]:
        raise PromptError(f"expected --label for {', '.join(targets)}, got {', '.join(unknown)}")


def _label_values(names: Sequence[str], chosen: Mapping[str, int]) -> dict[str, int]:
    """Return a value for each name: the chosen one, otherwise the lowest that is free."""
    values = dict(chosen)
    for name in names:
        if name not in values:
            values[name] = next(value for value in range(1, 65536) if value not in values.values())
    return values


def _session(
    image: Image,
    predictor: Predictor,
    targets: Iterable[str],
    settings: CaseSettings,
    observer: SessionObserver,
) -> Session:
    store = MemoryMaskStore(image.grid.shape_kji)
    for name in targets:
        store.add(name)
    return Session(
        image, predictor, store=store, observer=observer, auto=False, window=settings.window, redraw=settings.redraw
    )


def _window_notes(window: Window | None, path: Path, volume: Volume) -> list[str]:
    if window is None:
        return []
    low, high = volume.finite_range
    if window.low < high and low < window.high:
        return []
    colour = "black" if window.low >= high else "white"
    return [
        f"all of {path} is {colour} in the window from {window.low:g} to {window.high:g}: "
        f"its intensities go from {low:g} to {high:g}"
    ]


def _written(output: Path, segments: Sequence[Segment], grid: Grid) -> list[str]:
    """Write the segments and return what there is to say of the file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FormatWarning)
        write_segmentation(output, segments, grid)
    notes = [str(warning.message) for warning in caught if issubclass(warning.category, FormatWarning)]
    if len(segments) > 1 and segmentation_format(output) != ".seg.nrrd":
        _, overlapping = flatten(segments, grid.shape_kji)
        if overlapping:
            notes.append(
                f"{overlapping} voxels belong to several segments: {output} keeps one of them, .seg.nrrd keeps all"
            )
    return notes


def _report(session: Session, segment: Segment, is_picture: bool) -> dict[str, Any]:
    session.select(segment.name)
    voxels = int(segment.mask_kji.sum())
    volume_ml = voxels * session.image.grid.voxel_mm3 / 1000
    answer = session.prediction
    return {
        "name": segment.name,
        "value": segment.value,
        "voxels": voxels,
        "volume_ml": None if is_picture else round(volume_ml, 4),
        "score": answer.score if answer else None,
        "device": answer.device if answer else "",
        "note": answer.note if answer else "",
        "timings_ms": {stage: round(ms, 1) for stage, ms in answer.timings_ms.items()} if answer else {},
    }


def _described(segment: Mapping[str, Any]) -> str:
    parts = [f"{one_line(segment['name'])} = {segment['value']}: {segment['voxels']} voxels"]
    if segment["volume_ml"] is not None:
        parts.append(f"{segment['volume_ml']:.1f} mL")
    if segment["score"] is not None:
        parts.append(f"expected quality {segment['score']:.2f}")
    if "total" in segment["timings_ms"]:
        device = f" on {segment['device']}" if segment["device"] else ""
        parts.append(f"{segment['timings_ms']['total']:.0f} ms{device}")
    if not segment["voxels"]:
        parts.append("it is empty")
    if segment["note"]:
        parts.append(segment["note"])
    return ", ".join(parts)
