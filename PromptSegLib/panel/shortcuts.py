"""Which key does what in the panel, and how the user may change that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Self

from PromptSegLib.errors import PromptSegError

DEFAULT_KEYS: Mapping[str, str] = {
    "point+": "Alt+1",
    "point-": "Alt+2",
    "box2d": "Alt+3",
    "box3d": "Alt+4",
    "scribble+": "Alt+5",
    "scribble-": "Alt+6",
    "lasso+": "Alt+7",
    "lasso-": "Alt+8",
    "next": "Alt+N",
    "run": "Alt+R",
    "cancel": "Alt+C",
    "undo": "Alt+Z",
    "redo": "Alt+Y",
    "accept": "Alt+A",
    "reject": "Alt+X",
    "nextCase": "Alt+.",
    "previousCase": "Alt+,",
    "lookNext": "Alt+L",
}
"""Keys by action. With Alt: single letters, Ctrl+Z and the like are Slicer's own."""


class ShortcutError(PromptSegError, ValueError):
    """A key that stands for something else already, or an action that there is not."""


class Shortcuts:
    """Keys by action, as the user has them; an action without a key has an empty one."""

    def __init__(self, keys: Mapping[str, str] = DEFAULT_KEYS) -> None:
        self._keys = {**DEFAULT_KEYS, **keys}

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` kept; actions of other versions are left out; damage gives the defaults."""
        try:
            kept = json.loads(text) if text else {}
        except json.JSONDecodeError:
            kept = {}
        known = {action: key for action, key in kept.items() if action in DEFAULT_KEYS and isinstance(key, str)}
        return cls(known)

    def to_json(self) -> str:
        return json.dumps(self._keys)

    def __getitem__(self, action: str) -> str:
        return self._keys[action]

    def items(self) -> list[tuple[str, str]]:
        return list(self._keys.items())

    def bind(self, action: str, key: str) -> None:
        """Let `key` do `action`; an empty one, nothing.

        Raises:
            ShortcutError: the key has another meaning.
        """
        if action not in self._keys:
            raise ShortcutError(f"expected one of {', '.join(self._keys)}, got {action!r}")
        others = [other for other, its_key in self._keys.items() if other != action and key and its_key == key]
        if others:
            raise ShortcutError(f"expected a key that is free, got {key}, which stands for {others[0]!r}")
        self._keys[action] = key

    def reset(self) -> None:
        self._keys = dict(DEFAULT_KEYS)
