"""Where in a checkpoint file the state dict lies, and what its keys carry besides the network's own names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from PromptSegLib.errors import WeightsError
from PromptSegLib.weights.inert_pickle import Foreign, TensorRef

_USUAL_KEYS = ("model_state_dict", "state_dict", "network_weights", "model")
_SHOWN = 8

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Layout:
    """How to find and name a checkpoint's tensors.

    key: entry of the file that is the state dict; "" when the file itself is it; None to look for it.
    prefixes: stripped from the keys, repeatedly, when every key begins with one.
    drop: beginnings of keys that only training needed; left out, after the prefixes were stripped.
    drop_ends: ends of keys, likewise, of what a network computes itself.
    """

    key: str | None = None
    prefixes: tuple[str, ...] = ("module.", "model.")
    drop: tuple[str, ...] = ()
    drop_ends: tuple[str, ...] = ()

    def select(self, content: Any) -> dict[str, TensorRef]:
        """The state dict within what `inert_pickle` made of a file; entries that are no tensors are left out.

        Raises:
            WeightsError: there is none; says what there is.
        """
        found = content
        if self.key:
            found = content.get(self.key) if isinstance(content, dict) else None
        elif self.key is None and isinstance(content, dict) and not _tensors(content):
            found = next((content[key] for key in _USUAL_KEYS if _tensors(content.get(key))), None)
        state_dict = self.rename(_tensors(found))
        if not state_dict:
            place = f" under {self.key!r}" if self.key else ""
            raise WeightsError(f"it holds no state dict{place}, but {_described(content)}")
        return state_dict

    def rename(self, state_dict: Mapping[str, Entry]) -> dict[str, Entry]:
        """The entries by the network's own names."""
        renamed = dict(state_dict)
        while prefix := self._common_prefix(renamed):
            renamed = {key.removeprefix(prefix): value for key, value in renamed.items()}
        return {
            key: value
            for key, value in renamed.items()
            if not key.startswith(self.drop) and not key.endswith(self.drop_ends)
        }

    def _common_prefix(self, state_dict: Mapping[str, object]) -> str:
        common = (p for p in self.prefixes if state_dict and all(key.startswith(p) for key in state_dict))
        return next(common, "")


def _tensors(content: Any) -> dict[str, TensorRef]:
    entries = content.items() if isinstance(content, dict) else ()
    return {key: value for key, value in entries if isinstance(key, str) and isinstance(value, TensorRef)}


def _described(content: Any) -> str:
    """What is in a file, in a few words."""
    if not isinstance(content, dict):
        return _kind(content)
    entries = [f"{key} ({_kind(value)})" for key, value in list(content.items())[:_SHOWN]]
    return f"a dict of {len(content)} entries: {', '.join(entries)}" if entries else "an empty dict"


def _kind(value: Any) -> str:
    if isinstance(value, Foreign):
        return value.name
    return "tensor" if isinstance(value, TensorRef) else type(value).__name__
