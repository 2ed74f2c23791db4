"""MONAI's classes that a bundle may name without being asked about: they do what their arguments say, and no more.

Left out is what calls functions it is given, reads or writes files, or fetches weights by itself.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

NETWORKS = (
    *("UNet", "Unet", "BasicUNet", "BasicUnet", "BasicUNetPlusPlus", "BasicUnetPlusPlus", "DynUNet", "DynUnet"),
    *("SegResNet", "SegResNetDS", "SegResNetDS2", "SegResNetVAE", "SwinUNETR", "UNETR", "AttentionUnet", "VNet"),
    *("HighResNet", "MedNeXt", "MedNeXtSmall", "MedNeXtBase", "MedNeXtMedium", "MedNeXtLarge", "DiNTS"),
    *("TopologyInstance",),
)
INFERERS = ("SlidingWindowInferer", "SlidingWindowInfererAdapt", "SimpleInferer")
_TRANSFORMS = (
    *("EnsureChannelFirst", "EnsureType", "Orientation", "Spacing", "ScaleIntensityRange", "ScaleIntensity"),
    *("NormalizeIntensity", "ScaleIntensityRangePercentiles", "ClipIntensityPercentiles", "ThresholdIntensity"),
    *("CropForeground", "SpatialPad", "BorderPad", "DivisiblePad", "ResizeWithPadOrCrop", "CenterSpatialCrop"),
    *(
        "Resize",
        "CastToType",
        "ToTensor",
        "Transpose",
        "SqueezeDim",
        "Identity",
        "Flip",
        "Rotate90",
        "HistogramNormalize",
    ),
    *("SignalFillEmpty", "GaussianSmooth", "MedianSmooth", "ShiftIntensity", "StdShiftIntensity", "AdjustContrast"),
    *("Activations", "AsDiscrete", "Invert", "KeepLargestConnectedComponent", "FillHoles", "RemoveSmallObjects"),
    *("LabelFilter", "ConvertToMultiChannelBasedOnBratsClasses"),
)
_OF_ITEMS = ("ConcatItems", "DeleteItems", "SelectItems", "CopyItems")
TRANSFORMS = {f"{name}{ending}" for name in (*_TRANSFORMS, *_OF_ITEMS) for ending in ("d", "D", "Dict")}
READS_AND_WRITES = {f"{name}{ending}" for name in ("LoadImage", "SaveImage") for ending in ("d", "D", "Dict")}
"""What a session does in their place."""

_PLACES = {
    "monai.networks.nets": NETWORKS,
    "monai.inferers": INFERERS,
    "monai.transforms": ("Compose", *TRANSFORMS),
}


class Skipped:
    """Stands for a transform that reads or writes files. keys: of what it reads or writes."""

    def __init__(self, keys: Any = "image", ensure_channel_first: bool = False, **_: Any) -> None:
        self.keys = [keys] if isinstance(keys, str) else list(keys)
        self.adds_channel = bool(ensure_channel_first)


@cache
def class_named(target: str) -> Any:
    """Return the class that `target`, with or without its module, stands for; None when it is not known."""
    module, _, name = target.rpartition(".")
    if module and module.split(".")[0] != "monai":
        return None
    if name in READS_AND_WRITES:
        return Skipped
    for place, names in _PLACES.items():
        if name in names and (
            not module or module == place or module.startswith(f"{place}.") or _is_above(module, place)
        ):
            return getattr(importlib.import_module(place), name, None)
    return None


def _is_above(module: str, place: str) -> bool:
    return place.startswith(f"{module}.")
