"""The rest of the tests, where torch is missing."""

from __future__ import annotations

import pytest

TORCH = {"torch", "monai", "safetensors", "transformers", "nnInteractive"}
"""Packages of the networks, and what comes with them."""


class FileWithoutTorch(pytest.Module):
    """A file of tests that is skipped where it cannot be imported for want of torch, and for no other reason."""

    def collect(self):
        try:
            return super().collect()
        except self.CollectError as error:
            missing = getattr(error.__cause__, "name", None) or ""
            if missing.partition(".")[0] not in TORCH:
                raise
            pytest.skip(f"needs {missing}", allow_module_level=True)
