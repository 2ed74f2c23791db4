"""Who reads: a name, as it stands in the list."""

from __future__ import annotations

import getpass


def reader_by_login() -> str:
    """Return who is logged in; nothing where that cannot be known."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
