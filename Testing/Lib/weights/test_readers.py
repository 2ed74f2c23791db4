"""Checkpoints of every layout give the tensors that torch would give, by the network's own names."""

import json
import sys
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from PromptSegLib.errors import WeightsError
from PromptSegLib.weights.layout import Layout
from PromptSegLib.weights.npz import read_npz
from PromptSegLib.weights.readers import check_state_dict, read_state_dict
from PromptSegLib.weights.safetensors_copy import read_safetensors_copy, write_safetensors_copy

SHA256 = "0" * 64
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16]
DTYPES += [torch.int8, torch.uint8, torch.bool, torch.uint16, torch.float8_e4m3fn]
SMALL = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.0, 2.0]), "n": torch.tensor(7)}

both_formats = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def same(one, other):
    assert list(one) == list(other)
    for key, tensor in one.items():
        assert tensor.dtype == other[key].dtype
        assert tensor.shape == other[key].shape
        assert torch.equal(tensor.contiguous().reshape(-1).view(torch.uint8), raw(other[key]))


def raw(tensor):
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def copy_of(path, layout=None):
    """What the safetensors copy of a file gives back."""
    layout = layout or Layout()
    target = path.with_name("copy.safetensors")
    write_safetensors_copy(path, target, layout, SHA256)
    return read_safetensors_copy(target, layout, SHA256)


def by_key(tensors):
    return dict(sorted(tensors.items()))


@both_formats
@pytest.mark.parametrize("key", ["", "model", "model_state_dict", "state_dict", "network_weights"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model."])
def test_a_state_dict_is_found_under_its_key_and_without_its_prefix(zipped, key, prefix, tmp_path):
    content = {prefix + name: tensor for name, tensor in SMALL.items()}
    content = {"epoch": 3, key: content, "lr": 1e-3} if key else content
    torch.save(content, tmp_path / "f", _use_new_zipfile_serialization=zipped)
    same(read_state_dict(tmp_path / "f"), SMALL)
    same(read_state_dict(tmp_path / "f", Layout(key=key)), SMALL)


def test_a_prefix_that_not_all_keys_have_is_part_of_the_names(tmp_path):
    content = {"model.w": torch.ones(1), "head.w": torch.ones(1)}
    torch.save(content, tmp_path / "f")
    assert list(read_state_dict(tmp_path / "f")) == ["model.w", "head.w"]


def test_what_only_training_needed_is_dropped(tmp_path):
    content = {
        "module.w": torch.ones(1),
        "module.temperature": torch.ones(1),
        "module.atlas_tower.w": torch.ones(1),
    }
    torch.save({"model_state_dict": content}, tmp_path / "f")
    layout = Layout(key="model_state_dict", drop=("atlas_tower.", "temperature"))
    assert list(read_state_dict(tmp_path / "f", layout)) == ["w"]
    assert list(copy_of(tmp_path / "f", layout)) == ["w"]


def test_a_wrong_key_names_what_is_there(tmp_path):
    torch.save({"net": SMALL, "epoch": 3}, tmp_path / "f")
    with pytest.raises(
        WeightsError, match=r"no state dict under 'model', but a dict of 2 entries: net \(dict\), epoch"
    ):
        read_state_dict(tmp_path / "f", Layout(key="model"))


tensors = st.builds(
    lambda dtype, shape, seed, view: view(
        torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    ),
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 4), max_size=4),
    st.integers(0, 1000),
    st.sampled_from([lambda t: t, lambda t: t.T if t.ndim == 2 else t, lambda t: t[1:] if t.ndim else t]),
)


@settings(max_examples=60, deadline=None)
@given(
    content=st.dictionaries(st.text("abc.", min_size=1, max_size=5), tensors, min_size=1, max_size=5),
    zipped=st.booleans(),
)
def test_any_state_dict_comes_back_as_it_was_saved(tmp_path_factory, content, zipped):
    path = tmp_path_factory.mktemp("any") / "f"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    same(read_state_dict(path), content)
    same(by_key(copy_of(path)), by_key(content))


@both_formats
def test_parameters_and_views_and_shared_storages_come_back(zipped, tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    content = {
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "base": base,
        "same": base,
        "transposed": base.T,
        "slice": base[1:3, ::2],
        "scalar": torch.tensor(3, dtype=torch.int64),
        "empty": torch.zeros(0, 3),
    }
    content["attributed"] = torch.nn.Parameter(torch.full((2,), 5.0))
    content["attributed"].note = "kept by torch, not by us"
    torch.save(content, tmp_path / "f", _use_new_zipfile_serialization=zipped)
    read = read_state_dict(tmp_path / "f")
    same(read, content)
    read["base"][0, 0] = -1
    assert read["transposed"][0, 0] == -1, "they shared a storage, and still do"
    same(by_key(copy_of(tmp_path / "f")), by_key(content))


def test_a_checkpoint_of_a_real_network_loads_strictly(tmp_path):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 2, 1))
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "f")
    other = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 2, 1))
    for read in (read_state_dict(tmp_path / "f"), copy_of(tmp_path / "f")):
        check_state_dict({key: tensor.shape for key, tensor in other.state_dict().items()}, read)
        other.load_state_dict(read)
        same(network.state_dict(), other.state_dict())


def test_an_optimizer_is_not_read_from_the_disk(tmp_path):
    """The file is cut in the middle of a storage that only the optimizer uses."""
    torch.save({"model": SMALL, "optimizer": {"state": torch.zeros(100_000)}}, tmp_path / "f")
    file = tmp_path / "f"
    with zipfile.ZipFile(file) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
    with file.open("r+b") as stream:
        stream.seek(largest.header_offset + 1000)
        stream.write(b"\xff" * 300_000)
    same(read_state_dict(file, Layout(key="model")), SMALL)


def test_a_copy_is_memory_mapped_and_aligned(tmp_path):
    content = {
        "a": torch.ones(3, dtype=torch.int8),
        "b": torch.arange(5.0),
        "c": torch.ones(1, dtype=torch.float64),
    }
    torch.save(content, tmp_path / "f")
    copy = copy_of(tmp_path / "f")
    assert all(tensor.data_ptr() % tensor.element_size() == 0 for tensor in copy.values())
    copy["b"][0] = 100
    again = read_safetensors_copy(tmp_path / "copy.safetensors", Layout(), SHA256)
    assert again["b"][0] == 0, "writing to a tensor must not change the file"


def test_names_of_one_tensor_are_stored_once(tmp_path):
    weight = torch.randn(1000)
    torch.save({"decoder.w": weight, "encoder.w": weight, "x": weight[:10]}, tmp_path / "f")
    copy = copy_of(tmp_path / "f")
    assert (tmp_path / "copy.safetensors").stat().st_size < 4000 + 40 + 600
    assert copy["decoder.w"].data_ptr() == copy["encoder.w"].data_ptr()


def test_a_copy_of_another_file_or_layout_is_not_used(tmp_path):
    torch.save(SMALL, tmp_path / "f")
    copy_of(tmp_path / "f")
    copy = tmp_path / "copy.safetensors"
    assert read_safetensors_copy(copy, Layout(), "1" * 64) is None
    assert read_safetensors_copy(copy, Layout(drop=("a",)), SHA256) is None


def test_safetensors_are_read_with_prefixes_stripped(tmp_path):
    save_file({f"module.{key}": tensor for key, tensor in SMALL.items()}, tmp_path / "f")
    same(by_key(read_state_dict(tmp_path / "f")), by_key(SMALL))


def test_safetensors_without_their_package_say_what_is_missing(tmp_path, monkeypatch):
    save_file(SMALL, tmp_path / "f")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(WeightsError, match="needs the package safetensors"):
        read_state_dict(tmp_path / "f")


def test_npz_is_read_in_the_types_it_was_saved_in(tmp_path):
    arrays = {"a.weight": np.arange(6, dtype=np.float16).reshape(2, 3), "n": np.array(7)}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "f.npz", **arrays)
        read = read_npz(tmp_path / "f.npz")
        assert {key: array.dtype for key, array in read.items()} == {"a.weight": np.float16, "n": np.int64}
        assert all(np.array_equal(read[key], arrays[key]) for key in arrays)
        same(read_state_dict(tmp_path / "f.npz"), {key: torch.from_numpy(array) for key, array in arrays.items()})


def test_npz_with_objects_is_refused(tmp_path):
    np.savez(tmp_path / "f.npz", a=np.array([{}], dtype=object))
    with pytest.raises(WeightsError, match="never unpickled"):
        read_npz(tmp_path / "f.npz")


def test_npz_bombs_are_refused(tmp_path):
    np.savez_compressed(tmp_path / "f.npz", a=np.zeros(10_000_000))
    with pytest.raises(WeightsError, match="its arrays claim 80,000,"):
        read_npz(tmp_path / "f.npz")
    header = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
    header += b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000,), }".ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "f.npz", "w") as archive:
        archive.writestr("a.npy", header + bytes(8))
    with pytest.raises(WeightsError, match="claims 100000000000 elements"):
        read_npz(tmp_path / "f.npz")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04" + bytes(40), bytes(1000), b"\x80\x02N."])
def test_a_file_that_is_no_checkpoint_is_named(content, tmp_path):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"weights\.pth"):
        read_state_dict(tmp_path / "weights.pth")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"there is no file .*none"):
        read_state_dict(tmp_path / "none")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_checkpoint_is_refused(zipped, tmp_path):
    torch.save({"w": torch.ones(1000)}, tmp_path / "f", _use_new_zipfile_serialization=zipped)
    data = (tmp_path / "f").read_bytes()
    for size in (len(data) // 2, len(data) - 1000, 100):
        (tmp_path / "f").write_bytes(data[:size])
        with pytest.raises(WeightsError):
            read_state_dict(tmp_path / "f")


def test_a_zip_archive_that_is_no_checkpoint_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "f", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(WeightsError, match=r"not one of torch\.save"):
        read_state_dict(tmp_path / "f")


def test_weights_that_do_not_fit_are_refused_with_the_differences():
    network = {"a": (2, 3), "b": (2,), "c": (1,), **{f"layer.{i}.weight": (1,) for i in range(12)}}
    state_dict = {"a": torch.ones(3, 2), "b": torch.ones(2), "d": torch.ones(1)}
    with pytest.raises(WeightsError) as caught:
        check_state_dict(network, state_dict)
    assert str(caught.value) == (
        "the weights do not fit the network:\n"
        "  13 missing: c, layer.0.weight, layer.1.weight, layer.2.weight, layer.3.weight, layer.4.weight, "
        "layer.5.weight, layer.6.weight, and 5 more\n"
        "  1 unexpected: d\n"
        "  1 of another shape: a (expected (2, 3), got (3, 2))"
    )


def test_weights_that_fit_pass():
    check_state_dict({key: tensor.shape for key, tensor in SMALL.items()}, SMALL)


def test_the_copy_is_a_valid_safetensors_file_with_its_origin(tmp_path):
    torch.save(SMALL, tmp_path / "f")
    copy_of(tmp_path / "f")
    data = (tmp_path / "copy.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["__metadata__"]["source_sha256"] == SHA256
    assert header["a.weight"]["dtype"] == "F32"
