"""One HTTP request whose caller can always walk away: it is read in a thread of its own."""

from __future__ import annotations

import http.client
import queue
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import IO

from PromptSegLib.cancel import CancelToken
from PromptSegLib.errors import Cancelled
from PromptSegLib.weights.partfile import CHUNK_BYTES

_POLL_S = 0.05
_HEAD_SILENCES = 2  # the head of an answer may take that many times the longest silence, redirects included
_WINDOW_SILENCES = 4
_LEAST_BYTES_PER_S = 1024
"""A body that brings less over a window of so many silences is given up: dripped, it would never end."""
_AHEAD = 4  # chunks read ahead of the writer: hashing and writing overlap with the network, in 4 MiB
_TOO_SLOW = "the server sends too slowly to ever end"


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


def _noting_handlers(connections: list[http.client.HTTPConnection]) -> list[urllib.request.AbstractHTTPHandler]:
    """Handlers whose connections are noted in `connections`, so that somebody else can end them."""

    class NotedHTTP(http.client.HTTPConnection):
        def connect(self) -> None:
            connections.append(self)
            super().connect()

    class NotedHTTPS(http.client.HTTPSConnection):
        def connect(self) -> None:
            connections.append(self)
            super().connect()

    class HTTP(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(NotedHTTP, req)

    class HTTPS(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(NotedHTTPS, req)

    return [HTTP(), HTTPS()]


class Transfer:
    """The answer to one GET: `status` and `headers` once entered, then its chunks.

    Proxies are those of the environment (http_proxy, https_proxy, no_proxy) or of the system.

    Raises:
        TransferError: refused, cut off, silent for `timeout_s`, or so slow that it would never end.
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
        self._connections: list[http.client.HTTPConnection] = []
        self._thread = threading.Thread(target=self._read, name="promptseg-download", daemon=True)

    def __enter__(self) -> Transfer:
        self._thread.start()
        try:
            head = self._next(time.monotonic() + _HEAD_SILENCES * self._timeout_s)
        except BaseException:
            self._leave()
            raise
        assert isinstance(head, tuple)
        self.status, self.headers = head
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def __iter__(self) -> Iterator[bytes]:
        window_s = _WINDOW_SILENCES * self._timeout_s
        ends, got = time.monotonic() + window_s, 0
        while isinstance(chunk := self._next(ends), bytes):
            yield chunk
            got += len(chunk)
            if got >= _LEAST_BYTES_PER_S * window_s:
                ends, got = time.monotonic() + window_s, 0
            elif time.monotonic() > ends:
                raise TransferError(_TOO_SLOW, again=True)

    def _leave(self) -> None:
        """Stop listening, and end what the thread waits for: a head that is dripped keeps no thread for ever."""
        self._left.set()
        for connection in self._connections:
            sock = connection.sock
            if sock is not None:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _next(self, ends: float) -> object:
        """The thread's next report: (status, headers), then bytes, None at the end; an error is raised.

        ends: when there is none by then, the server is given up.
        """
        while True:
            if self._cancel is not None and self._cancel.cancelled:
                raise Cancelled("the download was cancelled; it goes on from here when it is asked for again")
            try:
                report = self._queue.get(timeout=_POLL_S)
            except queue.Empty:
                if not self._thread.is_alive() and self._queue.empty():
                    raise TransferError("the connection ended without a word", again=True) from None
                if time.monotonic() > ends:
                    raise TransferError(_TOO_SLOW, again=True) from None
                continue
            if isinstance(report, TransferError):
                raise report
            return report

    def _read(self) -> None:
        """The thread: report the answer piece by piece until it ends, fails, or nobody listens."""
        try:
            opener = urllib.request.build_opener(_CarefulRedirects, *_noting_handlers(self._connections))
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
