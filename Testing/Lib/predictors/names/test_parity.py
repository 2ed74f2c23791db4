"""What the predictors of named structures do around their networks is what the official implementations do.

Whole sessions are compared: the image goes in as a volume, masks come out on its grid.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from key_made_weights import state_dict_from_keys
from references import ELSEWHERE, KEPT_HERE, needs_all_references
from torch import nn
from volume_references import VolumeReference

from PromptSegLib.cancel import CancelToken
from PromptSegLib.predictors.names.model import PlannedImage
from PromptSegLib.predictors.names.plan import ClipToUnit, Plan, ZScore
from PromptSegLib.predictors.stu_net.network import STUNet
from PromptSegLib.predictors.stu_net.predictor import StuNetB
from PromptSegLib.predictors.uniseg.network import UniSeg
from PromptSegLib.predictors.uniseg.predictor import UniSegPredictor
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume

CASES = [
    pytest.param(KEPT_HERE, "stu_net_prep", ZScore(), id="z-score"),
    pytest.param(KEPT_HERE, "stu_net_prep_aniso", ZScore(), id="thick slices"),
    pytest.param(KEPT_HERE, "uniseg_prep", ClipToUnit(), id="clipped CT"),
    pytest.param(ELSEWHERE, "uniseg_prep_mr4", ZScore(), id="four channels", marks=needs_all_references),
]
CLASSES = ("liver", "spleen", "pancreas", "brain", "aorta", "colon")


def image_of(reference):
    affine = np.diag([*reference["spacing_xyz"], 1.0])
    return {f"c{n}": Volume(array, affine) for n, array in enumerate(reference["volume_czyx"])}


class Remembers(nn.Module):
    """Answers the only tile with what the reference's network answered, padded as the tile is."""

    def __init__(self, probabilities, tile):
        super().__init__()
        short = [w - n for w, n in zip(tile, probabilities.shape[1:], strict=True)]
        padding = [pad for n in reversed(short) for pad in (n // 2, n - n // 2)]
        self.logits = nn.functional.pad(probabilities.float(), padding, value=0.25).log()[None]

    def forward(self, tile):
        return self.logits.clone()


@pytest.mark.parametrize(("folder", "name", "normalise"), CASES)
def test_an_image_is_prepared_and_its_labels_come_back_as_officially(folder, name, normalise):
    reference = VolumeReference(folder, name)
    image = image_of(reference)
    shape = reference["data"].shape[1:]
    tile = tuple(int(n) + 3 for n in shape)
    spacing = tuple(reference["target_zyx"].tolist())
    plan = Plan(tuple(image), (normalise,) * len(image), spacing, tile, CLASSES[:3])
    prepared = PlannedImage(list(image.values()), plan, CancelToken())
    reference.assert_met("data", prepared.image.data)

    class Named(StuNetB):
        plans = (plan,)
        capabilities = replace(StuNetB.capabilities, classes=CLASSES[:3], channels_of={})

    session = Session(image, Named(Remembers(reference.tensor("softmax"), tile), device="cpu"))
    keys = session.add_classes(CLASSES[:3])
    for number, key in enumerate(keys, start=1):
        # The reference's probabilities are kept in half precision, do not quite add up to 1: ties may go either way.
        assert (session.mask(key) != (reference["segmentation_zyx"] == number)).mean() < 3e-4


def stu_net():
    network = STUNet(1, 7, widths=(4, 8, 8, 16, 16, 16), depths=[2] * 6)
    network.load_state_dict(state_dict_from_keys(ELSEWHERE / "stu_net_tiny_keys.json", "depth2"))
    return network, StuNetB, "stu_net_tiny", "tiled_mirror{}_seg", (32, 32, 32), CLASSES


def uniseg():
    network = UniSeg(patch=(32, 64, 64), widths=(8, 16, 32, 48, 48, 48))
    network.load_state_dict(state_dict_from_keys(ELSEWHERE / "uniseg_tiny_keys.json"))
    return network, UniSegPredictor, "uniseg_tiny", "tiled_task0_seg", (32, 64, 64), CLASSES[:3]


@needs_all_references
@pytest.mark.parametrize(("system", "mirror"), [(stu_net, False), (stu_net, True), (uniseg, True)])
def test_a_volume_of_many_tiles_is_segmented_as_officially(system, mirror):
    network, base, name, key, tile, classes = system()
    reference = VolumeReference(ELSEWHERE, name)
    values = reference["tiled_input"]
    assert (values != 0).any(axis=(0, 2, 3)).all()

    class Tiled(base):
        plans = (Plan(("image",), (lambda values: None,), (1.0, 1.0, 1.0), tile, classes),)
        capabilities = replace(base.capabilities, classes=classes, channels_of={})

    session = Session(Volume(values[0]), Tiled(network, device="cpu", mirror=mirror))
    found = np.zeros(values.shape[1:], np.uint8)
    for number, key_of_target in enumerate(session.add_classes(classes), start=1):
        found[session.mask(key_of_target)] = number
    np.testing.assert_array_equal(found, reference[key.format(int(mirror))])


def test_arrays_reach_the_network_in_the_files_order_where_that_is_ras():
    array = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    plan = Plan(("image",), (lambda values: None,), (1.0, 1.0, 1.0), (8, 8, 8), CLASSES)
    prepared = PlannedImage([Volume(array)], plan, CancelToken())
    np.testing.assert_allclose(prepared.image.data[0], array, atol=1e-6)
    flipped = PlannedImage([Volume(array[:, ::-1, ::-1], np.diag([-1.0, -1.0, 1.0, 1.0]))], plan, CancelToken())
    np.testing.assert_allclose(flipped.image.data[0], array, atol=1e-6)
