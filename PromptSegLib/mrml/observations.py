"""Observers of nodes that do not keep alive who observes, and that end with it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import vtk


class Observations:
    """What one object observes; `close`, or its end, ends them. Callbacks are its bound methods."""

    def __init__(self) -> None:
        self._tags: list[tuple[Any, int]] = []

    def add(self, node: Any, event: int | str, callback: Callable[..., None], *arguments: Any) -> None:
        """Call `callback` with `arguments` when `node` says that `event` happened."""
        method = weakref.WeakMethod(callback)

        def tell(*_: Any) -> None:
            if (alive := method()) is not None:
                alive(*arguments)

        self._tags.append((node, node.AddObserver(event, tell)))

    def add_with_node(self, node: Any, event: int, callback: Callable[[Any], None]) -> None:
        """Call `callback` with the node that the event is about, such as the one added to a scene."""
        self._add_with_data(node, event, callback, vtk.VTK_OBJECT)

    def add_with_text(self, node: Any, event: int, callback: Callable[[str], None]) -> None:
        """Call `callback` with the text that comes with the event."""
        self._add_with_data(node, event, callback, vtk.VTK_STRING)

    def _add_with_data(self, node: Any, event: int, callback: Callable[[Any], None], kind: int) -> None:
        method = weakref.WeakMethod(callback)

        @vtk.calldata_type(kind)  # type: ignore[untyped-decorator]
        def tell(_: Any, __: str, data: Any) -> None:
            if (alive := method()) is not None:
                alive(data)

        self._tags.append((node, node.AddObserver(event, tell)))

    def close(self) -> None:
        """Observe nothing any more."""
        tags, self._tags = self._tags, []
        for node, tag in tags:
            node.RemoveObserver(tag)

    def __del__(self) -> None:
        self.close()
