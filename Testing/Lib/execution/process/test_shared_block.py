"""Voxels handed to another process."""

from __future__ import annotations

import errno
import os
import time

import numpy as np
import pytest

from PromptSegLib.execution.process import shared_block
from PromptSegLib.execution.process.shared_block import ALIGNMENT, map_block, offsets_of, remove_block, write_block

ARRAYS = [
    np.arange(60, dtype=np.int16).reshape(3, 4, 5),
    np.arange(24).reshape(2, 3, 4).T,
    np.ones((2, 3, 1), dtype=bool),
    np.linspace(0, 1, 60, dtype=">f4").reshape(3, 4, 5)[::-1, :, ::2],
]


@pytest.fixture
def two_folders(tmp_path, monkeypatch):
    """Let the folder in memory and that for temporary files be folders of the test's own."""
    folders = [tmp_path / "memory", tmp_path / "temporary"]
    for folder in folders:
        folder.mkdir()
    monkeypatch.setattr(shared_block, "IN_MEMORY", folders[0])
    monkeypatch.setattr("tempfile.tempdir", str(folders[1]))
    return folders


def test_arrays_are_found_where_they_were_written(two_folders):
    path = write_block(ARRAYS)
    assert path.parent == two_folders[0]
    block = map_block(path)
    for array, offset in zip(ARRAYS, offsets_of(ARRAYS), strict=True):
        assert offset % ALIGNMENT == 0
        np.testing.assert_array_equal(np.ndarray(array.shape, array.dtype, buffer=block, offset=offset), array)


def test_a_mapped_block_has_no_name_and_can_be_written_to(two_folders):
    path = write_block(ARRAYS[:1])
    array = np.ndarray((3, 4, 5), np.int16, buffer=map_block(path))
    assert list(two_folders[0].iterdir()) == []
    array[0, 0, 0] = 7
    assert ARRAYS[0][0, 0, 0] == 0
    remove_block(path)


def full_after(writes, monkeypatch):
    """Let the disk be full after that many layers."""
    write_voxels, left = shared_block._write_voxels, [writes]

    def write(file, array):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_voxels(file, array)

    monkeypatch.setattr(shared_block, "_write_voxels", write)
    return left


def test_where_memory_is_full_the_voxels_go_to_a_temporary_file(two_folders, monkeypatch):
    left = full_after(1, monkeypatch)
    remove = shared_block.remove_block

    def remove_and_make_room(path):
        remove(path)
        left[0] = 100

    monkeypatch.setattr(shared_block, "remove_block", remove_and_make_room)
    assert write_block(ARRAYS).parent == two_folders[1]
    assert list(two_folders[0].iterdir()) == []


def test_where_all_is_full_nothing_is_left_behind(two_folders, monkeypatch):
    full_after(2, monkeypatch)
    with pytest.raises(OSError, match="No space left"):
        write_block(ARRAYS)
    assert [path for folder in two_folders for path in folder.iterdir()] == []


def test_blocks_that_killed_processes_left_are_removed_and_new_ones_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_block, "IN_MEMORY", tmp_path)
    old, new, other = tmp_path / "promptseg-a.block", tmp_path / "promptseg-b.block", tmp_path / "other-a.block"
    for path in (old, new, other):
        path.write_bytes(b"1")
    for path in (old, other):
        os.utime(path, (time.time() - 4000,) * 2)
    block = shared_block.write_block([np.zeros((2, 2, 2))])
    assert sorted(tmp_path.iterdir()) == sorted([new, other, block])
