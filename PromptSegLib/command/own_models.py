"""`promptseg models add`, `remove`, `rename`, `export`: the user's own models."""

from __future__ import annotations

import argparse
from pathlib import Path

from PromptSegLib.command.arguments import Parser
from PromptSegLib.predictors.registry import own_models, predictor_names
from PromptSegLib.weights.instructions import megabytes

COMMANDS = ("models add", "models remove", "models rename", "models export")


def add_parser(commands: argparse._SubParsersAction[Parser]) -> None:
    """Declare the commands."""
    add = commands.add_parser(COMMANDS[0], help="take in a model of your own: an nnU-Net, a MONAI bundle, a checkpoint")
    add.add_argument("path", type=Path, metavar="PATH", help="its folder, zip or file; a copy is kept")
    add.add_argument("--name", help="what to call it from now on (default: made of its title)")
    add.add_argument("--configuration", metavar="NAME", help="of an nnU-Net that has several, such as 3d_lowres")
    add.add_argument("--like", metavar="MODEL", help="for a checkpoint: the known model whose network it is of")
    add.add_argument(
        "--allow-code",
        action="store_true",
        help="agree to code in it being run, if there is any; only if you trust it",
    )
    add.set_defaults(run=_add)
    remove = commands.add_parser(COMMANDS[1], help="remove one of your own models")
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(run=_remove)
    rename = commands.add_parser(COMMANDS[2], help="call one of your own models otherwise")
    rename.add_argument("name", metavar="NAME")
    rename.add_argument("new", metavar="NEW")
    rename.set_defaults(run=_rename)
    export = commands.add_parser(COMMANDS[3], help="write one of your own models as a zip that can be added elsewhere")
    export.add_argument("name", metavar="NAME")
    export.add_argument("file", type=Path, metavar="FILE.zip")
    export.set_defaults(run=_export)


def _add(arguments: argparse.Namespace) -> int:
    options = {key: value for key in ("configuration", "like") if (value := getattr(arguments, key)) is not None}
    model = own_models().add(
        arguments.path, arguments.name, taken=predictor_names(), options=options, agreed=arguments.allow_code
    )
    print(f"{model.name} is added ({megabytes(model.bytes)})")
    print(model.card)
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    print(f"{arguments.name} is removed: {megabytes(own_models().remove(arguments.name))} are free again")
    return 0


def _rename(arguments: argparse.Namespace) -> int:
    model = own_models().rename(arguments.name, arguments.new, predictor_names())
    print(f"{arguments.name} is called {model.name} from now on")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    print(own_models().export(arguments.name, arguments.file))
    return 0
