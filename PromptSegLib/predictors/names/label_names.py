"""What to call the labels that a user's own network was trained for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from PromptSegLib.io.one_line import one_line
from PromptSegLib.structures.names import find_structure


def structure_names(names: Sequence[str]) -> list[str]:
    """Return what to call each of the labels `names`: an organ's English name where it is known, its own otherwise.

    A "tumour" stays one: of what, its trainer knows.
    """
    names = [" ".join(one_line(name).split()) or "unnamed" for name in names]
    known = [_english(name) for name in names]
    counts = Counter(known)
    return [one if counts[one] == 1 else name for one, name in zip(known, names, strict=True)]


def _english(name: str) -> str:
    structure = find_structure(name)
    is_told = structure is not None and (structure.kind == "anatomy" or structure.totalsegmentator == name)
    return structure.name if structure is not None and is_told else name
