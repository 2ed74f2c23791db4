"""Where a store keeps what: its own folder, the offline folder that is only read, and the small files beside."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PromptSegLib.errors import WeightsError
from PromptSegLib.weights.catalogue import Checkpoint, WeightFile

OFFLINE_VARIABLE = "PROMPTSEG_WEIGHTS_DIR"


def default_folder() -> Path:
    """Where this platform keeps what can be fetched again.

    Raises:
        WeightsError: nobody is at home.
    """
    try:
        return _cache_folder()
    except RuntimeError as error:
        raise WeightsError(f"no folder for weights is known ({error}): name one") from error


def _cache_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "PromptSeg" / "weights"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "PromptSeg" / "weights"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "promptseg" / "weights"


@dataclass(frozen=True)
class Places:
    """The store's own folder and, where there is one, the offline folder."""

    folder: Path
    offline_folder: Path | None

    def here(self, checkpoint: Checkpoint, file: WeightFile) -> Path:
        """Its place in the store's own folder."""
        return self.folder / checkpoint.name / file.path

    def find(self, checkpoint: Checkpoint, file: WeightFile) -> Path | None:
        """Where it is, the offline folder first; None when it is nowhere."""
        places = [self.here(checkpoint, file)]
        if self.offline_folder is not None:
            bare = [self.offline_folder / file.path] if len(checkpoint.files) == 1 else []
            places = [self.offline_folder / checkpoint.name / file.path, *bare, *places]
        return next((place for place in places if place.is_file()), None)

    def missing(self, checkpoint: Checkpoint) -> tuple[WeightFile, ...]:
        """The checkpoint's files that are nowhere and have to be somewhere."""
        return tuple(file for file in checkpoint.files if not file.optional and self.find(checkpoint, file) is None)

    def record(self, checkpoint: Checkpoint, file: WeightFile) -> Path:
        return self.folder / checkpoint.name / f"{file.path}.record.json"

    def copy(self, checkpoint: Checkpoint, file: WeightFile) -> Path:
        """The safetensors copy."""
        return self.folder / checkpoint.name / f"{file.path}.safetensors"

    def accepted_license(self, checkpoint: Checkpoint) -> Path:
        return self.folder / checkpoint.name / "license_accepted.txt"

    def lock(self, name: str) -> Path:
        return self.folder / ".locks" / name

    def bytes_of(self, checkpoint: Checkpoint) -> int:
        """What the checkpoint takes in the store's own folder, with everything beside it."""
        total = 0
        for path in (self.folder / checkpoint.name).rglob("*"):
            with suppress(OSError):  # a download that ends just now renames its file; a folder may be closed
                total += path.stat().st_size if path.is_file() else 0
        return total
