"""A proxy in front of an OSS endpoint that throttles some requests with 503 SlowDown and loses some answers.

As a process (`python -m tests.support.throttling ENDPOINT THROTTLED LOST`) it prints its endpoint and lives until its
input ends.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Final
from urllib.parse import urlsplit

_SLOW_DOWN: Final = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.'
    b"</Message><RequestId>0</RequestId></Error>"
)
_NOT_HANDED_BACK: Final = {"content-length", "connection", "transfer-encoding", "date", "server"}


class ThrottlingProxy(ThreadingHTTPServer):
    """`throttled` and `lost` are shares of all requests, drawn by a seed. `counts` has "calls", "throttled", "lost"."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, endpoint: str, throttled: float, lost: float, seed: int = 1) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.to: Final = urlsplit(endpoint).netloc
        self.endpoint: Final = f"http://127.0.0.1:{self.server_address[1]}"
        self.counts: Final = Counter[str]()
        self._shares = (throttled, lost)
        self._random = random.Random(seed)
        self._lock = Lock()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed, or has given up, is part of the play."""

    def fate(self) -> str:
        """What becomes of the next request: "throttled", "lost" or "passed"."""
        with self._lock:
            self.counts["calls"] += 1
            drawn, (throttled, lost) = self._random.random(), self._shares
            fate = "throttled" if drawn < throttled else "lost" if drawn < throttled + lost else "passed"
            self.counts[fate] += 1
        return fate


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ThrottlingProxy
    wbufsize = 64 << 10

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._onward = http.client.HTTPConnection(self.server.to, timeout=60)

    def finish(self) -> None:
        self._onward.close()
        with suppress(OSError):
            super().finish()

    def log_message(self, *arguments: object) -> None:
        """Nothing is logged."""

    def forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        fate = self.server.fate()
        if fate == "throttled":
            self._answer(503, [("Content-Type", "application/xml")], b"" if self.command == "HEAD" else _SLOW_DOWN)
            return
        self._onward.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            self._onward.putheader(name, value)
        self._onward.endheaders(body)
        answer = self._onward.getresponse()
        data = answer.read()
        if fate == "lost":
            self.close_connection = True
            return
        size = answer.headers["content-length"] if self.command == "HEAD" else None
        kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in _NOT_HANDED_BACK]
        kept.append(("Date", answer.headers["date"]))
        self._answer(answer.status, kept, data, size)

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, size: str | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if status not in {204, 304}:
            self.send_header("Content-Length", size or str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    do_DELETE = do_GET = do_HEAD = do_POST = do_PUT = forward  # noqa: N815 - the names that the base class calls


@contextmanager
def throttling(endpoint: str, throttled: float, lost: float, seed: int = 1) -> Iterator[ThrottlingProxy]:
    """A proxy in this process, while it is entered."""
    proxy = ThrottlingProxy(endpoint, throttled, lost, seed)
    thread = Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


def main(endpoint: str, throttled: str, lost: str) -> None:
    with throttling(endpoint, float(throttled), float(lost)) as proxy:
        sys.stdout.write(json.dumps({"endpoint": proxy.endpoint}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
        sys.stdout.write(json.dumps(dict(proxy.counts)) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
