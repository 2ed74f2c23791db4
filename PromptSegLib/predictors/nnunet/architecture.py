"""Networks as plans describe them, built by the package that nnU-Net builds them by; nothing else can be named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from PromptSegLib.errors import WeightsError
from PromptSegLib.predictors.fields import Fields
from PromptSegLib.predictors.nnunet.result_folder import ResultFolder
from PromptSegLib.weights.layout import Layout
from PromptSegLib.weights.readers import check_state_dict
from PromptSegLib.weights.torchfile import open_torch_file

LAYOUT = Layout(key="network_weights", prefixes=("module.",))
"""Where a checkpoint's weights are."""

KNOWN = ("PlainConvUNet", "ResidualEncoderUNet", "ResidualUNet")
_BLOCKS = ("BasicBlockD", "BottleneckD")
_TORCH = {
    *(f"{kind}{n}d" for kind in ("Conv", "InstanceNorm", "BatchNorm", "Dropout") for n in (2, 3)),
    *("LeakyReLU", "ReLU", "ELU", "GELU", "SiLU", "PReLU", "Dropout"),
}
_MOST = {"n_stages": 16, "features_per_stage": 8192, "kernel_sizes": 31, "strides": 64, "stem_channels": 8192}
_MOST_OF_OTHERS = 64
_TAKEN = {
    *("n_stages", "features_per_stage", "conv_op", "kernel_sizes", "strides", "n_conv_per_stage", "n_blocks_per_stage"),
    *("n_conv_per_stage_decoder", "conv_bias", "norm_op", "norm_op_kwargs", "dropout_op", "dropout_op_kwargs"),
    *("nonlin", "nonlin_kwargs", "nonlin_first", "block", "bottleneck_channels", "stem_channels"),
}


def build(architecture: Mapping[str, Any], channels: int, outputs: int) -> nn.Module:
    """Return the network of a plan, without numbers, on the device "meta"; it answers at full resolution alone.

    architecture: "network_class_name" and "arch_kwargs", as in plans.json.

    Raises:
        WeightsError: it names what is none of the package's U-Nets or torch's layers, or arguments that make none.
    """
    fields = Fields("plans.json, architecture", architecture)
    name = fields.text("network_class_name").rpartition(".")[2]
    if name not in KNOWN:
        raise WeightsError(f"expected a network out of {', '.join(KNOWN)}, got {name!r} in plans.json")
    try:
        from dynamic_network_architectures.architectures import unet
        from dynamic_network_architectures.building_blocks import residual
    except ImportError as error:
        raise WeightsError(
            "nnU-Net's networks need the package dynamic-network-architectures: pip install 'promptseg[nnunet]'"
        ) from error
    given = fields.table("arch_kwargs")
    if unknown := set(given.entries) - _TAKEN - {"deep_supervision"}:
        raise WeightsError(f"{given.where}: expected arguments of {name}, got {', '.join(sorted(unknown)[:4])}")
    arguments = {key: _value(given, key, residual) for key in given.entries if key in _TAKEN}
    try:
        with torch.device("meta"):
            network: nn.Module = getattr(unet, name)(
                input_channels=channels, num_classes=outputs, deep_supervision=False, **arguments
            )
    except (TypeError, ValueError, AssertionError, IndexError, KeyError, RuntimeError, ZeroDivisionError) as error:
        raise WeightsError(f"{given.where}: they make no {name}: {error}") from error
    return network


def filled(architecture: Mapping[str, Any], channels: int, outputs: int, state: Mapping[str, Tensor]) -> nn.Module:
    """Return the network of a plan with the numbers of `state`, which become its own.

    Raises:
        WeightsError: as `build`; or `state` is another network's, which names what differs.
    """
    state = {key.removeprefix("_orig_mod."): value for key, value in state.items()}
    network = _fitting(architecture, channels, outputs, state)
    network.load_state_dict(state, assign=True)
    return network


def check_fits(results: ResultFolder, checkpoint: Path) -> None:
    """Refuse a checkpoint whose weights are not the network's of its plans; their numbers are not read.

    Raises:
        WeightsError: as `filled`.
    """
    refs = open_torch_file(checkpoint).state_dict(LAYOUT)
    state = {key.removeprefix("_orig_mod."): ref for key, ref in refs.items()}
    _fitting(results.configuration.architecture, results.inputs, results.labels.outputs, state)


def _fitting(architecture: Mapping[str, Any], channels: int, outputs: int, state: Mapping[str, Any]) -> nn.Module:
    """Return the network of a plan whose keys and shapes are those of `state`; on the device "meta"."""
    if any(key.endswith(".running_mean") for key in state):
        architecture = _with_batch_norm(architecture)  # as the trainer "nnUNetTrainerBN" does, whatever its plans say
    network = build(architecture, channels, outputs)
    check_state_dict({key: value.shape for key, value in network.state_dict().items()}, state)
    return network


def _with_batch_norm(architecture: Mapping[str, Any]) -> Mapping[str, Any]:
    arguments = dict(architecture["arch_kwargs"])
    arguments["norm_op"] = str(arguments.get("norm_op")).replace("InstanceNorm", "BatchNorm")
    return {**architecture, "arch_kwargs": arguments}


def _value(given: Fields, key: str, residual: Any) -> Any:
    value = given.entries[key]
    if key.endswith("_op") or key == "nonlin":
        return _layer(given, key)
    if key == "block":
        name = given.text(key).rpartition(".")[2]
        if name not in _BLOCKS:
            raise WeightsError(f"{given.where}: expected a block out of {', '.join(_BLOCKS)}, got {name!r}")
        return getattr(residual, name)
    if key.endswith("_kwargs"):
        plain = value is None or (isinstance(value, dict) and all(isinstance(v, float | int) for v in value.values()))
        if not plain:
            raise WeightsError(f"{given.where}: expected {key!r} to be numbers by name")
        return value
    _check_numbers(given.where, key, value, _MOST.get(key, _MOST_OF_OTHERS))
    return value


def _layer(given: Fields, key: str) -> Any:
    name = given.get(key, str, type(None))
    if name is None:
        return None
    package, _, layer = name.rpartition(".")
    if package.split(".")[:2] != ["torch", "nn"] or layer not in _TORCH:
        raise WeightsError(f"{given.where}: expected a layer of torch for {key!r}, got {name[:60]!r}")
    return getattr(nn, layer)


def _check_numbers(where: str, key: str, value: Any, most: int) -> None:
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) <= _MOST["n_stages"]:
        for one in value:
            _check_numbers(where, key, one, most)
    elif value is not None and not (isinstance(value, int) and 0 <= value <= most):
        raise WeightsError(f"{where}: expected {key!r} to be numbers up to {most}, got {str(value)[:40]!r}")
