"""Embeddings are kept within their budgets, and a damaged file is none."""

from __future__ import annotations

import os
import pickle
import stat
import threading

import numpy as np
import pytest

from PromptSegLib.predictors.slices.embedding_cache import EmbeddingCache

KEYS = [f"{n:064x}" for n in range(10)]


def embedding(seed=0, kilobytes=8):
    return np.random.default_rng(seed).normal(size=kilobytes * 128).astype(np.float64)


def test_what_was_put_is_there_also_for_the_next_process(tmp_path):
    EmbeddingCache(tmp_path).put(KEYS[0], embedding())
    later = EmbeddingCache(tmp_path)
    assert KEYS[0] in later
    np.testing.assert_array_equal(later.get(KEYS[0]), embedding())
    assert KEYS[1] not in later
    assert later.get(KEYS[1]) is None


def test_what_is_kept_cannot_be_written_to(tmp_path):
    cache = EmbeddingCache(tmp_path)
    cache.put(KEYS[0], embedding())
    with pytest.raises(ValueError, match="read-only"):
        cache.get(KEYS[0])[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        EmbeddingCache(tmp_path).get(KEYS[0])[0] = 1


def test_memory_holds_the_ones_used_last_within_its_budget():
    cache = EmbeddingCache(memory_bytes=3 * 8 * 1024)
    for key in KEYS[:3]:
        cache.put(key, embedding())
    cache.get(KEYS[0])
    cache.put(KEYS[3], embedding())
    assert [key in cache for key in KEYS[:4]] == [True, False, True, True]
    assert cache.nbytes <= cache.memory_bytes


def test_files_stay_within_their_budget_and_the_oldest_go_first(tmp_path):
    cache = EmbeddingCache(tmp_path, disk_bytes=3 * 9 * 1024)
    for age, key in enumerate(KEYS[:3]):
        cache.put(key, embedding())
        os.utime(tmp_path / f"{key}.npz", (1000 + age, 1000 + age))
    EmbeddingCache(tmp_path).get(KEYS[0])
    cache.put(KEYS[3], embedding())
    left = {path.stem for path in tmp_path.iterdir()}
    assert left == {KEYS[0], KEYS[2], KEYS[3]}


@pytest.mark.parametrize("damage", ["cut", "flipped bit", "empty", "pickle", "another array"])
def test_a_damaged_file_is_a_miss_and_goes_away(tmp_path, damage):
    EmbeddingCache(tmp_path).put(KEYS[0], embedding())
    path = tmp_path / f"{KEYS[0]}.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    objects = np.array([{"a": 1}], dtype=object)
    if damage == "another array":
        np.savez(path, other=embedding())
    elif damage == "pickle":
        np.savez(path, embedding=objects)
    else:
        path.write_bytes({"cut": content[: len(content) // 2], "flipped bit": content, "empty": b""}[damage])
    assert EmbeddingCache(tmp_path).get(KEYS[0]) is None
    assert not path.exists()


def test_a_pickle_in_place_of_a_file_is_not_run(tmp_path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    (tmp_path / f"{KEYS[0]}.npz").write_bytes(pickle.dumps(Harmful()))
    assert EmbeddingCache(tmp_path).get(KEYS[0]) is None
    assert not (tmp_path / "harm").exists()


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = EmbeddingCache(tmp_path / "file" / "cache")
    cache.put(KEYS[0], embedding())
    np.testing.assert_array_equal(cache.get(KEYS[0]), embedding())


@pytest.mark.skipif(os.name == "nt", reason="no such permissions there")
def test_only_the_user_can_read_the_folder(tmp_path):
    EmbeddingCache(tmp_path / "cache").put(KEYS[0], embedding())
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "cache" / f"{KEYS[0]}.npz").stat().st_mode) == 0o600


def test_clear_forgets_everything_also_what_was_left_half_written(tmp_path):
    cache = EmbeddingCache(tmp_path)
    cache.put(KEYS[0], embedding())
    (tmp_path / "left.part").write_bytes(b"half")
    cache.clear()
    assert KEYS[0] not in cache
    assert list(tmp_path.iterdir()) == []


def test_several_threads_share_one(tmp_path):
    cache = EmbeddingCache(tmp_path, memory_bytes=2 * 8 * 1024, disk_bytes=5 * 9 * 1024)
    wrong = []

    def work(offset):
        for n in range(40):
            seed = (n + offset) % len(KEYS)
            cache.put(KEYS[seed], embedding(seed))
            back = cache.get(KEYS[seed])
            if back is not None and not np.array_equal(back, embedding(seed)):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=[offset]) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
