"""A benchmark's trials, on several processes; one that was stopped goes on where it was."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import platform
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from PromptSegLib.errors import PromptSegError, VolumeError
from PromptSegLib.evaluation.baselines import RIVALS
from PromptSegLib.evaluation.cases import BenchmarkCase
from PromptSegLib.evaluation.columns import Record
from PromptSegLib.evaluation.manifest import Source
from PromptSegLib.evaluation.memory import peak_memory_mib, reset_peak_memory
from PromptSegLib.evaluation.protocols import PROTOCOLS
from PromptSegLib.evaluation.results import Results
from PromptSegLib.evaluation.trial import Trial, is_of_slices, run_trial
from PromptSegLib.packages import is_installed
from PromptSegLib.predictors.base import Capabilities, Predictor
from PromptSegLib.predictors.registry import capabilities_of, create_predictor
from PromptSegLib.session.session import Session

Progress = Callable[[float, str], None]


class BenchmarkError(PromptSegError, ValueError):
    """A benchmark that cannot be run as it is asked for."""


@dataclass(frozen=True)
class Settings:
    """models: names, those of `RIVALS` too, or "module:Class". protocols: names out of `PROTOCOLS`.

    clicks: how many. has_view: whether the models are told the field of view, see `StructureView`. least_voxels: what
    a structure must have to be looked at. has_surfaces: whether surfaces are compared too, which takes MONAI.
    device: where the models run.
    """

    models: tuple[str, ...]
    protocols: tuple[str, ...] = ("clicks", "box", "human")
    clicks: int = 10
    has_view: bool = True
    least_voxels: int = 64
    has_surfaces: bool = True
    device: str = "auto"


class _Work(NamedTuple):
    model: str
    case: BenchmarkCase
    settings: Settings


def run_benchmark(
    cases: Sequence[BenchmarkCase],
    settings: Settings,
    jobs: int = 1,
    *,
    sources: Sequence[Source] = (),
    progress: Progress = lambda fraction, what: None,
    notes: Path | None = None,
) -> Results:
    """Run every protocol on every case with every model, and return what came of it.

    jobs: how many processes. sources: what is to be said of the data sets' origin. notes: a file that keeps what was
    done already while the benchmark runs; one that is there is gone on with, if it is of the same benchmark. It is
    removed in the end.

    A case with fewer voxels than wanted, and one whose image does not suit a model, is left out.

    Raises:
        VolumeError: a file cannot be read.
        UnknownPredictorError: there is no such predictor, or it is broken.
        WeightsError: the weights are missing, damaged or do not fit.
        BenchmarkError: there is no such protocol, two cases have one name, or surfaces are wanted without MONAI.
    """
    _check(cases, settings)
    works = [_Work(model, case, settings) for model in settings.models for case in cases]
    origins = [dataclasses.asdict(source) for source in sources]
    names = {model: _capabilities(model).name for model in settings.models}
    about = {**dataclasses.asdict(settings), "names": names, **_environment(), "sources": origins}
    described = json.loads(json.dumps(about))  # as JSON gives it back: lists for tuples
    done = _Notes(notes, works, described)
    left = [work for work in works if work not in done]
    for number, (work, records) in enumerate(_worked(left, jobs), start=len(works) - len(left) + 1):
        done.add(work, records)
        progress(number / len(works), f"{work.model}: {work.case.key}")
    records = [record for work in works for record in done.of(work)]
    done.remove()
    return Results(described, records)


def _check(cases: Sequence[BenchmarkCase], settings: Settings) -> None:
    if unknown := [name for name in settings.protocols if name not in PROTOCOLS]:
        raise BenchmarkError(f"expected protocols out of {', '.join(PROTOCOLS)}, got {', '.join(unknown)}")
    keys = Counter(case.key for case in cases)
    if twice := [key for key, count in keys.items() if count > 1]:
        raise BenchmarkError(f"expected each case under a name of its own, got {twice[0]} twice")
    if settings.has_surfaces and not (is_installed("monai") and is_installed("torch")):
        raise BenchmarkError(
            "expected MONAI to compare surfaces: pip install 'promptseg[benchmark]', or leave them out"
        )
    for model in settings.models:
        _capabilities(model)


def model_class(name: str) -> str:
    """Return the name by which `create_predictor` knows a model of a benchmark."""
    return RIVALS.get(name, name)


def _capabilities(model: str) -> Capabilities:
    return capabilities_of(model_class(model))


def _worked(works: Sequence[_Work], jobs: int) -> Iterator[tuple[_Work, list[Record]]]:
    if jobs <= 1 or len(works) <= 1:
        yield from ((work, _work(work)) for work in works)
        return
    # Fresh processes: a forked one would inherit the threads of torch and VTK as they are.
    context = multiprocessing.get_context("spawn")
    with _threads(max(1, (os.cpu_count() or 1) // jobs)):
        pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_end_with_parent)
        try:
            futures = {pool.submit(_work, work): work for work in works}
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Let this process end when the one that started it does, even by a kill: it would wait for work for ever."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@lru_cache(maxsize=1)
def _predictor(model: str, device: str) -> Predictor:
    return create_predictor(model_class(model), device)


def _work(work: _Work) -> list[Record]:
    """Run all protocols of one case with one model; the model stays loaded for the next."""
    model, case, settings = work
    loaded = case.load()
    about = {
        "model": model,
        "dataset": case.dataset,
        "case": case.key,
        "image": case.image_name,
        "structure": case.structure,
        "dimensions": loaded.dimensions,
    }
    is_small = int(loaded.truth_kji.sum()) < settings.least_voxels
    capabilities = _capabilities(model)
    fits = loaded.dimensions in capabilities.dimensions or is_of_slices(capabilities)
    if is_small or not fits:
        return []
    predictor = _predictor(model, settings.device)
    reset_peak_memory()
    try:
        session = Session(loaded.volume, predictor, window=case.window)
    except VolumeError:  # such as a model that needs several channels
        return []
    trials = [
        Trial(PROTOCOLS[name], repetition, settings.clicks, settings.has_view, settings.has_surfaces)
        for name in settings.protocols
        for repetition in range(PROTOCOLS[name].repetitions_of(loaded))
    ]
    done = [run_trial(trial, loaded, session) for trial in trials]
    records = [{**about, **record} for record in done if record is not None]
    peak = peak_memory_mib()
    return [{**record, "peak_mib": None if peak is None else round(peak)} for record in records]


def _environment() -> dict[str, Any]:
    def version(package: str) -> str:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            return ""

    versions = {name: version(name) for name in ("promptseg", "torch", "monai", "slicer-core")}
    return {"versions": versions, "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"}


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let processes that are started meanwhile use `count` threads each."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(count)
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


@dataclass(eq=False)
class _Notes:
    """The records so far, by what they are of; kept in a file line by line where one is named."""

    path: Path | None
    works: Sequence[_Work]
    settings: dict[str, Any]
    _records: dict[tuple[str, str], list[Record]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path is None:
            return
        head = json.dumps({"settings": self.settings, "works": [_key(work) for work in self.works]})
        lines = self.path.read_text(encoding="utf-8-sig").split("\n") if self.path.exists() else []
        # What comes after the last line's end was cut off by whatever stopped the benchmark.
        whole = lines[:-1]
        if whole[:1] == [head]:
            for line in whole[1:]:
                model, case, records = json.loads(line)
                self._records[model, case] = records
        else:
            whole = [head]
        self.path.write_text("".join(f"{line}\n" for line in whole), encoding="utf-8")

    def __contains__(self, work: _Work) -> bool:
        return _key(work) in self._records

    def add(self, work: _Work, records: list[Record]) -> None:
        self._records[_key(work)] = records
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([*_key(work), records]) + "\n")

    def of(self, work: _Work) -> list[Record]:
        return self._records[_key(work)]

    def remove(self) -> None:
        if self.path is not None:
            self.path.unlink()


def _key(work: _Work) -> tuple[str, str]:
    return work.model, work.case.key
