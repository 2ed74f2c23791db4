"""What runs that were killed left in the store, cleared away; a download that can be resumed is kept for two weeks."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from PromptSegLib.weights.locks import free_lock
from PromptSegLib.weights.places import Places
from PromptSegLib.weights.records import SCRATCH_SUFFIX

RESUMABLE_S = 14 * 24 * 3600.0
_SCRATCH_S = 3600.0  # where nothing tells whether the writer lives; small files, written at once


def sweep(places: Places, name: str) -> None:
    """Clear the folder of checkpoint `name` of what nobody is writing any more; where that is refused, it stays."""
    folder = places.folder / name
    with suppress(OSError):  # WeightsError is one
        if not folder.is_dir():
            return
        for path in _files(folder, SCRATCH_SUFFIX):
            if is_abandoned(path, path.name.removesuffix(SCRATCH_SUFFIX).rpartition(".")[2]):
                path.unlink(missing_ok=True)
        copies = set(_files(folder, ".safetensors.part"))
        with free_lock(places.lock(f"{name}.copy")) as is_mine:
            for path in copies if is_mine else ():
                path.unlink(missing_ok=True)
        with free_lock(places.lock(name)) as is_mine:
            for path in _files(folder, ".part") if is_mine else ():
                note = path.with_name(path.name + ".json")
                if path not in copies and not (note.is_file() and _age_s(path) < RESUMABLE_S):
                    path.unlink(missing_ok=True)
                    note.unlink(missing_ok=True)
            for path in _files(folder, ".before") if is_mine else ():
                _take_back(path)


def _take_back(kept: Path) -> None:
    """Give a file that an import was about to replace its name again, unless the import got that far."""
    target = kept.with_name(kept.name.removesuffix(".before"))
    if target.exists():
        kept.unlink(missing_ok=True)
    else:
        os.replace(kept, target)


def _files(folder: Path, suffix: str) -> Iterator[Path]:
    return (path for path in folder.rglob(f"*{suffix}") if path.is_file())


def _age_s(path: Path) -> float:
    return time.time() - path.stat().st_mtime


def is_abandoned(path: Path, number: str) -> bool:
    """Whether the process whose number a scratch file or folder bears is gone."""
    if sys.platform != "win32" and number.isdecimal() and len(number) < 10:
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
    return _age_s(path) > _SCRATCH_S
