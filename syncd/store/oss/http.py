"""HTTP/1.1 to one endpoint, as much of it as OSS needs: requests with whole bodies, responses as streams.

A request through a general client costs more than half a millisecond of Python; through this, about a tenth of one.
So there are no redirects, cookies, retries or encodings, and nothing of the environment. Silence is noticed, and
a thread can leave a large body in its middle: see `send_in_chunks`.
"""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import sys
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from threading import Lock
from typing import Final, overload
from urllib.parse import urlsplit

from syncd.store.base import Buffer
from syncd.store.oss.dial import Address, ConnectionBroken, Dialer, PoolSettings
from syncd.watchdog import note_activity

# OpenSSL does not come back before all of it has gone; a plain socket takes what fits and comes back at once.
_RECORDS_BYTES: Final = 256 << 10
_LINE_BYTES_MAX: Final = 64 << 10
_HEADERS_MAX: Final = 100
_READ_BYTES: Final = 64 << 10  # larger reads go past this buffer
_JOINED_BYTES_MAX: Final = 64 << 10  # a body up to this leaves together with its head, as one packet or two
_STATUS_MIN: Final = 100
_STATUS_FINAL: Final = 200  # below: "go on", "I am at it"
_LOADED_BYTES_MAX: Final = 4 << 20  # a page of a thousand names is one of these
_WITHOUT_BODY: Final = frozenset({204, 304})


class ResponseHeaders(dict[str, str]):
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
class ResponseHead:
    status: int
    headers: ResponseHeaders
    keeps_line: bool


class OssConnection:
    """One connection: requests go out with whole bodies, heads and bodies of answers come in."""

    def __init__(self, address: Address, connection: http.client.HTTPConnection) -> None:
        self.address: Final = address
        self._file: Final[BufferedReader] = BufferedReader(socket.SocketIO(connection.sock, "r"), _READ_BYTES)
        self._sock = connection.sock
        self._broken: OSError | None = None
        self._poll = select.poll()
        self._poll.register(self._sock, select.POLLIN)

    def is_quiet(self) -> bool:
        """Whether it is open, and nothing came that was not requested."""
        return not self._poll.poll(0)

    def send(self, head: bytes, body: bytes | bytearray | memoryview) -> None:
        """Where the other side answers before it has read everything and hangs up, its answer is what counts."""
        try:
            if len(body) <= _JOINED_BYTES_MAX:
                self._sock.sendall(head + body)
            else:
                self._sock.sendall(head)
                send_in_chunks(self._sock, body)
        except (BrokenPipeError, ConnectionResetError) as error:
            self._broken = error
        except TimeoutError as error:
            raise self._silent() from error

    def head(self) -> ResponseHead:
        """The head of the answer; interim ones are passed over."""
        while True:
            try:
                first = self._text()
            except OSError as error:
                raise self._broken or error from error
            version, _, rest = first.partition(" ")
            status = number_in(rest[:3], 10)
            if not version.startswith("HTTP/1.") or status < _STATUS_MIN:
                raise ConnectionBroken(f"expected an HTTP response, got {first[:80]!r}")
            headers = self._headers()
            if status >= _STATUS_FINAL:
                keeps = version != "HTTP/1.0" and "close" not in headers.get("connection", "").lower()
                return ResponseHead(status, headers, keeps and self._broken is None)

    def next_chunk(self) -> int:
        """The size of the chunk that follows; with 0 the body has ended, and what trails it has been read."""
        size_bytes = number_in(self._text().partition(";")[0], 16)
        if not size_bytes:
            self._headers()
        return size_bytes

    def end_of_chunk(self) -> None:
        if self._text():
            raise ConnectionBroken("a chunk is longer than announced")

    def readinto(self, view: memoryview) -> int:
        """So much of the body as has come, or 0 at the end."""
        try:
            return self._file.readinto(view)
        except TimeoutError as error:
            raise self._silent() from error

    def close(self) -> None:
        self._file.close()
        self._sock.close()

    def _headers(self) -> ResponseHeaders:
        headers = ResponseHeaders()
        for _ in range(_HEADERS_MAX):
            text = self._text()
            if not text:
                return headers
            name, _, value = text.partition(":")
            name, value = name.strip().lower(), value.strip()
            dict.__setitem__(headers, name, f"{headers[name]}, {value}" if dict.__contains__(headers, name) else value)
        raise ConnectionBroken(f"the answer has more than {_HEADERS_MAX} headers")

    def _silent(self) -> TimeoutError:
        return TimeoutError(f"no byte for {self._sock.gettimeout():g} s")

    def _text(self) -> str:
        try:
            line = self._file.readline(_LINE_BYTES_MAX)
        except TimeoutError as error:
            raise self._silent() from error
        if not line.endswith(b"\n"):
            raise ConnectionBroken(
                "the answer breaks off in its head" if line else "the connection was closed, no answer came"
            )
        return line.rstrip(b"\r\n").decode("latin-1")


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
        self._dialer = Dialer(settings)
        self._connections_max = settings.connections_max
        self._proxies_plain = bool(settings.proxy)  # a request without TLS is one to the proxy
        self._lock = Lock()
        self._idle: dict[Address, list[OssConnection]] = {}
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
        if self._proxies_plain and to.scheme == "http":
            target, headers = f"{to.origin}{target}", {**self._dialer.proxy_headers, **headers}
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
            idle = self._idle.setdefault(line.address, [])
            if len(idle) < self._connections_max:
                idle.append(line)
                return
        line.close()

    def _line(self, to: Address) -> OssConnection:
        while True:
            with self._lock:
                idle = self._idle.get(to)
                line = idle.pop() if idle else None
            if line is None:
                return OssConnection(to, self._dialer.connect(to))
            if line.is_quiet():
                return line
            line.close()


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


def head_of(method: str, target: str, host: str, headers: Mapping[str, str], size_bytes: int) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Accept-Encoding: identity"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if size_bytes or method not in {"GET", "HEAD"}:
        lines.append(f"Content-Length: {size_bytes}")
    head = "\r\n".join([*lines, "", ""])
    if head.count("\n") != len(lines) + 1 or head.count("\r") != len(lines) + 1:
        raise ConnectionBroken(f"{method} {target!r}: a line break in the head of a request")
    return head.encode("latin-1")


def number_in(text: str, base: int) -> int:
    try:
        number = int(text.strip(), base)
    except ValueError:
        number = -1
    if number < 0:
        raise ConnectionBroken(f"expected a number, got {text[:40]!r}")
    return number


def send_in_chunks(connection: socket.socket, body: Buffer) -> None:
    """Send all of a body from where it is, piece by piece.

    The standard library gives a body as a whole the time that a socket may be silent, so a part to a slow store would
    never arrive. Here each piece has that time, and the thread can be stopped between two of them.

    Raises:
        TimeoutError: The socket's own timeout has passed, and nothing more was taken.
        Cancelled: Nobody waits for this thread any more. The connection is of no more use.
    """
    rest = memoryview(body)
    most = _RECORDS_BYTES if isinstance(connection, ssl.SSLSocket) else len(rest)
    while rest:
        rest = rest[connection.send(rest[:most]) :]
        note_activity()


def _close_all(idle: dict[Address, list[OssConnection]]) -> None:
    for lines in idle.values():
        for line in lines:
            line.close()
