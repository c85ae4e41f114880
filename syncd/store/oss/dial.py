"""Connecting to an OSS endpoint: addresses, TLS, a proxy. Requests on a connection are in `http`."""

from __future__ import annotations

import http.client
import ssl
from base64 import b64encode
from dataclasses import dataclass
from functools import cached_property
from typing import Final
from urllib.parse import unquote, urlsplit

import certifi

_CONNECT_S: Final = 10.0  # an address that does not answer by then is not there


class ConnectionBroken(OSError):
    """The other side does not speak HTTP, or broke off."""


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """For connections to one address; `proxy` is an address too, with a user and a password where it wants them."""

    silence_s: float  # without a byte, in either direction; not for the whole
    connections_max: int  # idle connections that are kept
    proxy: str | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where requests go; `netloc` is a host, and a port where it is not the scheme's own."""

    scheme: str
    netloc: str

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.netloc}"


class Dialer:
    """Makes connections to any address, all with the same settings. Safe from several threads."""

    def __init__(self, settings: PoolSettings) -> None:
        self.settings: Final = settings

    def connect(self, to: Address) -> http.client.HTTPConnection:
        """Python's own client connects, through a proxy where there is one; it is not asked for more."""
        settings = self.settings
        end, via = urlsplit(to.origin), urlsplit(settings.proxy or to.origin)
        connect_s = min(settings.silence_s, _CONNECT_S)
        if not via.hostname:
            raise ConnectionBroken(f"{settings.proxy or to.origin} is not a URL")
        connection: http.client.HTTPConnection
        if to.scheme == "https":
            connection = http.client.HTTPSConnection(via.hostname, via.port, timeout=connect_s, context=self._tls)
            if settings.proxy:
                connection.set_tunnel(str(end.hostname), end.port or 443, self.proxy_headers)
        else:
            connection = http.client.HTTPConnection(via.hostname, via.port, timeout=connect_s)
        try:
            connection.connect()
        except TimeoutError as error:
            raise TimeoutError(f"no connection within {connect_s:g} s") from error
        connection.sock.settimeout(settings.silence_s)
        return connection

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=certifi.where())

    @cached_property
    def proxy_headers(self) -> dict[str, str]:
        via = urlsplit(self.settings.proxy or "")
        if via.username is None:
            return {}
        pair = f"{unquote(via.username)}:{unquote(via.password or '')}"
        return {"Proxy-Authorization": "Basic " + b64encode(pair.encode()).decode()}
