"""What the disk refuses - closed folders, links in a circle, a full disk - as WeightsError, wherever it is met."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from PromptSegLib.errors import PromptSegError, WeightsError


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn an OSError into a WeightsError that names the file or folder and says what to look at.

    Also a decorator. Around whole methods and not at each call: every look at a path can fail, and `Path.is_file`
    is among those that raise PermissionError.
    """
    try:
        yield
    except (PromptSegError, BrokenPipeError):  # whoever read along at the other end of a pipe is no disk
        raise
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        why = error.strerror or str(error) or type(error).__name__
        raise WeightsError(f"cannot use{where or ' the folder of the weights'}: {why}") from error
