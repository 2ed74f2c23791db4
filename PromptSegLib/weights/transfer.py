"""One HTTP request whose caller can always walk away: it is read in a thread of its own."""

from __future__ import annotations

import http.client
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import IO

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import Cancelled
from PromptSegLib.weights.partfile import CHUNK_BYTES

_POLL_S = 0.05
_AHEAD = 4  # chunks read ahead of the writer: hashing and writing overlap with the network, in 4 MiB


class TransferError(Exception):
    """The request failed. `again`: it may succeed later. `status`: of the answer, where there was one."""

    def __init__(self, reason: str, again: bool, status: int | None = None) -> None:
        super().__init__(reason)
        self.again = again
        self.status = status


class _CarefulRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        scheme = newurl.split(":", 1)[0].lower()
        if scheme != "https" and (req.type == "https" or scheme != "http"):
            fp.close()
            raise TransferError(f"redirected from {req.type} to {newurl}, which is not safe", again=False)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Transfer:
    """The answer to one GET: `status` and `headers` once entered, then its chunks.

    Proxies are those of the environment (http_proxy, https_proxy, no_proxy) or of the system.

    Raises:
        TransferError: refused, cut off, or silent for `timeout_s`.
        Cancelled: within about 0.1 s of `cancel`, even if the server is silent.
    """

    status: int
    headers: Mapping[str, str]

    def __init__(self, url: str, headers: Mapping[str, str], timeout_s: float, cancel: CancelToken | None) -> None:
        self._request = urllib.request.Request(url, headers=dict(headers))
        if self._request.type not in ("http", "https"):
            raise TransferError(f"only http and https are fetched, not {url}", again=False)
        self._timeout_s = timeout_s
        self._cancel = cancel
        self._queue: queue.Queue[object] = queue.Queue(_AHEAD)
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._read, name="promptseg-download", daemon=True)

    def __enter__(self) -> Transfer:
        self._thread.start()
        try:
            head = self._next()
        except BaseException:
            self._left.set()
            raise
        assert isinstance(head, tuple)
        self.status, self.headers = head
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()

    def __iter__(self) -> Iterator[bytes]:
        while isinstance(chunk := self._next(), bytes):
            yield chunk

    def _next(self) -> object:
        """The thread's next report: (status, headers), then bytes, None at the end; an error is raised."""
        while True:
            if self._cancel is not None and self._cancel.cancelled:
                raise Cancelled("the download was cancelled; it goes on from here when it is asked for again")
            try:
                report = self._queue.get(timeout=_POLL_S)
            except queue.Empty:
                if not self._thread.is_alive() and self._queue.empty():
                    raise TransferError("the connection ended without a word", again=True) from None
                continue
            if isinstance(report, TransferError):
                raise report
            return report

    def _read(self) -> None:
        """The thread: report the answer piece by piece until it ends, fails, or nobody listens."""
        try:
            opener = urllib.request.build_opener(_CarefulRedirects)
            with opener.open(self._request, timeout=self._timeout_s) as response:
                self._report((response.status, response.headers))
                while not self._left.is_set() and (chunk := response.read1(CHUNK_BYTES)):
                    self._report(chunk)
            self._report(None)
        except TransferError as error:
            self._report(error)
        except urllib.error.HTTPError as error:
            error.close()
            again = error.code >= 500 or error.code in (408, 425, 429)
            self._report(TransferError(f"the server answered {error.code} {error.reason}", again, error.code))
        except urllib.error.URLError as error:
            self._report(TransferError(str(error.reason), again=True))
        except TimeoutError:
            self._report(TransferError(f"the server was silent for {self._timeout_s:g} s", again=True))
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._report(TransferError(f"the connection broke: {error or type(error).__name__}", again=True))

    def _report(self, item: object) -> None:
        while not self._left.is_set():
            try:
                self._queue.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return
