"""One list of structures over data sets that number and name them each in its own way.

In the manner of A-Eval (arXiv:2309.03906), which compares models across data sets. As YAML:

    liver: {TotalSegmentator CT: 5, TotalSegmentator MR: 5, AMOS: 6, SAM-Med2D: "liver_*"}
    kidney: {TotalSegmentator CT: [2, 3], AMOS: [2, 3]}
    spleen: 1

A number is the label's value, several make one structure, and one without a data set holds for all; words are the
structure's name in a data set where each structure has a file of its own, with * for any letters.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PromptSegLib.errors import PromptSegError
from PromptSegLib.evaluation.cases import BenchmarkCase
from PromptSegLib.packages import is_installed

Label = tuple[int, ...] | str
_EVERYWHERE = ""


class ManifestError(PromptSegError, ValueError):
    """A description of data that makes no sense."""


@dataclass(frozen=True)
class LabelMap:
    """structures: for each name what it is called in each data set."""

    structures: Mapping[str, Mapping[str, Label]]

    def apply(self, cases: Iterable[BenchmarkCase]) -> list[BenchmarkCase]:
        """Return the cases of the structures named here, under these names; several labels of one image as one case."""
        found: dict[str, BenchmarkCase] = {}
        for case in cases:
            for name, labels in self.structures.items():
                label = labels.get(case.dataset, labels.get(_EVERYWHERE))
                if label is None or not _means(label, case):
                    continue
                renamed = dataclasses.replace(case, structure=_numbered(name, label, case))
                known = found.get(renamed.key)
                if known is not None:
                    renamed = dataclasses.replace(renamed, values=(*known.values, *renamed.values))
                found[renamed.key] = renamed
        return list(found.values())


def label_map_from(content: Any, where: str) -> LabelMap:
    """Return the label map that YAML holds; `where` is for messages.

    Raises:
        ManifestError: the file is no manifest, or damaged.
    """
    if not isinstance(content, dict) or not content:
        raise ManifestError(f"expected structures with their labels in {where}, got {str(content)[:60]}")
    structures = {}
    for name, labels in content.items():
        by_dataset = labels if isinstance(labels, dict) else {_EVERYWHERE: labels}
        structures[str(name)] = {
            str(dataset): _label(label, f"{name} in {where}") for dataset, label in by_dataset.items()
        }
    return LabelMap(structures)


def read_label_map(path: Path) -> LabelMap:
    """Read a file that holds a label map.

    Raises:
        ManifestError: the file is no manifest, or damaged.
    """
    return label_map_from(read_yaml(path), str(path))


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        ManifestError: the file is no manifest, or damaged.
    """
    if not is_installed("yaml"):
        raise ManifestError(f"expected PyYAML to read {path}: pip install 'promptseg[benchmark]'")
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ManifestError(f"expected a readable YAML file, got {path}: {reason}") from error


def _label(label: Any, where: str) -> Label:
    if isinstance(label, str):
        return label
    values = label if isinstance(label, list) else [label]
    if not values or not all(isinstance(value, int) and not isinstance(value, bool) and value > 0 for value in values):
        raise ManifestError(f"expected a label's value, several of them, or a name for {where}, got {label!r}")
    return tuple(values)


def _means(label: Label, case: BenchmarkCase) -> bool:
    if isinstance(label, str):
        return fnmatch.fnmatchcase(case.structure, label)
    return bool(case.values) and set(case.values) <= set(label)


def _numbered(name: str, label: Label, case: BenchmarkCase) -> str:
    """Return the name; of files, several of which can be meant, with what tells them apart."""
    if isinstance(label, str) and "*" in label:
        head, _, tail = label.partition("*")
        rest = case.structure[len(head) : len(case.structure) - len(tail) or None].strip("_- ")
        return f"{name} {rest}".strip()
    return name
