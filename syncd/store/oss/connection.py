"""One connection to an OSS endpoint: requests go out with whole bodies, heads and bodies of answers come in.

No HTTP beyond what OSS speaks: see `http`.
"""

from __future__ import annotations

import http.client
import select
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from typing import Final, overload

from syncd.store.base import Buffer
from syncd.watchdog import note_activity

# OpenSSL does not come back before all of it has gone; a plain socket takes what fits and comes back at once.
_RECORDS_BYTES: Final = 256 << 10
_LINE_BYTES_MAX: Final = 64 << 10
_HEADERS_MAX: Final = 100
_READ_BYTES: Final = 64 << 10  # larger reads go past this buffer
_JOINED_BYTES_MAX: Final = 64 << 10  # a body up to this leaves together with its head, as one packet or two
_STATUS_MIN: Final = 100
_STATUS_FINAL: Final = 200  # below: "go on", "I am at it"


class ConnectionBroken(OSError):
    """The other side does not speak HTTP, or broke off."""


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
    """One connection."""

    def __init__(self, origin: str, connection: http.client.HTTPConnection) -> None:
        self.origin: Final = origin
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
