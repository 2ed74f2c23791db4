"""What the outputs of an nnU-Net mean: labels, or regions made of several labels, and the structures they name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from PromptSegLib.errors import WeightsError
from PromptSegLib.predictors.fields import Fields
from PromptSegLib.predictors.names.label_names import structure_names

MOST_LABELS = 4096


@dataclass(frozen=True)
class Labels:
    """What `dataset.json` says of the labels.

    values: of each class, by its name, the labels that it is made of; one, unless it is a region. order: of regions,
    the label that each output paints, in the order of the outputs; later ones paint over earlier ones. None where
    the strongest output decides, whose number is the label.
    """

    values: Mapping[str, tuple[int, ...]]
    order: tuple[int, ...] | None = None

    @property
    def outputs(self) -> int:
        """How many outputs the network has."""
        return 1 + len(self.foreground) if self.order is None else len(self.order)

    @property
    def foreground(self) -> tuple[int, ...]:
        """All labels but the background's, rising."""
        return tuple(sorted({label for labels in self.values.values() for label in labels} - {0}))

    @classmethod
    def of_dataset(cls, dataset: Fields) -> Labels:
        """Read them.

        Raises:
            WeightsError: for labels that nnU-Net would not take.
        """
        table = dataset.table("labels")
        if table.entries.get("background") not in (0, [0]):
            raise WeightsError(f"{table.where}: expected 'background' to be 0")
        values = {
            name: _labels(table, name)
            for name in table.entries
            if name not in ("background", "ignore") and name.strip()
        }
        values = {name: labels for name, labels in values.items() if set(labels) != {0}}
        if not values or len(values) > MOST_LABELS:
            raise WeightsError(f"{table.where}: expected 1 to {MOST_LABELS} labels beside the background")
        found = cls(dict(zip(structure_names(list(values)), values.values(), strict=True)))
        if all(len(labels) == 1 for labels in values.values()):
            if found.foreground != tuple(range(1, len(values) + 1)):
                raise WeightsError(f"{table.where}: expected labels 1, 2, … without a gap, got {found.foreground}")
            return found
        order = dataset.whole_numbers("regions_class_order", len(values), high=65535)
        return cls(found.values, order)


def _labels(table: Fields, name: str) -> tuple[int, ...]:
    value = table.get(name, int, list)
    several = Fields(table.where, {name: value if isinstance(value, list) else [value]})
    return several.whole_numbers(name, *range(1, 257), high=65535)
