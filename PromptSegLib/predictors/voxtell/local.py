"""The voxtell package's own predictor in this process: loaded safely, quiet, and stopped when asked to."""

from __future__ import annotations

import functools
import importlib
import logging
import pickle
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.errors import PredictionError, WeightsError
from PromptSegLib.predictors.torch_device import OUT_OF_MEMORY_NOTE, best_device, checked_device
from PromptSegLib.predictors.voxtell.embeddings import check_known
from PromptSegLib.weights.nnunet_folder import checked_folder, copy_clean, tensors_only

_log = logging.getLogger(__name__)

_HELD_BYTES = 2 << 30  # what the logits of all texts of a run may take


class LocalVoxTell:
    """The official predictor with a model loaded.

    Args:
        folder: a model as nnU-Net saves it: plans.json, fold_0/checkpoint_final.pth.
        bank: vectors by text, see `embeddings.read_bank`.
        encoder: a folder with the text encoder, for texts that no vector is stored of; None without it.
        device: "auto", or a name such as "cpu".

    Raises:
        WeightsError: the folder holds no such model, or a file in it is not to be trusted; nothing was executed.
        ModuleNotFoundError: the package is not here.
        PredictionError: the device is not here.
    """

    def __init__(
        self, folder: Path, bank: Mapping[str, NDArray[Any]], encoder: Path | None = None, device: str = "auto"
    ) -> None:
        self.note = ""
        self._has_encoder = encoder is not None
        best = best_device() if device == "auto" else checked_device(device)
        self.device = torch.device("cpu") if device == "auto" and best.type != "cuda" else best
        checkpoint = checked_folder(folder, None)
        package = _package()
        options = {"text_encoding_model": str(encoder or ""), "embedding_bank": dict(bank)}
        try:
            try:
                with tensors_only():
                    self._official = package.VoxTellPredictor(str(folder), self.device, **options)
            except pickle.UnpicklingError:
                with tempfile.TemporaryDirectory() as clean:
                    copy_clean(folder, checkpoint, Path(clean))
                    with tensors_only():
                        self._official = package.VoxTellPredictor(clean, self.device, **options)
        except (RuntimeError, LookupError, TypeError, ImportError, AssertionError, OSError, ValueError) as error:
            why = textwrap.shorten(str(error), 300)
            raise WeightsError(f"expected a VoxTell model in {folder}, got one that fails: {why}") from error
        self._stop = _Stop()
        for module in self._official.network.requires_grad_(False).modules():
            module.register_forward_pre_hook(self._stop)

    def logits(
        self, values_kji: NDArray[Any], texts: Sequence[str], cancel: CancelToken, progress: Progress
    ) -> Iterator[tuple[NDArray[np.float16], tuple[slice, ...]]]:
        """Yield for each text its logits : (k, j, i) float16, and which part of the image they are of.

        Args:
            values_kji: (k, j, i) towards Superior, Anterior, Right, finite; any real dtype.
            texts: what is asked for, in any case.
            cancel: ends the work at the next layer of the network.
            progress: told how far it is.

        Raises:
            PromptError: a text has no stored vector, and the encoder is not here.
            Cancelled: somebody asked for it.
        """
        official = self._official
        if not self._has_encoder:
            check_known(texts, official.embedding_bank or {})
        self._stop.cancel = cancel
        vectors = self._on_device(lambda: official.embed_text_prompts(list(texts)))
        data, box, _ = official.preprocess(values_kji)
        part = tuple(slice(int(low), int(high)) for low, high in box)
        at_once = max(1, _HELD_BYTES // (2 * data[0].numel()))
        chunks = torch.split(vectors, at_once, dim=1)
        for number, chunk in enumerate(chunks):

            def report(done: int, total: int, number: int = number) -> bool:
                progress((number + done / total) / len(chunks), "predicting")
                return True

            yield from ((own.cpu().numpy(), part) for own in self._predicted(data, chunk, report))

    def _predicted(self, data: Tensor, vectors: Tensor, report: Any) -> Tensor:
        def predict() -> Tensor:
            logits: Tensor = self._official.predict_sliding_window_return_logits(
                data, vectors.to(self._official.device), progress_callback=report
            )
            return logits

        return self._on_device(predict)

    def _on_device(self, work: Any) -> Tensor:
        """Return what `work` returns; when the GPU's memory runs out, with what it holds beside it, then on the CPU."""
        while True:
            try:
                answer: Tensor = work()
            except RuntimeError as error:
                if self.device.type == "cpu" or "out of memory" not in f"{error} {error.__cause__}":
                    raise
                self._give_way(error)
                continue
            return answer

    def _give_way(self, error: RuntimeError) -> None:
        official = self._official
        _log.warning("%s: %s", OUT_OF_MEMORY_NOTE, error)
        torch.cuda.empty_cache()
        if official.perform_everything_on_device:
            official.perform_everything_on_device = False
            return
        self.note = OUT_OF_MEMORY_NOTE
        self.device = official.device = torch.device("cpu")
        official.network.to(self.device)


class _Stop:
    """Called before each layer of the network, within a prediction: ends it when `cancel` is set."""

    def __init__(self) -> None:
        self.cancel = CancelToken()

    def __call__(self, module: nn.Module, inputs: object) -> None:
        self.cancel.check()


def check_pins(package: str = "voxtell") -> None:
    """Compare the versions that are here with those that the package states.

    Raises:
        PredictionError: one does not fit; another model's extra may have brought it.
    """
    from packaging.requirements import Requirement

    for text in metadata.requires(package) or ():
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        with suppress(metadata.PackageNotFoundError):  # its import will say so
            found = metadata.version(wanted.name)
            if not wanted.specifier.contains(found, prereleases=True):
                raise PredictionError(
                    f"expected {wanted.name} {wanted.specifier} for VoxTell, got {found}, which others may need: "
                    "give VoxTell an environment of its own, or ask it on a server (voxtell-server)"
                )


@functools.cache
def _package() -> Any:
    """Import the package's predictor, which draws a bar of its own; ours stands in its place.

    Raises:
        ModuleNotFoundError: it, or something that it needs, is not here.
        PredictionError: something is here in a version that it does not take.
    """
    try:
        check_pins()
        module = importlib.import_module("voxtell.inference.predictor")
    except ImportError as error:
        missing = f"{error.name} is missing" if isinstance(error, ModuleNotFoundError) else str(error)
        raise ModuleNotFoundError(
            f"VoxTell is not installed here ({missing}): pip install 'promptseg[voxtell]', or pip install voxtell",
            name="voxtell",
        ) from error
    vars(module)["tqdm"] = functools.partial(vars(module)["tqdm"], disable=True)
    return module
