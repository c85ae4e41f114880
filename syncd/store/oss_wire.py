"""HTTP/1.1 to one endpoint, as little of it as OSS needs: requests with whole bodies, answers as streams.

A request through a general client costs more than half a millisecond of Python; through this, about a tenth of one.
So there are no redirects, cookies, retries or encodings, and nothing of the environment. Silence is noticed, and
a thread can leave a large body in its middle: see `pieces`.
"""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import sys
import weakref
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from threading import Lock
from typing import Final, overload
from urllib.parse import SplitResult, unquote, urlsplit

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from syncd.store.pieces import send_in_pieces

_CONNECT_S: Final = 10.0  # an address that does not answer by then is not there
_LINE_BYTES_MAX: Final = 64 << 10
_HEADERS_MAX: Final = 100
_READ_BYTES: Final = 64 << 10  # larger reads go past this buffer
_JOINED_BYTES_MAX: Final = 64 << 10  # a body up to this leaves together with its head, as one packet or two
_LOADED_BYTES_MAX: Final = 4 << 20  # a page of a thousand names is one of these
_STATUS_MIN: Final = 100
_STATUS_FINAL: Final = 200  # below: "go on", "I am at it"
_WITHOUT_BODY: Final = frozenset({204, 304})


class WireError(OSError):
    """The other side does not speak HTTP, or broke off."""


class Headers(dict[str, str]):
    """By name in any case."""

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())

    @overload  # type: ignore[override]  # names and values are text
    def get(self, name: str, default: str) -> str: ...

    @overload
    def get(self, name: str, default: None = None) -> str | None: ...

    def get(self, name: str, default: str | None = None) -> str | None:
        return super().get(name.lower(), default)


@dataclass(frozen=True, slots=True)
class WireSettings:
    """For connections to one address; `proxy` is an address too, with a user and a password where it wants them."""

    silence_s: float  # without a byte, in either direction; not for the whole
    connections_max: int  # that are kept while nobody uses them
    proxy: str | None = None


class Wire:
    """Safe from several threads: each request has a connection for itself until its answer is read."""

    def __init__(self, settings: WireSettings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._idle: dict[str, list[_Line]] = {}
        weakref.finalize(self, _close_all, self._idle)

    def ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | bytearray | memoryview) -> Answer:
        """Send a request, and read the head of its answer. The body is sent from where it is, at once.

        Raises:
            OSError: No connection, or it broke. Whether the request was carried out is not known.
        """
        to = urlsplit(url)
        head = _head(method, self._target(to, url), {"Host": to.netloc, **self._hop(to), **headers}, len(body))
        line = self._line(to)
        try:
            line.send(head, body)
            return Answer(self, line, line.head(), has_body=method != "HEAD")
        except BaseException:
            line.close()
            raise

    def give_back(self, line: _Line) -> None:
        """Called by an answer that was read to its end."""
        with self._lock:
            idle = self._idle.setdefault(line.origin, [])
            if len(idle) < self._settings.connections_max:
                idle.append(line)
                return
        line.close()

    def _line(self, to: SplitResult) -> _Line:
        origin = f"{to.scheme}://{to.netloc}"
        while True:
            with self._lock:
                idle = self._idle.get(origin)
                line = idle.pop() if idle else None
            if line is None:
                return _Line(origin, self._connected(to))
            if line.is_quiet():
                return line
            line.close()

    def _connected(self, to: SplitResult) -> http.client.HTTPConnection:
        """Python's own client connects, through a proxy where there is one; it is not asked for more."""
        settings = self._settings
        via = urlsplit(settings.proxy) if settings.proxy else to
        connect_s = min(settings.silence_s, _CONNECT_S)
        if not via.hostname:
            raise WireError(f"{settings.proxy or to.geturl()} is no address")
        connection: http.client.HTTPConnection
        if to.scheme == "https":
            connection = http.client.HTTPSConnection(via.hostname, via.port, timeout=connect_s, context=self._tls)
            if via is not to:
                connection.set_tunnel(str(to.hostname), to.port or 443, self._proxy_headers)
        else:
            connection = http.client.HTTPConnection(via.hostname, via.port, timeout=connect_s)
        try:
            connection.connect()
        except TimeoutError as error:
            raise TimeoutError(f"no connection within {connect_s:g} s") from error
        connection.sock.settimeout(settings.silence_s)
        return connection

    def _hop(self, to: SplitResult) -> dict[str, str]:
        return self._proxy_headers if to.scheme == "http" else {}

    def _target(self, to: SplitResult, url: str) -> str:
        if self._settings.proxy and to.scheme == "http":
            return url
        return f"{to.path or '/'}?{to.query}" if to.query else to.path or "/"

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=DEFAULT_CA_BUNDLE_PATH)

    @cached_property
    def _proxy_headers(self) -> dict[str, str]:
        via = urlsplit(self._settings.proxy or "")
        if via.username is None:
            return {}
        pair = f"{unquote(via.username)}:{unquote(via.password or '')}"
        return {"Proxy-Authorization": "Basic " + b64encode(pair.encode()).decode()}


class Answer:
    """An answer whose body is read once. One thread at a time.

    Its connection serves others as soon as the body has been read to its end.
    """

    def __init__(self, wire: Wire, line: _Line, head: _Head, *, has_body: bool) -> None:
        self.status: Final = head.status
        self.headers: Final = head.headers
        self.request_id: Final = head.headers.get("x-oss-request-id", "")
        self._wire = wire
        self._line: _Line | None = line
        self._is_chunked = "chunked" in head.headers.get("transfer-encoding", "").lower()
        size = head.headers.get("content-length", "")
        if not has_body or self.status in _WITHOUT_BODY:
            size, self._is_chunked = "0", False
        self._is_open_ended = not size and not self._is_chunked
        self._keeps_line = head.keeps_line and not self._is_open_ended
        # Of the body, or of the chunk that is being read.
        self._left_bytes = 0 if self._is_chunked else sys.maxsize if self._is_open_ended else _number(size, 10)
        self._loaded = memoryview(b"")
        if not self._left_bytes and not self._is_chunked:
            self._end()

    @property
    def response(self) -> Answer:
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

    def _received(self, line: _Line, view: memoryview) -> int:
        if self._is_chunked and not self._left_bytes:
            self._left_bytes = line.next_chunk()
            if not self._left_bytes:
                self._end()
                return 0
        got = line.readinto(view[: self._left_bytes])
        if not got and not self._is_open_ended:
            raise WireError(f"the answer breaks off {self._left_bytes} bytes before its end")
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


@dataclass(frozen=True, slots=True)
class _Head:
    status: int
    headers: Headers
    keeps_line: bool


class _Line:
    """One connection."""

    def __init__(self, origin: str, connection: http.client.HTTPConnection) -> None:
        self.origin: Final = origin
        self._file: Final[BufferedReader] = BufferedReader(socket.SocketIO(connection.sock, "r"), _READ_BYTES)
        self._sock = connection.sock
        self._broken: OSError | None = None
        self._poll = select.poll()
        self._poll.register(self._sock, select.POLLIN)

    def is_quiet(self) -> bool:
        """Whether it is open, and nothing came that nobody asked for."""
        return not self._poll.poll(0)

    def send(self, head: bytes, body: bytes | bytearray | memoryview) -> None:
        """Where the other side answers before it has read everything and hangs up, its answer is what counts."""
        try:
            if len(body) <= _JOINED_BYTES_MAX:
                self._sock.sendall(head + body)
            else:
                self._sock.sendall(head)
                send_in_pieces(self._sock, body)
        except (BrokenPipeError, ConnectionResetError) as error:
            self._broken = error
        except TimeoutError as error:
            raise self._silent() from error

    def head(self) -> _Head:
        """The head of the answer; interim ones are passed over."""
        while True:
            try:
                first = self._text()
            except OSError as error:
                raise self._broken or error from error
            version, _, rest = first.partition(" ")
            status = _number(rest[:3], 10)
            if not version.startswith("HTTP/1.") or status < _STATUS_MIN:
                raise WireError(f"this is no answer: {first[:80]!r}")
            headers = self._headers()
            if status >= _STATUS_FINAL:
                keeps = version != "HTTP/1.0" and "close" not in headers.get("connection", "").lower()
                return _Head(status, headers, keeps and self._broken is None)

    def next_chunk(self) -> int:
        """The size of the chunk that follows; with 0 the body has ended, and what trails it has been read."""
        size_bytes = _number(self._text().partition(";")[0], 16)
        if not size_bytes:
            self._headers()
        return size_bytes

    def end_of_chunk(self) -> None:
        if self._text():
            raise WireError("a chunk is longer than announced")

    def readinto(self, view: memoryview) -> int:
        """So much of the body as has come, or 0 at the end."""
        try:
            return self._file.readinto(view)
        except TimeoutError as error:
            raise self._silent() from error

    def close(self) -> None:
        self._file.close()
        self._sock.close()

    def _headers(self) -> Headers:
        headers = Headers()
        for _ in range(_HEADERS_MAX):
            text = self._text()
            if not text:
                return headers
            name, _, value = text.partition(":")
            name, value = name.strip().lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        raise WireError(f"the answer has more than {_HEADERS_MAX} headers")

    def _silent(self) -> TimeoutError:
        return TimeoutError(f"no byte for {self._sock.gettimeout():g} s")

    def _text(self) -> str:
        try:
            line = self._file.readline(_LINE_BYTES_MAX)
        except TimeoutError as error:
            raise self._silent() from error
        if not line.endswith(b"\n"):
            raise WireError(
                "the answer breaks off in its head" if line else "the connection was closed, no answer came"
            )
        return line.rstrip(b"\r\n").decode("latin-1")


def _head(method: str, target: str, headers: Mapping[str, str], size_bytes: int) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Accept-Encoding: identity"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if size_bytes or method not in {"GET", "HEAD"}:
        lines.append(f"Content-Length: {size_bytes}")
    if any("\r" in line or "\n" in line for line in lines):
        raise WireError(f"{method} {target!r}: a line break in the head of a request")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _number(text: str, base: int) -> int:
    try:
        number = int(text.strip(), base)
    except ValueError:
        number = -1
    if number < 0:
        raise WireError(f"{text[:40]!r} is no number")
    return number


def _close_all(idle: dict[str, list[_Line]]) -> None:
    for lines in idle.values():
        for line in lines:
            line.close()
