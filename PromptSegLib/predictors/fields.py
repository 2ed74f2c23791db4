"""What is written in JSON files that come from elsewhere, each value checked when it is asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PromptSegLib.errors import WeightsError

_MOST_BYTES = 16 << 20  # a dataset.json that lists its 10,000 training cases has 2 MB


@dataclass(frozen=True)
class Fields:
    """The entries of one table. where: what to call it in complaints.

    Raises:
        WeightsError: from each method, when an entry is not what is asked for.
    """

    where: str
    entries: Mapping[str, Any]

    @classmethod
    def of_file(cls, path: Path) -> Fields:
        """Read a JSON file.

        Raises:
            WeightsError: it is missing or none.
        """
        try:
            with path.open("rb") as file:
                text = file.read(_MOST_BYTES + 1)
            if len(text) > _MOST_BYTES:
                raise ValueError(f"it has more than {_MOST_BYTES >> 20} MB")
            return cls.of(path.name, json.loads(text))
        except (OSError, ValueError, RecursionError) as error:
            if isinstance(error, WeightsError):
                raise
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise WeightsError(f"expected {path.name} in {path.parent.name or path.parent}, got none: {why}") from error

    @classmethod
    def of(cls, where: str, value: Any) -> Fields:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise WeightsError(f"{where}: expected entries by name, got {_shown(value)}")
        return cls(where, value)

    def get(self, key: str, *kinds: type, default: Any = ...) -> Any:
        """Return the entry, one of the types `kinds`; `default` where there is none."""
        if key not in self.entries:
            if default is ...:
                raise WeightsError(f"{self.where}: expected an entry {key!r}, got {_listed(self.entries)}")
            return default
        value = self.entries[key]
        if kinds and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            names = " or ".join(kind.__name__ for kind in kinds)
            raise WeightsError(f"{self.where}: expected {key!r} to be {names}, got {_shown(value)}")
        return value

    def table(self, key: str) -> Fields:
        return Fields.of(f"{self.where}, {key}", self.get(key))

    def text(self, key: str, default: Any = ...) -> str:
        return str(self.get(key, str, default=default))

    def flag(self, key: str, default: Any = ...) -> bool:
        return bool(self.get(key, bool, default=default))

    def sequence(self, key: str, default: Any = ...) -> Sequence[Any]:
        found: Sequence[Any] = self.get(key, list, tuple, default=default)
        return found

    def numbers(self, key: str, *counts: int, low: float = -math.inf, high: float = math.inf) -> tuple[float, ...]:
        """Return as many finite numbers as one of `counts` says, from `low` to `high`."""
        values = self.sequence(key)
        if len(values) not in counts or not all(_is_number(value) and low <= value <= high for value in values):
            wanted = " or ".join(map(str, counts))
            raise WeightsError(f"{self.where}: expected {key!r} to be {wanted} numbers, got {_shown(values)}")
        return tuple(float(value) for value in values)

    def number(self, key: str, default: Any = ...) -> float:
        value = self.get(key, int, float, default=default)
        if not _is_number(value):
            raise WeightsError(f"{self.where}: expected {key!r} to be a number, got {_shown(value)}")
        return float(value)

    def whole_numbers(self, key: str, *counts: int, low: int = 0, high: int = 1 << 20) -> tuple[int, ...]:
        values = self.numbers(key, *counts, low=low, high=high)
        if any(value != int(value) for value in values):
            raise WeightsError(f"{self.where}: expected {key!r} to be whole numbers, got {_shown(list(values))}")
        return tuple(int(value) for value in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _listed(entries: Mapping[str, Any]) -> str:
    names = [name[:40] for name in list(entries)[:8]]
    more = ", …" if len(entries) > len(names) else ""
    return f"{', '.join(names)}{more}" if names else "none"
