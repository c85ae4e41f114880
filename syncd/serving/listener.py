"""Listener of a custom container: answers probes and challenges, and hands every other request to the function."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .challenge import parse_challenge
from .errors import ServingError
from .function import ServedModels

Infer = Callable[[ServedModels, bytes], object]
"""A request's answer, as JSON values."""

PROBE_BODIES = (b"", b"{}")  # the default of `probe.body`


def serve(infer: Infer | None = None, models: ServedModels | None = None) -> None:
    """Listen on the platform's port (`FC_CUSTOM_LISTEN_PORT`, or 9000) for ever.

    It listens at once, and loads at the first request: the platform allows a server 120 seconds to listen. `infer`
    answers what is neither a probe nor a challenge; its errors are not caught, so the request fails.
    """
    root = os.environ.get("LOCALCLOUD_ROOT", "")
    host = "127.0.0.1" if root else "0.0.0.0"  # noqa: S104 -- a container's own network
    port = int(os.environ.get("FC_CUSTOM_LISTEN_PORT", "9000"))
    listener(host, port, infer, models or ServedModels(root=root)).serve_forever()


def listener(host: str, port: int, infer: Infer | None, models: ServedModels) -> ThreadingHTTPServer:
    """The server of `serve`, to be run by the caller; port 0 is any."""
    kinds: dict[str, Any] = {"models": models, "infer": staticmethod(infer) if infer else None}
    return ThreadingHTTPServer((host, port), type("BoundRequestHandler", (_RequestHandler,), kinds))


class _RequestHandler(BaseHTTPRequestHandler):
    models: ServedModels
    infer: Infer | None
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send(200, {"healthy": True})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            if self.infer is None or body.strip() in PROBE_BODIES or parse_challenge(body):
                self._send(200, self.models.answer(body))
            else:
                self._send(200, self.infer(self.models, body))
        except ServingError as error:
            self._send(500, {"errorMessage": f"{type(error).__name__}: {error}", "errorType": "ModelNotLoaded"})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- http.server's name
        """Log nothing: the platform's log has each call already."""

    def _send(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
