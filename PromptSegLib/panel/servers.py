"""Which servers the user named for models that run on one, their keys, and where images may be sent."""

from __future__ import annotations

from collections.abc import Callable

from PromptSegLib.errors import UnknownPredictorError
from PromptSegLib.predictors.registry import Recipe, entry_of
from PromptSegLib.predictors.server_access import check_address, tidied


class Servers:
    """Kept in memory, for one run of the host: handed to the models as options, never to the environment.

    saved: returns the address that was named for a model in an earlier run, "" for none.
    """

    def __init__(self, saved: Callable[[str], str] = lambda model: "") -> None:
        self._saved = saved
        self._chosen: dict[str, tuple[str, str]] = {}
        self._agreed: set[tuple[str, str]] = set()

    def choose(self, model: str, address: str, api_key: str = "") -> None:
        """Let `model` ask the server at `address`, with this key; "" for what the model asks by default.

        Raises:
            PredictionError: the address is none, or not safe; all is as before.
        """
        address = tidied(address)
        if address:
            check_address(address)
        self._chosen[model] = address, api_key.strip()

    def chosen(self, model: str) -> tuple[str, str]:
        """Return the address and the key of the server of `model`, "" where the user said nothing."""
        return self._chosen.get(model) or (tidied(self._saved(model)), "")

    def agree(self, model: str) -> None:
        """Note that the user agreed to send images to the server of `model` that is chosen, and to no other."""
        self._agreed.add((model, self.chosen(model)[0]))

    def recipe(self, model: str, device: str = "auto") -> Recipe:
        """Return how `model` is made; with its server where it takes one."""
        address, api_key = self.chosen(model)
        options = {
            "server": address,
            "api_key": api_key,
            "consent": (model, address) in self._agreed,
        }
        known = _options_of(model)
        return Recipe(model, device, {name: said for name, said in options.items() if said and name in known})


def _options_of(model: str) -> set[str]:
    """Return what `model` can be made with; nothing where it is not known or broken: who makes it says so."""
    try:
        return set(entry_of(model).options)
    except (UnknownPredictorError, ImportError):
        return set()
