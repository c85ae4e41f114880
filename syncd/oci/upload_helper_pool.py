"""Pool of upload helper processes: started on demand, one for each chunk under way."""

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
_STOP_S: Final = 5.0  # an idle one ends at once


class UploadHelperPool:
    """`http.client.UploadHelpers`: a process for each request under way; see `oci.upload_helper`.

    Safe from several threads. The owner closes it when there is nothing to send: each process takes 20 MB and a chunk.
    """

    def __init__(self, command: Sequence[str], record: str) -> None:
        """Starts no process yet. `command` starts one; `record` is where it records what this process no longer can."""
        self._command = tuple(command)
        self._record = record
        self._lock = threading.Lock()
        self._idle: list[_HelperProcess] = []
        weakref.finalize(self, _stop, self._idle)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See `http.client.UploadHelpers`."""
        try:
            process = self._taken()
        except OSError as error:
            raise httpx.ConnectError(f"cannot start an upload helper: {error}", request=request) from error
        with contextlib.ExitStack() as broken:
            broken.callback(process.end)
            answer = process.send(request, self._record)
            broken.pop_all()
        with self._lock:
            self._idle.append(process)
        if "error" in answer:
            cause = ssl.SSLCertVerificationError(answer["error"]) if answer["is_untrusted"] else None
            raise httpx.ReadError(answer["error"], request=request) from cause
        return httpx.Response(
            answer["status"], headers=answer["headers"], stream=_Body(base64.b64decode(answer["body"])), request=request
        )

    def close(self) -> None:
        """Stop idle helpers. Repeating it is success; a later request starts new ones."""
        with self._lock:
            _stop(self._idle)

    def _taken(self) -> _HelperProcess:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return _HelperProcess(self._command)


class _HelperProcess:
    """One upload helper. Its input and output are pipes that end with this process."""

    def __init__(self, command: tuple[str, ...]) -> None:
        # In a session of its own: a terminal interrupts only this process, which then ends its helpers.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, pipesize=_PIPE_BYTES
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self._answers = self._process.stdin, self._process.stdout

    def send(self, request: httpx.Request, record: str) -> dict[str, Any]:
        """The helper's response. Raises httpx.ReadError: it is gone, and the outcome of the request is unknown."""
        assert isinstance(request.stream, httpx.SyncByteStream)
        try:
            self._orders.write(json.dumps(asdict(_order(request, record))).encode() + b"\n")
            for piece in request.stream:
                self._orders.write(piece)
            self._orders.flush()
        except BrokenPipeError as error:
            raise httpx.WriteError("the upload helper is gone", request=request) from error
        line = self._answers.readline()
        if not line.endswith(b"\n"):
            raise httpx.ReadError("the upload helper is gone", request=request)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        """Stop the process. One in the middle of an order is killed."""
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
