"""Small weight files that would take all time or memory, copies that were damaged, imports that fail half way."""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import Cancelled, WeightsError
from PromptSegLib.weights import inert_pickle, leftovers, partfile
from PromptSegLib.weights.partfile import PartFile, put_all
from PromptSegLib.weights.readers import read_state_dict

MB = 1 << 20
WEIGHTS = {"w": torch.arange(600.0).reshape(20, 30), "b": torch.ones(3)}


def refused(path, match, most_s=10.0, most_bytes=300 * MB):
    """Read a file; it must be refused, in little time and memory."""
    tracemalloc.start()
    begun = time.perf_counter()
    try:
        with pytest.raises(WeightsError, match=match):
            read_state_dict(path)
        assert tracemalloc.get_traced_memory()[1] < most_bytes
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - begun < most_s


def torch_file(path, content):
    """Write a file of torch.save whose pickle is `content`."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("f/data.pkl", content)
        archive.writestr("f/byteorder", sys.byteorder)
    return path


PAIRS = b"\x80\x02X\x01\0\0\0kN\x86q\x00](" + b"h\x00" * 30_000 + b"e\x85q\x030"
"""A pickle's beginning that keeps, as its object 3, (a list of 30,000 pairs,)."""


@pytest.fixture
def fewer_steps(monkeypatch):
    """A tenth of the steps, so that these tests take a tenth of the time."""
    monkeypatch.setattr(inert_pickle, "_MOST_STEPS", 100_000)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02N" + b"}0" * 60_000 + b".",
        b"\x80\x02" + b"(" * 120_000 + b".",
        # A long list handed to the same call again and again: few opcodes, no end.
        PAIRS + b"ccollections\nOrderedDict\nq\x04" + b"h\x04h\x03R0" * 9_000 + b"}.",
        PAIRS + b"ctorch\nSize\nq\x04" + b"h\x04h\x03R" * 9_000 + b".",
    ],
    ids=["opcodes", "marks", "a list again and again", "sizes again and again"],
)
@pytest.mark.usefixtures("fewer_steps")
def test_a_pickle_that_makes_more_work_than_a_checkpoint_is_refused(tmp_path, content):
    refused(torch_file(tmp_path / "f", content), "more than 100,000 steps")


@pytest.mark.usefixtures("fewer_steps")
def test_five_pickles_of_the_old_format_share_their_steps(tmp_path):
    system = pickle.dumps({"little_endian": sys.byteorder == "little", "protocol_version": 1001}, 2)
    work = b"\x80\x02N" + b"N0" * 20_000 + b"."
    start = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + system
    (tmp_path / "f").write_bytes(start + work + b"\x80\x02]" + b"N0" * 40_000 + b".")
    refused(tmp_path / "f", "more than 100,000 steps")


def test_a_number_of_megabytes_is_no_key(tmp_path):
    number = (1 << (8 * 2 * MB)).to_bytes(2 * MB + 2, "little")
    key = b"\x8b" + struct.pack("<i", len(number)) + number + b"q\x00"
    content = b"\x80\x02}" + key + b"Ns" + b"h\x00Ns" * 10_000 + b"."
    refused(torch_file(tmp_path / "f", content), "no state dict")


def test_a_safetensors_header_of_megabytes_is_not_read(tmp_path):
    entries = {f"{n}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for n in range(80_000)}
    header = json.dumps(entries).encode()
    (tmp_path / "f").write_bytes(len(header).to_bytes(8, "little") + header)
    refused(tmp_path / "f", f"a header of {len(header):,} bytes", most_bytes=20 * MB)
    (tmp_path / "f").write_bytes(b"\xff" * 8 + header[:100])
    refused(tmp_path / "f", "a header of 18,446,744,073,709,551,615 bytes")


def test_an_npz_that_unpacks_to_fifty_times_its_size_is_refused(tmp_path):
    noise = np.random.default_rng(0).bytes(100_000)
    array = np.frombuffer(b"".join(noise[n : n + 100] + bytes(4900) for n in range(0, 100_000, 100)) * 16, np.uint8)
    np.savez_compressed(tmp_path / "f.npz", a=array)
    assert 10 < array.nbytes / (tmp_path / "f.npz").stat().st_size < 50
    refused(tmp_path / "f.npz", "its arrays claim 80,000,128 bytes")


@pytest.mark.parametrize(
    "array",
    [np.array(["text"]), np.array([b"bytes"]), np.zeros(3, "V8"), np.zeros(2, "M8[s]"), np.zeros(3, ">f4")],
    ids=lambda array: str(array.dtype),
)
def test_an_npz_of_what_is_no_tensor_is_refused(tmp_path, array):
    np.savez(tmp_path / "f.npz", a=array)
    with pytest.raises(WeightsError, match="which is no tensor's"):
        read_state_dict(tmp_path / "f.npz")


def test_an_npy_header_of_brackets_is_refused(tmp_path):
    header = (b"{'descr': '<f8', 'fortran_order': False, 'shape': " + b"(" * 4000).ljust(9000) + b"\n"
    with zipfile.ZipFile(tmp_path / "f.npz", "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    with pytest.raises(WeightsError, match=r"no \.npz file of plain arrays"):
        read_state_dict(tmp_path / "f.npz")


def test_files_changed_at_random_are_read_or_refused_and_never_raise_anything_else(tmp_path):
    rng = np.random.default_rng(0)
    save_file(WEIGHTS, tmp_path / "0")
    np.savez(tmp_path / "1.npz", **{key: tensor.numpy() for key, tensor in WEIGHTS.items()})
    torch.save(WEIGHTS, tmp_path / "2")
    torch.save(WEIGHTS, tmp_path / "3", _use_new_zipfile_serialization=False)
    for name in ("0", "1.npz", "2", "3"):
        whole = (tmp_path / name).read_bytes()
        for _ in range(150):
            raw = bytearray(whole)
            at = rng.integers(0, min(len(raw), 900), size=3)
            for each in at:
                raw[int(each)] = int(rng.integers(256))
            (tmp_path / "changed").write_bytes(raw[: len(raw) - int(rng.integers(2)) * int(rng.integers(900))])
            try:
                read_state_dict(tmp_path / "changed")
            except WeightsError:
                continue


# The safetensors copy


@pytest.fixture
def a_store_with_copy(a_store, a_file, tmp_path):
    torch.save(WEIGHTS, tmp_path / "source.pth")
    store = a_store(a_file((tmp_path / "source.pth").read_bytes()))
    store.import_file("demo", tmp_path / "source.pth")
    store.state_dict("demo")
    return store


def test_a_copy_whose_numbers_were_changed_is_not_handed_out(a_store_with_copy, caplog):
    copy = a_store_with_copy.folder / "demo" / "demo.pth.safetensors"
    raw = bytearray(copy.read_bytes())
    raw[-1] ^= 0x40
    copy.write_bytes(raw)
    assert torch.equal(a_store_with_copy.state_dict("demo")["b"], WEIGHTS["b"])
    assert "is made anew: expected SHA-256" in caplog.text


@pytest.mark.parametrize("aliases", ["no JSON", "[1]", '{"x": "none"}', '{"x": []}', None, "[" * 20_000])
def test_a_copy_with_odd_aliases_is_made_anew(a_store_with_copy, aliases):
    folder = a_store_with_copy.folder / "demo"
    copy, record = folder / "demo.pth.safetensors", folder / "demo.pth.record.json"
    raw = copy.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    header["__metadata__"] |= {"aliases": aliases} if aliases is not None else {}
    if aliases is None:
        del header["__metadata__"]["aliases"]
    text = json.dumps(header).encode()
    copy.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + size :])
    known = json.loads(record.read_text()) | {"copy_sha256": partfile.sha256_of(copy)}
    record.write_text(json.dumps(known))
    assert torch.equal(a_store_with_copy.state_dict("demo")["w"], WEIGHTS["w"])


@pytest.mark.parametrize(
    "record", ["", "[]", "{}", "[" * 20_000, '{"path": 1}', '{"path": "x", "bytes": "y"}', "\xff", "null"]
)
def test_an_odd_record_costs_a_second_hash(a_store_with_copy, record):
    (a_store_with_copy.folder / "demo" / "demo.pth.record.json").write_bytes(record.encode("latin-1"))
    assert a_store_with_copy.status("demo").state == "ready"
    assert torch.equal(a_store_with_copy.state_dict("demo")["w"], WEIGHTS["w"])


# Imports


@pytest.fixture
def two_files(a_store, a_file, tmp_path):
    """A store for a checkpoint of two files, and a folder that holds them."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_bytes(b"a" * 1000)
    (tmp_path / "source" / "b").write_bytes(b"b" * 1000)
    return a_store(a_file(b"a" * 1000, path="a"), a_file(b"b" * 1000, path="b")), tmp_path / "source"


def kept(store):
    folder = store.folder / "demo"
    return sorted(path.name for path in folder.rglob("*") if path.is_file()) if folder.exists() else []


def test_an_import_whose_second_file_is_wrong_leaves_nothing(two_files):
    store, source = two_files
    (source / "b").write_bytes(b"x" * 1000)
    with pytest.raises(WeightsError, match="b is not taken"):
        store.import_file("demo", source)
    assert kept(store) == []
    (source / "b").write_bytes(b"b" * 1000)
    store.import_file("demo", source)
    assert kept(store) == ["a", "a.record.json", "b", "b.record.json"]


def test_an_import_cancelled_in_its_second_file_leaves_nothing(two_files):
    store, source = two_files
    cancel = CancelToken()

    def progress(fraction, what):
        if fraction >= 0.5:
            cancel.cancel()

    with pytest.raises(Cancelled):
        store.import_file("demo", source, progress=progress, cancel=cancel)
    assert kept(store) == []


def test_where_one_name_is_refused_the_files_that_were_there_come_back(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "in the way").write_bytes(b"")
    parts = []
    for name in ("a", "b"):
        part = PartFile(tmp_path / name)
        part.open()
        part.write(b"new")
        part.seal()
        parts.append(part)
    os.chmod(tmp_path / "b", 0o755)
    parts[1].path.unlink()  # what was sealed is gone
    with pytest.raises(WeightsError):
        put_all(parts)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


# What killed runs leave


def test_what_killed_runs_left_is_cleared_and_what_can_be_resumed_is_kept(a_store_with_copy):
    folder = a_store_with_copy.folder / "demo"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name in (f"x.{dead.pid}.new", "import.part", "x.safetensors.part", "old.part", "old.part.json", "gone.before"):
        (folder / name).write_bytes(b"1")
    for name in (f"y.{os.getpid()}.new", "new.part", "new.part.json"):
        (folder / name).write_bytes(b"1")
    long_ago = time.time() - leftovers.RESUMABLE_S - 100
    os.utime(folder / "old.part", (long_ago, long_ago))
    a_store_with_copy.verify("demo")
    left = {path.name for path in folder.iterdir()} - {"demo.pth", "demo.pth.record.json", "demo.pth.safetensors"}
    assert left == {f"y.{os.getpid()}.new", "new.part", "new.part.json", "gone"}


def test_an_import_killed_half_way_leaves_nothing_after_the_next_one(two_files, tmp_path):
    store, source = two_files
    code = f"""
import os, signal, sys
sys.path[:0] = {[str(Path(__file__).parents[3]), str(Path(__file__).parent)]!r}
from conftest import checkpoint_of, sha256
from PromptSegLib.weights.catalogue import WeightFile
from PromptSegLib.weights.store import WeightsStore
files = [WeightFile(n, "page", (), 1000, None, sha256(n.encode() * 1000), "official") for n in "ab"]
store = WeightsStore({str(store.folder)!r}, catalogue={{"demo": checkpoint_of(*files)}})
def progress(fraction, what):
    if fraction >= 0.5:
        os.kill(os.getpid(), signal.SIGKILL)
store.import_file("demo", {str(source)!r}, progress=progress)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode != 0
    assert "a.part" in kept(store)
    assert store.status("demo").state == "missing"
    store.import_file("demo", source)
    assert kept(store) == ["a", "a.record.json", "b", "b.record.json"]


# Closed folders


@pytest.mark.skipif(sys.platform == "win32", reason="closes folders as on POSIX")
def test_closed_folders_and_files_are_told_in_words(tmp_path):
    """480 cases: every operation with every folder and file closed, for the owner or, under root, for nobody."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith(("pytest-", "popen-", "test_")):  # pytest's own, closed to others
            folder.chmod(0o755)
    script = Path(__file__).parents[2] / "support" / "closed_folders.py"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3]), "HOME": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, script, tmp_path / "closed"], env=environment, capture_output=True, text=True, timeout=300
    )
    assert ran.stdout == "480 cases, 0 raw\n", ran.stderr
