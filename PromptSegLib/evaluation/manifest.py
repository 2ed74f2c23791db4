"""A benchmark's data described in YAML: where they are, where they come from, what the labels mean.

datasets:
  TotalSegmentator CT:
    folder: totalsegmentator/ct          # as for a folder by itself, from the manifest's own folder
    source: https://github.com/wasserth/TotalSegmentator
    license: Apache-2.0
    window: [-160, 240]
  Clinic:
    images: "clinic/*/ct.nii.gz"         # "*" is the same in both: the name of the case
    truth: "clinic/*/liver.seg.nrrd"
labels: labels.yaml                      # or the label map itself, see `PromptSegLib.evaluation.label_map`
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PromptSegLib.errors import PromptError
from PromptSegLib.evaluation.cases import BenchmarkCase
from PromptSegLib.evaluation.folders import find_cases, labelled_cases
from PromptSegLib.evaluation.label_map import ManifestError, label_map_from, read_label_map, read_yaml
from PromptSegLib.view import Window

_KEYS = ("folder", "images", "truth", "source", "license", "window")


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the images of a data set come from, and under which terms: empty where nobody said."""

    dataset: str
    url: str = ""
    license: str = ""


@dataclasses.dataclass(frozen=True)
class Data:
    """What a benchmark runs on."""

    cases: tuple[BenchmarkCase, ...]
    sources: tuple[Source, ...] = ()


def read_data(path: Path, labels: Path | None = None) -> Data:
    """Return the cases in a folder or in a manifest (.yaml, .yml).

    labels: a label map; only the structures that it names are looked at then, instead of those of the manifest's own.

    Raises:
        ManifestError: the file is no manifest, or damaged.
        VolumeError: there is nothing to be found.
    """
    label_map = read_label_map(labels) if labels is not None else None
    sources: tuple[Source, ...] = ()
    if path.suffix.lower() not in (".yaml", ".yml"):
        cases = find_cases(path)
    else:
        content = read_yaml(path)
        if not isinstance(content, dict) or not isinstance(content.get("datasets"), dict):
            raise ManifestError(f"expected datasets with their names in {path}, got {str(content)[:60]}")
        if label_map is None and "labels" in content:
            inline = content["labels"]
            is_file = isinstance(inline, str)
            label_map = read_label_map(path.parent / inline) if is_file else label_map_from(inline, str(path))
        described = [_described(path, str(name), about) for name, about in content["datasets"].items()]
        cases = [case for found, _ in described for case in found]
        sources = tuple(source for _, source in described)
    if label_map is not None:
        found = label_map.apply(cases)
        if not found:
            seen = ", ".join(sorted({f"{case.dataset}: {case.structure}" for case in cases})[:8])
            raise ManifestError(f"expected a structure of the label map among {seen} …, got none")
        cases = found
    return Data(tuple(cases), sources)


def _described(path: Path, name: str, about: Any) -> tuple[list[BenchmarkCase], Source]:
    if not isinstance(about, dict) or set(about) - set(_KEYS) or ("folder" in about) == ("images" in about):
        raise ManifestError(f"expected folder, or images and truth, and {', '.join(_KEYS[3:])} for {name!r} in {path}")
    window = _window(about.get("window"), f"{name!r} in {path}")
    if "folder" in about:
        found = find_cases(path.parent / str(about["folder"]), dataset=name)
    else:
        found = list(_matching(path, name, str(about["images"]), str(about.get("truth", ""))))
    cases = [dataclasses.replace(case, window=window) for case in found]
    return cases, Source(name, str(about.get("source", "")), str(about.get("license", "")))


def _matching(path: Path, name: str, images: str, truth: str) -> Iterator[BenchmarkCase]:
    """Yield the cases whose image is `images` and whose labels are `truth`, with the same letters for "*" in both."""
    if images.count("*") != 1 or truth.count("*") != 1:
        raise ManifestError(
            f'expected images and truth with one "*" each for {name!r} in {path}, got {images}, {truth}'
        )
    head, tail = images.split("*")
    found = sorted(path.parent.glob(images))
    if not found:
        raise ManifestError(f"expected files {images} for {name!r} beside {path}, got none")
    for image in found:
        word = image.relative_to(path.parent).as_posix()[len(head) :].removesuffix(tail)
        labels = path.parent / truth.replace("*", word)
        if not labels.exists():
            raise ManifestError(f"expected {labels} as the truth of {image}: there is no such file")
        yield from labelled_cases(name, word, image, labels, None)


def _window(limits: Any, where: str) -> Window | None:
    if limits is None:
        return None
    try:
        low, high = limits
        return Window(float(low), float(high))
    except (TypeError, ValueError, PromptError) as error:
        raise ManifestError(f"expected a window [low, high] for {where}, got {limits!r}") from error
