"""Names as a line of text that every file format and terminal can hold."""

from __future__ import annotations

import unicodedata

# Control characters, line and paragraph separators, and halves of characters, such as bytes that are no UTF-8.
_NOT_SHOWN = ("Cc", "Zl", "Zp", "Cs")


def one_line(text: str) -> str:
    """Return `text` with spaces in place of what ends a line, moves the cursor or cannot be encoded; trimmed.

    Teem, which reads NRRD for ITK and Slicer, takes a carriage return for the end of a field; XML, and with it a
    saved scene, holds no control characters.
    """
    return "".join(" " if unicodedata.category(letter) in _NOT_SHOWN else letter for letter in text).strip()
