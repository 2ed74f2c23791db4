"""Pickles that want to run something: they run nothing, and the file is refused or its tensors come alone."""

import argparse
import importlib
import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict, defaultdict
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from PromptSegLib.errors import WeightsError
from PromptSegLib.weights.inert_pickle import Foreign, LimitedStream, load_inert
from PromptSegLib.weights.layout import Layout
from PromptSegLib.weights.readers import read_state_dict
from PromptSegLib.weights.safetensors_copy import write_safetensors_copy

WEIGHT = torch.arange(6, dtype=torch.float32).reshape(2, 3)


def inert(data):
    return load_inert(LimitedStream(io.BytesIO(data), len(data)))


class Calls:
    """An object whose pickle calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A file that must not come into being, in the working folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "trap"
    yield path
    assert not path.exists(), "the pickle was executed"


def torch_zip(path, data_pkl, **storages):
    """An archive as torch.save writes it, with a pickle of one's own."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data_pkl)
        archive.writestr("archive/byteorder", "little")
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key.removeprefix('s')}", data)
    return path


def tensor_pickle(count=6, shape=(2, 3), stride=(3, 1), offset=0, kind="FloatStorage", key="0"):
    """The pickle of {"w": tensor}, written opcode by opcode."""

    def number(value):
        return b"I%d\n" % value

    def numbers(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"(Vstorage\nctorch\n%b\nV%b\nVcpu\n%bt" % (kind.encode(), key.encode(), number(count)) + b"Q"
    arguments = b"(" + storage + number(offset) + numbers(shape) + numbers(stride) + b"I00\nN" + b"t"
    return b"(dVw\nctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"Rs."


RAW = WEIGHT.numpy().tobytes()

ATTACKS = {
    "os.system": lambda: Calls(os.system, "touch trap"),
    "eval": lambda: Calls(eval, "open('trap', 'w')"),
    "exec": lambda: Calls(exec, "open('trap', 'w')"),
    "open": lambda: Calls(open, "trap", "w"),
    "os.mkdir": lambda: Calls(os.mkdir, "trap"),
    "subprocess": lambda: Calls(__import__("subprocess").check_call, ["touch", "trap"]),
    # Qt for Python puts an import of its own in the place of the builtin one.
    "import_module": lambda: Calls(importlib.import_module, "antigravity"),
    "in a list in a dict": lambda: {"a": [{"b": Calls(os.system, "touch trap")}]},
    "as a key": lambda: {Calls(os.system, "touch trap"): 1},
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_file_that_names_a_dangerous_function_is_refused(attack, zipped, tmp_path, trap):
    torch.save({"model": {"w": WEIGHT}, "extra": attack()}, tmp_path / "f", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"which no checkpoint needs: do not trust.*nothing in it was executed"):
        read_state_dict(tmp_path / "f")


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_is_read_without_running_it(protocol, trap):
    with pytest.raises(WeightsError, match=r"posix.system|nt.system"):
        inert(pickle.dumps(Calls(os.system, "touch trap"), protocol))


RAW_ATTACKS = {
    "posix.system": b"cposix\nsystem\n(Vtouch trap\ntR.",
    "os.system by its full path": b"cos\npath.os.system\n(Vtouch trap\ntR.",
    "instance": b"(Vtouch trap\nios\nsystem\n.",
    "object": b"(cos\nsystem\nVtouch trap\no.",
    "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93(Vtouch trap\ntR.",
    "builtins": b"c__builtin__\neval\n(V__import__('os').system('touch trap')\ntR.",
    "importlib": b"cimportlib\nimport_module\n(Vantigravity\ntR.",
    "run a module": b"crunpy\n_run_code\n(Vopen('trap','w')\ntR.",
}


@pytest.mark.parametrize("data", RAW_ATTACKS.values(), ids=RAW_ATTACKS.keys())
def test_handwritten_pickles_are_refused_within_a_torch_archive(data, tmp_path, trap):
    with pytest.raises(WeightsError, match="do not trust this file"):
        read_state_dict(torch_zip(tmp_path / "f", data))


def test_getattr_and_all_that_is_built_on_it_stay_names(trap):
    chain = b"cbuiltins\ngetattr\n(cbuiltins\n__builtins__\nVeval\ntR(Vopen('trap','w')\ntR."
    assert isinstance(inert(chain), Foreign)
    assert inert(pickle.dumps([getattr, map, type])) != [getattr, map, type]
    assert isinstance(inert(b"cbuiltins\nmap\n(cbuiltins\nstr\n(lt\x81."), Foreign)


def test_an_allowed_function_cannot_be_made_to_call_another(trap):
    wrapped = b"ctorch._tensor\n_rebuild_from_type_v2\n(%b(Vtouch trap\ntt\x52."
    assert isinstance(inert(wrapped.replace(b"%b", b"cbuiltins\ngetattr\ncbuiltins\nstr\n")), Foreign)
    with pytest.raises(WeightsError):
        inert(wrapped.replace(b"%b", b"cos\nsystem\ncbuiltins\nstr\n"))
    nested = b"ctorch._tensor\n_rebuild_from_type_v2\np0\n" + b"(g0\nNNtR" * 5000 + b"."
    assert isinstance(inert(nested), Foreign)


def test_attributes_are_not_set_on_anything(trap):
    state = b"ccollections\nOrderedDict\n)R(dVitems\ncbuiltins\ngetattr\nsVkeys\nVx\nsb."
    assert inert(state) == {}


@pytest.mark.parametrize(
    "identity",
    [
        b"(cos\nsystem\nVtouch trap\ntQ.",
        b"Vstorage\nQ.",
        b"(Vstorage\ncos\nsystem\nV0\nVcpu\nI6\ntQ.",
        b"(Vstorage\nVos.system\nV0\nVcpu\nI6\ntQ.",
        b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI-6\ntQ.",
        b"(Vstorage\nctorch\nFloatStorage\n(lVcpu\nI6\ntQ.",
        b"Pstorage\n.",
    ],
)
def test_a_persistent_id_is_a_storage_or_nothing(identity, tmp_path, trap):
    with pytest.raises(WeightsError, match="cannot be used"):
        read_state_dict(torch_zip(tmp_path / "f", identity))


def test_a_foreign_persistent_object_stays_a_name(tmp_path, trap):
    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return ("module", os.system, "f.py", "code") if obj == "me" else None

    buffer = io.BytesIO()
    Pickler(buffer, 2).dump({"a": "me"})
    with pytest.raises(WeightsError, match="system"):
        inert(buffer.getvalue())
    assert inert(buffer.getvalue().replace(b"cposix\nsystem", b"cmine\nNetwork")) == {
        "a": Foreign("a persistent object")
    }


@pytest.mark.parametrize(
    ("claim", "complaint"),
    [
        ({"count": 10**15}, "claims 1000000000000000 elements of float32, the file has 24 bytes"),
        ({"count": 10**30}, "not described"),
        ({"count": 7}, "claims 7 elements"),
        ({"shape": (2, 4), "stride": (4, 1)}, "reaches beyond its storage"),
        ({"offset": 1}, "reaches beyond its storage"),
        ({"shape": (10**12,), "stride": (0,)}, "its tensors claim 4,000,000,000,000 bytes"),
        ({"shape": (2, 3), "stride": (3,)}, "do not go together"),
        ({"shape": (-2, 3)}, "do not go together"),
        ({"shape": (1,) * 65, "stride": (1,) * 65}, "do not go together"),
        ({"kind": "DoubleStorage"}, "claims 6 elements of float64"),
        ({"kind": "Storage"}, "not described"),
        ({"key": "1"}, "the file has none of that name"),
        ({"key": "../data.pkl"}, "the file has none of that name"),
    ],
)
def test_a_tensor_that_claims_what_is_not_there_is_refused(claim, complaint, tmp_path):
    read_state_dict(torch_zip(tmp_path / "good", tensor_pickle(), s0=RAW))
    with pytest.raises(WeightsError, match=complaint):
        read_state_dict(torch_zip(tmp_path / "f", tensor_pickle(**claim), s0=RAW))


def test_many_storages_on_the_same_bytes_are_a_bomb(tmp_path):
    """Entries of a zip archive may overlap: 200 storages of 1 MB each, in a file of 1 MB."""
    path = torch_zip(tmp_path / "f", b"N.", s0=bytes(1 << 20))
    names = [b"archive/data/%03d" % i for i in range(200)]
    pairs = b"".join(
        b"Vw%03d\nctorch._utils\n_rebuild_tensor_v2\n((Vstorage\nctorch\nByteStorage\nV%03d\nVcpu\nI1048576\ntQ"
        b"I0\n(I1048576\nt(I1\ntI00\nNtRs" % (i, i)
        for i in range(200)
    )
    torch_zip(path, b"(d" + pairs + b".", **{"s" + name.decode()[-3:]: bytes(1 << 20) for name in names[:1]})
    raw = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        last = archive.infolist()[-1]
        start = archive.start_dir
    entry = raw[start : raw.rindex(b"PK\x05\x06")]
    entry = entry[entry.index(last.filename.encode()) - 46 :]
    more = b"".join(entry.replace(last.filename.encode(), name) for name in names[1:])
    end = bytearray(raw[raw.rindex(b"PK\x05\x06") :])
    size, count = len(raw) - len(end) - start + len(more), 3 + len(names) - 1
    struct.pack_into("<HHI", end, 8, count, count, size)
    path.write_bytes(raw[: -len(end)] + more + end)
    with pytest.raises(WeightsError, match=r"its tensors claim 209,715,200 bytes, the file has 1,"):
        read_state_dict(path)


def test_an_entry_larger_than_the_file_is_refused(tmp_path):
    path = torch_zip(tmp_path / "f", tensor_pickle(count=10**8, shape=(10**8,), stride=(1,)), s0=RAW)
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    struct.pack_into("<II", data, entry + 20, 4 * 10**8, 4 * 10**8)
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"data/0' claims 400,000,000 of"):
        read_state_dict(path)


def test_a_compressed_archive_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "f", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", tensor_pickle(count=10**9, shape=(10**9,), stride=(1,)))
        archive.writestr("archive/data/0", bytes(10**6))
    with pytest.raises(WeightsError, match="is compressed"):
        read_state_dict(tmp_path / "f")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"N",
        b".",
        b"\x8e" + struct.pack("<Q", 1 << 50) + b".",
        b"B" + struct.pack("<I", 1 << 31) + b".",
        b"r" + struct.pack("<I", 0xFFFFFFFF) + b".",
        b"I" + b"9" * 100000 + b"\n.",
        b"h\x01.",
        b"0.",
        b"\x82\x01.",
        b"\xff.",
        b"((((.",
        b"}(K\x01u.",
        b"NNR.",
    ],
)
def test_a_damaged_pickle_is_an_error_and_takes_no_memory(data):
    with pytest.raises(WeightsError, match="damaged"):
        inert(data)


def test_deep_nesting_neither_crashes_nor_recurses():
    assert isinstance(inert(b"(" + b")" + b"\x85" * 100_000 + b"t."), tuple)
    assert inert(b"}" + b")" + b"\x85" * 100_000 + b"K\x01s.") == {}


def save(path, content, zipped):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


both_formats = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


@both_formats
def test_an_optimizer_object_beside_the_weights_stays_a_name(zipped, tmp_path):
    """As in SAM-Med2D's checkpoint."""
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-4)
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    path = save(tmp_path / "f", {"model": layer.state_dict(), "optimizer": optimizer}, zipped)
    read = read_state_dict(path, Layout(key="model"))
    assert list(read) == ["weight", "bias"]
    assert torch.equal(read["weight"], layer.weight)


@both_formats
def test_training_leftovers_beside_the_weights_do_no_harm(zipped, tmp_path):
    """As in SAM-Med3D's checkpoint: an argparse.Namespace, numpy scalars, nested containers."""
    extras = {
        "args": argparse.Namespace(lr=1e-3, device=torch.device("cpu")),
        "losses": [np.float64(0.5), np.float32(0.25)],
        "best": {"dice": np.int64(3), "who": {1, 2}, "frozen": frozenset({3})},
        "counts": defaultdict(list, a=[1]),
        "array": np.arange(5),
        "bytes": bytearray(b"x"),
        "number": 2**80,
        "function": torch.nn.functional.relu,
        "dtype": torch.float16,
        "size": torch.Size([2, 3]),
        "complex": 1j,
    }
    path = save(tmp_path / "f", {**extras, "model_state_dict": OrderedDict(w=WEIGHT)}, zipped)
    assert torch.equal(read_state_dict(path)["w"], WEIGHT)


def test_a_pickled_network_is_named_in_the_refusal(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "f")
    with pytest.raises(WeightsError, match=r"no state dict, but torch\.nn\.modules\.linear\.Linear"):
        read_state_dict(tmp_path / "f")


@pytest.fixture(scope="module")
def small_files(tmp_path_factory):
    """One checkpoint in both formats, as bytes, and a folder to damage them in."""
    folder = tmp_path_factory.mktemp("small")
    content = {"model": OrderedDict(w=WEIGHT, b=torch.ones(2, dtype=torch.float16)), "epoch": 3}
    return folder, [save(folder / str(zipped), content, zipped).read_bytes() for zipped in (True, False)]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_gives_tensors_or_a_weights_error(small_files, data):
    folder, contents = small_files
    raw = bytearray(data.draw(st.sampled_from(contents)))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(0, len(raw))) :]
    path = folder / "damaged"
    path.write_bytes(raw)
    try:
        read = read_state_dict(path)
    except WeightsError:
        return
    assert all(isinstance(tensor, torch.Tensor) for tensor in read.values())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_random_bytes_are_a_value_or_a_weights_error(data):
    with suppress(WeightsError):
        inert(data)


def test_a_malicious_file_leaves_no_copy(tmp_path, trap):
    torch.save({"model": {"w": WEIGHT}, "x": Calls(os.system, "touch trap")}, tmp_path / "f")
    with pytest.raises(WeightsError, match="do not trust"):
        write_safetensors_copy(tmp_path / "f", tmp_path / "copy", Layout(), "0" * 64)
    assert not list(tmp_path.glob("copy*"))
