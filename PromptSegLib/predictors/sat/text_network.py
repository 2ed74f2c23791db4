"""SAT's text encoder: names of structures become queries (arXiv:2312.17183; BioLORD, arXiv:2311.16075)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

MODALITIES = ("ct", "mri", "us", "pet")
"""Kinds of image that a text is about; the index is the network's number for it."""

PADDING_ID = 0

FOREIGN_KEYS = ("atlas_tower.", "temperature", "text_tower.biolord.embeddings.position_ids")
"""Beginnings of what a published checkpoint may hold besides: another network, and what is no parameter."""


class TextEncoder(nn.Module):
    """BioLORD-2023-C, a language model of the MPNet family, with SAT's projection and modality code.

    The defaults are the published network (110 M parameters); it needs the package `transformers`:

    >>> net = TextEncoder()
    >>> net.load_state_dict(checkpoint)
    >>> ids, mask = tokenize(["liver", "left kidney"], vocabulary)
    >>> queries = net(ids, mask, torch.tensor([MODALITIES.index("ct")] * 2))

    vocabulary: number of word pieces. Its keys are the official ones without their prefix `module.` and without
    `FOREIGN_KEYS`.
    """

    def __init__(self, *, vocabulary: int = 30527, layers: int = 12) -> None:
        from transformers import MPNetConfig, MPNetModel  # 3 s, and an optional dependency

        super().__init__()
        self.vocabulary = vocabulary
        config = MPNetConfig(
            vocab_size=vocabulary, num_hidden_layers=layers, max_position_embeddings=514, layer_norm_eps=1e-5
        )
        width = config.hidden_size
        self.text_tower = nn.ModuleDict({"biolord": MPNetModel(config)})
        self.projection_layer = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.modality_embed = nn.Embedding(len(MODALITIES), width)

    def forward(self, token_ids: Tensor, mask: Tensor, modalities: Tensor) -> Tensor:
        """Return a query for each text, (n, 768).

        token_ids, mask: (n, tokens) from `tokenize`. modalities: (n,), indices in `MODALITIES`.
        """
        queries: Tensor = self.projection_layer(self.pool(token_ids, mask)) + self.modality_embed(modalities)
        return queries

    def pool(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """The mean of each text's token embeddings, (n, 768)."""
        tokens = self.text_tower["biolord"](input_ids=token_ids, attention_mask=mask).last_hidden_state
        weights = mask[..., None].to(tokens.dtype)  # (n, tokens, 1)
        pooled: Tensor = (tokens * weights).sum(dim=1) / weights.sum(dim=1)
        return pooled


def tokenize(texts: Sequence[str], vocabulary: Mapping[str, int]) -> tuple[Tensor, Tensor]:
    """Token ids and mask, (n, tokens) int64 each, of `texts`; `vocabulary` is that of `microsoft/mpnet-base`.

    Texts begin and end with BERT's marks instead of MPNet's, and shorter ones are filled up with id 0, MPNet's
    first mark, instead of its padding: the published weights were trained so.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordPiece(dict(vocabulary), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    first, last = vocabulary["[CLS]"], vocabulary["[SEP]"]
    sequences = [torch.tensor([first, *tokenizer.encode(text).ids, last]) for text in texts]
    ids = nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_value=PADDING_ID)
    return ids, (ids > PADDING_ID).long()
