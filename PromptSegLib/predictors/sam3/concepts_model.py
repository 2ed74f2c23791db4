"""SAM 3's detector: what words name in a picture, by transformers' `Sam3Model` and its CLIP word pieces."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from PromptSegLib.bitmask import BoolArray
from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import WeightsError
from PromptSegLib.predictors.sam3.transforms import Sam3Frame
from PromptSegLib.predictors.torch_device import OnDevice

_LEAST_SCORE = 0.5  # of an instance that counts, as its authors have it
_BYTES, _MARKS = 256, ("<|startoftext|>", "<|endoftext|>")


@dataclass(frozen=True, eq=False)
class Concept:
    """What words name in a picture.

    mask: (h, w), bool, all instances. score: of the surest one, 0 to 1, also where it is below what counts.
    """

    mask: BoolArray
    score: float


class ConceptModel:
    """The detector with what goes before and after it.

    network: transformers' `Sam3Model`. merges: of CLIP's word pieces, in their order; see `read_merges`.
    """

    def __init__(self, network: Any, merges: Sequence[tuple[str, str]], device: str = "auto") -> None:
        self.on_device = OnDevice(network, device)
        self._network = network
        self._words = _tokenizer(merges)
        self._longest = int(self._network.config.text_config.max_position_embeddings)
        self._known: dict[str, tuple[Any, torch.Tensor]] = {}

    def find(self, image: NDArray[np.uint8], texts: Sequence[str], cancel: CancelToken) -> list[Concept]:
        """Return what each of `texts` names in an RGB image (h, w, 3), uint8.

        Raises:
            Cancelled: between two blocks of the network.
        """
        return self.on_device.run(lambda: self._find(image, texts, cancel))

    def _find(self, image: NDArray[np.uint8], texts: Sequence[str], cancel: CancelToken) -> list[Concept]:
        height, width = image.shape[:2]
        pixels = Sam3Frame((height, width), self._network.config.image_size).image(image)
        blocks = self._network.vision_encoder.backbone.layers
        hooks = [block.register_forward_pre_hook(lambda *_: cancel.check()) for block in blocks]
        try:
            with self.on_device.autocast():
                seen = self._network.get_vision_features(pixels.to(self.on_device.device))
        finally:
            for hook in hooks:
                hook.remove()
        found = []
        for text in texts:
            cancel.check()
            meaning, is_word = self._meaning(text)
            with self.on_device.autocast():
                answer = self._network(vision_embeds=seen, text_embeds=meaning, attention_mask=is_word)
            found.append(_concept(answer, (height, width)))
        return found

    def _meaning(self, text: str) -> tuple[Any, torch.Tensor]:
        """Return the text's features, kept for the next picture, and which of them are words; on the device."""
        device = self.on_device.device
        if text not in self._known or self._known[text][1].device != device:
            pieces = self._words(
                text, padding="max_length", truncation=True, max_length=self._longest, return_tensors="pt"
            )
            is_word = pieces["attention_mask"].to(device)
            features = self._network.get_text_features(
                input_ids=pieces["input_ids"].to(device), attention_mask=is_word, return_dict=True
            )
            self._known[text] = features, is_word
        return self._known[text]


def _concept(answer: Any, size_hw: tuple[int, int]) -> Concept:
    scores = (answer.pred_logits.float().sigmoid() * answer.presence_logits.float().sigmoid())[0]  # (query,)
    surest = float(scores.max())
    masks = answer.pred_masks[0, scores > _LEAST_SCORE].float().sigmoid()
    if not len(masks):
        return Concept(np.zeros(size_hw, dtype=bool), surest)
    shown = functional.interpolate(masks[None], size=size_hw, mode="bilinear", align_corners=False)[0]
    return Concept((shown > 0.5).any(dim=0).cpu().numpy(), surest)


def read_merges(path: Path, vocabulary: int) -> list[tuple[str, str]]:
    """Return the merges of CLIP's word pieces, from merges.txt or from bpe_simple_vocab_16e6.txt.gz.

    Args:
        vocabulary: how many pieces the network knows.

    Raises:
        WeightsError: there are fewer, or it is no such file.
    """
    wanted = vocabulary - 2 * _BYTES - len(_MARKS)
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            with gzip.open(path) as file:
                content = file.read(1 << 24)
        lines = content.decode("utf-8").split("\n")[1 : wanted + 1]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise WeightsError(f"expected CLIP's merges of word pieces, got {path}: {error}") from error
    merges = [(pair[0], pair[1]) for line in lines if len(pair := line.split()) == 2]
    if len(merges) != wanted:
        raise WeightsError(f"expected {wanted} merges of word pieces, got {len(merges)} in {path}")
    return merges


def _tokenizer(merges: Sequence[tuple[str, str]]) -> Any:
    from transformers import CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())  # type: ignore[no-untyped-call]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges), *_MARKS]
    vocabulary: Mapping[str, int] = {piece: number for number, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=dict(vocabulary), merges=list(merges))  # type: ignore[arg-type]
