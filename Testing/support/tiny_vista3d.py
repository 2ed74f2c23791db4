"""Small networks of VISTA3D's kind, MONAI's: with weights made from key names, and one that knows structures."""

from __future__ import annotations

from functools import cache

import torch
from key_made_weights import state_dict_from_keys
from monai.networks.nets.segresnet_ds import SegResNetDS2
from monai.networks.nets.vista3d import VISTA3D, ClassMappingClassify, PointMappingSAM
from torch import nn

from PromptSegLib.predictors.vista3d.classes import NUMBERS
from PromptSegLib.predictors.vista3d.predictor import Vista3d
from PromptSegLib.predictors.vista3d.preparation import RANGE_HU

WIDTH = 8
TILE = (32, 32, 32)


def tiny_network():
    encoder = SegResNetDS2(
        in_channels=1, blocks_down=(1, 1, 1), norm="instance", out_channels=WIDTH, init_filters=WIDTH, dsdepth=1
    )
    return VISTA3D(
        image_encoder=encoder,
        class_head=ClassMappingClassify(n_classes=512, feature_size=WIDTH, use_mlp=True),
        point_head=PointMappingSAM(feature_size=WIDTH, n_classes=512, last_supported=132),
    )


def fill_by_keys(network):
    spec = {key: [list(value.shape), "float32"] for key, value in network.state_dict().items()}
    network.load_state_dict(state_dict_from_keys(spec))
    return network.eval()


@cache
def key_made_vista3d():
    return fill_by_keys(tiny_network())


class Bands(nn.Module):
    """In place of the encoder: feature n is 10 where the image has the n-th of `values_hu`, -10 elsewhere.

    The last feature is 1 everywhere.
    """

    def __init__(self, values_hu):
        super().__init__()
        low, high = RANGE_HU
        self.levels = [(value - low) / (high - low) for value in values_hu]

    def forward(self, image, with_point=True, with_label=True):
        bands = [torch.where((image[:, 0] - level).abs() < 1e-3, 10.0, -10.0) for level in self.levels]
        features = torch.stack([*bands, *[torch.ones_like(image[:, 0])] * (WIDTH - len(bands))], dim=1)
        return features, features


class PartClicked(nn.Module):
    """In place of the head for clicks: the structure is where the image is as under the first positive click.

    Notes the labels that clicks come with.
    """

    def __init__(self):
        super().__init__()
        self.seen = []
        self.last_supported = 132

    def forward(self, features, point_coords, point_labels, class_vector=None):
        self.seen.append((point_labels[0].tolist(), None if class_vector is None else int(class_vector[0])))
        signs = point_labels[0] % 2
        if not signs.any():
            return torch.full((1, 1, *features.shape[2:]), -10.0)
        x, y, z = point_coords[0, int(signs.argmax())].round().long().tolist()
        alike = (features[0] == features[0, :, x, y, z].view(-1, 1, 1, 1)).all(dim=0)
        return torch.where(alike, 10.0, -10.0)[None, None]


def vista3d_that_knows(structures):
    """Return a network to whom each class of `structures` is where the image has its HU.

    The dispatch by class numbers is MONAI's; weights are set by hand, so that a class reaches one feature.
    """
    network = tiny_network()
    network.image_encoder = Bands(list(structures.values()))
    network.point_head = PartClicked()
    network.class_head.image_post_mapping = nn.Identity()
    network.class_head.use_mlp = False
    with torch.no_grad():
        network.class_head.class_embeddings.weight.copy_(-torch.eye(WIDTH)[-1].expand(512, -1))
        for feature, name in enumerate(structures):
            network.class_head.class_embeddings.weight[NUMBERS[name]] = torch.eye(WIDTH)[feature]
    return network


class TinyVista3d(Vista3d):
    """Takes its weights from the store, as the real one does; see `use_tiny_vista3d`."""

    tile = TILE

    def build(self):
        return tiny_network()


def use_tiny_vista3d(tmp_path, monkeypatch):
    """Put a checkpoint as published into an offline folder of weights."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PROMPTSEG_WEIGHTS_DIR", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    torch.save(key_made_vista3d().state_dict(), tmp_path / "weights" / "model_vista3d.pt")
