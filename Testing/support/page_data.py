"""Small files for the examples of the pages: each is made when an example names it.

An example of a new page that reads another file gets a maker here: a function by the file's name. A maker that needs
another file asks `need` for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from image_files import write_with_itk

from PromptSegLib.evaluation.phantom import Phantom, make_abdomen
from PromptSegLib.io import Segment, write_segmentation
from PromptSegLib.io.prompts import write_prompts

Need = Callable[[str], Path]


@cache
def abdomen() -> Phantom:
    """Return the abdomen that the examples' clicks fit: an eighth of the voxels of the demonstration's."""
    return make_abdomen((48, 96, 96), (3.8, 3.8, 4.8))


def _image(path: Path, need: Need) -> None:
    write_with_itk(path, abdomen().volume.array, abdomen().volume.ijk_to_ras)


def _pet(path: Path, need: Need) -> None:
    uptake = np.where(abdomen().mask("liver"), 6.0, 1.0).astype(np.float32)
    write_with_itk(path, uptake, abdomen().volume.ijk_to_ras)


def _picture(path: Path, need: Need) -> None:
    picture = np.full((120, 160), 20, np.uint8)
    picture[40:80, 60:100] = 200
    write_with_itk(path, picture)


def _segments(*names: str) -> Callable[[Path, Need], None]:
    def write(path: Path, need: Need) -> None:
        segments = [Segment(name, abdomen().mask(name.split()[0]), value) for value, name in enumerate(names, start=1)]
        write_segmentation(str(path), segments, abdomen().volume.grid)

    return write


def _prompts(path: Path, need: Need) -> None:
    write_prompts(str(path), {"liver": [abdomen().clicks["liver"]]})


def _text(content: str, *needed: str) -> Callable[[Path, Need], None]:
    def write(path: Path, need: Need) -> None:
        for name in needed:
            need(name)
        path.write_text(content, encoding="utf-8")

    return write


def _patient(path: Path, need: Need) -> None:
    path.mkdir()
    (path / "image.nii.gz").write_bytes(need("ct.nii.gz").read_bytes())
    write_with_itk(path / "labels.nii.gz", abdomen().labels_kji, abdomen().volume.ijk_to_ras)


MAKERS: dict[str, Callable[[Path, Need], None]] = {
    "ct.nii.gz": _image,
    "mr.nii.gz": _image,
    "january.nii.gz": _image,
    "may.nii.gz": _image,
    "suv.nii.gz": _pet,
    "photo.png": _picture,
    "liver.json": _prompts,
    "liver.seg.nrrd": _segments("liver"),
    "organs.seg.nrrd": _segments("liver", "spleen"),
    "january.seg.nrrd": _segments("liver tumour"),
    "may.seg.nrrd": _segments("liver tumour"),
    "cases.csv": _text("image,prompts,output\nct.nii.gz,liver.json,out/ct.nii.gz\n", "ct.nii.gz", "liver.json"),
    "measured.csv": _text("segmentation,image,unit\nliver.seg.nrrd,ct.nii.gz,HU\n", "ct.nii.gz", "liver.seg.nrrd"),
    "patient-1": _patient,
}


def make_what_is_named(text: str, folder: Path) -> None:
    """Make those files in `folder` that `text` names and that are not there yet."""

    def need(name: str) -> Path:
        path = folder / name
        if not path.exists():
            MAKERS[name](path, need)
        return path

    for name in MAKERS:
        if re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", text):
            need(name)
