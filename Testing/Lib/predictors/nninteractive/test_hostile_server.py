"""nnInteractive servers that answer with too much, for ever, with other voxels, or with the key that they were sent."""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.server
import json
import re
import struct
import threading
import time
import traceback
import urllib.parse

import blosc2
import numpy as np
import pytest

from PromptSegLib.errors import PredictionError
from PromptSegLib.predictors.nninteractive.server import NnInteractiveServer
from PromptSegLib.predictors.server_access import ServerAccess
from PromptSegLib.prompts import Point
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume

KEY = 'sesame/open+"now" 7'
CAPABILITIES = {
    "supported_interactions": {"points": True},
    "channel_mapping": {},
    "num_interaction_channels": 7,
    "supports_initial_label": True,
    "supports_zero_shot_label_refinement": True,
    "preferred_scribble_thickness": 2,
    "interaction_decay": 0.9,
    "inference_session_version": 2,
    "supports_undo": True,
}


def mask_of(shape, name=b"uint8", claimed=None):
    chunk = blosc2.compress2(np.zeros(1 << 20, np.uint8))
    head = b"NNIA" + bytes([1, 1, len(shape), len(name)]) + name + struct.pack(f"<{len(shape)}q", *shape)
    return head + struct.pack("<IQQ", 1, claimed or 1 << 20, len(chunk)) + chunk


class Hostile(http.server.BaseHTTPRequestHandler):
    """Answers as a server does, but for what `server.habit` says."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.key = self.headers.get("Authorization", "")
        with contextlib.suppress(OSError):
            getattr(self, self.server.habit, self.usual)()

    def do_POST(self):
        self.do_GET()

    def usual(self):
        answers = {
            "/claim": {"lease_token": "t"},
            "/capabilities": CAPABILITIES,
            "/set_image": {"original_image_shape": [1, 20, 20, 20]},
        }
        self.answer(json.dumps(answers.get(self.path, {})).encode())

    def answer(self, body, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def on_point(self, body, box=((0, 5), (0, 5), (0, 5)), **headers):
        if self.path != "/add_point_interaction":
            return self.usual()
        return self.answer(body, X_Meta=json.dumps({"ran_prediction": True, "bbox": box}), **headers)

    def echo(self):
        self.answer(f"you sent {self.headers}".encode(), 500)

    def echo_far_in(self):
        self.answer(b"." * 190 + self.key.encode(), 500)

    def echo_in_detail(self):
        self.answer(json.dumps({"detail": self.key}).encode(), 410)

    def echo_in_reason(self):
        self.wfile.write(b"HTTP/1.1 500 " + self.key.encode() + b"\r\nContent-Length: 0\r\n\r\n")

    def echo_as_status(self):
        self.wfile.write(b"NONSENSE " + self.key.encode() + b"\r\n\r\n")
        self.close_connection = True

    def echo_as_number(self):
        self.answer(json.dumps({"lease_token": "t", "idle_timeout_seconds": self.key}).encode())

    def echo_as_type(self):
        self.on_point(b"NNIA" + bytes([1, 1, 0, len(self.key)]) + self.key.encode() + bytes(4))

    def endless(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(200):
            self.wfile.write(b"100000\r\n" + bytes(1 << 20) + b"\r\n")

    def zipped(self):
        self.answer(gzip.compress(bytes(1 << 20), 1), Content_Encoding="gzip")

    def dripped(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        while not self.server.closing.wait(0.05):
            self.wfile.write(b"a")

    def other_shape(self):
        self.on_point(mask_of((1600, 1600, 1600), claimed=1600**3))

    def other_type(self):
        self.on_point(mask_of((5, 5, 5), b"float64"))

    def missing_chunk(self):
        self.on_point(mask_of((20, 20, 20), claimed=8000)[:-40])

    def other_box(self):
        self.on_point(b"", ((0, 10**9), (0, 10**9), (0, 5)))

    def negative_box(self):
        self.on_point(b"", ((-5, 3), (0, 5), (0, 5)))

    def nested(self):
        self.answer(b"[" * 100_000)


@pytest.fixture
def ask():
    """Ask a server of that habit, by a click; returns its error."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server:
        server.daemon_threads, server.closing = True, threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()

        def answer(habit, timeout_s=10.0):
            server.habit = habit
            predictor = NnInteractiveServer(f"http://127.0.0.1:{server.server_port}", api_key=KEY, timeout_s=timeout_s)
            session = Session(Volume(np.random.default_rng(0).normal(size=(20, 20, 20))), predictor)
            with pytest.raises(PredictionError) as failed:
                session.add(Point((10.0, 10.0, 10.0)))
            return failed.value

        yield answer
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("habit", [name for name in vars(Hostile) if name.startswith("echo")])
def test_the_key_is_never_shown(ask, habit):
    error = ask(habit)
    assert "sesame" not in "".join(traceback.format_exception(error))
    assert len(str(error)) < 600


@pytest.mark.parametrize(
    ("habit", "message"),
    [
        ("endless", "more than the 16,777,217 bytes"),
        ("zipped", "compressed, which was not asked for"),
        ("other_shape", r"a mask of shape \(1600, 1600, 1600\), the image has 8,000 voxels"),
        ("other_type", "claims a mask of shape"),
        ("missing_chunk", "not all there|cut off"),
        ("other_box", "is not within the image"),
        ("negative_box", "is not within the image"),
        ("nested", "what is none: RecursionError"),
    ],
)
def test_an_answer_that_is_none_is_refused(ask, habit, message):
    told = str(ask(habit))
    assert told.startswith("expected an answer of nnInteractive from http://127.0.0.1:")
    assert re.search(message, told)


def test_an_answer_whose_head_is_dripped_comes_to_an_end(ask):
    begun = time.monotonic()
    assert "did not answer" in str(ask("dripped", timeout_s=0.5))
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("key", [KEY, "0123456789abcdef", "pässwörter"])
def test_no_form_of_the_key_is_left_in_a_text(key):
    access = ServerAccess("http://127.0.0.1:1", key)
    forms = [key, key.upper(), urllib.parse.quote(key), json.dumps(key), repr(key), key.encode().hex()]
    forms += [base64.b64encode(f"{before}{key}".encode()).decode() for before in ("", "a", "ab", "user:")]
    for form in forms:
        told = access.without_key(f"you sent <{form}>")
        assert "(the key)" in told, form
    assert access.without_key("nothing of it") == "nothing of it"
    assert ServerAccess("http://127.0.0.1:1").without_key("all of it") == "all of it"
