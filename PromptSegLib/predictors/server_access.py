"""Which server an image may be sent to: its address, its key, and that the user agreed.

This machine's own servers are reached by plain HTTP. Any other one has to be named, must have a certificate (https),
and gets nothing before the user agreed to send images to just that address.
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

SERVER_VARIABLE = "PROMPTSEG_NNINTERACTIVE_SERVER"
CONSENT_VARIABLE = "PROMPTSEG_NNINTERACTIVE_CONSENT"
KEY_VARIABLE = "NN_INTERACTIVE_API_KEY"
"""As the server itself calls it."""
THIS_MACHINE = "http://127.0.0.1:1527"


@dataclass(frozen=True)
class ServerAccess:
    """A server that may be asked. address: its URL. api_key: what it wants to know a caller by, if anything."""

    address: str
    api_key: str | None = field(default=None, repr=False)

    @classmethod
    def granted(
        cls, address: str | None = None, api_key: str | None = None, consent: bool | None = None
    ) -> ServerAccess:
        """Return the access to a server, the one on this machine by default.

        Without an argument PROMPTSEG_NNINTERACTIVE_SERVER names it, and NN_INTERACTIVE_API_KEY its key. consent:
        whether the user agreed to send images there; without it, PROMPTSEG_NNINTERACTIVE_CONSENT must be that address.

        Raises PredictionError for an address that is none or not safe, ConsentError without the user's consent.
        """
        address = (address or os.environ.get(SERVER_VARIABLE) or THIS_MACHINE).strip().rstrip("/")
        host = _checked_host(address)
        if consent is None:
            consent = os.environ.get(CONSENT_VARIABLE, "").strip().rstrip("/") == address
        if not _is_here(host) and not consent:
            raise ConsentError(
                f"expected consent before the image is sent to {address}, got none: the server's operator will be "
                f"able to see it. To agree: --send-image, consent=True, or {CONSENT_VARIABLE}={address}"
            )
        return cls(address, api_key or os.environ.get(KEY_VARIABLE))

    def without_key(self, text: str) -> str:
        """Return `text`, which a server may have a part in, without the key in any of the forms that it is sent in."""
        key = self.api_key
        if not key:
            return text
        raw = key.encode()
        forms = {key, urllib.parse.quote(key, safe=""), urllib.parse.quote_plus(key), json.dumps(key)[1:-1]}
        forms |= {repr(key)[1:-1], html.escape(key), raw.hex(), key[::-1]}
        # Base64 of a longer text has one of three forms, by where in it the key begins; the ends depend on the rest.
        for before in range(3):
            coded = base64.b64encode(bytes(before) + raw).decode().rstrip("=")
            forms |= {coded[(0, 2, 3)[before] : len(coded) - 1]} if len(coded) > 8 else set()
        for form in sorted(forms | {form.replace("+", "-").replace("/", "_") for form in forms}, key=len, reverse=True):
            text = re.sub(re.escape(form), "(the key)", text, flags=re.IGNORECASE)
        return text


def choose_server(address: str, api_key: str = "") -> None:
    """Let this process, and those it starts, ask the server at `address`; "" for the one on this machine.

    Raises PredictionError for an address that is none or not safe; all is then as before.
    """
    address = address.strip().rstrip("/")
    if address:
        _checked_host(address)
    for variable, value in ((SERVER_VARIABLE, address), (KEY_VARIABLE, api_key.strip())):
        if value:
            os.environ[variable] = value
        else:
            os.environ.pop(variable, None)


def agree_to_send() -> None:
    """Note that the user agreed to send images to the server that is chosen, until this process ends."""
    os.environ[CONSENT_VARIABLE] = os.environ.get(SERVER_VARIABLE, THIS_MACHINE)


def _checked_host(address: str) -> str:
    """Return the host of a server's address. Raises PredictionError."""
    try:
        parts = urllib.parse.urlsplit(address)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise PredictionError(
            f"expected a server's address such as {THIS_MACHINE}, got {address!r}: {error}"
        ) from error
    if parts.scheme not in ("http", "https") or not host or parts.path or parts.query or parts.fragment:
        raise PredictionError(f"expected a server's address such as {THIS_MACHINE}, got {address!r}")
    if parts.username is not None:
        raise PredictionError(
            f"expected a server's address without a user's name, got one; its key goes into {KEY_VARIABLE}"
        )
    if not _is_here(host) and parts.scheme != "https":
        raise PredictionError(
            f"expected https:// for a server on another machine, got {address!r}: anybody on the way could see the "
            f"image. Put the server behind a proxy with a certificate, or reach it through a tunnel: "
            f"ssh -N -L 1527:127.0.0.1:1527 {host}, and {THIS_MACHINE}"
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
