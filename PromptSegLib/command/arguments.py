"""What is written on the command line, as values."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from PromptSegLib.errors import PromptError, PromptSegError
from PromptSegLib.predictors.registry import entry_of
from PromptSegLib.predictors.server_access import KEY_VARIABLE
from PromptSegLib.prompts import TextPrompt

Numbers = tuple[float, ...]

_NUMBER_OPTIONS = ("--positive", "--negative", "--box", "--window")
_LOOKS_LIKE_NUMBERS = re.compile(r"[-+]?\.?\d[-+\d.eE, ]*")


class UsageError(PromptSegError, ValueError):
    """A command line that makes no sense."""


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are errors like all others: one line.

    two_words: commands of two words, such as "models add" beside "models".
    """

    two_words: tuple[str, ...] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        words = with_words_joined(sys.argv[1:] if args is None else args, self.two_words)
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def with_values_attached(argv: Iterable[str]) -> list[str]:
    """Return `argv` with each list of numbers joined to the option before it by "=".

    argparse takes -10,20,30 for an option, because it begins with a minus. After this, an option for positions also
    takes several in a row: --positive 1,2,3 4,5,6.
    """
    attached: list[str] = []
    option = ""
    for word in argv:
        if option and _LOOKS_LIKE_NUMBERS.fullmatch(word):
            if attached[-1] == option:
                attached.pop()
            attached.append(f"{option}={word}")
            continue
        option = word if word in _NUMBER_OPTIONS else ""
        attached.append(word)
    return attached


def names(text: str) -> tuple[str, ...]:
    """Return the names in `text`, with commas between, each once."""
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if not found or len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"expected names with commas between, each once, got {text!r}")
    return found


def with_words_joined(argv: Sequence[str], commands: Iterable[str]) -> list[str]:
    """Return `argv` with its first two words as one where they are one of `commands`, such as "models add"."""
    both = " ".join(argv[:2])
    return [both, *argv[2:]] if both in commands else list(argv)


def numbers(*counts: int) -> Callable[[str], Numbers]:
    """Return a function that reads as many finite numbers, with commas between, as one of `counts` says."""
    wanted = " or ".join(str(count) for count in counts)

    def read(text: str) -> Numbers:
        try:
            values = tuple(float(part) for part in text.split(","))
        except ValueError:
            values = ()
        if len(values) not in counts or not all(map(math.isfinite, values)):
            raise argparse.ArgumentTypeError(f"expected {wanted} numbers with commas between, got {text!r}")
        return values

    return read


def label(text: str) -> tuple[str, int]:
    """Read NAME=VALUE."""
    name, _, value = text.rpartition("=")
    if not name.strip() or not value.strip().isdecimal() or not 1 <= int(value) <= 65535:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE such as liver=5, 65535 at most, got {text!r}")
    return name.strip(), int(value)


def channel(text: str) -> tuple[str, Path]:
    """Read NAME=FILE."""
    name, _, path = text.partition("=")
    if not name.strip() or not path.strip():
        raise argparse.ArgumentTypeError(f"expected NAME=FILE such as pet=PET.nii.gz, got {text!r}")
    return name.strip(), Path(path.strip())


def classes(names: str) -> list[str]:
    """Read names of structures, with commas between."""
    found = [" ".join(name.split()) for name in names.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"expected names such as liver,spleen, got {names!r}")
    return found


def text(words: str) -> TextPrompt:
    """Read the name of a structure."""
    try:
        return TextPrompt(words)
    except PromptError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_in_order(
    parser: argparse.ArgumentParser, option: str, read: Callable[[str], Numbers], metavar: str, help_text: str
) -> None:
    """Add a repeatable option whose values join those of others like it, in `given`, in the order they came."""
    parser.add_argument(option, action=_InOrder, dest="given", default=[], type=read, metavar=metavar, help=help_text)


class _InOrder(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        given = [*getattr(namespace, self.dest), (self.option_strings[0].lstrip("-"), values)]
        setattr(namespace, self.dest, given)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which model answers, and where it runs."""
    parser.add_argument("--model", default="default", help="see promptseg models (default: %(default)s)")
    add_device_option(parser)


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Add what says where models run."""
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, mps, cuda or such as cuda:1 (default: %(default)s, the best here)"
    )


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which server a model that asks one may send the image to."""
    parser.add_argument(
        "--server",
        metavar="URL",
        help="for models that ask one, such as nninteractive-server (default: the one on this machine)",
    )
    parser.add_argument(
        "--send-image", action="store_true", help="agree to the image being sent to a server on another machine"
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add how models that see an image tile by tile go about it."""
    parser.add_argument(
        "--mirror",
        action="store_true",
        help="for models such as an nnU-Net: take the mean over all mirrorings, a little better and 8 times slower "
        "(off here, where nnU-Net has it on)",
    )
    parser.add_argument(
        "--step", type=_step, metavar="FRACTION", help="likewise: of a tile, from one to the next (default: 0.5)"
    )
    parser.add_argument(
        "--folds", type=lambda text: text.split(","), metavar="N,N", help="of an nnU-Net: these alone (default: all)"
    )


def run_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of `add_run_options` that are given, as `create_predictor` takes them."""
    given = {"mirror": arguments.mirror or None, "step": arguments.step, "folds": arguments.folds}
    return {name: value for name, value in given.items() if value is not None}


def _step(text: str) -> float:
    try:
        step = float(text)
    except ValueError:
        step = 0.0
    if not 0.05 <= step <= 1:
        raise argparse.ArgumentTypeError(f"expected a step from 0.05 to 1, got {text!r}")
    return step


def server_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what `create_predictor` is to know of the server, nothing where none was spoken of."""
    options: dict[str, Any] = {}
    if arguments.server is not None or arguments.send_image:
        options = {"server": arguments.server, "consent": arguments.send_image or None}
    key = os.environ.get(KEY_VARIABLE)
    if key and "api_key" in entry_of(arguments.model).options:
        options["api_key"] = key
    return options


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which image in a file is meant."""
    parser.add_argument("--time-point", type=int, metavar="N", help="which volume of a 4D image, counted from 0")
    parser.add_argument("--series", metavar="S", help="which series of a DICOM folder: number or UID")
