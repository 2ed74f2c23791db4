"""nnInteractive by its authors' client, against their own server on this machine; and which servers get an image."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from nninteractive_model import closed_form_predictor, save_model
from nninteractive_server import served

from PromptSegLib.errors import ConsentError, PredictionError
from PromptSegLib.predictors.nninteractive.server import SERVED, NnInteractiveServer
from PromptSegLib.predictors.registry import capabilities_of, create_predictor
from PromptSegLib.prompts import Box, Lasso, MaskPrompt, Point, Scribble
from PromptSegLib.session.session import Session
from PromptSegLib.volume import Volume

SHAPE = (30, 36, 44)
IJK_TO_RAS = np.array([[0, -1.0, 0, 5], [1.0, 0, 0, 6], [0, 0, 2.0, 7], [0, 0, 0, 1]])


def volume():
    return Volume(np.random.default_rng(0).normal(0, 100, SHAPE).astype(np.int16), IJK_TO_RAS)


def at(i, j, k):
    return tuple(volume().grid.to_ras((i, j, k)).tolist())


def conversation():
    return [
        Point(at(20, 18, 14)),
        Scribble([at(15, 12, 13), at(22, 20, 13)], 2.9),
        Box.from_indices(volume().grid, (10, 8, 17), (26, 24, 17)),
        Lasso([at(8.3, 6.2, 12), at(20.4, 8.1, 12), at(22.2, 20.3, 12), at(9.1, 18.4, 12)], positive=False),
        Point(at(25, 19, 15), positive=False),
    ]


@pytest.fixture(autouse=True)
def no_server_is_named(monkeypatch):
    for name in ("PROMPTSEG_NNINTERACTIVE_SERVER", "PROMPTSEG_NNINTERACTIVE_CONSENT", "NN_INTERACTIVE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("server") / "model", decay=0.9)


@pytest.fixture(scope="module")
def server(model):
    with served(model, max_sessions=8) as address:
        yield address


def test_a_server_answers_as_the_package_does_here_whatever_the_history(server, tmp_path):
    ours = Session(volume(), NnInteractiveServer(server))
    here = Session(volume(), closed_form_predictor(tmp_path)[0])
    for session in (ours, here):
        first = session.target
        for prompt in conversation():
            session.add(prompt)
        session.undo()
        session.undo()
        session.undo()
        session.add(Point(at(22, 22, 16)))
        session.add_target("other")
        ball = np.linalg.norm(np.indices(SHAPE) - np.reshape((14, 18, 30), (3, 1, 1, 1)), axis=0) < 7
        session.add(MaskPrompt(ball, IJK_TO_RAS))
        session.add(Point(at(33, 18, 14), positive=False))
        session.select(first)
        session.add(Point(at(12, 12, 12)))
        assert session.mask_kji.any()
    for target in here.targets:
        np.testing.assert_array_equal(ours.mask(target), here.mask(target))
    assert ours.prediction.device == "server"


def test_a_stroke_has_the_width_that_the_checkpoint_on_the_server_prefers(server, tmp_path):
    wide = {"preferred_scribble_thickness": [2, 7, 7], "interaction_decay": 0.9}
    here = Session(volume(), closed_form_predictor(tmp_path, info=wide)[0])
    with served(tmp_path / "closed_form") as address:
        sessions = [here, *(Session(volume(), NnInteractiveServer(each)) for each in (address, server))]
        for session in sessions:
            session.add(Scribble([at(15, 12, 13), at(22, 20, 13)], 0.5))
        masks = [session.mask_kji for session in sessions]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert masks[0].sum() > 1.2 * masks[2].sum() > 0


def test_a_key_is_wanted_and_taken_from_the_environment(model, monkeypatch):
    with served(model, api_key="open sesame") as address:
        session = Session(volume(), NnInteractiveServer(address))
        with pytest.raises(PredictionError, match=r"wants a key.*NN_INTERACTIVE_API_KEY"):
            session.add(conversation()[0])
        monkeypatch.setenv("NN_INTERACTIVE_API_KEY", "open sesame")
        session.use(NnInteractiveServer(address))
        session.add(conversation()[0])
        assert session.mask_kji.any()
    assert "sesame" not in repr(SERVED.granted(address))


def test_a_server_that_has_forgotten_the_session_gets_everything_again(server, tmp_path):
    predictor = NnInteractiveServer(server)
    session, here = Session(volume(), predictor), Session(volume(), closed_form_predictor(tmp_path)[0])
    for number, prompt in enumerate(conversation()):
        if number in (1, 3):
            predictor._connection._session._http.post("/release")
        session.add(prompt)
        here.add(prompt)
    np.testing.assert_array_equal(session.mask_kji, here.mask_kji)
    predictor._connection._session._http.post("/release")
    session.image_changed(Volume(volume().array * 2, IJK_TO_RAS))
    session.add(Point(at(22, 22, 16)))
    assert session.mask_kji.any()


def test_a_place_on_the_server_is_given_back_when_the_predictor_is_no_longer_used(model):
    with served(model, max_sessions=1) as address:
        session = Session(volume(), NnInteractiveServer(address))
        session.add(conversation()[0])
        other = Session(volume(), NnInteractiveServer(address))
        with pytest.raises(PredictionError, match="takes no further user now: server is at capacity"):
            other.add(conversation()[0])
        del session
        gc.collect()
        other.add(conversation()[0])
        assert other.mask_kji.any()


def test_the_license_of_another_model_is_told_with_the_first_answer(model):
    with served(model, license_text="!!MISSING!!") as address:
        session = Session(volume(), NnInteractiveServer(address))
        session.add(conversation()[0])
        assert session.prediction.note == "the license of the server's model is not stated"
        session.add(conversation()[1])
        assert session.prediction.note == ""
    assert "CC BY-NC-SA 4.0" in capabilities_of("nninteractive-server").weights_license


def test_where_no_server_is_the_user_is_told_how_to_start_one():
    session = Session(volume(), NnInteractiveServer("http://127.0.0.1:9"))
    with pytest.raises(PredictionError, match=r"server at http://127.0.0.1:9, got none .*nninteractive-server"):
        session.add(conversation()[0])
    assert session.prompts() == ()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_a_server_with_a_certificate_is_trusted_only_where_the_certificate_is(model, tmp_path, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    made = ["openssl", *words.split(), "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    with served(model, certificate=(certificate, key)) as address:
        session = Session(volume(), NnInteractiveServer(address))
        with pytest.raises(PredictionError, match="CERTIFICATE_VERIFY_FAILED"):
            session.add(conversation()[0])
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        session.use(NnInteractiveServer(address))
        session.add(conversation()[0])
        assert session.mask_kji.any()


def test_torch_is_not_needed(server):
    """A process in which torch cannot be imported gets a mask."""
    code = """
        import sys
        sys.modules["torch"] = None
        import numpy as np
        from PromptSegLib import Point, Session
        session = Session(np.random.default_rng(0).normal(size=(20, 20, 20)), "nninteractive-server")
        session.add(Point((10, 10, 10)))
        assert session.mask_kji.any()
        """
    environment = os.environ | {"PROMPTSEG_NNINTERACTIVE_SERVER": server, "PYTHONPATH": str(Path(__file__).parents[4])}
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, env=environment)


# Which servers get an image


def test_another_machine_gets_nothing_before_the_user_agreed_to_just_that_address(monkeypatch):
    address = "https://gpu.hospital.example:1527"
    with pytest.raises(ConsentError, match=f"expected consent before the image is sent to {address}, got none"):
        create_predictor("nninteractive-server", server=address)
    with pytest.raises(ConsentError):
        NnInteractiveServer(address, consent=False)
    assert SERVED.granted(address, consent=True).address == address
    monkeypatch.setenv("PROMPTSEG_NNINTERACTIVE_SERVER", address + "/")
    with pytest.raises(ConsentError):
        NnInteractiveServer()
    monkeypatch.setenv("PROMPTSEG_NNINTERACTIVE_CONSENT", "https://another.example")
    with pytest.raises(ConsentError):
        NnInteractiveServer()
    monkeypatch.setenv("PROMPTSEG_NNINTERACTIVE_CONSENT", address)
    assert SERVED.granted().address == address


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:1527", "http://localhost:1527", "http://[::1]:80", "https://127.3.2.1"]
)
def test_this_machine_needs_no_consent(address):
    assert SERVED.granted(address).address == address


def test_without_a_name_it_is_the_server_on_this_machine():
    assert SERVED.granted().address == "http://127.0.0.1:1527"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://gpu.hospital.example:1527", r"expected https:// .*ssh -N -L 1527:127.0.0.1:1527 gpu.hospital.example"),
        ("http://127.0.0.1.example.com", "expected https://"),
        ("http://localhost.example.com", "expected https://"),
        ("http://10.0.0.7:1527", "expected https://"),
        ("ftp://127.0.0.1", "expected a server's address"),
        ("127.0.0.1:1527", "expected a server's address"),
        ("http://127.0.0.1:1527/path", "expected a server's address"),
        ("http://127.0.0.1:port", "expected a server's address"),
        ("https://user:word@gpu.example", "without a user's name"),
        ("http://", "expected a server's address"),
    ],
)
def test_an_address_that_is_none_or_not_safe_is_refused(address, message):
    with pytest.raises(PredictionError, match=message) as refused:
        SERVED.granted(address, consent=True)
    assert "word" not in str(refused.value)


def test_an_image_for_this_machine_is_not_sent_through_a_proxy(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(PredictionError, match=r"set the environment variable NO_PROXY=127\.0\.0\.1"):
        SERVED.granted()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert SERVED.granted().address == "http://127.0.0.1:1527"
