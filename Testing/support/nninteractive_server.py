"""The official package's server, on this machine, with the network in words."""

from __future__ import annotations

import contextlib
import threading

import torch
import uvicorn
from nninteractive_model import ClosedForm

from PromptSegLib.predictors.nninteractive.local import LocalSession


@contextlib.contextmanager
def served(model, size=9, certificate=None, license_text=None, **settings):
    """Serve the model in folder `model` and yield the server's address; `settings` are those of `make_app`."""
    from nnInteractive.inference.server.app import make_app

    loader = LocalSession(model, "cpu", ClosedForm(size)).session
    artifacts = {
        "capability_content": {},
        "point_interaction": loader.point_interaction,
        "preferred_scribble_thickness": loader.preferred_scribble_thickness,
        "interaction_decay": loader.interaction_decay,
        "pad_mode_data": loader.pad_mode_data,
        "network": loader.network,
        "plans_manager": loader.plans_manager,
        "configuration_manager": loader.configuration_manager,
        "dataset_json": loader.dataset_json,
        "trainer_name": loader.trainer_name,
        "label_manager": loader.label_manager,
        "license": license_text or loader.license,
    }
    app = make_app(artifacts, torch.device("cpu"), torch_n_threads=torch.get_num_threads(), **settings)
    tls = {"ssl_certfile": certificate[0], "ssl_keyfile": certificate[1]} if certificate else {}
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", ws="none", **tls)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        thread.join(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"https://localhost:{port}" if certificate else f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
