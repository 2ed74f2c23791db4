"""What to tell somebody whose weights are missing: what to fetch from where, and where to put it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PromptSegLib.weights.catalogue import Checkpoint, WeightFile


def how_to_get(
    checkpoint: Checkpoint, missing: Sequence[WeightFile], offline_folder: Path | None, by_hand: bool = False
) -> str:
    """The steps for the files that are missing; the automatic one is left out with `by_hand`."""
    name = checkpoint.name
    lines = [f"The weights {name} ({checkpoint.title}) are not here."]
    if not by_hand and all(file.urls for file in missing):
        lines += [f"Download them: promptseg weights get {name}{_size(checkpoint.likely_bytes)}", "Or by hand:"]
    for file in missing:
        save = "" if file.saved_as_published else ", and save it under this name"
        what = file.path if file.saved_as_published else f"the file for {Path(file.path).name}"
        lines.append(f"  fetch {what}{_size(file.likely_bytes)} from {(file.urls or (file.page,))[0]}{save}")
    single = len(checkpoint.files) == 1
    what = Path(missing[0].path).name if single else "THE_FOLDER_WITH_THESE_FILES"
    lines.append(f"  then run: promptseg weights import {name} {what}")
    place = offline_folder or "the folder that the environment variable PROMPTSEG_WEIGHTS_DIR names"
    inside = ", ".join(f"{name}/{file.path}" for file in missing)
    lines.append(f"  or put it into {place}, as {inside}")
    return "\n".join(lines)


def megabytes(count: int) -> str:
    """A size for people: 12.3 kB, 45.6 MB, 2.56 GB."""
    for limit, unit, digits in ((10**6, "kB", 1), (10**9, "MB", 1)):
        if count < limit:
            return f"{count / limit * 1000:.{digits}f} {unit}"
    return f"{count / 10**9:.2f} GB"


def _size(count: int | None) -> str:
    return f" (about {megabytes(count)})" if count is not None else ""


def doubt(file: WeightFile) -> str:
    """What to add to a complaint about a hash that the publisher did not state."""
    if file.sha256_source != "third-party":
        return ""
    return (
        f"\nThis hash was stated by a third party only. If you have the file from {file.page} itself, "
        "it can be imported nevertheless (trust=True, --trust)."
    )
