"""What structures are called, by people and by systems, and how they are shown: one table for all models.

structures.csv has a row for each. A structure without a SNOMED CT code has none that is known for sure.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from PromptSegLib.errors import PromptError

TABLE_PATH = Path(__file__).with_name("structures.csv")
KINDS = ("anatomy", "lesion")
SIDES = ("", "left", "right")

# Spellings that mean the same, and words that tell nothing apart.
_SPELLINGS = {"tumor": "tumour", "tumors": "tumour", "tumours": "tumour", "oesophagus": "esophagus", "oedema": "edema"}
_FILLERS = {"of", "the"}


@dataclass(frozen=True)
class Structure:
    """A row of the table.

    name: in English, what targets and segments are called. totalsegmentator: its name there, where it has one.
    side: "left" or "right" where `code` says it not. kind: out of `KINDS`. code, meaning: SNOMED CT. region: name of
    the structure that a lesion or a part belongs to. colour: red, green, blue, 0 to 1. synonyms: other names.
    """

    name: str
    totalsegmentator: str
    side: str
    kind: str
    code: str
    meaning: str
    region: str
    colour: tuple[float, float, float]
    synonyms: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All that it is called, `name` first."""
        return tuple(name for name in (self.name, self.totalsegmentator, *self.synonyms) if name)


@cache
def all_structures() -> Mapping[str, Structure]:
    """Return the table's structures by name, in its order."""
    with TABLE_PATH.open(encoding="utf-8", newline="") as file:
        rows = [_structure(row) for row in csv.DictReader(file)]
    return MappingProxyType({structure.name: structure for structure in rows})


def find_structure(name: str) -> Structure | None:
    """Return the structure that `name` is a name of, in any order of words and with any separators, or None."""
    found = _by_words().get(_words(name))
    return all_structures()[found] if found is not None else None


def name_among(name: str, known: Iterable[str], who: str) -> str:
    """Return which of the names `known` means the same structure as `name`.

    Raises:
        PromptError: there is none; says which of those that `who` knows are the nearest.
    """
    by_words = {_words(one): one for one in known}
    structure = find_structure(name)
    for wanted in (name, *(structure.names if structure else ())):
        if (found := by_words.get(_words(wanted))) is not None:
            return found
    near = search(name, by_words.values()) or (search(structure.name, by_words.values()) if structure else [])
    hint = f"; did you mean {', '.join(near[:4])}?" if near else ""
    raise PromptError(f"expected a structure that {who!r} knows, got {name!r}{hint}")


def search(text: str, among: Iterable[str] | None = None) -> list[str]:
    """Return the names that `text` may mean, the likeliest first; of all structures, or `among` these names.

    They are those in one of whose names each word of `text` begins a word; without any, those spelled alike.
    """
    names = tuple(all_structures()) if among is None else tuple(among)
    wanted = _words(text)
    if not wanted:
        return list(names)
    called = {name: _all_words_of(name) for name in names}
    begun = [name for name in names if any(_begins(wanted, words) for words in called[name])]
    if begun:
        return sorted(begun, key=lambda name: min(len(words) for words in called[name] if _begins(wanted, words)))
    spelled = {" ".join(words): name for name in reversed(names) for words in called[name]}
    close = difflib.get_close_matches(" ".join(wanted), spelled, n=8, cutoff=0.6)
    return list(dict.fromkeys(spelled[words] for words in close))


def _structure(row: Mapping[str, str]) -> Structure:
    red, green, blue = (int(row["colour"][at : at + 2], 16) / 255 for at in (1, 3, 5))
    synonyms = tuple(word.strip() for word in row["synonyms"].split(";") if word.strip())
    return Structure(**{**row, "colour": (red, green, blue), "synonyms": synonyms})  # type: ignore[arg-type]


@cache
def _by_words() -> Mapping[tuple[str, ...], str]:
    # A name of its own outweighs a synonym of another.
    synonyms = {_words(name): one.name for one in all_structures().values() for name in one.names}
    return {**synonyms, **{_words(name): name for name in all_structures()}}


@cache
def _words(name: str) -> tuple[str, ...]:
    """The words of a name that tell it from others, sorted: of kidney_left as of "Left kidney"."""
    words = re.findall(r"[^\W_]+", name.casefold())
    return tuple(sorted(_SPELLINGS.get(word, word) for word in words if word not in _FILLERS))


def _all_words_of(name: str) -> list[tuple[str, ...]]:
    structure = find_structure(name)
    return [_words(one) for one in dict.fromkeys((name, *(structure.names if structure else ())))]


def _begins(wanted: tuple[str, ...], words: tuple[str, ...]) -> bool:
    return all(any(word.startswith(beginning) for word in words) for beginning in wanted)
