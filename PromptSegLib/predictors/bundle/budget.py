"""A limit on what a bundle's configuration may allocate, checked before the memory is taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from PromptSegLib.errors import WeightsError

_VALUES, _CALLS = 1 << 25, 3_000


class Budget(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, torch makes no more than suits a file of weights; each operation is tried without memory.

    MONAI's networks cannot be built on the device "meta" as a whole: some read numbers back.

    Args:
        weights_bytes: the size of that file. Of half precision it has half as many values, and none is made often.

    Raises:
        WeightsError: from whatever would go beyond.
    """

    def __init__(self, weights_bytes: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._values = _VALUES + weights_bytes
        self._calls = _CALLS + weights_bytes // 4000  # MONAI takes 4 operations a tensor at most

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if not func.__name__.partition(".")[0].endswith("_"):  # in place
            self._calls -= 1
            self._values -= _values_made(func, args, kwargs)
            if self._values < 0 or self._calls < 0:
                raise WeightsError("expected a network of the size of its weights, got a far larger one")
        return func(*args, **kwargs)


def _values_made(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """How many values an operation returns; 0 where torch cannot tell without running it, or will refuse it."""
    given, named = tree_map_only(Tensor, lambda tensor: tensor.to("meta"), (args, kwargs))
    schema = getattr(func, "_schema", None)  # of an operation of torch
    if schema is not None and any(argument.name == "device" for argument in schema.arguments):
        named["device"] = torch.device("meta")
    try:
        made = func(*given, **named)
    except (RuntimeError, TypeError, ValueError, NotImplementedError):
        return 0
    return sum(leaf.numel() for leaf in tree_leaves(made) if isinstance(leaf, Tensor))
