"""Slicer's public sample CT, fetched once and kept; the demonstration's image where it can be reached."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import urllib.request
from contextlib import closing
from pathlib import Path

from PromptSegLib.cancel import Progress
from PromptSegLib.errors import PromptSegError

# "CTChest" of Slicer's Sample Data module.
SHA256 = "4507b664690840abb6cb9af2d919377ffc4ef75b167cb6fd0f747befdb12e38e"
URL = f"https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/{SHA256}"
_CHUNK_BYTES = 1 << 18


class SampleError(PromptSegError, OSError):
    """The sample image cannot be had."""


def sample_image(progress: Progress, timeout_s: float = 5.0) -> Path:
    """Return where the sample CT is, after fetching it when it is not there yet.

    timeout_s: the longest silence of the server. Raises SampleError when it cannot be had, or is another file.
    """
    path = _cache_folder() / "CTChest.nrrd"
    if path.exists() and _sha256(path) == SHA256:
        return path
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _fetch(part, progress, timeout_s)
        if (found := _sha256(part)) != SHA256:
            raise SampleError(f"expected the sample image, got another file from {URL} (SHA-256 {found})")
        part.replace(path)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, SampleError):
            raise
        raise SampleError(f"expected Slicer's sample CT from {URL}, got {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return path


def _fetch(part: Path, progress: Progress, timeout_s: float) -> None:
    with closing(urllib.request.urlopen(URL, timeout=timeout_s)) as answer, part.open("wb") as file:
        total, done = int(answer.headers.get("Content-Length") or 0), 0
        while chunk := answer.read(_CHUNK_BYTES):
            file.write(chunk)
            done += len(chunk)
            progress(done / total if total else 0.0, "fetching Slicer's sample CT")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cache_folder() -> Path:
    """Where this platform keeps what can be fetched again."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "PromptSeg" / "samples"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "PromptSeg" / "samples"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "promptseg" / "samples"
