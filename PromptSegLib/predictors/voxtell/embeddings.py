"""VoxTell's stored answers of its text encoder, with which the encoder of four billion parameters is not needed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.errors import PromptError, WeightsError
from PromptSegLib.prompts import shown
from PromptSegLib.weights.npz import read_npz

ENCODER = "voxtell-text-encoder"
"""The catalogue's name of the encoder."""

_SHOWN = 3


def read_bank(path: Path) -> dict[str, NDArray[Any]]:
    """Return the vectors, (width,) floating each, of a file of them by their texts in lower case.

    Raises:
        WeightsError: the file is damaged, or holds other arrays.
    """
    arrays = read_npz(path)
    texts, vectors = arrays.get("labels"), arrays.get("embeddings")
    if texts is None or vectors is None or texts.dtype.kind != "U" or vectors.dtype.kind != "f":
        raise WeightsError(f"expected the arrays labels and embeddings in {path}, got {', '.join(arrays) or 'none'}")
    if texts.ndim != 1 or vectors.ndim != 2 or len(texts) != len(vectors) or not np.isfinite(vectors).all():
        raise WeightsError(f"expected a vector for each text in {path}, got {texts.shape} and {vectors.shape}")
    return {str(text).lower(): vector for text, vector in zip(texts, vectors, strict=True)}


def check_known(texts: Iterable[str], bank: Mapping[str, NDArray[Any]]) -> None:
    """Refuse texts that no vector is stored of, where the encoder is not here.

    Raises:
        PromptError: names those that are near, and how to get the encoder.
    """
    for text in texts:
        if text.lower() in bank:
            continue
        near = difflib.get_close_matches(text.lower(), bank, n=_SHOWN, cutoff=0.5)
        stored = f", such as {', '.join(map(repr, near))}" if near else ""
        raise PromptError(
            f"expected one of the {len(bank)} texts that VoxTell's vectors are stored of{stored}, got {shown(text)}: "
            f"other words need its text encoder (8 GB): promptseg weights get {ENCODER}, or VoxTell on a server"
        )
