"""Networks are those that nnU-Net builds of the same plans, key for key; memory is bounded where it is short."""

from __future__ import annotations

import copy
import warnings

import nnunet_folders
import numpy as np
import pytest
import torch

from PromptSegLib.io import read_volume
from PromptSegLib.predictors.fields import Fields
from PromptSegLib.predictors.names.label_names import structure_names
from PromptSegLib.predictors.nnunet import model as nnunet_model
from PromptSegLib.predictors.nnunet.architecture import build
from PromptSegLib.predictors.nnunet.configuration import Configuration
from PromptSegLib.session.session import Session

# As TotalSegmentator's plans of its five parts have it, in the format of nnU-Net 2.0.
OF_TOTALSEGMENTATOR = {
    "data_identifier": "nnUNetPlans_3d_fullres",
    "preprocessor_name": "DefaultPreprocessor",
    "batch_size": 2,
    "patch_size": [128, 128, 128],
    "spacing": [1.5, 1.5, 1.5],
    "normalization_schemes": ["CTNormalization"],
    "use_mask_for_norm": [False],
    "UNet_class_name": "PlainConvUNet",
    "UNet_base_num_features": 32,
    "n_conv_per_stage_encoder": [2] * 6,
    "n_conv_per_stage_decoder": [2] * 5,
    "num_pool_per_axis": [5, 5, 5],
    "pool_op_kernel_sizes": [[1, 1, 1]] + [[2, 2, 2]] * 5,
    "conv_kernel_sizes": [[3, 3, 3]] * 6,
    "unet_max_num_features": 320,
    **nnunet_folders.resampling(),
}
OUTPUTS_OF_ITS_PARTS = (25, 27, 19, 24, 27)


def by_nnunet(configuration, channels, outputs):
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager

    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        how = ConfigurationManager(copy.deepcopy(configuration))
        return get_network_from_plans(
            how.network_arch_class_name,
            how.network_arch_init_kwargs,
            how.network_arch_init_kwargs_req_import,
            channels,
            outputs,
            allow_init=False,
            deep_supervision=False,
        )


def shapes(network):
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


@pytest.mark.parametrize("outputs", sorted(set(OUTPUTS_OF_ITS_PARTS)))
def test_networks_of_totalsegmentator_have_the_keys_and_shapes_that_nnunet_gives_them(outputs):
    plans = {
        "configurations": {"3d_fullres": OF_TOTALSEGMENTATOR},
        "transpose_forward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": nnunet_folders.CT,
    }
    how = Configuration.of_plans(Fields("plans.json", plans), "3d_fullres", 1)
    assert shapes(build(how.architecture, 1, outputs)) == shapes(by_nnunet(OF_TOTALSEGMENTATOR, 1, outputs))


@pytest.mark.parametrize("kind", ["PlainConvUNet", "ResidualEncoderUNet"])
@pytest.mark.parametrize("n", [2, 3])
def test_networks_of_slices_and_volumes_are_nnunets(kind, n):
    configuration = {"architecture": nnunet_folders.architecture(kind, n)}
    assert shapes(build(configuration["architecture"], 2, 3)) == shapes(by_nnunet(configuration, 2, 3))


def test_labels_are_called_as_people_call_them():
    names = ["kidney_left", "vertebrae_L1", "lung_upper_lobe_left", "tumour", "my_own_thing"]
    assert structure_names(names) == ["left kidney", "L1 vertebra", "left lung upper lobe", "tumour", "my_own_thing"]


def test_where_memory_is_short_the_structures_asked_for_are_found_all_the_same(tmp_path, monkeypatch):
    folder = nnunet_folders.write_results(tmp_path / "results", "plain")
    [path] = nnunet_folders.write_images(tmp_path, "plain", 1)

    def liver():
        session = Session(read_volume(path), folder, device="cpu")
        [key] = session.add_classes(["liver"])
        return session.mask(key)

    whole = liver()
    monkeypatch.setattr(nnunet_model, "KEPT_BYTES", 0)
    monkeypatch.setattr("PromptSegLib.predictors.nnunet.layers.EXACT_VALUES", 0)
    short = liver()
    assert (whole & short).sum() * 2 / (whole.sum() + short.sum()) > 0.99
    assert np.any(whole)
