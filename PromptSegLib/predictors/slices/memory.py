"""What a slice predictor wants to see again: which slices it answered, from what, and with which logits."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from PromptSegLib.predictors.slices.slices import Slice
from PromptSegLib.prompts import Prompt
from PromptSegLib.span import Span
from PromptSegLib.view import Window


@dataclass(frozen=True, eq=False)
class SliceRecord:
    """A slice that was answered.

    prompts: those on it; none for a slice that a propagation reached. logits: of the network, one array for each
    object. carried: how far what lies around it follows from it already, None when nothing does.
    """

    plane: Slice
    prompts: tuple[Prompt, ...] = ()
    window: Window | None = None
    logits: tuple[NDArray[Any], ...] = ()
    carried: Span | None = None


@dataclass(frozen=True, eq=False)
class SliceMemory:
    """The slices of a target that were answered, by their keys. Frozen: each answer makes a new one."""

    records: Mapping[Hashable, SliceRecord] = field(default_factory=dict)

    def record(self, plane: Slice) -> SliceRecord | None:
        return self.records.get(plane.key)

    def with_record(self, record: SliceRecord) -> SliceMemory:
        return SliceMemory({**self.records, record.plane.key: record})

    def without(self, plane: Slice) -> SliceMemory:
        return SliceMemory({key: record for key, record in self.records.items() if key != plane.key})

    def with_carried(self, span: Span) -> SliceMemory:
        """Return what is known once masks were carried within `span` from all slices that have prompts."""
        return SliceMemory(
            {
                key: dataclasses.replace(record, carried=span) if record.prompts else record
                for key, record in self.records.items()
            }
        )

    @property
    def slices_of_prompts(self) -> Mapping[Prompt, Slice]:
        found = {prompt: record.plane for record in self.records.values() for prompt in record.prompts}
        return MappingProxyType(found)
