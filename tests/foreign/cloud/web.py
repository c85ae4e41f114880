"""HTTP as the two services need it: requests with any body, answers with a length, headers by exact case."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

BODY_BYTES_MAX = 256 * 1024 * 1024


@dataclass(frozen=True)
class Request:
    """A request as it came. Header names are lower case; `path` is decoded, of the query blank values are kept."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str, default: str = "") -> str:
        return self.headers.get(name, default)


@dataclass(frozen=True)
class Response:
    """An answer. `length` is sent instead of the body's own where there is no body, as for HEAD."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None


def http_date(seconds: float) -> str:
    """A time as HTTP writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")


def iso_date(seconds: float, *, milliseconds: bool) -> str:
    """A time as XML and JSON of the services write it."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z" if milliseconds else "%Y-%m-%dT%H:%M:%SZ")


def request_id() -> str:
    return secrets.token_hex(12).upper()


class Handler(BaseHTTPRequestHandler):
    """Hands each request to `answer`, whatever its method."""

    protocol_version = "HTTP/1.1"
    answer: ClassVar[Callable[[Request], Response]]
    timeout = 120

    def _handle(self) -> None:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, unquote(url.path), query, headers, self._body())
        self._send(type(self).answer(request))

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(iter(self._chunk, b""))
        length = int(self.headers.get("Content-Length") or 0)
        if length > BODY_BYTES_MAX:
            raise ConnectionAbortedError("the body is too large to be played")
        body = self.rfile.read(length)
        if len(body) != length:
            raise ConnectionAbortedError("the body was cut")
        return body

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().split(b";")[0], 16)
        body = self.rfile.read(size)
        self.rfile.readline()
        return body

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value.encode().decode("latin-1"))
        if response.status not in {204, 304}:
            self.send_header("Content-Length", str(len(response.body) if response.length is None else response.length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_OPTIONS = _handle  # noqa: N815 - the library chooses by these names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing: a request is no event."""


class Server(ThreadingHTTPServer):
    """A server that drops what was cut without a word, and does not wait for connections that stay open."""

    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that broke is the client's affair."""


def serve(port: int, answer: Callable[[Request], Response]) -> Server:
    """Listen on loopback and answer from threads. Port 0: any."""
    handler = type("Handler", (Handler,), {"answer": staticmethod(answer)})
    server = Server(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server
