"""Every operation of the weights and the caches on folders and files that are closed: run as a process of its own.

    python closed_folders.py FOLDER

Prints a line for each case whose exception is none of PromptSeg's, and at the end the number of cases.
"""

from __future__ import annotations

import encodings.cp437  # noqa: F401 - zipfile looks it up when this process may no longer read packages
import hashlib
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import safetensors.torch  # noqa: F401 - before this process may no longer read packages
import torch

from PromptSegLib.errors import PromptSegError
from PromptSegLib.imaging.embedding_cache import EmbeddingCache
from PromptSegLib.weights.catalogue import Checkpoint, WeightFile
from PromptSegLib.weights.command import _run
from PromptSegLib.weights.readers import read_state_dict
from PromptSegLib.weights.store import WeightsStore

CLOSED = (
    *("store", "store/demo", "store/demo/demo.pth", "store/demo/demo.pth.record.json", "store/.locks"),
    *("store/demo/demo.pth.safetensors", "store/demo/license_accepted.txt", "store/.locks/demo"),
    *("offline", "offline/demo", "offline/demo/demo.pth", "source", "source/demo.pth", "cache", "cache/a.npz"),
)
FOLDERS = ("store", "offline", "source", "cache")
MODES = (0o000, 0o555)
OPERATIONS = {
    "status": lambda store, at: store.status("demo"),
    "path": lambda store, at: store.path("demo"),
    "require": lambda store, at: store.require("demo"),
    "folder_of": lambda store, at: store.folder_of("demo"),
    "get": lambda store, at: store.get("demo", True),
    "import": lambda store, at: store.import_file("demo", at / "source" / "demo.pth", True),
    "import folder": lambda store, at: store.import_file("demo", at / "source", True),
    "verify": lambda store, at: store.verify("demo"),
    "state_dict": lambda store, at: store.state_dict("demo"),
    "total": lambda store, at: store.total_bytes(),
    "list": lambda store, at: store.list(),
    "read": lambda store, at: read_state_dict(at / "source" / "demo.pth"),
    "command": lambda store, at: _run(lambda store, arguments: 0, _Arguments(at / "store")),
    "cache": lambda store, at: _use_cache(EmbeddingCache(at / "cache")),
    "remove": lambda store, at: store.remove("demo"),
    "clear": lambda store, at: store.clear(),
}


class _Arguments:
    names, name = ["demo"], None

    def __init__(self, folder):
        self.folder = folder


def _use_cache(cache):
    assert ("a" in cache) in (True, False)
    cache.get("a")
    cache.put("b", np.ones(9))
    assert cache.disk_nbytes >= 0
    cache.clear()


def _catalogue(at):
    """A catalogue of one checkpoint of one file, which is there."""
    data = (at / "weights.pth").read_bytes()
    file = WeightFile("demo.pth", "page", (), len(data), None, hashlib.sha256(data).hexdigest(), "official")
    words = ("demo", "Demo", "1", "demo", "code", "MIT", "NC", True, "Demo et al.", "nothing")
    return {"demo": Checkpoint(*words, (file,))}


def _make(at, catalogue):
    """Make a store with a checkpoint and its copy, an offline folder, a source and a cache; and keep them as copies."""
    for folder in FOLDERS:
        (at / folder / "demo").mkdir(parents=True)
    shutil.copy(at / "weights.pth", at / "source" / "demo.pth")
    shutil.copy(at / "weights.pth", at / "offline" / "demo" / "demo.pth")
    np.savez(at / "cache" / "a.npz", embedding=np.ones(9))
    store = WeightsStore(at / "store", catalogue=catalogue)
    store.import_file("demo", at / "source" / "demo.pth", True)
    store.state_dict("demo")
    for folder in FOLDERS:
        shutil.copytree(at / folder, at / "kept" / folder)


def _make_again(at):
    for folder in FOLDERS:
        shutil.rmtree(at / folder, ignore_errors=True)
        shutil.copytree(at / "kept" / folder, at / folder)


def _tried(operation, store, at):
    """Return the raw exception of an operation, None where it worked or PromptSeg's own one came."""
    try:
        operation(store, at)
    except PromptSegError:
        return None
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        return error
    return None


def main(at: Path) -> int:
    at.mkdir(exist_ok=True)
    at.chmod(0o777)
    is_root = os.geteuid() == 0
    torch.save({"w": torch.ones(50)}, at / "weights.pth")
    (at / "weights.pth").chmod(0o644)
    if is_root:
        os.setegid(65534)
        os.seteuid(65534)  # root may enter everything: nobody may not
    catalogue = _catalogue(at)
    _make(at, catalogue)
    cases = raw = 0
    for closed in CLOSED:
        for mode in MODES:
            for name, operation in OPERATIONS.items():
                _make_again(at)
                offline = at / "offline" if closed.startswith("offline") else None
                (at / closed).chmod(mode)
                try:
                    error = _tried(operation, WeightsStore(at / "store", offline_folder=offline, catalogue=catalogue), at)
                finally:
                    if (at / closed).parent.exists() and os.path.exists(at / closed):
                        (at / closed).chmod(0o755)
                cases += 1
                if error is not None:
                    raw += 1
                    print(f"RAW {name} on {closed} {mode:o}: {type(error).__name__}: {error}")
    print(f"{cases} cases, {raw} raw")
    return raw


if __name__ == "__main__":
    sys.exit(min(main(Path(sys.argv[1])), 100))
