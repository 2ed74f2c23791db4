"""The predictors that a session has used on its image; one of them is in use."""

from __future__ import annotations

from os import PathLike, fspath

from PromptSegLib.errors import UnsupportedPromptError, VolumeError
from PromptSegLib.execution.engine import Engine
from PromptSegLib.predictors.base import Capabilities, Predictor
from PromptSegLib.predictors.registry import Recipe, capabilities_of
from PromptSegLib.volume import Image


class Engines:
    """Each predictor with what it made of `image`, by its name; `current` is in use, once one was taken."""

    current: Engine

    def __init__(self, image: Image) -> None:
        self._image = image
        self._by_name: dict[str, Engine] = {}

    def prepared(self, predictor: str | PathLike[str] | Recipe | Predictor, device: str) -> Engine:
        """Return the engine of a predictor; the one there is, where it was made by the same recipe.

        device: of one by its name.

        Raises:
            UnknownPredictorError: there is no such predictor, or it is broken.
            WeightsError: the weights are missing, damaged or do not fit.
            PredictionError: `device` is no device's name.
            VolumeError: the predictor does not suit the image.
        """
        predictor = fspath(predictor) if isinstance(predictor, PathLike) else predictor
        wanted = Recipe(predictor, device) if isinstance(predictor, str) else predictor
        recipe = wanted if isinstance(wanted, Recipe) else None
        made = wanted.make() if isinstance(wanted, Recipe) else wanted
        self._check_suits(made.capabilities)
        engine = self._by_name.get(made.capabilities.name)
        if engine is not None and recipe is not None and engine.recipe == recipe:
            return engine
        return Engine(made, self._image, recipe, device)

    def check_takes_mask(self, predictor: str | PathLike[str] | Recipe | Predictor) -> Capabilities:
        """Return what a predictor can do that is to go on from a mask.

        Raises:
            UnknownPredictorError: there is none of that name.
            UnsupportedPromptError: it takes no mask.
        """
        predictor = fspath(predictor) if isinstance(predictor, PathLike) else predictor
        name = predictor.name if isinstance(predictor, Recipe) else predictor
        capabilities = capabilities_of(name) if isinstance(name, str) else name.capabilities
        if "mask" not in capabilities.prompts:
            raise UnsupportedPromptError(
                f"expected a predictor that takes a mask to go on from, got {capabilities.name!r}"
            )
        return capabilities

    def take(self, engine: Engine) -> None:
        """Use `engine` from now on."""
        self.current = self._by_name[engine.predictor.capabilities.name] = engine

    def image_changed(self, image: Image) -> None:
        """Forget what was computed from the voxels; `image` is what they belong to from now on."""
        self._image = image
        for engine in self._by_name.values():
            engine.image = image
            engine.drop_encoding()

    def _check_suits(self, capabilities: Capabilities) -> None:
        if missing := [name for name in capabilities.channels if name not in self._image.channels]:
            raise VolumeError(
                f"expected the channels {', '.join(capabilities.channels)} for {capabilities.name!r}, got "
                f"{', '.join(self._image.channels)}: {', '.join(missing)} missing; say which volume is which"
            )
        if self._image.grid.is_single_slice and 2 not in capabilities.dimensions:
            raise VolumeError(f"expected a 3D image for {capabilities.name!r}, got {self._image!r}")
