"""`promptseg weights …`: list, get, import, verify, remove, path."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PromptSegLib.command.console import ProgressBar, print_json, print_table, progress_bar
from PromptSegLib.errors import WeightsError
from PromptSegLib.weights.catalogue import Checkpoint
from PromptSegLib.weights.consent import ConsentQuestion
from PromptSegLib.weights.disk_errors import plain_errors
from PromptSegLib.weights.instructions import megabytes
from PromptSegLib.weights.store import Status, WeightsStore

DONE, FAILED, BAD_INPUT = 0, 1, 2


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `weights` and its actions; each sets `run`: a function of the parsed arguments, returning the status."""
    weights = subparsers.add_parser("weights", help="list, get, import, check and remove model weights")
    actions = weights.add_subparsers(metavar="ACTION", required=True)

    _action(actions, "list", _list, "which weights there are, and which are here", names="*")
    get = _action(actions, "get", _get, "download weights; a download that was cut goes on where it was", names="+")
    _add_consent(get)
    bring = _action(actions, "import", _import, "take weights that were fetched by hand")
    bring.add_argument("name", metavar="NAME", help="as `promptseg weights list` shows it")
    bring.add_argument("source", metavar="FILE", type=Path, help="the file, or the folder for weights of several")
    bring.add_argument("--trust", action="store_true", help="take it even if a third party states another hash")
    _add_consent(bring)
    _action(actions, "verify", _verify, "hash weights again and compare", names="*")
    remove = _action(actions, "remove", _remove, "delete weights from the store", names="*")
    remove.add_argument("--all", action="store_true", help="all of them")
    _action(actions, "path", _path, "where weights are; without a name, the store's folder", names="?")


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    work: Callable[[WeightsStore, argparse.Namespace], int],
    text: str,
    names: str = "",
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text, description=text)
    if names:
        parser.add_argument("names", metavar="NAME", nargs=names, help="as `promptseg weights list` shows it")
    parser.add_argument("--folder", type=Path, help="the store's folder, instead of the platform's cache folder")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=lambda arguments: _run(work, arguments))
    return parser


def _add_consent(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--accept-license", action="store_true", help="accept the license of the weights")
    parser.add_argument("--yes", action="store_true", help="accept whatever is asked")


def _run(work: Callable[[WeightsStore, argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Do an action; what went wrong goes to standard error, with the exit status that fits."""
    asked = getattr(arguments, "names", None)
    names = [asked] if isinstance(asked, str) else [*(asked or []), *filter(None, [getattr(arguments, "name", None)])]
    try:
        store = WeightsStore(arguments.folder)
        for name in names:
            store.checkpoint(name)
    except WeightsError as error:
        return _complain(error, BAD_INPUT)
    try:
        with plain_errors():
            return work(store, arguments)
    except WeightsError as error:
        return _complain(error, FAILED)
    except KeyboardInterrupt:
        return _complain("stopped; a download goes on from here when it is asked for again", 130)


def _list(store: WeightsStore, arguments: argparse.Namespace) -> int:
    names = arguments.names or store.catalogue
    rows = [(store.checkpoint(name), store.status(name)) for name in names]
    if arguments.json:
        return _print_json([_described(checkpoint, status) for checkpoint, status in rows])
    lines = []
    for checkpoint, status in rows:
        size = megabytes(checkpoint.likely_bytes) if checkpoint.likely_bytes else "?"
        here = {"ready": status.place or "", "incomplete": "in part", "missing": "-"}[status.state]
        lines.append((checkpoint.name, here, size, checkpoint.code_license, checkpoint.weights_license))
    print_table(("NAME", "HERE", "SIZE", "LICENSE OF CODE", "LICENSE OF WEIGHTS"), lines)
    print(f"\n{megabytes(store.total_bytes())} in {store.folder}")
    return DONE


def _get(store: WeightsStore, arguments: argparse.Namespace) -> int:
    def get(name: str) -> Path:
        with progress_bar(is_wanted=not arguments.json) as bar:
            return store.get(name, _consent(arguments, bar), bar.progress)

    return _for_each(arguments, get)


def _import(store: WeightsStore, arguments: argparse.Namespace) -> int:
    if not arguments.source.exists():
        return _complain(f"there is no file {arguments.source}", BAD_INPUT)
    with progress_bar(is_wanted=not arguments.json) as bar:
        consent = _consent(arguments, bar)
        path = store.import_file(arguments.name, arguments.source, consent, bar.progress, trust=arguments.trust)
    if arguments.json:
        return _print_json({"name": arguments.name, "path": str(path)})
    print(path)
    return DONE


def _verify(store: WeightsStore, arguments: argparse.Namespace) -> int:
    arguments.names = arguments.names or [status.name for status in store.list() if status.state == "ready"]
    return _for_each(arguments, lambda name: f"{name}: as it should be (hash: {store.verify(name).known_by})")


def _remove(store: WeightsStore, arguments: argparse.Namespace) -> int:
    if arguments.all == bool(arguments.names):
        return _complain("name the weights to remove, or say --all", BAD_INPUT)
    arguments.names = arguments.names or list(store.catalogue)
    freed = {name: store.remove(name) for name in arguments.names}
    if arguments.json:
        return _print_json({"freed_bytes": freed})
    print(f"{megabytes(sum(freed.values()))} freed")
    return DONE


def _path(store: WeightsStore, arguments: argparse.Namespace) -> int:
    path = store.path(arguments.names) if arguments.names else store.folder
    if arguments.json:
        return _print_json({"path": str(path)})
    print(path)
    return DONE


def _for_each(arguments: argparse.Namespace, work: Callable[[str], object]) -> int:
    """Do it for every name; one that fails does not stop the others."""
    done, failed = {}, {}
    for name in arguments.names:
        try:
            done[name] = str(work(name))
        except WeightsError as error:
            failed[name] = str(error)
            _complain(error, FAILED)
        else:
            if not arguments.json:
                print(done[name])
    if arguments.json:
        _print_json({"done": done, "failed": failed})
    return FAILED if failed else DONE


def _consent(arguments: argparse.Namespace, bar: ProgressBar) -> Callable[[ConsentQuestion], bool]:
    """Answer by the flags; a question that they leave open is asked where there is somebody to answer."""

    def answer(question: ConsentQuestion) -> bool:
        if arguments.yes or (arguments.accept_license and not question.unverified):
            return True
        bar.clear()
        print(question.text, file=sys.stderr)
        if not sys.stdin.isatty():
            print("Nobody is here to answer: say --accept-license, or --yes to accept all.", file=sys.stderr)
            return False
        try:
            return input("[y/N] ").strip().lower() in ("y", "yes")
        except EOFError:
            return False

    return answer


def _described(checkpoint: Checkpoint, status: Status) -> dict[str, Any]:
    """Everything about one checkpoint, for machines."""
    return asdict(checkpoint) | {"likely_bytes": checkpoint.likely_bytes, "status": asdict(status)}


def _print_json(content: object) -> int:
    print_json(content)
    return DONE


def _complain(error: object, status: int) -> int:
    print(f"promptseg weights: {error}", file=sys.stderr)
    return status
