"""3D weights from 2D ones: a start from which a 3D network learns in a fraction of the time."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from PromptSegLib.predictors.default.prompt_features import FEATURES
from PromptSegLib.predictors.default.prompt_unet import HEAD_CHANNELS

_ALONG_THE_NEW_AXIS = (0.2, 0.6, 0.2)


def inflated(flat: Mapping[str, Tensor], solid: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A 3D network's state dict: from the 2D one `flat` where it has such a layer, else as in `solid`.

    Kernels are spread along the new first axis; both halves of a cell begin alike where the 2D network has one.
    """
    weights = dict(solid)
    for key, value in flat.items():
        if key not in solid:
            continue  # a level that the 3D network lacks
        inflated_value = _inflated(key, value)
        if inflated_value.shape == solid[key].shape:
            weights[key] = inflated_value
    return weights


def _inflated(key: str, value: Tensor) -> Tensor:
    if key == "encoder.0.first.weight":  # its inputs are cells of 2 x 2 voxels, now of 2 x 2 x 2
        cells = value.view(len(value), FEATURES, 1, 4, 3, 3).expand(-1, -1, 2, -1, -1, -1)
        value = cells.flatten(1, 3) / 2
    elif key.startswith("head."):  # and so are the head's outputs
        rest = value.shape[1:]
        value = value.view(HEAD_CHANNELS, 1, 4, *rest).expand(-1, 2, -1, *rest).flatten(0, 2)
    if value.dim() != 4:
        return value
    if value.shape[-1] == 1:
        return value[:, :, None]
    share = torch.tensor(_ALONG_THE_NEW_AXIS, dtype=value.dtype, device=value.device)
    return value[:, :, None] * share.view(1, 1, 3, 1, 1)
