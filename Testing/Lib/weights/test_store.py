"""The store: what it hands out was checked, what it lacks it says how to get, and it asks before it takes."""

import io
import json
import logging
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import Cancelled, WeightsError
from PromptSegLib.weights.consent import ConsentQuestion
from PromptSegLib.weights.layout import Layout
from PromptSegLib.weights.places import default_folder
from PromptSegLib.weights.store import WeightsStore

ROOT = Path(__file__).resolve().parents[3]
DATA = random.Random(3).randbytes(200_000)
STATE = {"w": torch.arange(6.0), "b": torch.ones(2)}


def checkpoint_bytes(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.fixture
def a_network_store(server, a_store, a_file):
    """A store whose checkpoint is a real one, with an optimizer's state beside the model's."""
    data = checkpoint_bytes({"model": {f"module.{k}": t for k, t in STATE.items()}, "optimizer": torch.zeros(9999)})
    store = a_store(a_file(data, server.serve("demo.pth", data), layout=Layout(key="model")))
    store.get("demo")
    return store


def test_get_downloads_once(server, a_store, a_file):
    store = a_store(a_file(DATA, server.serve("demo.pth", DATA)))
    assert store.status("demo").state == "missing"
    path = store.get("demo")
    assert path == store.folder / "demo" / "demo.pth"
    assert path.read_bytes() == DATA
    assert store.get("demo") == store.path("demo") == path
    assert len(server.requests) == 1
    status = store.status("demo")
    assert (status.state, status.place, status.known_by) == ("ready", "store", "official")
    assert len(DATA) < status.bytes == store.total_bytes() < len(DATA) + 2000


def test_progress_is_told_in_fractions_with_names_and_sizes(server, a_store, a_file):
    files = [a_file(DATA, server.serve(name, DATA), path=name) for name in ("a.pth", "b.pth")]
    seen = []
    a_store(*files).get("demo", progress=lambda fraction, what: seen.append((fraction, what)))
    assert [fraction for fraction, _ in seen] == sorted(fraction for fraction, _ in seen)
    assert seen[-1] == (1.0, "b.pth: 200.0 kB of 200.0 kB")
    assert (0.5, "a.pth: 200.0 kB of 200.0 kB") in seen


def test_an_unknown_name_lists_the_known_ones(a_store, a_file):
    with pytest.raises(WeightsError, match="no weights are called 'demo2'; there are demo"):
        a_store(a_file(DATA)).path("demo2")


def test_missing_weights_say_what_to_fetch_from_where_and_where_to_put_it(a_store, a_file, tmp_path):
    file = a_file(DATA, path="model_b.pth", saved_as_published=False)
    with pytest.raises(WeightsError) as caught:
        a_store(file).path("demo")
    assert str(caught.value) == (
        "The weights demo (Demo) are not here.\n"
        "  fetch the file for model_b.pth (about 200.0 kB) from https://example.org/page, "
        "and save it under this name\n"
        "  then run: promptseg weights import demo model_b.pth\n"
        "  or put it into the folder that the environment variable PROMPTSEG_WEIGHTS_DIR names, as demo/model_b.pth"
    )
    with pytest.raises(WeightsError, match=rf"or put it into {tmp_path}/offline"):
        a_store(file, offline_folder=tmp_path / "offline").path("demo")


def test_what_can_be_downloaded_is_offered_so(a_store, a_file):
    with pytest.raises(
        WeightsError, match=r"Download them: promptseg weights get demo \(about 200\.0 kB\)\nOr by hand"
    ):
        a_store(a_file(DATA, "https://example.org/f")).path("demo")


def test_a_file_that_only_a_person_can_fetch_is_not_downloaded(server, a_store, a_file):
    store = a_store(a_file(DATA, server.serve("a", DATA), path="a"), a_file(DATA, path="b"))
    with pytest.raises(WeightsError, match=r"fetch b \(about 200\.0 kB\) from https://example.org/page"):
        store.get("demo", consent=True)
    assert server.requests == []


def test_a_failed_download_says_what_to_do_by_hand(server, a_store, a_file):
    url = server.url("none")
    with pytest.raises(WeightsError, match=rf"(?s)404.*fetch demo.pth .* from {url}\n.*weights import demo demo.pth"):
        a_store(a_file(DATA, url)).get("demo")


def test_a_license_that_restricts_is_asked_for_once(server, a_store, a_file):
    store = a_store(a_file(DATA, server.serve("demo.pth", DATA)), consent=True)
    questions: list[ConsentQuestion] = []
    with pytest.raises(WeightsError, match=r"demo is not taken: the license of its weights \(CC BY-NC 4.0\) was not"):
        store.get("demo", consent=lambda question: questions.append(question) or False)
    assert "License of the weights: CC BY-NC 4.0." in questions[0].text
    assert server.requests == []
    with pytest.raises(WeightsError, match="was not accepted"):
        store.get("demo")
    store.get("demo", consent=lambda question: questions.append(question) or True)
    (store.folder / "demo" / "demo.pth").unlink()
    store.get("demo")
    assert len(questions) == 2
    store.remove("demo")
    with pytest.raises(WeightsError, match="was not accepted"):
        store.get("demo")


def test_a_file_without_a_known_hash_is_asked_for_and_pinned(server, a_store, a_file):
    store = a_store(a_file(DATA, server.serve("demo.pth", DATA), source=None))
    with pytest.raises(WeightsError, match="no hash is known for it, and that was not accepted"):
        store.get("demo")
    asked = []
    path = store.get("demo", consent=lambda question: asked.append(question.text) or True)
    assert "No hash is known for demo.pth: what the server sends now is trusted" in asked[0]
    assert store.status("demo").known_by == "first use"
    path.write_bytes(DATA[::-1])
    with pytest.raises(WeightsError, match=r"damaged or another file: .*\(when it was first used\)"):
        store.path("demo")


def test_a_file_that_came_by_itself_is_used_only_if_its_hash_is_known(a_store, a_file):
    known, unknown = a_store(a_file(DATA)), a_store(a_file(DATA, source=None))
    place = known.folder / "demo" / "demo.pth"
    place.parent.mkdir(parents=True)
    place.write_bytes(DATA)
    with pytest.raises(WeightsError, match="nothing vouches for"):
        unknown.path("demo")
    assert known.path("demo") == place


def test_a_changed_file_is_never_handed_out(server, a_store, a_file):
    store = a_store(a_file(DATA, server.serve("demo.pth", DATA)))
    path = store.get("demo")
    path.write_bytes(DATA[:-1] + b"!")
    for use in (store.path, store.verify, store.get, store.state_dict):
        with pytest.raises(WeightsError, match=r"damaged or another file: SHA-256 .* \(by the catalogue\)"):
            use("demo")
    store.remove("demo")
    assert store.get("demo").read_bytes() == DATA


def test_verify_finds_what_a_quick_look_does_not(server, a_store, a_file):
    store = a_store(a_file(DATA, server.serve("demo.pth", DATA)))
    path = store.get("demo")
    assert store.verify("demo").known_by == "official"
    before = path.stat()
    path.write_bytes(DATA[:-1] + b"!")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    store.path("demo")
    with pytest.raises(WeightsError, match="damaged"):
        store.verify("demo")


def test_a_new_hash_in_the_catalogue_is_honoured(server, a_store, a_file):
    a_store(a_file(DATA, server.serve("demo.pth", DATA))).get("demo")
    with pytest.raises(WeightsError, match=r"\(by the catalogue\)"):
        a_store(a_file(DATA + b"new")).path("demo")


def test_import_takes_a_file_under_any_name(a_store, a_file, tmp_path):
    store = a_store(a_file(DATA))
    (tmp_path / "my file").write_bytes(DATA)
    path = store.import_file("demo", tmp_path / "my file")
    assert path == store.path("demo") == store.folder / "demo" / "demo.pth"
    assert path.read_bytes() == DATA


@pytest.mark.parametrize(
    ("content", "complaint"), [(DATA[:-1], "expected 200000 bytes, got 199999"), (DATA[::-1], "expected SHA-256")]
)
def test_import_refuses_another_file_and_leaves_the_store_as_it_was(content, complaint, a_store, a_file, tmp_path):
    store = a_store(a_file(DATA))
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(WeightsError, match=rf"f is not taken: .*{complaint}"):
        store.import_file("demo", tmp_path / "f")
    assert list((store.folder / "demo").glob("*")) == []


def test_import_asks_for_the_license_but_trusts_the_user_on_the_hash(a_store, a_file, tmp_path):
    store = a_store(a_file(DATA, source=None), consent=True)
    (tmp_path / "f").write_bytes(DATA)
    with pytest.raises(WeightsError, match="was not accepted"):
        store.import_file("demo", tmp_path / "f")
    store.import_file("demo", tmp_path / "f", consent=lambda question: not question.unverified)
    assert store.verify("demo").known_by == "first use"


def test_a_hash_of_a_third_party_can_be_overruled_and_an_official_one_cannot(a_store, a_file, tmp_path):
    (tmp_path / "f").write_bytes(DATA[::-1])
    store = a_store(a_file(DATA, source="third-party"))
    with pytest.raises(WeightsError, match=r"(?s)stated by a third party only.*\(trust=True, --trust\)"):
        store.import_file("demo", tmp_path / "f")
    store.import_file("demo", tmp_path / "f", trust=True)
    assert store.verify("demo").known_by == "first use"
    with pytest.raises(WeightsError, match="expected SHA-256"):
        a_store(a_file(DATA)).import_file("demo", tmp_path / "f", trust=True)
    with pytest.raises(WeightsError, match=r"\(by the catalogue\)"):
        a_store(a_file(DATA)).path("demo")


def test_import_of_a_missing_file_names_it(a_store, a_file, tmp_path):
    with pytest.raises(WeightsError, match=r"there is no file .*none"):
        a_store(a_file(DATA)).import_file("demo", tmp_path / "none")


def test_import_can_be_cancelled(a_store, a_file, tmp_path):
    store, cancel = a_store(a_file(DATA)), CancelToken()
    (tmp_path / "f").write_bytes(DATA)
    cancel.cancel()
    with pytest.raises(Cancelled):
        store.import_file("demo", tmp_path / "f", cancel=cancel)
    assert list((store.folder / "demo").glob("*")) == []


def test_a_checkpoint_of_several_files_is_one_folder(server, a_store, a_file, tmp_path):
    """As nnInteractive's, whose engine wants the folder."""
    paths = ("fold_0/net.pth", "plans.json")
    store = a_store(
        *[
            a_file(DATA + path.encode(), server.serve(Path(path).name, DATA + path.encode()), path=path)
            for path in paths
        ]
    )
    assert store.get("demo") == store.folder / "demo" / "fold_0" / "net.pth"
    assert store.path("demo", "plans.json").read_bytes() == DATA + b"plans.json"
    folder = store.folder_of("demo")
    assert all((folder / path).is_file() for path in paths)
    with pytest.raises(WeightsError, match=r"has no file 'x', only fold_0/net\.pth, plans\.json"):
        store.path("demo", "x")

    (folder / "plans.json").unlink()
    status = store.status("demo")
    assert (status.state, status.missing) == ("incomplete", ("plans.json",))
    with pytest.raises(WeightsError, match=r"demo/plans\.json"):
        store.folder_of("demo")
    (tmp_path / "plans.json").write_bytes(DATA + b"plans.json")
    store.import_file("demo", tmp_path / "plans.json")
    assert store.status("demo").state == "ready"


def test_several_files_are_imported_as_a_folder(a_store, a_file, tmp_path):
    store = a_store(a_file(DATA, path="fold_0/net.pth"), a_file(b"{}", path="plans.json"))
    source = tmp_path / "source"
    (source / "fold_0").mkdir(parents=True)
    (source / "fold_0" / "net.pth").write_bytes(DATA)
    with pytest.raises(WeightsError, match=r"source lacks plans\.json of demo"):
        store.import_file("demo", source)
    (source / "plans.json").write_bytes(b"{}")
    store.import_file("demo", source)
    assert store.status("demo").state == "ready"
    (tmp_path / "other").write_bytes(DATA)
    with pytest.raises(WeightsError, match=r"has several files \(fold_0/net\.pth, plans\.json\); none is called other"):
        store.import_file("demo", tmp_path / "other")


@pytest.mark.parametrize("place", ["demo.pth", "demo/demo.pth"])
def test_the_offline_folder_comes_first_and_is_only_read(place, server, a_store, a_file, tmp_path, monkeypatch):
    offline = tmp_path / "offline" / place
    offline.parent.mkdir(parents=True)
    offline.write_bytes(DATA)
    file = a_file(DATA, server.serve("demo.pth", DATA))
    catalogue = a_store(file, consent=True).catalogue
    monkeypatch.setenv("PROMPTSEG_WEIGHTS_DIR", str(tmp_path / "offline"))
    store = WeightsStore(tmp_path / "store", catalogue=catalogue)
    assert store.get("demo") == store.path("demo") == offline
    assert store.status("demo").place == "offline"
    assert server.requests == []
    assert store.remove("demo") > 0
    assert [path.name for path in (tmp_path / "offline").rglob("*.pth")] == ["demo.pth"]


def test_an_offline_file_is_checked_too(a_store, a_file, tmp_path):
    (tmp_path / "demo.pth").write_bytes(DATA[::-1])
    with pytest.raises(WeightsError, match="damaged or another file"):
        a_store(a_file(DATA), offline_folder=tmp_path).path("demo")


def test_an_offline_file_of_unknown_hash_is_pinned_at_its_first_use(a_store, a_file, tmp_path):
    store = a_store(a_file(DATA, source=None, known_bytes=False), offline_folder=tmp_path)
    (tmp_path / "demo.pth").write_bytes(DATA)
    store.path("demo")
    (tmp_path / "demo.pth").write_bytes(DATA + b"!")
    with pytest.raises(WeightsError, match="when it was first used"):
        store.path("demo")


def test_remove_and_clear_free_the_room(server, a_store, a_file):
    store = a_store(a_file(DATA, server.serve("demo.pth", DATA)))
    store.get("demo")
    assert store.remove("demo") > len(DATA)
    assert (store.status("demo").state, store.total_bytes()) == ("missing", 0)
    store.get("demo")
    assert store.clear() > len(DATA)
    assert [status.state for status in store.list()] == ["missing"]
    assert store.remove("demo") == 0


def test_a_state_dict_is_read_and_a_copy_kept(a_network_store):
    store = a_network_store
    first = store.state_dict("demo")
    copy = store.folder / "demo" / "demo.pth.safetensors"
    written = copy.stat().st_mtime_ns
    second = store.state_dict("demo")
    for state_dict in (first, second):
        assert {key: tensor.tolist() for key, tensor in state_dict.items()} == {k: t.tolist() for k, t in STATE.items()}
    assert copy.stat().st_mtime_ns == written
    assert copy.stat().st_size < 1000
    del first, second
    assert store.verify("demo").state == "ready"
    assert copy.exists()


def test_a_damaged_copy_is_made_anew(a_network_store, caplog):
    store = a_network_store
    store.state_dict("demo")
    copy = store.folder / "demo" / "demo.pth.safetensors"
    copy.write_bytes(copy.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        assert store.state_dict("demo")["w"].tolist() == STATE["w"].tolist()
    assert "is made anew" in caplog.text
    data = bytearray(copy.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    store.verify("demo")
    assert not copy.exists()
    assert store.state_dict("demo")["b"].tolist() == [1, 1]


def test_a_copy_of_an_earlier_file_is_not_used(server, a_store, a_file):
    for value in (1.0, 2.0):
        data = checkpoint_bytes({"w": torch.full((3,), value)})
        store = a_store(a_file(data, server.serve("demo.pth", data)))
        (store.folder / "demo" / "demo.pth").unlink(missing_ok=True)
        store.get("demo")
        assert store.state_dict("demo")["w"].tolist() == [value] * 3


def test_without_room_for_a_copy_the_checkpoint_is_read_as_it_is(a_network_store, caplog):
    store = a_network_store
    (store.folder / "demo" / "demo.pth.safetensors").mkdir()
    (store.folder / "demo" / "demo.pth.safetensors" / "in the way").touch()
    with caplog.at_level(logging.WARNING):
        assert store.state_dict("demo")["w"].tolist() == STATE["w"].tolist()
    assert "no safetensors copy" in caplog.text


def test_without_safetensors_the_checkpoint_is_read_as_it_is(a_network_store, monkeypatch):
    """PyTorch's extension for Slicer installs torch alone."""
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert a_network_store.state_dict("demo")["w"].tolist() == STATE["w"].tolist()
    assert not list(a_network_store.folder.rglob("*.safetensors"))


def test_weights_that_are_safetensors_already_get_no_copy(a_store, a_file, tmp_path):
    from safetensors.torch import save

    data = save({"module.w": torch.ones(2)})
    (tmp_path / "f").write_bytes(data)
    store = a_store(a_file(data, path="demo.safetensors"))
    store.import_file("demo", tmp_path / "f")
    assert list(store.state_dict("demo")) == ["w"]
    assert not list(store.folder.rglob("*.safetensors.safetensors"))


def test_a_malicious_checkpoint_in_the_store_executes_nothing(a_store, a_file, tmp_path, monkeypatch):
    class Evil:
        def __reduce__(self):
            return os.system, ("touch trap",)

    monkeypatch.chdir(tmp_path)
    data = checkpoint_bytes({"w": torch.ones(1), "x": Evil()})
    (tmp_path / "f").write_bytes(data)
    store = a_store(a_file(data))
    store.import_file("demo", tmp_path / "f")
    with pytest.raises(WeightsError, match="do not trust this file"):
        store.state_dict("demo")
    assert not (tmp_path / "trap").exists()
    assert not list(store.folder.rglob("*.safetensors"))


def test_a_damaged_record_only_costs_a_second_hash(server, a_store, a_file):
    store = a_store(a_file(DATA, server.serve("demo.pth", DATA)))
    path = store.get("demo")
    record = path.with_name("demo.pth.record.json")
    for text in ("", "[]", "{}", json.dumps({"path": 3})):
        record.write_text(text)
        assert store.path("demo") == path


def test_the_store_needs_neither_torch_nor_safetensors():
    code = "import sys; import PromptSegLib.command.weights; print({'torch', 'safetensors'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/c/promptseg/weights"),
        ("linux", {"HOME": "/h"}, "/h/.cache/promptseg/weights"),
        ("darwin", {"HOME": "/h"}, "/h/Library/Caches/PromptSeg/weights"),
        ("win32", {"LOCALAPPDATA": "/l", "HOME": "/h"}, "/l/PromptSeg/weights"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="paths are written as on POSIX")
def test_the_default_folder_is_the_platforms_cache(platform, variables, expected, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert default_folder() == Path(expected)
