"""Downloads from a server on the loopback: whatever goes wrong, nothing unchecked gets the file's name."""

import contextlib
import hashlib
import http.client
import http.server
import json
import random
import shutil
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import Cancelled, WeightsError
from PromptSegLib.weights.download import download
from PromptSegLib.weights.transfer import TransferError, _CarefulRedirects

DATA = random.Random(7).randbytes(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "store" / "file.pth"


def fetch(target, *urls, **more):
    known = {"expected_bytes": len(DATA), "expected_sha256": SHA256, "timeout_s": 5, "pause_s": 0.01}
    return download(urls, target, **known | more)


UNKNOWN = {"expected_bytes": None, "expected_sha256": None}


def test_a_file_arrives_with_its_hash_and_nothing_beside_it(server, target):
    assert fetch(target, server.serve("f", DATA)) == SHA256
    assert target.read_bytes() == DATA
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_progress_counts_up_to_the_whole(server, target):
    seen = []
    fetch(target, server.serve("f", DATA), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(DATA), len(DATA))
    assert seen == sorted(seen)


def test_a_cut_download_goes_on_where_it_was(server, target):
    fetch(target, server.serve("f", DATA, cuts=[1_500_000, 700_000]))
    assert target.read_bytes() == DATA
    assert server.ranges == [None, "bytes=1500000-", "bytes=2200000-"]


@pytest.mark.parametrize("known", [{}, UNKNOWN])
def test_a_later_call_goes_on_with_what_an_earlier_one_got(server, target, known):
    url = server.serve("f", DATA, cuts=[1_000_000])
    with pytest.raises(WeightsError, match="ended at byte 1000000 of 3000000"):
        fetch(target, url, attempts=1, **known)
    assert not target.exists()
    fetch(target, url, **known)
    assert target.read_bytes() == DATA
    assert server.ranges == [None, "bytes=1000000-"]


def test_a_server_that_ignores_ranges_makes_it_start_anew(server, target):
    fetch(target, server.serve("f", DATA, ranges=False, cuts=[1_000_000]))
    assert target.read_bytes() == DATA
    assert len(server.requests) == 2


def test_two_versions_of_a_file_are_never_mixed(server, target):
    url = server.serve("f", b"x" * len(DATA), cuts=[1_000_000])
    with pytest.raises(WeightsError):
        fetch(target, url, attempts=1, **UNKNOWN)
    server.serve("f", DATA, etag='"2"')
    fetch(target, url, **UNKNOWN)
    assert target.read_bytes() == DATA
    assert server.ranges[-1] == "bytes=1000000-"
    assert server.requests[-1][1]["If-Range"] == '"1"'


def test_a_server_that_ignores_if_range_cannot_mix_versions_either(server, target):
    url = server.serve("f", b"x" * len(DATA), cuts=[1_000_000])
    with pytest.raises(WeightsError):
        fetch(target, url, attempts=1, **UNKNOWN)
    server.serve("f", DATA, etag='"2"', heeds_conditions=False)
    fetch(target, url, **UNKNOWN)
    assert target.read_bytes() == DATA
    assert server.ranges == [None, "bytes=1000000-", None]


@pytest.mark.parametrize("etag", [None, 'W/"1"'])
def test_without_a_hash_and_without_a_strong_tag_nothing_is_resumed(server, target, etag):
    fetch(target, server.serve("f", DATA, etag=etag, cuts=[1_000_000]), **UNKNOWN)
    assert target.read_bytes() == DATA
    assert server.ranges == [None, None]


def test_a_damaged_beginning_is_found_by_the_hash_and_fetched_again(server, target):
    target.parent.mkdir()
    target.with_name("file.pth.part").write_bytes(b"damaged" * 1000)
    fetch(target, server.serve("f", DATA))
    assert target.read_bytes() == DATA
    assert server.ranges == ["bytes=7000-", None]


def test_without_a_hash_only_what_was_surely_on_the_disk_is_kept(server, target):
    """As after a power cut: the part file is longer than what was synced, and its end is not to be trusted."""
    url = server.serve("f", DATA)
    target.parent.mkdir()
    target.with_name("file.pth.part").write_bytes(DATA[:1_000_000] + bytes(len(DATA)))
    note = {"url": url, "validator": '"1"', "synced_bytes": 1_000_000}
    target.with_name("file.pth.part.json").write_text(json.dumps(note))
    fetch(target, url, **UNKNOWN)
    assert target.read_bytes() == DATA
    assert server.ranges == ["bytes=1000000-"]


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"url": 1, "validator": 2, "synced_bytes": "3"}'])
def test_a_damaged_note_starts_the_download_anew(note, server, target):
    target.parent.mkdir()
    target.with_name("file.pth.part").write_bytes(b"?" * 1000)
    target.with_name("file.pth.part.json").write_text(note)
    fetch(target, server.serve("f", DATA), **UNKNOWN)
    assert target.read_bytes() == DATA
    assert server.ranges == [None]


def test_a_beginning_longer_than_the_file_is_dropped(server, target):
    target.parent.mkdir()
    target.with_name("file.pth.part").write_bytes(bytes(len(DATA) + 1))
    fetch(target, server.serve("f", DATA), expected_bytes=None)
    assert target.read_bytes() == DATA


def test_a_whole_part_file_needs_no_server(target):
    target.parent.mkdir()
    target.with_name("file.pth.part").write_bytes(DATA)
    assert fetch(target, "http://127.0.0.1:9/f") == SHA256
    assert target.read_bytes() == DATA


def test_a_wrong_hash_leaves_nothing(server, target):
    with pytest.raises(WeightsError, match=rf"expected SHA-256 {'0' * 64}, got {SHA256}"):
        fetch(target, server.serve("f", DATA), expected_sha256="0" * 64)
    assert list(target.parent.iterdir()) == []
    assert len(server.requests) == 1


def test_a_wrong_size_is_refused_before_it_is_fetched(server, target):
    seen = []
    with pytest.raises(WeightsError, match="expected 12 bytes, the server has 3000000"):
        fetch(target, server.serve("f", DATA), expected_bytes=12, progress=lambda *done: seen.append(done))
    assert seen == []
    assert not target.exists()


def test_a_server_that_sends_more_than_it_should_is_stopped(server, target):
    with pytest.raises(WeightsError, match="expected 1000000 bytes, the server sends more"):
        fetch(target, server.serve("f", DATA, chunked=True), expected_bytes=1_000_000)
    assert not target.exists()


def test_a_file_of_untold_length_needs_a_known_hash(server, target):
    url = server.serve("f", DATA, chunked=True)
    with pytest.raises(WeightsError, match="does not tell the size"):
        fetch(target, url, **UNKNOWN)
    fetch(target, url, expected_bytes=None)
    assert target.read_bytes() == DATA


def test_the_next_address_is_tried_and_each_failure_is_told(server, target):
    good = server.serve("good", DATA)
    fetch(target, server.url("none"), good)
    assert target.read_bytes() == DATA
    with pytest.raises(WeightsError, match=r"(?s)other.*/none: .*404.*/nothing: .*404"):
        fetch(target.with_name("other"), server.url("none"), server.url("nothing"))
    assert [path for path, _ in server.requests] == ["/none", "/good", "/none", "/nothing"]


def test_a_passing_failure_is_tried_again_and_a_lasting_one_is_not(server, target):
    fetch(target, server.serve("busy", DATA, statuses=[503, 429]))
    assert len(server.requests) == 3
    with pytest.raises(WeightsError, match="403"):
        fetch(target, server.serve("closed", DATA, statuses=[403, 403]))
    assert len(server.requests) == 4


def test_attempts_end(server, target):
    with pytest.raises(WeightsError, match="503"):
        fetch(target, server.serve("busy", DATA, statuses=[503] * 10), attempts=3)
    assert len(server.requests) == 3


def test_a_silent_server_is_given_up(server, target):
    started = time.monotonic()
    with pytest.raises(WeightsError, match=r"silent for 0\.2 s|timed out"):
        fetch(target, server.serve("f", DATA, hang_after=500_000), timeout_s=0.2, attempts=2)
    assert time.monotonic() - started < 3
    assert not target.exists()


def test_nobody_listening_is_told(target):
    with pytest.raises(WeightsError, match="refused"):
        fetch(target, "http://127.0.0.1:9/f", attempts=1)


@pytest.mark.parametrize("hang_after", [0, 500_000])
def test_cancel_returns_at_once_even_from_a_silent_server(server, target, hang_after):
    cancel = CancelToken()
    url = server.serve("f", DATA, hang_after=hang_after)
    timer = threading.Timer(0.3, cancel.cancel)
    timer.start()
    started = time.monotonic()
    with pytest.raises(Cancelled, match="goes on from here"):
        fetch(target, url, cancel=cancel, timeout_s=30)
    assert time.monotonic() - started < 1
    assert not target.exists()
    server.serve("f", DATA)
    fetch(target, url)
    assert target.read_bytes() == DATA


def test_a_web_page_is_not_taken_for_a_file(server, target):
    with pytest.raises(WeightsError, match="a web page came instead"):
        fetch(target, server.serve("f", b"<html>log in</html>", content_type="text/html; charset=utf-8"), **UNKNOWN)


def test_redirects_are_followed_but_not_from_https_to_http_nor_to_other_schemes(server, target):
    good = server.serve("good", DATA)
    fetch(target, server.serve("moved", b"", redirect=good))
    assert target.read_bytes() == DATA
    with pytest.raises(WeightsError, match="not safe"):
        fetch(target, server.serve("sly", b"", redirect="ftp://127.0.0.1/f"))
    request = urllib.request.Request("https://example.org/f")
    with pytest.raises(TransferError, match="redirected from https to http://"):
        _CarefulRedirects().redirect_request(request, FakeBody(), 302, "", http.client.HTTPMessage(), good)


class FakeBody:
    def close(self):
        pass


def test_only_web_addresses_are_fetched(target, tmp_path):
    (tmp_path / "f").write_bytes(DATA)
    with pytest.raises(WeightsError, match="only http and https"):
        fetch(target, (tmp_path / "f").as_uri())


def test_the_proxy_of_the_environment_is_used(server, target, monkeypatch):
    server.serve("f", DATA)
    monkeypatch.setenv("http_proxy", server.url(""))
    monkeypatch.delenv("no_proxy", raising=False)
    fetch(target, "http://weights.invalid/f")
    assert server.requests[0][0] == "http://weights.invalid/f"
    assert target.read_bytes() == DATA


def test_a_disk_too_small_is_told_before_the_download(server, target):
    url = server.serve("f", DATA, lie_bytes=10**16)
    with pytest.raises(WeightsError, match=r"file\.pth needs 10,000,000,000,000,000 bytes, but the disk of .* left"):
        fetch(target, url, expected_bytes=None)
    assert not target.exists()


FILL = """
import resource, sys
from pathlib import Path
from PromptSegLib.errors import WeightsError
from PromptSegLib.weights.download import download
if sys.argv[3]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    download([sys.argv[1]], Path(sys.argv[2]), expected_sha256=sys.argv[4])
except WeightsError as error:
    print(error)
"""


def fill(url, target, limit=""):
    command = [sys.executable, "-c", FILL, url, str(target), str(limit), SHA256]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a file's size are a matter of POSIX")
def test_a_write_that_fails_midway_gives_its_room_back(server, target):
    assert "the disk is full" in fill(server.serve("f", DATA, chunked=True), target, limit=1_000_000)
    assert list(target.parent.glob("*.p*th*")) == []
    assert len(server.requests) == 1


def test_a_full_disk_is_told_and_holds_nothing_usable(server, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        assert "the disk is full" in fill(server.serve("f", DATA, chunked=True), disk / "file.pth")
        assert list(disk.glob("file.pth*")) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# Servers that never end


class Rude(http.server.BaseHTTPRequestHandler):
    """Answers by the path: a head or a body that is dripped, progress reports without end, restarts, odd sizes."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        with contextlib.suppress(OSError):
            getattr(self, self.path.strip("/").partition("?")[0].replace("-", "_"))()
        self.close_connection = True

    def head(self, *headers, status="200 OK"):
        self.wfile.write("\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode())

    def drip(self, piece):
        while not self.server.closing.wait(0.02):
            self.wfile.write(piece)

    def dripped_head(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        self.drip(b"a")

    def continued(self):
        self.drip(b"HTTP/1.1 100 Continue\r\n\r\n")

    def redirected(self):
        time.sleep(0.15)
        self.head(f"Location: /redirected?{time.time()}", "Content-Length: 0", status="302 Found")

    def dripped_body(self):
        self.head(f"Content-Length: {len(DATA)}")
        self.drip(b"a")

    def trailers(self):
        self.head("Transfer-Encoding: chunked")
        self.wfile.write(b"0\r\n")
        self.drip(b"X: a\r\n")

    def restarts(self):
        """Sends 2 MB of the file and cuts; knows no ranges."""
        self.head(f"Content-Length: {len(DATA)}", 'ETag: "1"')
        self.wfile.write(DATA[:2_000_000])

    def refuses_ranges(self):
        """Sends 2 MB, and says of what is asked for next that there is no such range."""
        if self.headers.get("Range"):
            self.head("Content-Length: 0", status="416 Range Not Satisfiable")
        else:
            self.restarts()

    def endless(self):
        self.head("Transfer-Encoding: chunked", 'ETag: "1"')
        while not self.server.closing.is_set():
            self.wfile.write(b"10000\r\n" + bytes(65536) + b"\r\n")

    def long_number(self):
        self.head(f"Content-Length: {'9' * 5000}")

    def long_range(self):
        self.head(f"Content-Range: bytes {'9' * 5000}-1/{'9' * 5000}", "Content-Length: 5", status="206 Partial Content")

    def long_total(self):
        self.head(f"Content-Range: bytes 0-1/{'9' * 5000}", "Content-Length: 5", status="206 Partial Content")

    def large_number(self):
        self.head(f"Content-Length: {10**17}")


@pytest.fixture
def rude():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Rude) as running:
        running.daemon_threads, running.asked, running.closing = True, [], threading.Event()
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.url = f"http://127.0.0.1:{running.server_port}/"
        yield running
        running.closing.set()
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("habit", "complaint"),
    [
        ("dripped-head", "too slowly to ever end"),
        ("continued", "too slowly to ever end"),
        ("redirected", "server answered|too slowly|silent"),
        ("dripped-body", "too slowly to ever end"),
        ("trailers", "too slowly to ever end|ended at byte"),
        ("restarts", "ended at byte 2000000"),
        ("refuses-ranges", "416|ended at byte 2000000"),
        ("long-number", "a size of 5000 digits"),
        ("long-range", "a size of 5000 digits"),
        ("long-total", "a size of 5000 digits"),
        ("large-number", "expected 3000000 bytes"),
    ],
)
def test_a_server_that_never_ends_is_given_up(rude, target, habit, complaint):
    begun = time.monotonic()
    with pytest.raises(WeightsError, match=complaint):
        fetch(target, rude.url + habit, timeout_s=0.15, attempts=3)
    assert time.monotonic() - begun < 20
    assert len(rude.asked) < 40
    assert not target.exists()


def test_the_connection_to_a_server_that_drips_is_ended_and_its_thread_too(rude, target):
    with pytest.raises(WeightsError):
        fetch(target, rude.url + "dripped-head", timeout_s=0.15, attempts=1)
    ends = time.monotonic() + 5
    while any(thread.name == "promptseg-download" for thread in threading.enumerate()):
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_a_file_of_unknown_size_does_not_fill_the_disk(rude, target):
    known = {"expected_bytes": None, "about_bytes": 1_000_000}
    with pytest.raises(WeightsError, match="does not end: stopped at 2,000,000 bytes"):
        fetch(target, rude.url + "endless", **known)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("note", ["[]", "{", '{"url": 1}', '{"url": "x", "validator": 3, "synced_bytes": 5}', "[" * 9999])
def test_an_odd_note_beside_a_part_file_is_ignored(server, target, note):
    target.parent.mkdir()
    target.with_name("file.pth.part").write_bytes(DATA[:1000])
    target.with_name("file.pth.part.json").write_text(note)
    fetch(target, server.serve("f", DATA), **UNKNOWN)
    assert target.read_bytes() == DATA
