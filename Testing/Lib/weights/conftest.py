"""A web server on the loopback with every bad habit, and catalogues of what it serves."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from PromptSegLib.weights.catalogue import Checkpoint, WeightFile
from PromptSegLib.weights.store import WeightsStore


@dataclass
class Page:
    """One file of the server, and how it is served.

    cuts: bytes after which each of the next answers breaks off. hang_after: bytes after which an answer falls
    silent. pause_s: between pieces of 64 kB. statuses: of the next answers, instead of the file.
    """

    data: bytes
    etag: str | None = '"1"'
    ranges: bool = True
    heeds_conditions: bool = True
    cuts: list[int] = field(default_factory=list)
    hang_after: int | None = None
    pause_s: float = 0.0
    statuses: list[int] = field(default_factory=list)
    chunked: bool = False
    lie_bytes: int | None = None
    content_type: str = "application/octet-stream"
    redirect: str | None = None


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages = {}
        self.requests = []
        self.closing = threading.Event()

    def serve(self, name, data, **habits):
        self.pages[f"/{name}"] = Page(data, **habits)
        return self.url(name)

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"

    @property
    def ranges(self):
        """The Range header of each request so far, None where there was none."""
        return [headers.get("Range") for _, headers in self.requests]

    def handle_error(self, request, client_address):
        """A client that goes away is what these tests are about."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.requests.append((self.path, dict(self.headers)))
        page = self.server.pages.get("/" + self.path.rpartition("/")[2])
        self.close_connection = True
        if page is None or page.statuses:
            self.answer(404 if page is None else page.statuses.pop(0), {"Content-Length": "0"})
        elif page.redirect is not None:
            self.answer(302, {"Location": page.redirect, "Content-Length": "0"})
        else:
            self.send_page(page)

    def send_page(self, page):
        start = self.wanted_start(page)
        if start is None:
            return self.answer(416, {"Content-Length": "0", "Content-Range": f"bytes */{len(page.data)}"})
        body = page.data[start:]
        headers = {"Content-Type": page.content_type}
        headers |= {"ETag": page.etag} if page.etag else {}
        headers |= {"Content-Range": f"bytes {start}-{len(page.data) - 1}/{len(page.data)}"} if start else {}
        length = str(len(body) if page.lie_bytes is None else page.lie_bytes)
        headers |= {"Transfer-Encoding": "chunked"} if page.chunked else {"Content-Length": length}
        self.answer(206 if start else 200, headers)
        cut = page.cuts.pop(0) if page.cuts else len(body)
        for first in range(0, min(cut, len(body)), 65536):
            if page.hang_after is not None and first >= page.hang_after:
                self.server.closing.wait(20)
                return None
            piece = body[first : min(first + 65536, cut)]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if page.chunked else piece)
            time.sleep(page.pause_s)
        if page.chunked and cut >= len(body):
            self.wfile.write(b"0\r\n\r\n")
        return None

    def wanted_start(self, page):
        """First byte to send: 0 without a range or when the file is not the one that the client has."""
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        outdated = condition is not None and condition != page.etag and page.heeds_conditions
        if asked is None or not page.ranges or outdated:
            return 0
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        return start if start < len(page.data) else None

    def answer(self, status, headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Connection", "close")
        self.end_headers()


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "PROMPTSEG_WEIGHTS_DIR"):
        monkeypatch.delenv(name, raising=False)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.closing.set()
        running.shutdown()
        thread.join()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def checkpoint_of(*files, name="demo", consent=False):
    return Checkpoint(
        name=name,
        title="Demo",
        version="1",
        predictors={},
        code="https://example.org/demo",
        code_license="MIT",
        weights_license="CC BY-NC 4.0" if consent else "MIT",
        consent=consent,
        citation="Demo et al.",
        needs="nothing",
        files=files,
    )


@pytest.fixture
def a_file():
    """Describe a file of a checkpoint, with its hash known to its publisher unless said otherwise."""

    def describe(data, *urls, path="demo.pth", source="official", known_bytes=True, **more):
        return WeightFile(
            path=path,
            page="https://example.org/page",
            urls=urls,
            bytes=len(data) if known_bytes else None,
            sha256=sha256(data) if source else None,
            sha256_source=source,
            **more,
        )

    return describe


@pytest.fixture
def a_store(tmp_path, monkeypatch):
    """A store in an empty folder, for a checkpoint "demo" of the given files."""
    monkeypatch.delenv("PROMPTSEG_WEIGHTS_DIR", raising=False)

    def make(*files, consent=False, **more):
        catalogue = {"demo": checkpoint_of(*files, consent=consent)}
        return WeightsStore(tmp_path / "store", catalogue=catalogue, **{"timeout_s": 5} | more)

    return make
