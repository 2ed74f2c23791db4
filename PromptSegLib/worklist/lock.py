"""One writer of a list at a time, on whatever computer: a file that is there while somebody writes.

Locks of the operating system don't reach across every shared folder, and a program with one kind of lock does not see
another's. Making a file that must not exist yet works on all of them, so everybody uses this, with nothing to install.
A writer holds it for milliseconds. One that was killed leaves it behind: on its own computer that is seen at once, by
others when the file has been the same for `STALE_S`. Clocks are not compared. Should a writer sleep for longer and then
go on, two write at a time: each adds its rows at the end, so that no row is lost by it.
"""

from __future__ import annotations

import os
import platform
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from PromptSegLib.worklist.errors import WorklistError

STALE_S = 10.0
_PATIENCE_S = 20.0
_POLL_S = 0.005
_SLOWEST_POLL_S = 0.1
_RELEASES = 100


@contextmanager
def lock_beside(path: Path, patience_s: float = _PATIENCE_S) -> Iterator[None]:
    """Hold the lock of the list at `path`: a file beside it, removed in the end.

    Raises:
        WorklistError: somebody else holds it for longer than `patience_s`, or its folder cannot be written.
    """
    lock = path.with_name(f".{path.name}.lock")
    token = f"{platform.node()} {os.getpid()} {secrets.token_hex(8)}"
    _acquire(lock, path, token, patience_s)
    try:
        yield
    finally:
        _release(lock, token)


def _acquire(lock: Path, path: Path, token: str, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    seen: tuple[object, float] | None = None
    pause_s = _POLL_S
    while not _made(lock, path, token):
        now = time.monotonic()
        marker = _marker(lock)
        if marker is None:
            continue
        if seen is None or seen[0] != marker:
            seen = marker, now
        if now - seen[1] > STALE_S or _is_of_the_dead(marker[0]):
            _take_away(lock, marker)
            continue
        if now > deadline:
            raise WorklistError(f"expected to write {path} within {patience_s:g} s, got it locked by {marker[0]}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _SLOWEST_POLL_S)


def _made(lock: Path, path: Path, token: str) -> bool:
    """Make the file, and return whether there was none."""
    try:
        number = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    except PermissionError as error:
        if os.name == "nt" and lock.exists():  # somebody is removing it just now
            return False
        raise _no_place(path, error) from error
    except (OSError, ValueError) as error:
        raise _no_place(path, error) from error
    try:
        os.write(number, token.encode())
    except OSError as error:  # the disk is full
        os.close(number)
        with suppress(OSError):
            lock.unlink()
        raise _no_place(path, error) from error
    os.close(number)
    return True


def _release(lock: Path, token: str) -> None:
    """Remove the lock, if nobody took it away. Windows refuses that while somebody reads it, which is soon over."""
    for _ in range(_RELEASES):
        try:
            if lock.read_text(encoding="utf-8") == token:
                lock.unlink()
            return
        except PermissionError:
            time.sleep(_POLL_S)
        except OSError:
            return


def _marker(lock: Path) -> tuple[str, int, int] | None:
    """Return who holds the lock, and what tells their file from another's; None when it is gone."""
    try:
        about = lock.stat()
        return lock.read_text(encoding="utf-8", errors="replace"), about.st_mtime_ns, about.st_ino
    except OSError:
        return None


def _is_of_the_dead(holder: str) -> bool:
    """Whether the process that holds the lock ran on this computer and has ended."""
    node, _, rest = holder.partition(" ")
    number = rest.partition(" ")[0]
    if os.name != "posix" or node != platform.node() or not number.isdecimal():  # elsewhere a signal cannot ask
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:  # somebody else's
        return False
    return False


def _take_away(lock: Path, marker: tuple[str, int, int]) -> None:
    """Remove the lock if it is still the one that was judged: another may have removed it and made its own."""
    aside = lock.with_name(f"{lock.name}.{secrets.token_hex(8)}")
    with suppress(OSError):
        os.rename(lock, aside)
        taken = _marker(aside)
        if taken is not None and taken[::2] != marker[::2]:
            with suppress(OSError):
                os.link(aside, lock)
        aside.unlink()


def _no_place(path: Path, error: Exception) -> WorklistError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return WorklistError(f"expected a list that can be written, got {path}: {reason}")
