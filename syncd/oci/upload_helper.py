"""Upload helper: a process that sends one chunk at a time for its parent, and completes it if the parent is killed.

`docker-registry`, and registries built on it, sign the address of an upload together with its number of bytes.
A request that breaks off leaves the upload with more bytes, for which no address exists: all that was sent is lost. So
a chunk under way must be completed, and the address in its response recorded, by a process that the kill spares.

An order is a line of JSON and the body; the response is a line of JSON. An empty line is the last order. Imports only
the standard library: its memory is to be 20 MB and the chunk.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import select
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final
from urllib.parse import urljoin, urlsplit

_ANSWER_BYTES_MAX: Final = 1 << 16
_POLL_S: Final = 0.05

Inherit = Callable[[str, str, str], None]
"""Write to a record (the first) that an upload at one address (the second) resumes at another; see `ChunkOrder`."""


@dataclass(frozen=True, slots=True)
class ChunkOrder:
    """One request, made once. `place` is its address as in `record`, `url` as requested."""

    method: str
    url: str
    headers: Sequence[tuple[str, str]]
    size_bytes: int
    timeout_s: float | None
    place: str
    record: str


def serve(inbox: BinaryIO, outbox: BinaryIO, inherit: Inherit) -> None:
    """Send chunks until the last order; if the parent is dead, record the upload's address for it.

    Returns when that is done. `outbox` is not buffered.
    """
    moved: tuple[str, str, str] | None = None
    with contextlib.closing(_UnderWayMark()) as mark, contextlib.closing(_Connection()) as line:
        while (text := inbox.readline()) != b"\n":
            order = _order(text)
            body = b"" if order is None else inbox.read(order.size_bytes)
            if order is None or len(body) < order.size_bytes:
                break
            mark.set(order.place)
            answer, location = line.send(order, body)
            moved = (order.record, order.place, location) if location else None
            if moved is None:
                mark.close()
            if not _is_answered(outbox, answer):
                break
        else:
            return
        if moved is not None:
            inherit(*moved)


def wait_while_under_way(place: str, wait: Callable[[float], bool], limit_s: float) -> None:
    """Wait for the helper of a process that was killed, if it still sends to this address.

    When it has finished, it has recorded where the upload resumes. On this machine only. Ends early when `wait` returns
    true, and after `limit_s`.
    """
    with socket.socket(socket.AF_UNIX) as seen:
        seen.setblocking(False)
        try:
            seen.connect(_mark_of(place))
        except OSError:
            return
        waited_s = 0.0
        while not select.select([seen], [], [], 0)[0] and waited_s < limit_s and not wait(_POLL_S):
            waited_s += _POLL_S


class _Connection:
    """The connection to a registry, kept from one order to the next."""

    def __init__(self) -> None:
        self._origin = ""
        self._line: http.client.HTTPConnection | None = None

    def send(self, order: ChunkOrder, body: bytes) -> tuple[Mapping[str, Any], str]:
        """The response, or the error of the connection; and where an upload resumes, or ""."""
        try:
            response = self._sent(order, body)
            found = response.read(_ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            is_untrusted = isinstance(error, ssl.SSLCertVerificationError)
            return {"error": f"{type(error).__name__} {error}".strip(), "is_untrusted": is_untrusted}, ""
        if response.will_close or not response.isclosed():
            self.close()
        location = response.headers.get("location", "") if response.status == http.HTTPStatus.ACCEPTED else ""
        headers = list(response.headers.items())
        answer = {"status": response.status, "headers": headers, "body": base64.b64encode(found).decode()}
        return answer, location and urljoin(order.url, location)

    def close(self) -> None:
        """Close the connection. Repeating it is success."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def _sent(self, order: ChunkOrder, body: bytes) -> http.client.HTTPResponse:
        parts = urlsplit(order.url)
        line = self._connected(parts.scheme, parts.netloc, order.timeout_s)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        line.putrequest(order.method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in order.headers:
            line.putheader(name, value)
        line.endheaders()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it refused early, and may answer why
            line.send(body)
        return line.getresponse()

    def _connected(self, scheme: str, place: str, timeout_s: float | None) -> http.client.HTTPConnection:
        if self._line is None or self._origin != f"{scheme}://{place}":
            self.close()
            self._origin = f"{scheme}://{place}"
            self._line = (
                http.client.HTTPSConnection(place, timeout=timeout_s, context=_trusted())
                if scheme == "https"
                else http.client.HTTPConnection(place, timeout=timeout_s)
            )
        return self._line


class _UnderWayMark:
    """The mark for `wait_while_under_way`: an abstract socket, which the kernel removes with the process."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def set(self, place: str) -> None:
        """Bind the name of an address. Another process may hold it: then one of the two sends in vain."""
        self.close()
        made = socket.socket(socket.AF_UNIX)
        try:
            made.bind(_mark_of(place))
            made.listen()
        except OSError:
            made.close()
        else:
            self._socket = made

    def close(self) -> None:
        """Release the name. Repeating it is success."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _mark_of(place: str) -> str:
    """The name of an abstract socket. It cannot be derived without the address."""
    return f"\0syncd-courier-{hashlib.sha256(place.encode()).hexdigest()[:40]}"


def _order(line: bytes) -> ChunkOrder | None:
    """None if the parent died before it, or in the middle of it."""
    if not line.endswith(b"\n"):
        return None
    fields: dict[str, Any] = json.loads(line)
    return ChunkOrder(**(fields | {"headers": [(str(name), str(value)) for name, value in fields["headers"]]}))


def _is_answered(outbox: BinaryIO, answer: Mapping[str, Any]) -> bool:
    """Send the response. False if the parent is dead."""
    rest = memoryview(json.dumps(answer).encode() + b"\n")
    try:
        while rest:
            rest = rest[outbox.write(rest) :]
    except BrokenPipeError:
        return False
    return True


def _trusted() -> ssl.SSLContext:
    """The certificates that `http.client` trusts."""
    if cafile := os.environ.get("SSL_CERT_FILE"):
        return ssl.create_default_context(cafile=cafile)
    if capath := os.environ.get("SSL_CERT_DIR"):
        return ssl.create_default_context(capath=capath)
    import certifi  # noqa: PLC0415 -- where nothing is encrypted it is not needed

    return ssl.create_default_context(cafile=certifi.where())
