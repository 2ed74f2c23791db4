"""`promptseg weights …` as the command line runs it."""

import argparse
import json
import random

import pytest

from PromptSegLib.command import console
from PromptSegLib.command import weights as command
from PromptSegLib.command.weights import BAD_INPUT, DONE, FAILED, add_parser
from PromptSegLib.weights.store import WeightsStore

DATA = random.Random(9).randbytes(100_000)


@pytest.fixture
def promptseg(monkeypatch, capsys):
    """Run a command line; (exit status, standard output, standard error)."""

    def run(*words, store=None):
        if store is not None:
            monkeypatch.setattr(command, "WeightsStore", lambda folder: store)
        parser = argparse.ArgumentParser("promptseg")
        add_parser(parser.add_subparsers(required=True))
        try:
            arguments = parser.parse_args(["weights", *map(str, words)])
        except SystemExit as stop:
            status = stop.code
        else:
            status = arguments.run(arguments)
        return (status, *capsys.readouterr())

    return run


def test_list_shows_the_catalogue_with_licenses(promptseg, tmp_path, monkeypatch):
    monkeypatch.delenv("PROMPTSEG_WEIGHTS_DIR", raising=False)
    status, out, _ = promptseg("list", "--folder", tmp_path)
    lines = out.splitlines()
    assert status == DONE
    assert lines[0].split("  ")[0] == "NAME"
    assert lines[1].split() == ["sam-vit-b", "-", "375.0", "MB", "Apache-2.0", "Apache-2.0"]
    assert lines[-1] == f"0.0 kB in {tmp_path}"


def test_list_for_machines_holds_everything(promptseg, tmp_path):
    status, out, _ = promptseg("list", "nninteractive", "--json", "--folder", tmp_path)
    (entry,) = json.loads(out)
    assert status == DONE
    assert entry["weights_license"] == "CC BY-NC-SA 4.0"
    assert entry["files"][0]["bytes"] == 411_387_150
    assert entry["status"]["state"] == "missing"


def test_a_checkpoint_is_got_found_verified_and_removed(promptseg, server, a_store, a_file):
    store = a_store(a_file(DATA, server.serve("demo.pth", DATA)))
    path = f"{store.folder / 'demo' / 'demo.pth'}\n"
    assert promptseg("get", "demo", store=store) == (DONE, path, "")
    assert promptseg("path", "demo") == (DONE, path, "")
    assert promptseg("path")[1] == f"{store.folder}\n"
    assert promptseg("list")[1].splitlines()[1].split()[:2] == ["demo", "store"]
    assert promptseg("verify") == (DONE, "demo: as it should be (hash: official)\n", "")
    status, out, _ = promptseg("remove", "demo", "--json")
    assert status == DONE
    assert json.loads(out)["freed_bytes"]["demo"] > len(DATA)
    status, _, err = promptseg("path", "demo")
    assert status == FAILED
    assert "Download them: promptseg weights get demo" in err


def test_a_license_is_accepted_by_flag_or_refused(promptseg, server, a_store, a_file):
    store = a_store(a_file(DATA, server.serve("demo.pth", DATA)), consent=True)
    status, out, err = promptseg("get", "demo", store=store)
    assert (status, out) == (FAILED, "")
    assert "License of the weights: CC BY-NC 4.0." in err
    assert "say --accept-license, or --yes" in err
    assert promptseg("get", "demo", "--accept-license")[0] == DONE


@pytest.mark.parametrize(("answer", "status"), [("y", DONE), ("no", FAILED), ("", FAILED)])
def test_a_license_is_asked_for_at_a_terminal(answer, status, promptseg, server, a_store, a_file, monkeypatch):
    store = a_store(a_file(DATA, server.serve("demo.pth", DATA)), consent=True)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    assert promptseg("get", "demo", store=store)[0] == status


def test_an_unverified_file_needs_more_than_an_accepted_license(promptseg, server, a_store, a_file):
    store = a_store(a_file(DATA, server.serve("demo.pth", DATA), source=None))
    assert promptseg("get", "demo", "--accept-license", store=store)[0] == FAILED
    assert promptseg("get", "demo", "--yes")[0] == DONE


def test_import_prints_where_the_file_is_now(promptseg, a_store, a_file, tmp_path):
    store = a_store(a_file(DATA))
    (tmp_path / "f").write_bytes(DATA)
    status, out, _ = promptseg("import", "demo", tmp_path / "f", "--json", store=store)
    assert status == DONE
    assert json.loads(out) == {"name": "demo", "path": str(store.path("demo"))}


def test_one_failure_does_not_stop_the_others(promptseg, server, a_store, a_file):
    store = a_store(a_file(DATA, server.serve("demo.pth", DATA)))
    broken = a_store(a_file(DATA, server.url("none"))).catalogue["demo"]
    both = WeightsStore(store.folder, catalogue={"demo": store.catalogue["demo"], "other": broken})
    status, out, _ = promptseg("get", "other", "demo", "--json", store=both)
    answer = json.loads(out)
    assert status == FAILED
    assert list(answer["done"]) == ["demo"]
    assert "404" in answer["failed"]["other"]


@pytest.mark.parametrize(
    "words",
    [
        ["get", "no-such"],
        ["path", "no-such"],
        ["import", "no-such", "file"],
        ["import", "sam-vit-b", "no-such-file"],
        ["remove"],
        ["remove", "sam-vit-b", "--all"],
        ["get"],
        ["frobnicate"],
        [],
    ],
)
def test_bad_input_gives_status_2_and_a_reason(words, promptseg, tmp_path):
    where = ["--folder", tmp_path] if len(words) > 1 or words == ["remove"] else []
    status, out, err = promptseg(*words, *where)
    assert (status, out) == (BAD_INPUT, "")
    assert err


def test_ctrl_c_ends_without_a_traceback(promptseg, a_store, a_file, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    store = a_store(a_file(DATA))
    monkeypatch.setattr(store, "get", interrupted)
    status, _, err = promptseg("get", "demo", store=store)
    assert status == 130
    assert "goes on from here" in err


def test_a_download_shows_its_progress_but_not_beside_json(promptseg, server, a_store, a_file, monkeypatch):
    monkeypatch.setattr(console, "_PATIENCE_S", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    store = a_store(a_file(DATA, server.serve("demo.pth", DATA)))
    _, out, err = promptseg("get", "demo", store=store)
    assert "100% " in err
    assert err.endswith("\r\x1b[K")
    assert "%" not in out
    store.remove("demo")
    _, _, err = promptseg("get", "demo", "--json", store=store)
    assert err == ""
