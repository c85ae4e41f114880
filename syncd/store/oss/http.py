"""HTTP/1.1 to one endpoint, as much of it as OSS needs: requests with whole bodies, responses as streams.

A request through a general client costs more than half a millisecond of Python; through this, about a tenth of one.
So there are no redirects, cookies, retries or encodings, and nothing of the environment. Silence is noticed, and
a thread can leave a large body in its middle: see `send_in_chunks`.
"""

from __future__ import annotations

import http.client
import ssl
import sys
import weakref
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Final
from urllib.parse import unquote, urlsplit

import certifi

from syncd.store.oss.connection import ConnectionBroken, OssConnection, ResponseHead, head_of, number_in

_CONNECT_S: Final = 10.0  # an address that does not answer by then is not there
_READ_BYTES: Final = 64 << 10
_LOADED_BYTES_MAX: Final = 4 << 20  # a page of a thousand names is one of these
_WITHOUT_BODY: Final = frozenset({204, 304})


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


@dataclass(frozen=True, slots=True)
class PendingResponse:
    """A request that was sent, and whose answer is still to come."""

    method: str
    line: OssConnection

    def close(self) -> None:
        """Nobody waits for the answer. Whether the request was carried out is not known."""
        self.line.close()


class HttpPool:
    """Safe from several threads: each request has a connection for itself until its answer is read."""

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._idle: dict[str, list[OssConnection]] = {}
        weakref.finalize(self, _close_all, self._idle)

    def ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | bytearray | memoryview) -> HttpBody:
        """Send a request, and read the head of its answer. The body is sent from where it is, at once.

        Raises:
            OSError: No connection, or it broke. Whether the request was carried out is not known.
        """
        if "\r" in url or "\n" in url:
            raise ConnectionBroken(f"{method} {url!r}: a line break in the URL")
        to = urlsplit(url)
        target = f"{to.path or '/'}?{to.query}" if to.query else to.path or "/"
        return self.answer(self.send(method, Address(to.scheme, to.netloc), target, headers, body))

    def send(
        self,
        method: str,
        to: Address,
        target: str,
        headers: Mapping[str, str],
        body: bytes | bytearray | memoryview,
    ) -> PendingResponse:
        """Send a request; `answer` reads what comes. `target` is the path and the query. Raises: as `ask`."""
        if self._settings.proxy and to.scheme == "http":
            target, headers = f"{to.origin}{target}", {**self._proxy_headers, **headers}
        head = head_of(method, target, to.netloc, headers, len(body))
        line = self._line(to)
        try:
            line.send(head, body)
        except BaseException:
            line.close()
            raise
        return PendingResponse(method, line)

    def answer(self, asked: PendingResponse) -> HttpBody:
        """The head of the answer to what was sent. Once for each. Raises: as `ask`."""
        try:
            return HttpBody(self, asked.line, asked.line.head(), has_body=asked.method != "HEAD")
        except BaseException:
            asked.close()
            raise

    def give_back(self, line: OssConnection) -> None:
        """Called by an answer that was read to its end."""
        with self._lock:
            idle = self._idle.setdefault(line.origin, [])
            if len(idle) < self._settings.connections_max:
                idle.append(line)
                return
        line.close()

    def _line(self, to: Address) -> OssConnection:
        origin = to.origin
        while True:
            with self._lock:
                idle = self._idle.get(origin)
                line = idle.pop() if idle else None
            if line is None:
                return OssConnection(origin, self._connected(to))
            if line.is_quiet():
                return line
            line.close()

    def _connected(self, to: Address) -> http.client.HTTPConnection:
        """Python's own client connects, through a proxy where there is one; it is not asked for more."""
        settings = self._settings
        end, via = urlsplit(to.origin), urlsplit(settings.proxy or to.origin)
        connect_s = min(settings.silence_s, _CONNECT_S)
        if not via.hostname:
            raise ConnectionBroken(f"{settings.proxy or to.origin} is not a URL")
        connection: http.client.HTTPConnection
        if to.scheme == "https":
            connection = http.client.HTTPSConnection(via.hostname, via.port, timeout=connect_s, context=self._tls)
            if settings.proxy:
                connection.set_tunnel(str(end.hostname), end.port or 443, self._proxy_headers)
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
    def _proxy_headers(self) -> dict[str, str]:
        via = urlsplit(self._settings.proxy or "")
        if via.username is None:
            return {}
        pair = f"{unquote(via.username)}:{unquote(via.password or '')}"
        return {"Proxy-Authorization": "Basic " + b64encode(pair.encode()).decode()}


class HttpBody:
    """An answer whose body is read once. One thread at a time.

    Its connection serves others as soon as the body has been read to its end.
    """

    def __init__(self, wire: HttpPool, line: OssConnection, head: ResponseHead, *, has_body: bool) -> None:
        self.status: Final = head.status
        self.headers: Final = head.headers
        self.request_id: Final = head.headers.get("x-oss-request-id", "")
        self._wire = wire
        self._line: OssConnection | None = line
        self._is_chunked = "chunked" in head.headers.get("transfer-encoding", "").lower()
        size = head.headers.get("content-length", "")
        if not has_body or self.status in _WITHOUT_BODY:
            size, self._is_chunked = "0", False
        self._is_open_ended = not size and not self._is_chunked
        self._keeps_line = head.keeps_line and not self._is_open_ended
        # Of the body, or of the chunk that is being read.
        self._left_bytes = 0 if self._is_chunked else sys.maxsize if self._is_open_ended else number_in(size, 10)
        self._loaded = memoryview(b"")
        if not self._left_bytes and not self._is_chunked:
            self._end()

    @property
    def response(self) -> HttpBody:
        """Itself: oss2 has an answer in its answer."""
        return self

    def load(self) -> None:
        """Read the body now, so that the connection is free; it is kept for `read`, but no more than 4 MiB of it."""
        if self._line is not None:
            self._loaded = memoryview(self.read(_LOADED_BYTES_MAX))
            self.close()

    def readinto(self, view: memoryview) -> int:
        """Fill `view` from its beginning on, as far as there is more. 0 at the end.

        Raises:
            OSError: It broke off before the end.
        """
        if self._loaded:
            got = min(len(view), len(self._loaded))
            view[:got], self._loaded = self._loaded[:got], self._loaded[got:]
            return got
        if self._line is None or not view:
            return 0
        try:
            return self._received(self._line, view)
        except BaseException:
            self.close()
            raise

    def read(self, size_bytes: int | None = None) -> bytes:
        """All that is left, or no more of it than so much."""
        found = bytearray()
        most = sys.maxsize if size_bytes is None else size_bytes
        piece = memoryview(bytearray(min(most, _READ_BYTES)))
        while count := self.readinto(piece[: most - len(found)]):
            found += piece[:count]
        return bytes(found)

    def close(self) -> None:
        """Let go. Repeating it is success."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def _received(self, line: OssConnection, view: memoryview) -> int:
        if self._is_chunked and not self._left_bytes:
            self._left_bytes = line.next_chunk()
            if not self._left_bytes:
                self._end()
                return 0
        got = line.readinto(view[: self._left_bytes])
        if not got and not self._is_open_ended:
            raise ConnectionBroken(f"the answer breaks off {self._left_bytes} bytes before its end")
        self._left_bytes -= got
        if self._is_chunked:
            if not self._left_bytes:
                line.end_of_chunk()
        elif not self._left_bytes or not got:
            self._end()
        return got

    def _end(self) -> None:
        line, self._line = self._line, None
        if line is not None and self._keeps_line:
            self._wire.give_back(line)
        elif line is not None:
            line.close()


def _close_all(idle: dict[str, list[OssConnection]]) -> None:
    for lines in idle.values():
        for line in lines:
            line.close()
