"""Numbers in the headers of files: with a decimal point, whatever the host's locale."""

from __future__ import annotations


def number(text: str) -> float:
    """Return the number that `text` is.

    Raises:
        ValueError: it is none; Python's own 1_000 is none in a file.
    """
    if "_" in text:
        raise ValueError(f"expected a number, got {text!r}")
    return float(text)


def integer(text: str) -> int:
    """Return the whole number that `text` is.

    Raises:
        ValueError: it is none.
    """
    if "_" in text:
        raise ValueError(f"expected a whole number, got {text!r}")
    return int(text)
