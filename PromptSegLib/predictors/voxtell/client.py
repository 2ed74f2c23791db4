"""What is said to a VoxTell server: an image once, then texts; masks come back. Needs httpx and blosc2, no torch."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.errors import PredictionError, PromptSegError
from PromptSegLib.geometry import Grid
from PromptSegLib.io.nifti import labelmap_chunks
from PromptSegLib.predictors.server_access import ServedSystem, ServerAccess
from PromptSegLib.predictors.server_limits import SMALL_BYTES, AnswerError, TimeLimits, bounded, check_uncompressed
from PromptSegLib.predictors.voxtell.packed_masks import unpacked

SERVED = ServedSystem(
    this_machine="http://127.0.0.1:1527",
    server_variable="PROMPTSEG_VOXTELL_SERVER",
    key_variable="VOXTELL_API_KEY",  # as the server itself calls it
    consent_variable="PROMPTSEG_VOXTELL_CONSENT",
)

_SENT_AS_THEY_ARE = ("uint8", "int16", "uint16", "int32", "float32")
_CONNECT_S = 10.0
_ANSWER_S = 60.0
_LOOK_S = 1.0  # for news of a job; between two looks, somebody may have cancelled it
_UPLOAD_BYTES_S = 250_000
_NO_ANSWER = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, MemoryError)


class ForgottenError(LookupError):
    """The server does not know the image any more: it keeps one for an hour."""


class VoxTellClient:
    """Asks the server at `access`; timeout_s: the longest wait for one answer."""

    def __init__(self, access: ServerAccess, timeout_s: float) -> None:
        httpx = _httpx()
        self.access = access
        self._timeout_s = timeout_s
        self._limits = TimeLimits()
        headers = {"Accept-Encoding": "identity"}
        if access.api_key:
            headers["Authorization"] = f"Bearer {access.api_key}"
        self._http = httpx.Client(base_url=access.address, headers=headers)
        self._http.event_hooks = {"request": [self._limits.begin], "response": []}

    def close(self) -> None:
        self._http.close()

    def send(self, values_kji: NDArray[Any], spacing_mm: Sequence[float]) -> str:
        """Send an image : (k, j, i) in RAS order, without its place in space; return what the server calls it.

        Raises:
            PredictionError: the server cannot be reached, or does not answer as one.
        """
        kind = values_kji.dtype.name
        values = np.ascontiguousarray(values_kji if kind in _SENT_AS_THEY_ARE else values_kji.astype(np.float32))
        k, j, i = values.shape
        content = b"".join(labelmap_chunks(values, Grid((k, j, i), np.diag([*spacing_mm, 1.0])), compressed=True))
        with self._explained():
            limit_s = _ANSWER_S + len(content) / _UPLOAD_BYTES_S
            url = "/images?include_image=false"
            response = self._asked("POST", url, limit_s=limit_s, content=content)
            meta = json.loads(response.headers["X-Meta"])
            if list(meta["shape"]) != [k, j, i]:
                raise AnswerError(f"it took an image of {[k, j, i]} voxels for one of {meta['shape']}")
            return str(meta["image_id"])

    def masks(
        self, image: str, texts: Sequence[str], shape: Sequence[int], cancel: CancelToken, progress: Progress
    ) -> NDArray[np.bool_]:
        """Return the masks : (text, k, j, i) of `texts` in the image of `shape`, in RAS order.

        Raises:
            ForgottenError: the server does not know the image.
            Cancelled: somebody asked for it; the server was told.
            PredictionError: as `send`; the server failed, or takes too long.
        """
        with self._explained():
            asked = {"image_id": image, "prompts": list(texts), "keep_largest": False}
            response = self._asked("POST", "/jobs", json=asked, forgotten=True)
            job = str(response.json()["job_id"])
            self._await(job, cancel, progress)
            most = SMALL_BYTES + len(texts) * int(np.prod(shape))
            content = self._asked("GET", f"/jobs/{job}/result", most_bytes=most).content
            return unpacked(content, (len(texts), *shape))

    # Within

    def _await(self, job: str, cancel: CancelToken, progress: Progress) -> None:
        """Wait until a job is done, and tell how far it is."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            for event in self._news(job):
                status = event.get("status")
                if status == "done":
                    return
                if status is not None:
                    raise PredictionError(self.access.shown(f"the server says: {event.get('message') or status}"))
                if "done" in event:
                    progress(min(float(event["done"]) / max(float(event["total"]), 1.0), 1.0), "predicting there")
            if cancel.cancelled or time.monotonic() > deadline:
                with suppress(_httpx().HTTPError):
                    self._asked("POST", f"/jobs/{job}/cancel", limit_s=_LOOK_S)
                cancel.check()
                raise PredictionError(f"{self.access.address} did not answer within {self._timeout_s:g} s")

    def _news(self, job: str) -> Iterator[dict[str, Any]]:
        """Yield what the server says of a job within a moment; it goes on where it was, at the next look."""
        httpx = _httpx()
        limits = httpx.Timeout(_LOOK_S, connect=_CONNECT_S)
        began = time.monotonic()
        try:
            with self._answer("GET", f"/jobs/{job}/events", limits, SMALL_BYTES) as response:
                if response.is_error:
                    response.read()
                response.raise_for_status()
                for line in response.iter_lines():
                    yield dict(json.loads(line))
                    if time.monotonic() - began > _LOOK_S:
                        return
        except (httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError):
            if time.monotonic() - began < _LOOK_S / 2:
                raise  # it broke off by itself

    def _asked(
        self,
        method: str,
        url: str,
        *,
        limit_s: float = _ANSWER_S,
        most_bytes: int = SMALL_BYTES,
        forgotten: bool = False,
        **content: Any,
    ) -> Any:
        """Return the answer, read to its end within limits."""
        limits = _httpx().Timeout(limit_s, connect=_CONNECT_S)
        with self._answer(method, url, limits, most_bytes, **content) as response:
            response.read()
        if forgotten and response.status_code == 404:
            raise ForgottenError(self.access.shown(response.text))
        response.raise_for_status()
        return response

    @contextmanager
    def _answer(self, method: str, url: str, limits: Any, most_bytes: int, **content: Any) -> Iterator[Any]:
        """Give the answer to a request while it is read: within `limits`, added up, and no longer than `most_bytes`."""
        request = self._http.build_request(method, url, timeout=limits, **content)
        response = None
        try:
            response = self._http.send(request, stream=True)
            check_uncompressed(response)
            response.stream = bounded(response.stream, most_bytes)
            yield response
        finally:
            self._limits.end(request)
            if response is not None:
                response.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what goes wrong into PredictionError: says which server, and what to do."""
        httpx, access = _httpx(), self.access
        address = access.address
        try:
            yield
        except (PromptSegError, ForgottenError, ModuleNotFoundError):
            raise
        except httpx.HTTPStatusError as error:
            if error.response.status_code in (401, 403):
                raise access.told(f"{address} wants a key, or another one: set {SERVED.key_variable}", error) from error
            raise access.told(f"{address} answered {error}: {error.response.text}", error) from error
        except httpx.ConnectError as error:
            what = f"expected a VoxTell server at {address}, got none ({error}); start one: voxtell-server"
            raise access.told(what, error) from error
        except httpx.HTTPError as error:
            raise access.told(f"{address} did not answer: {type(error).__name__} {error}", error) from error
        except _NO_ANSWER as error:
            what = f"expected an answer of VoxTell from {address}, got what is none: {type(error).__name__} {error}"
            raise access.told(what, error) from error


def _httpx() -> Any:
    try:
        import httpx
    except ImportError as error:
        raise ModuleNotFoundError("httpx is not installed here: pip install httpx blosc2", name="httpx") from error
    return httpx
