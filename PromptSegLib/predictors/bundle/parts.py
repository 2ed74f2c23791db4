"""What a bundle's configuration makes: network, preparation, inferer, and what is done with answers."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from PromptSegLib.errors import WeightsError
from PromptSegLib.predictors.bundle.budget import Budget
from PromptSegLib.predictors.bundle.folder import BundleFolder
from PromptSegLib.predictors.bundle.interpreter import Interpreter, NotUnderstoodError
from PromptSegLib.predictors.bundle.known import Skipped
from PromptSegLib.weights.layout import Layout
from PromptSegLib.weights.readers import check_state_dict, read_state_dict

_NETWORKS, _BEFORE, _AFTER = ("network_def", "network", "net"), ("preprocessing",), ("postprocessing",)


@dataclass(frozen=True)
class Parts:
    """Objects of MONAI's classes. before, after: MONAI's `Compose`, without what reads and writes files.

    image, answer: the keys that the image and the answer go by. adds_channel: whether reading would make the image's
    first axis the channels.
    """

    network: nn.Module
    before: Any
    inferer: Callable[[Any, nn.Module], Any]
    after: Any
    image: str
    answer: str
    adds_channel: bool

    def with_weights(self, bundle: BundleFolder) -> Parts:
        """Fill the network with the bundle's weights.

        Raises:
            WeightsError: they are another's.
        """
        wanted = self.network.state_dict()
        # "model." is a prefix of training scripts, and of MONAI's UNet's own names.
        prefixes = ("module.",) if any(key.startswith("model.") for key in wanted) else ("module.", "model.")
        state = read_state_dict(bundle.weights, Layout(prefixes=prefixes))
        check_state_dict({key: value.shape for key, value in wanted.items()}, state)
        self.network.load_state_dict(state)
        return self


def parts_of(bundle: BundleFolder, agreed: bool = False) -> Parts:
    """Make the parts of a bundle, without its weights.

    agreed: whether code in the configuration may run: MONAI's own parser makes them then.

    Raises:
        NotUnderstoodError: it says something that would have to be run, and `agreed` does not say that it may.
        WeightsError: it lacks a part, or says what makes none.
    """
    given = {"bundle_root": str(bundle.root), "device": "cpu"}
    own = Interpreter(bundle.entries, given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of arguments that will change: the bundle was written for its own version
        try:
            with Budget(bundle.weights.stat().st_size):
                return _parts(own.has, own.resolve, own.value, bundle.entries)
        except NotUnderstoodError:
            if not agreed:
                raise
        except WeightsError:
            raise
        except Exception as error:  # MONAI's classes say in many ways what they cannot be made of
            why = " ".join(str(error).split())[:300]
            told = f"the bundle {bundle.root.name} makes no network: {type(error).__name__}: {why}"
            raise WeightsError(told) from error
        return _by_monai(bundle)


def _by_monai(bundle: BundleFolder) -> Parts:
    """The parts as MONAI's own parser makes them, which runs what the configuration says."""
    from monai.bundle.config_parser import ConfigParser

    parser = ConfigParser()
    parser.read_config(str(bundle.configuration))
    parser["bundle_root"] = str(bundle.root)
    sys.path.insert(0, str(bundle.root))  # its own scripts
    try:
        entries = {key: parser[key] for key in bundle.entries}
        for place in (*_BEFORE, *_AFTER):
            if isinstance(entries.get(place), dict):
                parser[place] = _without_files(entries[place])
        return _parts(lambda name: name in entries, parser.get_parsed_content, lambda value: value, entries)
    except Exception as error:
        raise WeightsError(f"the bundle {bundle.root.name} cannot be run: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(bundle.root))


def _without_files(compose: Mapping[str, Any]) -> dict[str, Any]:
    def is_file(one: Any) -> bool:
        target = str(one.get("_target_", "")) if isinstance(one, dict) else ""
        return target.rpartition(".")[2].startswith(("LoadImage", "SaveImage"))

    return {**compose, "transforms": [one for one in compose.get("transforms", []) if not is_file(one)]}


def _parts(
    has: Callable[[str], bool],
    resolve: Callable[[str], Any],
    value: Callable[[Any], Any],
    entries: Mapping[str, Any],
) -> Parts:
    from monai.inferers.inferer import SimpleInferer
    from monai.transforms.compose import Compose

    name = next((name for name in _NETWORKS if has(name)), None)
    if name is None or not has("preprocessing"):
        raise WeightsError("expected entries 'network_def' and 'preprocessing' in the bundle's configuration")
    network = resolve(name)
    if not isinstance(network, nn.Module):
        raise WeightsError(f"expected the bundle's {name!r} to be a network, got {type(network).__name__}")
    before, reader = _without_skipped(resolve("preprocessing"))
    after = None
    if has("postprocessing"):
        after, _ = _without_skipped(resolve("postprocessing"))
    inferer = resolve("inferer") if has("inferer") else SimpleInferer()
    image, adds_channel = _read_as(entries, reader)
    return Parts(network, before, inferer, after or Compose([]), image, "pred", adds_channel)


def _without_skipped(compose: Any) -> tuple[Any, Skipped | None]:
    from monai.transforms.compose import Compose

    if not isinstance(compose, Compose):
        raise WeightsError(f"expected transforms one after the other, got {type(compose).__name__}")
    skipped = [one for one in compose.transforms if isinstance(one, Skipped)]
    # In place: an `Invertd` after it knows the same object.
    compose.transforms = tuple(one for one in compose.transforms if not isinstance(one, Skipped))
    return compose, skipped[0] if skipped else None


def _read_as(entries: Mapping[str, Any], reader: Skipped | None) -> tuple[str, bool]:
    """The key of the image, and whether reading it would put channels first."""
    if reader is not None:
        return str(reader.keys[0]), reader.adds_channel
    transforms = entries["preprocessing"].get("transforms", []) if isinstance(entries["preprocessing"], dict) else []
    for one in transforms:
        if isinstance(one, dict) and str(one.get("_target_", "")).rpartition(".")[2].startswith("LoadImage"):
            keys = one.get("keys", "image")
            key = keys if isinstance(keys, str) else str(keys[0])
            return ("image" if key.startswith("@") else key), bool(one.get("ensure_channel_first", False))
    return "image", False
