"""The nnInteractive package's own session in this process: loaded safely, quiet, and stopped when asked to."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import logging
import pickle
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import torch
from torch import nn

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import WeightsError
from PromptSegLib.predictors.base import Prediction
from PromptSegLib.predictors.nninteractive.prompts import OfficialSession
from PromptSegLib.predictors.nninteractive.strokes import checked_thickness
from PromptSegLib.predictors.torch_device import OUT_OF_MEMORY_NOTE, best_device, checked_device
from PromptSegLib.weights.nnunet_folder import CHECKPOINT, checked_folder, copy_clean, tensors_only

_log = logging.getLogger(__name__)

_ARCHITECTURES = ("dynamic_network_architectures.architectures.",)
_PRINTING = ("inference.inference_session", "interaction.point", "utils.bboxes", "utils.crop")


class LocalSession:
    """An official session with a model loaded.

    folder: a model as nnU-Net saves it: plans.json, dataset.json, fold_0/checkpoint_final.pth, and what the
    checkpoint takes in inference_info.json or inference_session_class.json. device: "auto", or a name such as "cpu".
    network: used in place of the one in the folder. stop.cancel: what ends a prediction.
    note: OUT_OF_MEMORY_NOTE once that happened, else "".

    Raises:
        WeightsError: the folder holds no such model or a file in it is not to be trusted; nothing in it was executed.
        ModuleNotFoundError: without the package.
        PredictionError: the device is not here.
    """

    def __init__(self, folder: Path, device: str = "auto", network: nn.Module | None = None) -> None:
        self.note = ""
        self.stop = _Stop()
        self.device = _device(device)
        checkpoint = checked_folder(folder, _ARCHITECTURES)
        package = _package()
        # The package sets the number of threads for all of torch: what was chosen stays.
        session = package.nnInteractiveInferenceSession(device=self.device, torch_n_threads=torch.get_num_threads())
        try:
            try:
                _load(session, folder)
            except pickle.UnpicklingError:
                with tempfile.TemporaryDirectory() as clean:
                    copy_clean(folder, checkpoint, Path(clean))
                    _load(session, Path(clean))
            checked_thickness(session.preferred_scribble_thickness)
        except (RuntimeError, LookupError, TypeError, ImportError, AssertionError, OSError, ValueError) as error:
            why = textwrap.shorten(str(error), 300)
            raise WeightsError(f"expected an nnInteractive model in {folder}, got one that fails: {why}") from error
        if network is not None:
            session.network = network.to(self.device)
        session.network.eval()
        for module in session.network.modules():
            module.register_forward_pre_hook(self.stop)
        self.session: Any = session

    @property
    def patch_size(self) -> tuple[int, ...]:
        """Voxels that the network sees, k, j, i."""
        return tuple(self.session.configuration_manager.patch_size)

    def described(self, prediction: Prediction) -> Prediction:
        """Add where a prediction was made, and that it had to move there."""
        note = "; ".join(filter(None, [prediction.note, self.note]))
        return dataclasses.replace(prediction, note=note, device=str(self.device))

    def recover(self, error: RuntimeError) -> OfficialSession:
        """Go on with the CPU when the GPU's memory ran out; raise any other error again."""
        if self.device.type == "cpu" or "out of memory" not in str(error):
            raise error
        _log.warning("%s: %s", OUT_OF_MEMORY_NOTE, error)
        self.note = OUT_OF_MEMORY_NOTE
        self.device = self.session.device = torch.device("cpu")
        self.session.network.to(self.device)
        torch.cuda.empty_cache()
        session: OfficialSession = self.session
        return session


class _Stop:
    """Called before each layer of the network, within a prediction: ends it when `cancel` is set."""

    def __init__(self) -> None:
        self.cancel = CancelToken()

    def __call__(self, module: nn.Module, inputs: object) -> None:
        self.cancel.check()


def _device(name: str) -> torch.device:
    """Return the device of that name; the package is made for CUDA and the CPU, so "auto" is one of these."""
    if name != "auto":
        return checked_device(name)
    best = best_device()
    return best if best.type == "cuda" else torch.device("cpu")


@functools.cache
def _package() -> Any:
    """Import the package's session, which prints much; that goes to the log instead."""
    try:
        modules = [importlib.import_module(f"nnInteractive.{name}") for name in _PRINTING]
    except ImportError as error:
        raise ModuleNotFoundError(
            f"nnInteractive is not installed here ({error.name} is missing): pip install nninteractive",
            name="nninteractive",
        ) from error
    for module in modules:
        vars(module)["print"] = _to_log
    return modules[0]


def _to_log(*words: object, **_: object) -> None:
    _log.debug("%s", " ".join(map(str, words)))


def _load(session: Any, folder: Path) -> None:
    with tensors_only():
        session.initialize_from_trained_model_folder(str(folder), checkpoint_name=CHECKPOINT)
