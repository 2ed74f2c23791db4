"""nnInteractive on a server that the user names, by its authors' client, which needs no torch here.

Start one with `nninteractive-server`. The image is sent once, then prompts; what changed in the mask comes back.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.errors import PromptSegError
from PromptSegLib.predictors.base import Capabilities, Prediction, TargetState
from PromptSegLib.predictors.nninteractive.image import OrientedImage
from PromptSegLib.predictors.nninteractive.predictor import PROMPTS, NnInteractive
from PromptSegLib.predictors.nninteractive.prompts import OfficialSession
from PromptSegLib.predictors.nninteractive.server_guard import guarded
from PromptSegLib.predictors.nninteractive.steps import SteppingSession
from PromptSegLib.predictors.server_access import ServedSystem, ServerAccess
from PromptSegLib.volume import Image

SERVED = ServedSystem(
    this_machine="http://127.0.0.1:1527",
    server_variable="PROMPTSEG_NNINTERACTIVE_SERVER",
    key_variable="NN_INTERACTIVE_API_KEY",  # as the server itself calls it
    consent_variable="PROMPTSEG_NNINTERACTIVE_CONSENT",
)

_NO_ANSWER = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RuntimeError, MemoryError)
"""What the client raises for an answer that it does not expect, beside httpx's errors."""


class NnInteractiveServer:
    """nnInteractive on a server; see `PromptSegLib.predictors.server_access` for which one.

    server: its address. api_key: its key. consent: that the user agreed to send images there; not needed for this
    machine. timeout_s: the longest wait for one prediction. A prediction that is cancelled runs to its end there, and
    is taken back when the next one is asked for.

    Raises:
        ConsentError: it would send the image away, and the user did not agree.
        PredictionError: for an address that is not safe.
    """

    capabilities = Capabilities(
        name="nninteractive-server",
        title="nnInteractive on a server",
        summary="as nnInteractive, on a server that you name; the image is sent there",
        dimensions=frozenset({3}),
        prompts=PROMPTS,
        code_license=NnInteractive.capabilities.code_license,
        weights_license=f"{NnInteractive.capabilities.weights_license}, on the server",
        devices=("server",),
        citation=NnInteractive.capabilities.citation,
    )

    def __init__(
        self,
        server: str | None = None,
        *,
        api_key: str | None = None,
        consent: bool | None = None,
        timeout_s: float = 300.0,
    ) -> None:
        self._connection = _Connection(SERVED.granted(server, api_key, consent), timeout_s)
        self._steps: SteppingSession | None = None
        # The client's own thread keeps its session, and so the server's memory, until it is told otherwise.
        weakref.finalize(self, self._connection.close)

    def encode(self, image: Image, cancel: CancelToken, progress: Progress) -> OrientedImage:
        """Send the image.

        Raises:
            VolumeError: for colour or an image without contrast.
            PredictionError: the server is not there, or answers what it should not.
        """
        oriented = OrientedImage.of(image.reference)
        progress(0, f"sending the image to {self._connection.access.address}")
        with self._connection.explained():
            if self._steps is None:
                self._steps = SteppingSession(self._connection.opened(), recover=self._connection.recover)
            self._steps.show(oriented)
        return oriented

    def predict(
        self, encoding: OrientedImage, state: TargetState, cancel: CancelToken, progress: Progress
    ) -> Iterator[Prediction]:
        """Yield an answer; several where prompts lie so far apart that no window holds all of them."""
        assert self._steps is not None, "an image is encoded before it is asked about"
        with self._connection.explained():
            for prediction in self._steps.answers(encoding, state, cancel, progress):
                yield self._connection.described(prediction)


class _Connection:
    """The client's session, made anew when the server has forgotten it."""

    def __init__(self, access: ServerAccess, timeout_s: float) -> None:
        self.access = access
        self._timeout_s = timeout_s
        self._session: Any = None
        self._license = ""

    def opened(self) -> OfficialSession:
        """Return a new session of the server's."""
        self.close()
        client: Any = guarded(_client().nnInteractiveRemoteInferenceSession)
        self._session = client.__new__(client)
        try:
            self._session.__init__(self.access.address, self.access.api_key, read_timeout=self._timeout_s)
        except BaseException:
            # One that was refused does not close its connection itself.
            connection, self._session = getattr(self._session, "_http", None), None
            if connection is not None:
                connection.close()
            raise
        self._license = str(self._session.license or "")
        session: OfficialSession = self._session
        return session

    def recover(self, error: RuntimeError) -> OfficialSession:
        """Return a new session when the server has ended the old one, as after a break; raise other errors again."""
        if not isinstance(error, _client().SessionExpiredError):
            raise error
        return self.opened()

    def described(self, prediction: Prediction) -> Prediction:
        """Add the license of the server's model to the first answer, where it is not the published one's."""
        license_text, self._license = self.access.shown(self._license), ""
        if not license_text or license_text == NnInteractive.capabilities.weights_license:
            return prediction
        stated = "not stated" if "MISSING" in license_text else license_text
        notes = [prediction.note, f"the license of the server's model is {stated}"]
        return dataclasses.replace(prediction, note="; ".join(filter(None, notes)))

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what the client raises into PredictionError: says which server, and what to do."""
        client, address, told = _client(), self.access.address, self.access.told
        import httpx

        try:
            yield
        except PromptSegError:
            raise
        except httpx.HTTPStatusError as error:
            if error.response.status_code in (401, 403):
                raise told(f"{address} wants a key, or another one: set {SERVED.key_variable}", error) from error
            raise told(f"{address} answered {error}: {error.response.text}", error) from error
        except httpx.ConnectError as error:
            what = f"expected an nnInteractive server at {address}, got none ({error}); start one: nninteractive-server"
            raise told(what, error) from error
        except httpx.HTTPError as error:
            raise told(f"{address} did not answer: {type(error).__name__} {error}", error) from error
        except (client.ServerAtCapacityError, client.SessionExpiredError) as error:
            raise told(f"{address} takes no further user now: {error}", error) from error
        except _NO_ANSWER as error:
            what = (
                f"expected an answer of nnInteractive from {address}, got what is none: {type(error).__name__} {error}"
            )
            raise told(what, error) from error

    def close(self) -> None:
        """End the session, so that others can have its place on the server."""
        session, self._session = self._session, None
        if session is not None:
            session.close()


def _client() -> Any:
    try:
        from nnInteractive.inference import remote
    except ImportError as error:
        raise ModuleNotFoundError(
            f"nnInteractive's client is not installed here ({error.name} is missing): pip install nninteractive-client",
            name="nninteractive-client",
        ) from error
    return remote
