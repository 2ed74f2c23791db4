"""The command line: `promptseg …`, or `python -m PromptSegLib …`."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from PromptSegLib.command import (
    benchmark,
    benchmark_compare,
    compare,
    demo,
    follow_up,
    info,
    list_cases,
    measure,
    models,
    own_models,
    propagate,
    propose,
    segment,
    train_default,
    weights,
)
from PromptSegLib.command.arguments import Parser, with_values_attached
from PromptSegLib.errors import PromptSegError

_BAD_INPUT, _INTERRUPTED, _CUT_SHORT, _TERMINATED = 2, 130, 141, 143


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 2 for bad input, 130 after Ctrl-C; `promptseg --help` has all."""
    _never_fail_to_print()
    try:
        with _tidy_when_terminated():
            arguments = parsed(sys.argv[1:] if argv is None else argv)
            return int(arguments.run(arguments))
    except PromptSegError as error:
        print(f"promptseg: {' '.join(str(error).split())}", file=sys.stderr)
        return _BAD_INPUT
    except BrokenPipeError:  # whoever read along, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _CUT_SHORT
    except OSError as error:  # such as a folder that may not be entered
        print(f"promptseg: {error}", file=sys.stderr)
        return _BAD_INPUT
    except KeyboardInterrupt:
        print("promptseg: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except SystemExit as stop:  # --help, or terminated
        return int(stop.code or 0)


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """Return what a command line says.

    Raises:
        UsageError: it makes no sense.
    """
    return _parser().parse_args(with_values_attached(argv))


@contextmanager
def _tidy_when_terminated() -> Iterator[None]:
    """Let what was begun be cleared away when another process asks this one to end; threads cannot be asked."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(_TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


def _never_fail_to_print() -> None:
    """Let a terminal that lacks a letter, such as the plus-minus sign, show another in its place."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _parser() -> Parser:
    parser = Parser(
        prog="promptseg",
        description="Interactive segmentation of medical images: prompts in, labelmaps out. For research only.",
        epilog="Exit status: 0 done, 1 weights could not be had, 2 bad input, 3 rows of a list failed, "
        "130 interrupted, 143 terminated.",
    )
    parser.two_words = (*own_models.COMMANDS, benchmark_compare.COMMAND)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    of_images = (segment, propagate, measure, follow_up, info)
    of_lists = (list_cases, propose, compare)
    for command in (
        *of_images,
        *of_lists,
        models,
        own_models,
        demo,
        benchmark,
        benchmark_compare,
        train_default,
        weights,
    ):
        command.add_parser(commands)
    return parser
