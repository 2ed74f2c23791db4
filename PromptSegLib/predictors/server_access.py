"""Which server an image may be sent to: its address, its key, and that the user agreed.

This machine's own servers are reached by plain HTTP. Any other one has to be named, must have a certificate (https),
and gets nothing before the user agreed to send images to just that address. A predictor on a server takes all that as
its options `server`, `api_key` and `consent`; what is left out may be in the user's environment, which is only read.
"""

from __future__ import annotations

import base64
import html
import ipaddress
import json
import os
import re
import urllib.parse
import urllib.request
from dataclasses import dataclass, field

from PromptSegLib.errors import ConsentError, PredictionError

KEY_VARIABLE = "PROMPTSEG_SERVER_KEY"
"""Environment variable by which a command is told the key of the server that it is to ask, whatever system that is."""
CONSENT_EXPECTED = "expected consent before the image is sent"
_AN_ADDRESS = "http://127.0.0.1:1527"
_SHOWN, _READ = 500, 5000  # Characters of what a server says that are shown, and looked at for the key.
_MOST_CAUSES = 20


@dataclass(frozen=True)
class ServedSystem:
    """A system that runs on servers.

    this_machine: where the user's own server is, if there is one. server_variable, key_variable, consent_variable: the
    environment variables by which users may name another one, its key, and the address that they agree to.
    """

    this_machine: str
    server_variable: str
    key_variable: str
    consent_variable: str

    def granted(
        self, address: str | None = None, api_key: str | None = None, consent: bool | None = None
    ) -> ServerAccess:
        """Return the access to a server, the one on this machine by default.

        Args:
            address: its URL; without one, the environment's.
            api_key: its key; without one, the environment's.
            consent: whether the user agreed to send images there; None when the environment may say so.

        Raises:
            PredictionError: the address is none, or not safe.
            ConsentError: the server is on another machine, and the user did not agree.
        """
        address = tidied(address or os.environ.get(self.server_variable) or self.this_machine)
        host = _checked_host(address, self.this_machine, self.key_variable)
        if consent is None:
            consent = tidied(os.environ.get(self.consent_variable, "")) == address
        if not _is_here(host) and not consent:
            raise ConsentError(
                f"{CONSENT_EXPECTED} to {address}, got none: the server's operator will be "
                f"able to see it. To agree: --send-image, consent=True, or {self.consent_variable}={address}"
            )
        return ServerAccess(address, api_key or os.environ.get(self.key_variable))


@dataclass(frozen=True)
class ServerAccess:
    """A server that may be asked. address: its URL. api_key: what it wants to know a caller by, if anything."""

    address: str
    api_key: str | None = field(default=None, repr=False)

    def shown(self, text: str) -> str:
        """Return what may be shown of `text`: its beginning, without the key."""
        return self.without_key(text[:_READ])[:_SHOWN]

    def told(self, what: str, error: BaseException) -> PredictionError:
        """Return the error that is shown: the server's words, shortened, and never the key that it was sent."""
        # Whoever shows an error shows its causes, too: they must not say it either.
        cause: BaseException | None = error
        for _ in range(_MOST_CAUSES):
            if cause is None:
                break
            if (text := self.without_key(str(cause)[:_READ])) != str(cause):
                cause.args = (text,)
            cause = cause.__cause__ or cause.__context__
        return PredictionError(self.shown(what))

    def without_key(self, text: str) -> str:
        """Return `text`, which a server may have a part in, without the key in any of the forms that it is sent in."""
        key = self.api_key
        if not key:
            return text
        raw = key.encode()
        forms = {
            key,
            urllib.parse.quote(key),
            urllib.parse.quote(key, safe=""),
            urllib.parse.quote_plus(key),
            json.dumps(key)[1:-1],
        }
        forms |= {repr(key)[1:-1], html.escape(key), raw.hex(), key[::-1]}
        forms.add(base64.b64encode(raw).decode().rstrip("="))
        # Base64 of a longer text has one of three forms, by where in it the key begins; the ends depend on the rest.
        for before in range(3):
            coded = base64.b64encode(bytes(before) + raw).decode().rstrip("=")
            forms |= {coded[(0, 2, 3)[before] : len(coded) - 1]} if len(coded) > 8 else set()
        for form in sorted(forms | {form.replace("+", "-").replace("/", "_") for form in forms}, key=len, reverse=True):
            text = re.sub(re.escape(form), "(the key)", text, flags=re.IGNORECASE)
        return text


def tidied(address: str) -> str:
    """Return a server's address in the form that consent is given for."""
    return address.strip().rstrip("/")


def check_address(address: str) -> None:
    """Check a server's address, as far as that is possible without asking it.

    Raises:
        PredictionError: it is none, or not safe.
    """
    _checked_host(tidied(address))


def _checked_host(address: str, example: str = _AN_ADDRESS, key_variable: str = "a field of its own") -> str:
    """Return the host of a server's address.

    Raises:
        PredictionError: it is none, or not safe.
    """
    try:
        parts = urllib.parse.urlsplit(address)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise PredictionError(f"expected a server's address such as {example}, got {address!r}: {error}") from error
    if parts.scheme not in ("http", "https") or not host or parts.path or parts.query or parts.fragment:
        raise PredictionError(f"expected a server's address such as {example}, got {address!r}")
    if parts.username is not None:
        raise PredictionError(
            f"expected a server's address without a user's name, got one; its key goes into {key_variable}"
        )
    if not _is_here(host) and parts.scheme != "https":
        port = urllib.parse.urlsplit(example).port
        raise PredictionError(
            f"expected https:// for a server on another machine, got {address!r}: anybody on the way could see the "
            f"image. Put the server behind a proxy with a certificate, or reach it through a tunnel: "
            f"ssh -N -L {port}:127.0.0.1:{port} {host}, and {example}"
        )
    proxies = urllib.request.getproxies()
    if _is_here(host) and proxies.keys() & {parts.scheme, "all"} and not urllib.request.proxy_bypass(host):
        raise PredictionError(
            f"expected to reach {address} on this machine directly, got a proxy for it that the image would pass: "
            f"set the environment variable NO_PROXY={host}"
        )
    return host


def _is_here(host: str) -> bool:
    """Tell whether a host is this machine, whatever a name server says."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
