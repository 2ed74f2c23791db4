"""Slicer's public sample CT, fetched once and kept: the demonstration's image where it can be reached."""

from __future__ import annotations

from pathlib import Path

from PromptSegLib.cancel import Progress
from PromptSegLib.weights.download import download
from PromptSegLib.weights.locks import file_lock
from PromptSegLib.weights.partfile import sha256_of
from PromptSegLib.weights.places import default_folder

# "CTChest" of Slicer's Sample Data module.
SHA256 = "4507b664690840abb6cb9af2d919377ffc4ef75b167cb6fd0f747befdb12e38e"
URL = f"https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/{SHA256}"


def sample_image(progress: Progress, timeout_s: float = 5.0) -> Path:
    """Return where the sample CT is, after fetching it when it is not there yet.

    timeout_s: the longest silence of the server.

    Raises:
        WeightsError: it cannot be had, or is another file.
    """
    path = default_folder().with_name("samples") / "CTChest.nrrd"
    with file_lock(path.with_suffix(".lock")):
        if not path.exists() or sha256_of(path) != SHA256:
            progress(0.0, "fetching Slicer's sample CT")
            download(
                [URL],
                path,
                expected_sha256=SHA256,
                progress=lambda done, total: progress(done / total if total else 0.0, "fetching Slicer's sample CT"),
                timeout_s=timeout_s,
                attempts=1,
            )
    return path
