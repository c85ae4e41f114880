"""Processes that carry chunks for this one: begun when they are needed, one for each chunk that is under way."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import subprocess
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

import httpx

from syncd.http.client import LOCATION
from syncd.oci.upload_helper import ChunkOrder

_PIPE_BYTES: Final = 1 << 20
_STOP_S: Final = 5.0  # one that has nothing to do ends at once


class UploadHelperPool:
    """`registry.http.Couriers`: a process for each request that is under way; see `oci.courier`.

    Safe from several threads. Whoever begins it closes it when there is nothing to send: each takes 20 MB and a chunk.
    """

    def __init__(self, command: Sequence[str], record: str) -> None:
        """Begins no process yet. `command` runs one; `record` is where it notes what this process no longer can."""
        self._command = tuple(command)
        self._record = record
        self._lock = threading.Lock()
        self._idle: list[_HelperProcess] = []
        weakref.finalize(self, _stop, self._idle)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See `registry.http.Couriers`."""
        try:
            process = self._taken()
        except OSError as error:
            raise httpx.ConnectError(f"no process can be begun here: {error}", request=request) from error
        with contextlib.ExitStack() as broken:
            broken.callback(process.end)
            told = process.carry(request, self._record)
            broken.pop_all()
        with self._lock:
            self._idle.append(process)
        if "error" in told:
            cause = ssl.SSLCertVerificationError(told["error"]) if told["is_untrusted"] else None
            raise httpx.ReadError(told["error"], request=request) from cause
        return httpx.Response(
            told["status"], headers=told["headers"], stream=_Body(base64.b64decode(told["body"])), request=request
        )

    def close(self) -> None:
        """Dismiss those that carry nothing. Repeating it is success; what is asked for later begins new ones."""
        with self._lock:
            _stop(self._idle)

    def _taken(self) -> _HelperProcess:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return _HelperProcess(self._command)


class _HelperProcess:
    """One courier. Its input and output are pipes that end with this process."""

    def __init__(self, command: tuple[str, ...]) -> None:
        # In a session of its own: what a terminal interrupts is this process, and that ends its couriers.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, pipesize=_PIPE_BYTES
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self._answers = self._process.stdin, self._process.stdout

    def carry(self, request: httpx.Request, record: str) -> dict[str, Any]:
        """What it says of a request. Raises httpx.ReadError: It is gone, and what became of the request is unknown."""
        assert isinstance(request.stream, httpx.SyncByteStream)
        try:
            self._orders.write(json.dumps(asdict(_order(request, record))).encode() + b"\n")
            for piece in request.stream:
                self._orders.write(piece)
            self._orders.flush()
        except BrokenPipeError as error:
            raise httpx.WriteError("the courier is gone", request=request) from error
        line = self._answers.readline()
        if not line.endswith(b"\n"):
            raise httpx.ReadError("the courier is gone", request=request)
        told: dict[str, Any] = json.loads(line)
        return told

    def end(self) -> None:
        """Have it go. One that is in the middle of something is killed."""
        with contextlib.suppress(BrokenPipeError):
            self._orders.write(b"\n")
            self._orders.flush()
        with contextlib.suppress(BrokenPipeError):
            self._orders.close()
        self._answers.close()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class _Body(httpx.SyncByteStream):
    def __init__(self, body: bytes) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        yield self._body


def _order(request: httpx.Request, record: str) -> ChunkOrder:
    return ChunkOrder(
        request.method,
        str(request.url),
        [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw],
        int(request.headers["content-length"]),
        request.extensions["timeout"]["read"],
        request.extensions[LOCATION],
        record,
    )


def _stop(idle: list[_HelperProcess]) -> None:
    while idle:
        idle.pop().end()
