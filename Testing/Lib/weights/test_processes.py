"""Several processes and one store: one download for all, and a killed one leaves nothing but a beginning."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import Cancelled
from PromptSegLib.weights.locks import file_lock

ROOT = Path(__file__).resolve().parents[3]
DATA = random.Random(5).randbytes(4_000_000)

GET = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from PromptSegLib.weights.catalogue import Checkpoint, WeightFile
from PromptSegLib.weights.store import WeightsStore
folder, url, size, sha256 = sys.argv[2:]
file = WeightFile("demo.pth", "page", (url,), int(size), sha256=sha256, sha256_source="official")
texts = ("title", "version", "code", "code_license", "weights_license", "citation", "needs")
demo = Checkpoint(name="demo", consent=False, files=(file,), predictors={}, **dict.fromkeys(texts, ""))
store = WeightsStore(folder, catalogue={"demo": demo})
print("ready", flush=True)
sys.stdin.readline()
print(hashlib.sha256(store.get("demo").read_bytes()).hexdigest())
"""

LOCK = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from PromptSegLib.weights.locks import file_lock
with file_lock(Path(sys.argv[2])):
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def a_process():
    """Start Python code in a process of its own; killed at the end if it still runs."""
    started = []

    def start(code, *arguments):
        command = [sys.executable, "-c", code, str(ROOT), *map(str, arguments)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def getters(count, a_process, url, file, tmp_path):
    """Processes that wait for a line before they get the file."""
    processes = [a_process(GET, tmp_path / "store", url, len(DATA), file.sha256) for _ in range(count)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    return processes


def test_two_processes_that_want_one_file_download_it_once(server, a_file, a_process, tmp_path):
    url = server.serve("demo.pth", DATA, pause_s=0.005)
    file = a_file(DATA, url)
    processes = getters(2, a_process, url, file, tmp_path)
    answers = [process.communicate("\n", timeout=20)[0] for process in start_together(processes)]
    assert answers == [f"{file.sha256}\n"] * 2
    assert len(server.requests) == 1
    assert not list((tmp_path / "store").rglob("*.part*"))


def start_together(processes):
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    return processes


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is a matter of POSIX")
def test_a_killed_download_leaves_no_file_and_is_resumed(server, a_store, a_file, a_process, tmp_path):
    url = server.serve("demo.pth", DATA, pause_s=0.02)
    file = a_file(DATA, url)
    (process,) = start_together(getters(1, a_process, url, file, tmp_path))
    part = tmp_path / "store" / "demo" / "demo.pth.part"
    wait_for(lambda: part.exists() and part.stat().st_size > 500_000)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    assert not part.with_name("demo.pth").exists()
    kept = part.stat().st_size
    assert 500_000 < kept < len(DATA)
    store = a_store(file)
    assert store.status("demo").state == "missing"
    server.serve("demo.pth", DATA)
    assert store.get("demo").read_bytes() == DATA
    assert server.ranges == [None, f"bytes={kept}-"]


def wait_for(condition, limit_s=15):
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def test_the_lock_of_a_killed_process_is_free(a_process, tmp_path):
    holder = a_process(LOCK, tmp_path / "lock")
    assert holder.stdout.readline() == "locked\n"
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled, match="another process was busy"), file_lock(tmp_path / "lock", cancel):
        pass
    holder.kill()
    holder.wait()
    with file_lock(tmp_path / "lock"):
        pass


def test_threads_exclude_each_other_too(tmp_path):
    cancel = CancelToken()
    cancel.cancel()
    with file_lock(tmp_path / "lock"), pytest.raises(Cancelled), file_lock(tmp_path / "lock", cancel):
        pass
    with file_lock(tmp_path / "lock"):
        pass
