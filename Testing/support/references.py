"""What the official implementations answered, with weights made from key names (see `key_made_weights`).

`Testing/Data/parity` holds what is always tested, some of the arrays of small networks; PROMPTSEG_TEST_DATA may
name a folder whose `parity` holds all of them, and real sizes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

TOLERANCE = 1e-4

KEPT_HERE = Path(__file__).parents[1] / "Data" / "parity"
ELSEWHERE = Path(os.environ.get("PROMPTSEG_TEST_DATA", "unset"), "parity")
needs_all_references = pytest.mark.skipif(
    not ELSEWHERE.is_dir(), reason="PROMPTSEG_TEST_DATA names no folder with reference arrays"
)
FOLDERS = [
    pytest.param(KEPT_HERE, id="kept-here"),
    pytest.param(ELSEWHERE, id="all", marks=needs_all_references),
]
"""Values of a test's parameter `folder`."""

STRIDES = {"": 1, "_s": 2, "_s2": 2}
"""What the end of an array's name says of its last two axes: every pixel, or every second."""


class Reference:
    """The arrays of one file. Knows which were looked at, so that a test can show that it left none out."""

    def __init__(self, folder: Path, name: str) -> None:
        with np.load(folder / f"{name}.npz") as arrays:
            self.arrays = dict(arrays)
        self.unused = set(self.arrays)

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def __getitem__(self, name: str) -> NDArray[Any]:
        self.unused.discard(name)
        return self.arrays[name]

    def tensor(self, name: str) -> torch.Tensor | None:
        import torch

        return torch.from_numpy(self[name]) if name in self else None

    def image(self) -> NDArray[np.uint8]:
        """The image; the one that several small files share is kept once."""
        return self["image"] if "image" in self else Reference(KEPT_HERE, "sam_tiny")["image"]

    def assert_met(self, name: str, actual: torch.Tensor) -> None:
        """Compare `actual` with the array of that name, or with its subset that the file has, if any."""
        for ending, stride in STRIDES.items():
            if name + ending in self:
                np.testing.assert_allclose(
                    actual[..., ::stride, ::stride] if stride > 1 else actual,
                    self[name + ending],
                    rtol=0,
                    atol=TOLERANCE,
                    err_msg=name + ending,
                )

    def assert_mask_met(self, name: str, logits: torch.Tensor) -> None:
        """Compare `logits > 0` with the packed mask of that name, where the logits are clear enough."""
        mask = np.unpackbits(self[name])[: logits.numel()].reshape(logits.shape).astype(bool)
        wrong = (logits.numpy() > 0) != mask
        assert abs(logits.numpy()[wrong]).max(initial=0) < TOLERANCE, name
