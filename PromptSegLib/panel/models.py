"""The models as a user sees them: what they can do, what keeps them from doing it, and their weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.execution.background import Work
from PromptSegLib.packages import is_installed
from PromptSegLib.panel.advice import Group, advise, has_gpu
from PromptSegLib.panel.image_kind import ImageKind
from PromptSegLib.panel.texts import model_text
from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.predictors.registry import capabilities_of, own_models, predictor_names
from PromptSegLib.predictors.slices.predictor import shared_cache
from PromptSegLib.weights.consent import ConsentQuestion
from PromptSegLib.weights.instructions import megabytes
from PromptSegLib.weights.store import WeightsStore

INSTALLABLE = (
    "torch",
    "monai",
    "safetensors",
    "transformers",
    "nninteractive",
    "nninteractive-client",
    "voxtell",
    "httpx",
    "blosc2",
    "dynamic_network_architectures",
)
"""Packages that models need and a bare Slicer lacks."""


_IMPORTED_AS = {"nninteractive": "nnInteractive.inference.inference_session"}
"""What tells that a package is here, where that is not a package of its name."""


def missing_package(error: BaseException) -> str:
    """Return which of the INSTALLABLE packages `error`, or what caused it, lacked; nothing when none."""
    for cause in (error, error.__cause__):
        if isinstance(cause, ImportError) and cause.name is not None:
            package = cause.name.partition(".")[0]
            if package in INSTALLABLE and (isinstance(cause, ModuleNotFoundError) or not is_installed(package)):
                return package
    return ""


class Models:
    """All models that there are, with their weights in `store`. Loads none of them.

    revision: counts how often somebody said that weights came or went.
    """

    def __init__(self, store: WeightsStore | None = None) -> None:
        self.revision = 0
        self._given_store = store
        self._states: dict[str, str] | None = None

    @contextmanager
    def one_look(self) -> Iterator[None]:
        """Look on disk for the weights of each model once within the block, however often they are asked for."""
        before, self._states = self._states, {}
        try:
            yield
        finally:
            self._states = before

    @cached_property
    def store(self) -> WeightsStore:
        return self._given_store or WeightsStore()

    def names(self) -> tuple[str, ...]:
        return predictor_names()

    def capabilities(self, name: str) -> Capabilities | None:
        """Return what a model can do; None when it cannot be used here, see `problem`."""
        return None if self.problem(name) else capabilities_of(name)

    def entry(self, name: str) -> str:
        """Return what stands for a model in a list: its title, and whether its weights are here."""
        states = {"missing": "weights not here", "incomplete": "weights incomplete", "ready": "weights here"}
        state = states.get(self.weights_state(name), "")
        title = self.title(name)
        if name == "default" and not title.startswith("Default"):
            title = f"Default: {title}"
        return f"{title} ({state})" if state else title

    def title(self, name: str) -> str:
        try:
            return capabilities_of(name).title
        except (ImportError, KeyError):
            return name

    def problem(self, name: str) -> str:
        """Return why a model cannot be used, and what to do about it; nothing when it can."""
        try:
            capabilities_of(name)
        except (ImportError, KeyError) as error:
            return f"The model {name} cannot be used: {error}. Choose another one."
        if self.weights_state(name) not in ("", "ready"):
            return f"The weights of {self.title(name)} are not here: get them under Model."
        return ""

    def lacks(self, name: str) -> str:
        """Return what has to be installed or fetched before a model can be used, in few words; nothing if nothing."""
        entries = [self.store.checkpoint(entry) for entry in self._weights(name)]
        packages = dict.fromkeys(word for entry in entries for word in entry.needs.partition(";")[0].split(" and "))
        absent = [word for word in packages if not is_installed(_IMPORTED_AS.get(word, word))]
        parts = [f"{' and '.join(absent)} to install"] if absent else []
        if missing := [self.store.checkpoint(entry) for entry in self.missing(name)]:
            sizes = [checkpoint.likely_bytes for checkpoint in missing]
            parts.append(f"{megabytes(sum(s for s in sizes if s)) if any(sizes) else 'weights'} to get")
        return ", ".join(parts)

    def advice(self, kind: ImageKind, prompt: str = "", device: str = "auto") -> list[Group]:
        """Return the models for an image, see `PromptSegLib.panel.advice`; looks once at the disk for each."""
        with self.one_look():
            return advise(kind, prompt, has_gpu=has_gpu(device), lacks=self.lacks)

    def text(self, name: str) -> str:
        """Return what to tell about a model."""
        try:
            if name in own_models():
                return own_models().get(name).card
            text = model_text(capabilities_of(name))
        except (ImportError, KeyError):
            return self.problem(name)
        state = self.weights_state(name)
        if not state:
            return text
        sizes = [self.store.checkpoint(entry).likely_bytes for entry in self._weights(name)]
        size = f" ({megabytes(sum(s for s in sizes if s))})" if any(sizes) else ""
        return f"{text} Weights: {'here' if state == 'ready' else f'{state}{size}'}."

    def terms(self, name: str) -> str:
        """Return what has to be agreed to before a model's weights are taken; nothing for permissive ones."""
        asked = [self.store.checkpoint(entry) for entry in self._weights(name)]
        licenses = {checkpoint.weights_license for checkpoint in asked if checkpoint.consent}
        if not licenses:
            return ""
        return (
            f"Use of these weights is restricted: {'; '.join(sorted(licenses))}. You are asked before they are taken."
        )

    # Weights

    def _weights(self, name: str) -> tuple[str, ...]:
        """Return the model's entries in the weights catalogue; those that are shipped have none."""
        try:
            entries = capabilities_of(name).weights
        except (ImportError, KeyError):
            return ()
        return tuple(entry for entry in entries if entry in self.store.catalogue)

    def weights_state(self, name: str) -> str:
        """Return "ready", "incomplete" or "missing"; nothing for a model that needs no weights."""
        if self._states is None:
            return self._state_on_disk(name)
        if name not in self._states:
            self._states[name] = self._state_on_disk(name)
        return self._states[name]

    def _state_on_disk(self, name: str) -> str:
        states = {self.store.status(entry).state for entry in self._weights(name)}
        return next((state for state in ("missing", "incomplete", "ready") if state in states), "")

    def missing(self, name: str) -> list[str]:
        """Return the entries of the weights catalogue that a model needs and that are not here."""
        return [entry for entry in self._weights(name) if self.store.status(entry).state != "ready"]

    def questions(self, name: str) -> list[ConsentQuestion]:
        """Return what has to be answered with yes before the weights are fetched or taken."""
        checkpoints = [self.store.checkpoint(entry) for entry in self.missing(name)]
        return [
            ConsentQuestion(checkpoint, checkpoint.consent, tuple(f for f in checkpoint.files if f.sha256 is None))
            for checkpoint in checkpoints
        ]

    def fetching(self, name: str) -> Work:
        """Return the work of downloading a model's weights; its questions were answered with yes."""
        entries = self.missing(name)

        def work(progress: Progress, cancel: CancelToken) -> None:
            for entry in entries:
                self.store.get(entry, True, progress, cancel)

        return work

    def importing(self, name: str, path: str) -> Work:
        """Return the work of taking a model's weights from a file; its questions were answered with yes."""
        entry = self.missing(name)[0]
        return lambda progress, cancel: self.store.import_file(entry, path, True, progress, cancel)

    def remove_weights(self, name: str) -> None:
        for entry in self._weights(name):
            self.store.remove(entry)

    # The disk

    def cache_text(self) -> str:
        """Return what is kept on disk, where, and what it takes: weights, and slices as networks see them."""
        embeddings = shared_cache()
        return (
            f"Weights: {megabytes(self.store.total_bytes())} in {self.store.folder}\n"
            f"Encoded slices: {megabytes(embeddings.disk_nbytes)} in {embeddings.folder}"
        )

    def clear_cache(self) -> None:
        """Remove all weights that were downloaded or imported, and all encoded slices."""
        shared_cache().clear()
        self.store.clear()
