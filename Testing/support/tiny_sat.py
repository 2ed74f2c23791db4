"""Small networks of SAT's kind: with weights made from key names, and ones that know two structures."""

from __future__ import annotations

from functools import cache

import torch
from key_made_weights import state_dict_from_keys
from torch import nn

from PromptSegLib.predictors.sat.model import SatModel
from PromptSegLib.predictors.sat.network import SAT
from PromptSegLib.predictors.sat.predictor import SatNano
from PromptSegLib.predictors.sat.text_network import TextEncoder

TILE = (64, 64, 32)
TINY = {"widths": (8, 8, 8, 8, 8, 8), "convs": 1, "memory_hidden": 8, "mask_hidden": (8,)}
WORDS = ("<s>", "<pad>", "[UNK]", "[CLS]", "[SEP]", "liver", "spleen", "left", "right", "kid", "##ney", "lesion")
VOCABULARY = {word: number for number, word in enumerate(WORDS)}
LIVER, SPLEEN = VOCABULARY["liver"], VOCABULARY["spleen"]


@cache
def key_made_networks():
    """Return networks whose weights follow from their keys: every text has a mask, and no two have the same."""
    torch.manual_seed(0)
    networks = SAT(**TINY), TextEncoder(vocabulary=len(WORDS), layers=1)
    for network in networks:
        spec = {key: [list(value.shape), "float32"] for key, value in network.state_dict().items()}
        network.load_state_dict(state_dict_from_keys(spec))
    return networks


def key_made_sat(**options):
    return SatModel(*key_made_networks(), VOCABULARY, "cpu", TILE, **options)


class Bands(nn.Module):
    """In place of the U-Net: feature n is 10 where the image has the n-th of `levels`, -10 elsewhere."""

    def __init__(self, levels):
        super().__init__()
        self.levels = levels

    def encoder(self, image):
        return [image[:, :1].expand(-1, 8, -1, -1, -1)[..., ::step, ::step, ::step] for step in (1, 2, 4, 8, 16, 32)]

    def decoder(self, skips):
        values = skips[0][:, 0]
        bands = [torch.where((values - level).abs() < 1e-2, 10.0, -10.0) for level in self.levels]
        return [torch.stack([*bands, *[torch.zeros_like(values)] * (8 - len(bands))], dim=1)]


@cache
def sat_that_knows(*levels):
    """Return a model to whom "liver" is where the prepared image has the first of `levels`, "spleen" the second.

    All of SAT that comes after the U-Net, and its text encoder, are real; weights are set by hand, so that a word's
    embedding reaches one feature.
    """
    network, encoder = SAT(**TINY), TextEncoder(vocabulary=len(WORDS), layers=0)
    with torch.no_grad():
        for parameter in (*network.transformer_decoder.layers.parameters(), *encoder.parameters()):
            parameter.zero_()
        for layer in (network.mask_embed_proj[0], network.mask_embed_proj[2]):
            layer.weight.zero_()
            layer.bias.zero_()
        embeddings = encoder.text_tower["biolord"].embeddings
        embeddings.LayerNorm.weight.fill_(1)
        encoder.projection_layer[0].weight.copy_(torch.eye(768))
        encoder.projection_layer[2].weight.copy_(torch.eye(768))
        for feature, word in enumerate((LIVER, SPLEEN)):
            embeddings.word_embeddings.weight[word, word] = 1
            network.mask_embed_proj[0].weight[feature, word] = 1
            network.mask_embed_proj[2].weight[feature, feature] = 1
    network.backbone = Bands(levels)
    return SatModel(network, encoder, VOCABULARY, "cpu", TILE)


class TinySatNano(SatNano):
    """Takes its weights from the store, as the real one does; see `save_tiny_sat`."""

    tile = TILE

    def _networks(self):
        return SAT(**TINY), TextEncoder(vocabulary=len(WORDS), layers=1)


def use_tiny_sat(tmp_path, monkeypatch):
    """Let a store of its own find `save_tiny_sat` in the offline folder. Returns the checkpoint's folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PROMPTSEG_WEIGHTS_DIR", str(tmp_path / "weights"))
    return save_tiny_sat(tmp_path / "weights")


def save_tiny_sat(folder):
    """Put checkpoints as SAT's authors save theirs into an offline folder of weights."""
    folder = folder / "sat-nano"
    folder.mkdir(parents=True)
    vision, text = (network.state_dict() for network in key_made_networks())
    vision |= {"mid_mask_embed_proj.0.0.bias": torch.zeros(3)}
    text |= {"atlas_tower.weight": torch.zeros(3), "temperature": torch.zeros(())}
    for name, state_dict in (("sat_nano.pth", vision), ("sat_nano_text_encoder.pth", text)):
        content = {"model_state_dict": {f"module.{key}": value for key, value in state_dict.items()}, "step": 7}
        torch.save(content, folder / name)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return folder
