"""Cases in a folder: images and labels as data sets are usually laid out.

Looked for in the folder and below it:

- `image.*` beside `labels.*`: a structure for each value;
- `images/` beside `labels/` or `masks/`, or `imagesTr/` beside `labelsTr/` as nnU-Net has them: the file of labels has
  the image's name, a structure for each value; or `masks/IMAGE_STRUCTURE.png`, a structure in each file, as SAM-Med2D
  has them;
- `*.npz` with the arrays `image` and `mask`, perhaps `scribbles`, as ScribblePrompt has them.

A `dataset.json` as nnU-Net has it names the values. The data set is called as the uppermost folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from PromptSegLib.errors import VolumeError
from PromptSegLib.evaluation.cases import BenchmarkCase, is_npz, read_truth

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".png", ".jpg", ".jpeg", ".tif", ".tiff")
_PAIRS = (
    ("images", "labels"),
    ("images", "masks"),
    ("imagesTr", "labelsTr"),
    ("imagesTs", "labelsTs"),
)


def find_cases(folder: Path, dataset: str = "") -> list[BenchmarkCase]:
    """Return the cases in `folder`, in the order of their names.

    dataset: what all of it is called; by default each folder just below is a data set.

    Raises:
        VolumeError: there is no folder, or nothing in it.
    """
    if not folder.is_dir():
        raise VolumeError(f"expected a folder of images and labels, got {folder}")
    cases: list[BenchmarkCase] = []
    for place in [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]:
        relative = place.relative_to(folder)
        called = dataset or (relative.parts[0] if relative.parts else folder.resolve().name)
        within = "/".join(relative.parts if dataset else relative.parts[1:])
        cases += _cases_at(place, called, within)
    if not cases:
        raise VolumeError(
            f"expected image.nii.gz beside labels.nii.gz, images/ beside labels/ or masks/, or .npz files with image "
            f"and mask in {folder}, got none of them"
        )
    return cases


def _cases_at(place: Path, dataset: str, within: str) -> Iterator[BenchmarkCase]:
    """Yield the cases whose files are in `place`; within: where that is in the data set, part of the images' names."""
    files = {_stem(path): path for path in sorted(place.iterdir()) if _is_image(path)}
    if "image" in files and "labels" in files:
        yield from labelled_cases(dataset, within or place.name, files["image"], files["labels"], _names_near(place))
    for path in sorted(place.glob("*.npz")):
        yield BenchmarkCase(dataset, _joined(within, path.stem), _structure_of(path.stem), path, path)
    for images, labels in _PAIRS:
        if (place / images).is_dir() and (place / labels).is_dir():
            yield from _paired(place / images, place / labels, dataset, within, _names_near(place))


def labelled_cases(
    dataset: str, image_name: str, image: Path, labels: Path, names: Mapping[int, str] | None
) -> Iterator[BenchmarkCase]:
    """Yield a case for each value, those in `names` only where given, that is in the file `labels`."""
    values = np.unique(read_truth(labels))
    for value in values[values != 0].tolist():
        if names is None or int(value) in names:
            structure = names[int(value)] if names else f"label {int(value)}"
            yield BenchmarkCase(dataset, image_name, structure, image, labels, (int(value),))


def _paired(
    images: Path, labels: Path, dataset: str, within: str, names: Mapping[int, str] | None
) -> Iterator[BenchmarkCase]:
    by_stem = {_stem(path): path for path in sorted(images.iterdir()) if _is_image(path)}
    for label in sorted(path for path in labels.iterdir() if _is_image(path)):
        stem = _stem(label)
        if stem in by_stem or f"{stem}_0000" in by_stem:
            image = by_stem.get(stem) or by_stem[f"{stem}_0000"]
            yield from labelled_cases(dataset, _joined(within, stem), image, label, names)
            continue
        # The longest one: "scan_1" must not take what is "scan_10"'s, nor "scan" what is "scan_1"'s.
        owners = [name for name in by_stem if stem.startswith(f"{name}_")]
        if owners:
            owner = max(owners, key=len)
            yield BenchmarkCase(dataset, _joined(within, owner), stem[len(owner) + 1 :], by_stem[owner], label)


def _joined(within: str, name: str) -> str:
    return f"{within}/{name}" if within else name


def _names_near(place: Path) -> Mapping[int, str] | None:
    """Return the names in a `dataset.json`: {"labels": {"liver": 1}}."""
    path = place / "dataset.json"
    if not path.is_file():
        return None
    try:
        labels = json.loads(path.read_text(encoding="utf-8-sig"))["labels"]
        return {int(value): str(name) for name, value in labels.items() if int(value) != 0}
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise VolumeError(f'expected "labels": {{"name": value}} in {path}, got {error!r}') from error


def _is_image(path: Path) -> bool:
    return path.is_file() and not is_npz(path) and path.name.lower().endswith(_SUFFIXES)


def _stem(path: Path) -> str:
    lower = path.name.lower()
    suffix = next(suffix for suffix in _SUFFIXES if lower.endswith(suffix))
    return path.name[: -len(suffix)]


def _structure_of(stem: str) -> str:
    """Return the first word of a file's name, such as "BTCV": what files of one kind have in common."""
    return re.split(r"[_\-. ]", stem, maxsplit=1)[0]
