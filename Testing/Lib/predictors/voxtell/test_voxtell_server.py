"""VoxTell on a server: the official one on this machine, and others that answer with what is none."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import json
import struct
import subprocess
import sys
import threading
import time

import blosc2
import numpy as np
import pytest
import uvicorn
from tiny_voxtell import TEXTS, image, official_predictor

from PromptSegLib.errors import ConsentError, PredictionError, VolumeError
from PromptSegLib.execution.executor import ThreadExecutor
from PromptSegLib.predictors.registry import create_predictor
from PromptSegLib.predictors.server_limits import AnswerError
from PromptSegLib.predictors.voxtell.packed_masks import unpacked
from PromptSegLib.predictors.voxtell.predictor import VoxTell
from PromptSegLib.predictors.voxtell.server import VoxTellServer
from PromptSegLib.prompts import TextPrompt
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume

KEY = "sesame open"


@contextlib.contextmanager
def running(app):
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        thread.join(0.02)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def served(folder):
    """The official server with the small model: its address, its predictor."""
    from voxtell.server.app import make_app

    predictor = official_predictor(folder)
    with running(make_app(predictor, api_key=KEY)) as address:
        yield address, predictor


@pytest.mark.parametrize("axes", ["flipped", "oblique"])
def test_a_server_answers_as_the_model_in_this_process(served, folder, axes):
    address, _ = served
    volume = image(axes)
    here, there = Session(volume, VoxTell(folder)), Session(volume, VoxTellServer(address, api_key=KEY))
    ours, theirs = (session.add_classes([TextPrompt(text) for text in TEXTS]) for session in (here, there))
    for one, other in zip(ours, theirs, strict=True):
        assert 0.02 < here.mask(one).mean() < 0.98
        assert (here.mask(one) != there.mask(other)).mean() < 2e-3, "half precision rounds alike, but for its last bit"
    assert there.prediction.device == address


def test_an_image_that_the_server_forgot_is_sent_again(served, monkeypatch):
    address, _ = served
    predictor = create_predictor("voxtell-server", server=address, api_key=KEY)
    session = Session(image(), predictor)
    session.add(TextPrompt("liver"))
    mask = session.mask_kji.copy()
    sent = []
    send = predictor._client.send
    monkeypatch.setattr(predictor._client, "send", lambda *given: sent.append(given) or send(*given))
    masks = predictor._client.masks

    def forgets(name, *rest):
        return masks("gone" if not sent else name, *rest)

    monkeypatch.setattr(predictor._client, "masks", forgets)
    session.add_classes([TextPrompt("left kidney")])
    assert len(sent) == 1
    assert session.mask_kji.any()
    assert mask.any()


def test_what_is_sent_is_voxels_and_spacing_alone(served, monkeypatch):
    address, _ = served
    predictor = VoxTellServer(address, api_key=KEY)
    bodies = []
    build = predictor._client._http.build_request

    def watched(method, url, **content):
        bodies.append(content.get("content", b""))
        return build(method, url, **content)

    monkeypatch.setattr(predictor._client._http, "build_request", watched)
    Session(image("oblique"), predictor).add(TextPrompt("liver"))
    header = gzip.decompress(bodies[0])[:352]
    sform = np.frombuffer(header[280:328], np.float32).reshape(3, 4)
    np.testing.assert_allclose(sform, np.diag([1.0, 2.5, 0.8, 1])[:3], atol=1e-6)
    assert header[148:228].strip(b"\0") == b"", "no description"


def test_a_prediction_is_cancelled_there_too(served, monkeypatch):
    address, predictor = served
    begun, ended = threading.Event(), threading.Event()
    network = predictor.network.forward

    def slow(*given):
        begun.set()
        time.sleep(0.2)
        return network(*given)

    monkeypatch.setattr(predictor.network, "forward", slow)
    predict = predictor.predict_single_image

    def watched(*given, **named):
        try:
            return predict(*given, **named)
        finally:
            ended.set()

    monkeypatch.setattr(predictor, "predict_single_image", watched)
    session = Session(image(shape_kji=(60, 60, 60)), VoxTellServer(address, api_key=KEY), executor=ThreadExecutor())
    session.add(TextPrompt("liver"))
    assert begun.wait(20)
    started = time.monotonic()
    session.cancel()
    session.wait(20)
    assert time.monotonic() - started < 5
    assert ended.wait(5), "the server goes on"
    assert not session.mask_kji.any()
    session.close()


def test_a_wrong_key_and_no_server_are_told_in_a_line(served):
    address, _ = served
    with pytest.raises(PredictionError, match="wants a key, or another one: set VOXTELL_API_KEY"):
        Session(image(), VoxTellServer(address, api_key="wrong")).add(TextPrompt("liver"))
    with pytest.raises(PredictionError, match=r"expected a VoxTell server at .*, got none .*start one: voxtell-server"):
        Session(image(), VoxTellServer("http://127.0.0.1:9")).add(TextPrompt("liver"))


def test_nothing_is_sent_elsewhere_without_consent_or_in_the_open():
    with pytest.raises(ConsentError, match="PROMPTSEG_VOXTELL_CONSENT"):
        create_predictor("voxtell-server", server="https://gpu.example.org")
    with pytest.raises(PredictionError, match="expected https://"):
        create_predictor("voxtell-server", server="http://gpu.example.org", consent=True)
    assert create_predictor("voxtell-server", server="https://gpu.example.org", consent=True)


def test_a_failure_of_the_server_is_told_without_the_key(served, monkeypatch):
    address, predictor = served
    monkeypatch.setattr(predictor, "embed_text_prompts", lambda texts: 1 / 0)
    with pytest.raises(PredictionError, match="the server says: division by zero"):
        Session(image(), VoxTellServer(address, api_key=KEY)).add(TextPrompt("liver"))


def test_colour_is_refused_before_anything_is_sent():
    with pytest.raises(VolumeError, match="expected one channel"):
        Session(Volume(np.zeros((4, 5, 6, 3), np.uint8)), VoxTellServer("http://127.0.0.1:9")).add(TextPrompt("liver"))


def test_the_client_needs_no_torch():
    program = """
import sys
sys.modules["torch"] = sys.modules["voxtell"] = None
from PromptSegLib.predictors.voxtell.server import VoxTellServer
VoxTellServer("http://127.0.0.1:9")
assert "transformers" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# Servers that are not to be trusted


class Hostile(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        with contextlib.suppress(OSError):
            self.server.habit(self)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.do_GET()

    def answer(self, body, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def usual(self, result=b"", shape=(4, 5, 6)):
        answers = {"/jobs": {"job_id": "j"}, "/jobs/j/events": {"status": "done"}}
        if self.path.startswith("/images"):
            return self.answer(b"", X_Meta=json.dumps({"image_id": "i", "shape": list(shape)}))
        if self.path.endswith("/result"):
            return self.answer(result)
        return self.answer(json.dumps(answers.get(self.path, {})).encode())


def dripping(handler):
    """Send a byte now and then, for ever."""
    if handler.path.startswith("/images"):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(200):
            handler.wfile.write(b"X")
            time.sleep(0.05)
    handler.close_connection = True


def packed(shape=(1, 4, 5, 6), kind=b"|u1", length=None, total=None, claimed=None):
    voxels = int(np.prod(shape))
    chunk = bytearray(blosc2.compress2(np.ones(voxels if length is None else length, np.uint8)))
    head = b"VXA2" + bytes([len(kind)]) + kind + bytes([len(shape)])
    head += b"".join(struct.pack("<q", side) for side in shape) + struct.pack("<Q", voxels if total is None else total)
    return head + struct.pack("<QQ", claimed or voxels, len(chunk)) + bytes(chunk)


HABITS = {
    "another shape": (lambda h: h.usual(shape=(6, 5, 4)), "it took an image of"),
    "no answer": (lambda h: h.answer(b"hello"), "got what is none"),
    "no masks": (lambda h: h.usual(b"hello"), "it holds no masks"),
    "larger masks": (lambda h: h.usual(packed((1, 40, 50, 60))), "it claims masks of shape"),
    "more than an answer can have": (lambda h: h.usual(bytes(17 << 20)), "bytes that an answer can have"),
    "compressed": (lambda h: h.answer(b"x", Content_Encoding="gzip"), "which was not asked for"),
    "a failure with the key": (lambda h: h.answer(str(h.headers).encode(), 500), "answered"),
}


@contextlib.contextmanager
def hostile(habit):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    server.daemon_threads = True
    server.habit = habit
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("name", HABITS)
def test_answers_that_are_none_are_refused_in_a_line(name):
    habit, complaint = HABITS[name]
    with hostile(habit) as address:
        session = Session(Volume(np.arange(120, dtype=np.int16).reshape(4, 5, 6)), VoxTellServer(address, api_key=KEY))
        with pytest.raises(PredictionError, match=complaint) as caught:
            session.add(TextPrompt("liver"))
    assert KEY not in str(caught.value)
    assert "\n" not in str(caught.value) or name == "a failure with the key"
    assert session.prompts() == ()


def test_a_server_that_drips_does_not_keep_anybody_waiting(monkeypatch):
    monkeypatch.setattr("PromptSegLib.predictors.voxtell.client._ANSWER_S", 0.3)
    monkeypatch.setattr("PromptSegLib.predictors.voxtell.client._CONNECT_S", 0.3)
    started = time.monotonic()
    with hostile(dripping) as address:
        session = Session(Volume(np.arange(120, dtype=np.int16).reshape(4, 5, 6)), VoxTellServer(address))
        with pytest.raises(PredictionError, match="did not answer"):
            session.add(TextPrompt("liver"))
    assert time.monotonic() - started < 5


def test_a_job_that_never_ends_is_given_up():
    def never(handler):
        if not handler.path.endswith("/events"):
            return handler.usual()
        handler.answer(b"")
        return None

    with hostile(never) as address:
        session = Session(
            Volume(np.arange(120, dtype=np.int16).reshape(4, 5, 6)), VoxTellServer(address, timeout_s=0.5)
        )
        with pytest.raises(PredictionError, match=r"did not answer within 0\.5 s"):
            session.add(TextPrompt("liver"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        packed()[:20],
        packed()[:-1],
        packed(kind=b"<f4"),
        packed(total=60),
        packed(length=60),
        packed(length=1 << 20),
        packed(claimed=60),
        packed()[:4] + b"\xff" + packed()[5:],
    ],
)
def test_masks_are_checked_before_they_are_unpacked(content):
    with pytest.raises(AnswerError):
        unpacked(content, (1, 4, 5, 6))
    assert unpacked(packed(), (1, 4, 5, 6)).all()


def test_the_official_packing_is_read_back():
    from voxtell.server.serialization import pack_array

    masks = np.random.default_rng(0).integers(0, 2, (3, 7, 8, 9)).astype(np.uint8)
    np.testing.assert_array_equal(unpacked(pack_array(masks), masks.shape), masks.astype(bool))
