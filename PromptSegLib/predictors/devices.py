"""Devices that networks run on, by name: "auto" for the best there is, "cpu", "mps", "cuda", "cuda:1", …"""

from __future__ import annotations

import ctypes
import platform
import re
import sys
from collections.abc import Callable

import numpy as np

from PromptSegLib.errors import PredictionError
from PromptSegLib.packages import is_installed

_NAME = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
_CUDA_DRIVERS = {"win32": "nvcuda.dll", "linux": "libcuda.so.1"}


def check_device_name(name: str) -> None:
    """Raise PredictionError when `name` is no device's; whether it is here shows when it is used."""
    if not _NAME.fullmatch(name):
        raise PredictionError(f"expected a device: auto, cpu, mps, cuda or such as cuda:0, got {name!r}")


def devices_here() -> tuple[str, ...]:
    """Return the names of the devices of this computer that torch can use, "auto" first, best first.

    Does not load torch, which takes seconds: as long as it is not loaded, the driver is asked.
    """
    is_here, torch = is_installed("torch"), sys.modules.get("torch")
    if is_here and torch is not None:
        gpus, has_mps = torch.cuda.device_count(), torch.backends.mps.is_available()
    elif is_here:
        gpus, has_mps = cuda_devices(), platform.system() == "Darwin" and platform.machine() == "arm64"
    else:
        gpus, has_mps = 0, False
    return ("auto", *(f"cuda:{index}" for index in range(gpus)), *(["mps"] if has_mps else []), "cpu")


def torch_works() -> bool:
    """Tell whether torch is here and can be used, which loads it: not without its libraries, or with another NumPy."""
    if not is_installed("torch"):
        return False
    try:
        import torch

        torch.from_numpy(np.zeros(1))
    except (ImportError, OSError, AttributeError, RuntimeError):
        return False
    return True


def cuda_devices(load: Callable[[str], ctypes.CDLL] = ctypes.CDLL) -> int:
    """Return how many CUDA devices the driver knows; 0 without a driver."""
    name = _CUDA_DRIVERS.get(sys.platform)
    if name is None:
        return 0
    try:
        driver = load(name)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
