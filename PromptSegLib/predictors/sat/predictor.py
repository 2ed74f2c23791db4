"""SAT (arXiv:2312.17183): structures in CT, MR, ultrasound and PET by their names, in free English words.

A text is answered as the official script does: 1x1x3 mm, cropped, standardised, tiles half overlapping; masks come
back to the image's own voxels, oblique ones too. They may overlap, as structures do.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.errors import PromptError, VolumeError, WeightsError
from PromptSegLib.predictors.base import Capabilities, Prediction, TargetState
from PromptSegLib.predictors.names.found_structures import FoundStructures, names_asked, places_in
from PromptSegLib.predictors.names.modality import modality_of
from PromptSegLib.predictors.weighted import WeightedPredictor
from PromptSegLib.prompts import shown
from PromptSegLib.structures.names import all_structures
from PromptSegLib.volume import Image
from PromptSegLib.weights.store import WeightsStore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from PromptSegLib.imaging.aligned_sampling import AlignedSampling
    from PromptSegLib.predictors.sat.model import SatModel
    from PromptSegLib.predictors.sat.network import SAT
    from PromptSegLib.predictors.sat.text_network import TextEncoder


@dataclass(eq=False)
class _SatImage:
    """An image as the network wants it, (x, y, z), where it lies, and what was found in it."""

    values: NDArray[np.float32]
    sampling: AlignedSampling
    modality: str
    note: str
    found: FoundStructures


class SatPredictor(WeightedPredictor["SatModel"]):
    """Base of both sizes.

    The kind of image that the texts are about is known by the channel's name: ct, mri, us or pet. An image without
    such a name is taken for CT when it has values like air's, for MR otherwise, and the answer says so.

    model: networks to use in place of those with the published weights. checkpoint: of the network that sees the
    image; the text encoder's weights and the vocabulary are the published ones. The other arguments are
    `WeightedPredictor`'s.
    """

    size: ClassVar[Any]
    tile: ClassVar[tuple[int, int, int]] = (288, 288, 96)

    def __init__(
        self,
        model: SatModel | None = None,
        *,
        device: str = "auto",
        weights: WeightsStore | None = None,
        checkpoint: Path | str | None = None,
    ) -> None:
        super().__init__(model, device=device, weights=weights, checkpoint=checkpoint)

    def encode(self, image: Image, cancel: CancelToken, progress: Progress) -> _SatImage:
        """Prepare the image for the network; the network itself needs the texts, too.

        Raises:
            VolumeError: the image is missing, damaged or does not suit.
        """
        from PromptSegLib.predictors.sat.preparation import prepare

        volume = image.reference
        if volume.components > 1:
            raise VolumeError(f"expected one value in each voxel for {self.capabilities.name!r}, got {volume!r}")
        progress(0.0, "preparing the image")
        modality, is_known = modality_of(image)
        kind = "CT" if modality == "ct" else "MR"
        note = "" if is_known else f"taken for {kind}: name the image ct, mri, us or pet to say what it is"
        values, sampling = prepare(volume.finite(), volume.grid, is_ct=modality == "ct")
        return _SatImage(values, sampling, modality, note, FoundStructures(volume.grid))

    def predict(
        self, encoding: _SatImage, state: TargetState, cancel: CancelToken, progress: Progress
    ) -> Iterator[Prediction]:
        """Answer all targets asked for, in one run of the tiles.

        Raises:
            PromptError: for a text that cannot be English.
            Cancelled: somebody asked for that.
        """
        names = names_asked(state.asked, self.capabilities.name)
        notes = [encoding.note, *dict.fromkeys(language_note(text) for text in names.values())]
        started = time.perf_counter()
        model = self.loaded()
        missing = encoding.found.missing(names.values())
        if missing:
            queries = model.queries(missing, encoding.modality)
            masks = model.masks(encoding.values, encoding.sampling, queries, cancel, progress)
            for text, mask in zip(missing, masks, strict=True):
                encoding.found.keep(text, mask)
        timings_ms = {"tiles": 1000 * (time.perf_counter() - started)}
        for target, prompts in state.asked.items():
            cancel.check()
            patch = encoding.found.patch([names[target]], places_in(prompts))
            nothing = "" if patch.mask_kji.size else f"{names[target]!r} was not found there"
            note = "; ".join(filter(None, [*notes, nothing, model.on_device.note]))
            device = str(model.on_device.device)
            yield Prediction({target: patch}, timings_ms=timings_ms, note=note, device=device, replaces=True)
            timings_ms = {}

    def published(self) -> SatModel:
        from PromptSegLib.predictors.published import filled
        from PromptSegLib.predictors.sat.model import SatModel

        network, encoder = self._networks()
        name = self.weights_name
        _, text, vocabulary = (file.path for file in self._weights.checkpoint(name).files)
        filled(network, self.state_dict())
        filled(encoder, self._weights.state_dict(name, text))
        words = read_vocabulary(self._weights.path(name, vocabulary), encoder.vocabulary)
        return SatModel(network, encoder, words, self._device, self.tile)

    def model_of(self, network: SatModel) -> SatModel:
        return network

    def _networks(self) -> tuple[SAT, TextEncoder]:
        """Return both networks, to be filled with weights."""
        import torch

        from PromptSegLib.predictors.sat.network import SAT
        from PromptSegLib.predictors.sat.text_network import TextEncoder

        with torch.device("meta"):
            network = SAT.of_size(self.size)
        return network, TextEncoder()


class SatNano(SatPredictor):
    """SAT-Nano: 110 M parameters, and as many again for texts."""

    size = "nano"
    capabilities = Capabilities.published(
        "sat-nano",
        title="SAT-Nano",
        summary="497 structures and lesions by their English names, in CT, MR, ultrasound and PET",
        dimensions=frozenset({3}),
        prompts=frozenset({"text", "class", "box3d+", "point+", "mask"}),
        devices=("cuda", "mps", "cpu"),
    )


class SatPro(SatPredictor):
    """SAT-Pro: 475 M parameters; better, and four times slower."""

    size = "pro"
    capabilities = Capabilities.published(
        "sat-pro",
        title="SAT-Pro",
        summary="as SAT-Nano, of four times its size",
        dimensions=frozenset({3}),
        prompts=SatNano.capabilities.prompts,
        devices=("cuda", "mps", "cpu"),
    )


def language_note(text: str) -> str:
    """Return what to tell about a text that may be no English name.

    Raises:
        PromptError: it has letters that English does not have.
    """
    if foreign := sorted({letter for letter in text if letter.isalpha() and not letter.isascii()}):
        raise PromptError(f"expected the English name of a structure, got {shown(text)} with {', '.join(foreign)}")
    words = _words(text)
    if not words:
        raise PromptError(f"expected the English name of a structure, got {shown(text)}")
    if words.isdisjoint(_english()):
        return f"no word of {text!r} is in the table of English names: the model understands English only"
    return ""


def read_vocabulary(path: Path, expected: int) -> dict[str, int]:
    """Return the number of each word piece of a vocab.txt.

    Raises:
        WeightsError: it is not `expected` of them.
    """
    try:
        # By line feeds alone: some word pieces are characters that `splitlines` takes for ends of lines.
        words = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"expected a readable vocabulary, got {path}: {error}") from error
    vocabulary = {word: number for number, word in enumerate(words)}
    if lacking := [mark for mark in ("[CLS]", "[SEP]", "[UNK]") if mark not in vocabulary]:
        raise WeightsError(f"expected the vocabulary of mpnet-base, got {path} without {', '.join(lacking)}")
    if len(words) != expected:
        raise WeightsError(f"expected a vocabulary of {expected} word pieces, got {path} of {len(words)}")
    return vocabulary


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{2,}", text.casefold()))


def _english() -> set[str]:
    return _words(" ".join(name.replace("_", " ") for one in all_structures().values() for name in one.names))
