"""The folder where checkpoints are kept: got, imported, checked, read, removed."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PromptSegLib.cancel import CancelToken, Progress, no_progress
from PromptSegLib.errors import WeightsError
from PromptSegLib.packages import is_installed
from PromptSegLib.weights.catalogue import Checkpoint, WeightFile, load_catalogue
from PromptSegLib.weights.consent import Consent, ConsentQuestion, is_given
from PromptSegLib.weights.disk_errors import plain_errors
from PromptSegLib.weights.download import download
from PromptSegLib.weights.instructions import doubt, how_to_get, megabytes
from PromptSegLib.weights.leftovers import sweep
from PromptSegLib.weights.locks import file_lock
from PromptSegLib.weights.partfile import ByteProgress, PartFile, put_all, sha256_of, stage_copy
from PromptSegLib.weights.places import OFFLINE_VARIABLE, Places, default_folder
from PromptSegLib.weights.readers import read_state_dict
from PromptSegLib.weights.records import FIRST_USE, Record, write_text_atomically
from PromptSegLib.weights.safetensors_copy import read_safetensors_copy, write_safetensors_copy
from PromptSegLib.weights.torchfile import is_torch_file

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Status:
    """How a checkpoint stands on this machine.

    place: where its main file is. bytes: what it takes in the store (0 for what lies in the offline folder only).
    known_by: who vouches for the main file ("official", "third-party", "first use"), None before it was checked.
    """

    name: str
    state: Literal["ready", "incomplete", "missing"]
    place: Literal["store", "offline"] | None
    bytes: int
    known_by: str | None
    missing: tuple[str, ...]


class WeightsStore:
    """Checkpoints by name. Whatever it hands out was checked against its hash; it never fetches unasked.

    A file is looked for in the offline folder first (its administrator vouches for what lies there: no license is
    asked for, and a file without a known hash is pinned at its first use), then in the store's own folder.

    Args:
        folder: the store's own folder; by default the platform's cache folder.
        offline_folder: a folder of files got elsewhere, only read; by default PROMPTSEG_WEIGHTS_DIR, if set.
            It holds NAME/PATH, or just PATH for checkpoints of one file.
        catalogue: checkpoints by name; by default catalogue.toml.
        timeout_s: longest silence of a server.
    """

    def __init__(
        self,
        folder: Path | str | None = None,
        *,
        offline_folder: Path | str | None = None,
        catalogue: Mapping[str, Checkpoint] | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        offline_folder = offline_folder or os.environ.get(OFFLINE_VARIABLE)
        with plain_errors():  # of a working directory that is gone
            self._places = Places(
                Path(folder).absolute() if folder is not None else default_folder(),
                Path(offline_folder).absolute() if offline_folder else None,
            )
        self.catalogue = load_catalogue() if catalogue is None else catalogue
        self._timeout_s = timeout_s

    @property
    def folder(self) -> Path:
        """The store's own folder."""
        return self._places.folder

    @property
    def offline_folder(self) -> Path | None:
        """The folder that is looked in first and never written, None without one."""
        return self._places.offline_folder

    def checkpoint(self, name: str) -> Checkpoint:
        """What the catalogue says about a name.

        Raises:
            WeightsError: it does not know it; lists what it knows.
        """
        try:
            return self.catalogue[name]
        except KeyError:
            raise WeightsError(f"no weights are called {name!r}; there are {', '.join(self.catalogue)}") from None

    def status(self, name: str) -> Status:
        """How a checkpoint stands; looks at names and sizes, hashes nothing.

        Missing, too, where a folder cannot be looked into: `path` says why, and a list of models is shown all the same.
        """
        checkpoint = self.checkpoint(name)
        try:
            return self._status(checkpoint)
        except OSError:
            return Status(name, "missing", None, 0, None, tuple(file.path for file in checkpoint.files))

    def _status(self, checkpoint: Checkpoint) -> Status:
        missing = tuple(file.path for file in self._places.missing(checkpoint))
        needed = sum(not file.optional for file in checkpoint.files)
        main = checkpoint.file()
        found = self._places.find(checkpoint, main)
        record = Record.read(self._places.record(checkpoint, main))
        return Status(
            name=checkpoint.name,
            state="ready" if not missing else "missing" if len(missing) == needed else "incomplete",
            place=None if found is None else "store" if found == self._places.here(checkpoint, main) else "offline",
            bytes=self._places.bytes_of(checkpoint),
            known_by=record.known_by if found and record and record.is_about(found) else None,
            missing=missing,
        )

    @plain_errors()
    def path(self, name: str, file: str | None = None, cancel: CancelToken | None = None) -> Path:
        """A file of a checkpoint (the main one by default), checked.

        Raises:
            WeightsError: it is not here (says how to get it), or not what it should be.
        """
        checkpoint = self.checkpoint(name)
        wanted = checkpoint.file(file)
        return Path(self._checked(checkpoint, wanted, cancel).path)

    @plain_errors()
    def require(self, name: str) -> None:
        """Do nothing when all files of a checkpoint are here, without reading them.

        Raises:
            WeightsError: as `path`, of the first that is not.
        """
        if self.status(name).state != "ready":
            for file in self.checkpoint(name).files:
                self.path(name, file.path)

    @plain_errors()
    def folder_of(self, name: str, cancel: CancelToken | None = None) -> Path:
        """The folder with all files of a checkpoint, checked, for engines that want a folder.

        Raises:
            WeightsError: as `path`, or the files lie in different folders.
        """
        checkpoint = self.checkpoint(name)
        roots = set()
        for file in self._present(checkpoint):
            found = Path(self._checked(checkpoint, file, cancel).path)
            roots.add(found.parents[file.path.count("/")])
        if len(roots) > 1:
            raise WeightsError(f"the files of {name} lie in different folders: {', '.join(map(str, sorted(roots)))}")
        return roots.pop()

    @plain_errors()
    def get(
        self,
        name: str,
        consent: Consent = False,
        progress: Progress = no_progress,
        cancel: CancelToken | None = None,
    ) -> Path:
        """The main file of a checkpoint, downloading what is missing.

        Args:
            consent: asked for a license that restricts, and for files without a known hash.

        Raises:
            WeightsError: it cannot be downloaded (says what to do by hand), or consent was refused.
            Cancelled: what came so far is kept and resumed by the next call.
        """
        checkpoint = self.checkpoint(name)
        missing = self._places.missing(checkpoint)
        if not all(file.urls for file in missing):
            raise WeightsError(how_to_get(checkpoint, missing, self.offline_folder))
        if missing:
            self._ask(checkpoint, missing, consent)
            sweep(self._places, name)
            with file_lock(self._places.lock(name), cancel):
                missing = self._places.missing(checkpoint)  # another process may have been faster
                for position, file in enumerate(missing):
                    report = _report(progress, file, position, len(missing))
                    self._download(checkpoint, file, report, cancel)
        return self.path(name, cancel=cancel)

    @plain_errors()
    def import_file(
        self,
        name: str,
        source: Path | str,
        consent: Consent = False,
        progress: Progress = no_progress,
        cancel: CancelToken | None = None,
        *,
        trust: bool = False,
    ) -> Path:
        """Copy into the store what was fetched by hand; returns where (the first of) it is now.

        A file without a known hash is taken as it is, and pinned: importing it is the consent.

        Args:
            source: the file, under any name if the checkpoint has one file; or the folder that holds its files.
            consent: asked for a license that restricts.
            trust: take a file even though its size and hash are not those that a third party stated.

        Raises:
            WeightsError: it is not the file that it should be, or consent was refused; the store is as before.
        """
        checkpoint = self.checkpoint(name)
        pairs = _matched(checkpoint, Path(source).absolute())
        self._ask(checkpoint, (), consent)
        sweep(self._places, name)
        staged: list[tuple[PartFile, str]] = []
        with file_lock(self._places.lock(name), cancel):
            try:
                for position, (file, origin) in enumerate(pairs):
                    size, expected = file.bytes, file.sha256
                    if trust and file.sha256_source == "third-party":
                        size = expected = None
                    target, report = self._places.here(checkpoint, file), _report(progress, file, position, len(pairs))
                    try:
                        staged.append(stage_copy(origin, target, size, expected, report, cancel))
                    except OSError as error:
                        raise WeightsError(f"{origin} is not taken: {error}{doubt(file)}") from error
                put_all([part for part, _ in staged])
            except BaseException:
                for part, _ in staged:
                    part.discard()
                raise
            for (file, origin), (part, sha256) in zip(pairs, staged, strict=True):
                self._remember(checkpoint, file, part.target, sha256, str(origin))
        return self._places.here(checkpoint, pairs[0][0])

    @plain_errors()
    def verify(self, name: str, cancel: CancelToken | None = None) -> Status:
        """Hash every file of a checkpoint again; a damaged safetensors copy is dropped (and made anew when needed).

        Raises:
            WeightsError: a file is missing or not what it should be.
        """
        checkpoint = self.checkpoint(name)
        for file in self._present(checkpoint):
            record = self._checked(checkpoint, file, cancel, again=True)
            copy = self._places.copy(checkpoint, file)
            if copy.exists() and sha256_of(copy, cancel) != record.copy_sha256:
                copy.unlink()
        sweep(self._places, name)
        return self.status(name)

    @plain_errors()
    def remove(self, name: str) -> int:
        """Forget a checkpoint: its files in the store, its accepted license, its pinned hashes; the bytes freed."""
        checkpoint = self.checkpoint(name)
        folder = self.folder / checkpoint.name
        with file_lock(self._places.lock(name)), file_lock(self._places.lock(f"{name}.copy")):
            freed = self._places.bytes_of(checkpoint)
            try:
                if folder.exists():
                    shutil.rmtree(folder)
            except OSError as error:
                raise WeightsError(f"cannot remove {folder}: {error.strerror or error}") from error
        return freed

    @plain_errors()
    def clear(self) -> int:
        """Remove every checkpoint; the bytes freed."""
        return sum(self.remove(name) for name in self.catalogue)

    @plain_errors()
    def total_bytes(self) -> int:
        """What all checkpoints take in the store."""
        return sum(self.status(name).bytes for name in self.catalogue)

    @plain_errors()
    def state_dict(
        self, name: str, file: str | None = None, cancel: CancelToken | None = None
    ) -> dict[str, torch.Tensor]:
        """The state dict of a checkpoint, by the network's own names.

        After the first reading a safetensors copy is kept, and memory-mapped from then on (where the package
        safetensors is installed).

        Raises:
            WeightsError: as `path`, or the file is damaged, malicious or holds no state dict.
        """
        checkpoint = self.checkpoint(name)
        wanted = checkpoint.file(file)
        record = self._checked(checkpoint, wanted, cancel)
        if not is_torch_file(Path(record.path)) or not is_installed("safetensors"):
            return read_state_dict(record.path, wanted.layout)
        tensors = self._read_copy(checkpoint, wanted, record, cancel)
        if tensors is None:
            tensors = self._remade_copy(checkpoint, wanted, record, cancel)
        return read_state_dict(record.path, wanted.layout) if tensors is None else tensors

    @plain_errors()
    def list(self) -> Sequence[Status]:
        """Every checkpoint of the catalogue, in its order."""
        return [self.status(name) for name in self.catalogue]

    # ---- checking

    def _present(self, checkpoint: Checkpoint) -> Sequence[WeightFile]:
        """The files that have to be there, and those of the others that are."""
        return [f for f in checkpoint.files if not f.optional or self._places.find(checkpoint, f) is not None]

    def _checked(
        self, checkpoint: Checkpoint, file: WeightFile, cancel: CancelToken | None, again: bool = False
    ) -> Record:
        """The record of a file that is what it should be; hashed when it is new or changed, or `again`."""
        path = self._places.find(checkpoint, file)
        if path is None:
            raise WeightsError(how_to_get(checkpoint, self._places.missing(checkpoint), self.offline_folder))
        record = Record.read(self._places.record(checkpoint, file))
        pinned = file.sha256
        if record is not None and record.known_by == FIRST_USE and file.sha256_source != "official":
            pinned = record.sha256
        if record is not None and record.sha256 == pinned and record.is_about(path) and not again:
            return record
        if pinned is None and path == self._places.here(checkpoint, file):
            raise WeightsError(
                f"nothing vouches for {path}: no hash is known, and it came there by itself. "
                f"Move it elsewhere and import it: promptseg weights import {checkpoint.name} FILE"
            )
        sha256 = sha256_of(path, cancel)
        if pinned not in (None, sha256):
            by = "when it was first used" if pinned != file.sha256 else "by the catalogue"
            ours = path == self._places.here(checkpoint, file)
            advice = f"Remove it (promptseg weights remove {checkpoint.name})" if ours else "Remove it from there"
            raise WeightsError(
                f"{path} is damaged or another file: SHA-256 {pinned} is expected ({by}), it has {sha256}. "
                f"{advice} and get it again.{doubt(file)}"
            )
        origin = record.origin if record is not None else str(path)
        return self._remember(checkpoint, file, path, sha256, origin, record)

    def _remember(
        self,
        checkpoint: Checkpoint,
        file: WeightFile,
        path: Path,
        sha256: str,
        origin: str,
        before: Record | None = None,
    ) -> Record:
        known_by = file.sha256_source if file.sha256_source and sha256 == file.sha256 else FIRST_USE
        record = Record.of(path, sha256, known_by, origin)
        if before is not None and before.sha256 == sha256:
            copied = {name: getattr(before, name) for name in ("copy_sha256", "copy_bytes", "copy_mtime_ns")}
            record = replace(record, **copied)
        record.write(self._places.record(checkpoint, file))
        return record

    def _ask(self, checkpoint: Checkpoint, missing: Sequence[WeightFile], consent: Consent) -> None:
        """Ask what must be asked, and keep the acceptance of a license."""
        accepted = self._places.accepted_license(checkpoint)
        needed = checkpoint.consent and not _says(accepted, checkpoint.weights_license)
        question = ConsentQuestion(checkpoint, needed, tuple(file for file in missing if file.sha256 is None))
        if not is_given(consent, question):
            why = [f"the license of its weights ({checkpoint.weights_license}) was not accepted"] if needed else []
            why += ["no hash is known for it, and that was not accepted"] if question.unverified else []
            raise WeightsError(f"{checkpoint.name} is not taken: {'; '.join(why)}")
        if needed:
            with suppress(OSError):  # asked again next time
                write_text_atomically(accepted, checkpoint.weights_license)

    def _download(
        self, checkpoint: Checkpoint, file: WeightFile, report: ByteProgress, cancel: CancelToken | None
    ) -> None:
        target = self._places.here(checkpoint, file)
        try:
            sha256 = download(
                file.urls,
                target,
                expected_bytes=file.bytes,
                expected_sha256=file.sha256,
                progress=report,
                cancel=cancel,
                timeout_s=self._timeout_s,
                about_bytes=file.about_bytes,
            )
        except WeightsError as error:
            advice = how_to_get(checkpoint, [file], self.offline_folder, by_hand=True)
            raise WeightsError(f"{error}\n{advice}{doubt(file)}") from error
        self._remember(checkpoint, file, target, sha256, file.urls[0])

    # ---- the safetensors copy

    def _read_copy(
        self, checkpoint: Checkpoint, file: WeightFile, record: Record, cancel: CancelToken | None
    ) -> dict[str, torch.Tensor] | None:
        """The copy's tensors, checked as a checkpoint's file is; None when there is none that fits."""
        path = self._places.copy(checkpoint, file)
        try:
            if not path.is_file() or record.copy_sha256 is None:
                return None
            if not record.is_about_copy(path):
                if (sha256 := sha256_of(path, cancel)) != record.copy_sha256:
                    raise WeightsError(f"expected SHA-256 {record.copy_sha256}, got {sha256}")
                record.with_copy(path, sha256).write(self._places.record(checkpoint, file))
            return read_safetensors_copy(path, file.layout, record.sha256)
        except OSError as error:  # WeightsError is one
            _log.warning("the copy %s is made anew: %s", path, error)
            return None

    def _remade_copy(
        self, checkpoint: Checkpoint, file: WeightFile, record: Record, cancel: CancelToken | None
    ) -> dict[str, torch.Tensor] | None:
        """The tensors of a new copy, None when none can be kept (the checkpoint is then read as it is)."""
        target, kept_at = self._places.copy(checkpoint, file), self._places.record(checkpoint, file)
        try:
            sweep(self._places, checkpoint.name)
            with file_lock(self._places.lock(f"{checkpoint.name}.copy"), cancel):
                record = Record.read(kept_at) or record  # another process may have been faster
                tensors = self._read_copy(checkpoint, file, record, cancel)
                if tensors is not None:
                    return tensors
                sha256 = write_safetensors_copy(Path(record.path), target, file.layout, record.sha256, cancel)
                record = record.with_copy(target, sha256)
                record.write(kept_at)
                return self._read_copy(checkpoint, file, record, cancel)
        except OSError as error:  # WeightsError is one
            _log.warning("no safetensors copy of %s is kept: %s", record.path, error)
            return None


def _says(path: Path, text: str) -> bool:
    """Whether a small file holds just that text."""
    try:
        with path.open("rb") as file:
            return file.read(len(text.encode()) + 1) == text.encode()
    except OSError:
        return False


def _matched(checkpoint: Checkpoint, source: Path) -> list[tuple[WeightFile, Path]]:
    """Which of the checkpoint's files `source`, a file or a folder, holds."""
    if source.is_dir():
        pairs = [(file, source / file.path) for file in checkpoint.files]
        pairs = [(file, path) for file, path in pairs if not file.optional or path.is_file()]
        if lacking := [file.path for file, path in pairs if not path.is_file()]:
            raise WeightsError(f"{source} lacks {', '.join(lacking)} of {checkpoint.name}")
        return pairs
    if not source.is_file():
        raise WeightsError(f"there is no file {source}")
    if len(checkpoint.files) == 1:
        return [(checkpoint.file(), source)]
    fits = [file for file in checkpoint.files if Path(file.path).name == source.name]
    if not fits:
        names = ", ".join(file.path for file in checkpoint.files)
        raise WeightsError(f"{checkpoint.name} has several files ({names}); none is called {source.name}")
    return [(fits[0], source)]


def _report(progress: Progress, file: WeightFile, position: int, count: int) -> ByteProgress:
    """Progress in bytes of one of `count` files, as a fraction of all."""

    def report(done: int, total: int | None) -> None:
        fraction = done / total if total else 0.0
        of = f" of {megabytes(total)}" if total else ""
        progress((position + fraction) / count, f"{file.path}: {megabytes(done)}{of}")

    return report
