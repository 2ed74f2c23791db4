"""`promptseg propagate`: slices segmented from prompts, and carried through the volume."""

from __future__ import annotations

import argparse
from dataclasses import replace

from PromptSegLib.command import arguments as parsing
from PromptSegLib.command.case import Carry
from PromptSegLib.command.segment import add_case_options, run_case, settings_of

_EPILOG = """\
Prompts as for promptseg segment. Each slice that has some is segmented from them; the slices between and beyond
follow, each from the one before, until the structure ends: the output says where and why. A box is on the slice
across which it has no thickness, a click on one that a box is on, otherwise across the image's largest spacing.
Slices are counted from 0 along the axis of the newest prompt's slice.
"""


def add_parser(commands: argparse._SubParsersAction[parsing.Parser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "propagate", help="segment slices, and carry the segments through the volume", epilog=_EPILOG
    )
    add_case_options(parser)
    parser.add_argument(
        "--slices", type=parsing.numbers(2), metavar="FIRST,LAST", help="carry no farther than these slices"
    )
    parser.add_argument(
        "--direction",
        choices=("both", "forward", "backward"),
        default="both",
        help="forward: to higher slice numbers (default: %(default)s)",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.image is None or arguments.output is None:
        raise parsing.UsageError("expected IMAGE and -o OUT; see promptseg propagate --help")
    slices = None
    if arguments.slices is not None:
        first, last = arguments.slices
        slices = int(first), int(last)
    return run_case(arguments, replace(settings_of(arguments), carry=Carry(arguments.direction, slices)))
