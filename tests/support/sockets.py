"""Servers on loopback that behave as badly as they are told: they never answer, or take bytes one gulp at a time."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_GULP_BYTES = 32 << 10


class Rude:
    """Accepts every connection. What it does with one is up to `serve`, which may read and write it as it likes."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)  # inherited: what is not read waits
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in (self._acceptor, *self._threads):
            thread.join()
        for one in (self._listener, *self._open):
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            thread = threading.Thread(target=self._run, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self._serve(connection)


@contextmanager
def rude(serve: Callable[[socket.socket], None]) -> Iterator[Rude]:
    server = Rude(serve)
    try:
        yield server
    finally:
        server.close()


def silent(connection: socket.socket) -> None:
    """Never reads, never answers."""


def deaf(connection: socket.socket) -> None:
    """Reads whatever comes, and never answers."""
    while connection.recv(_GULP_BYTES):
        pass


def gulping(gulp: Callable[[int], None]) -> Callable[[socket.socket], None]:
    """Reads a gulp when `gulp`, told how many bytes have come, returns; answers a PUT that is whole with its size."""

    def serve(connection: socket.socket) -> None:
        # Otherwise the kernel may take the whole body before the first gulp, and nobody is left to stop in its middle.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 << 10)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        got = 0
        while got < length:
            gulp(got)
            piece = connection.recv(min(_GULP_BYTES, length - got))
            if not piece:
                return
            got += len(piece)
        connection.sendall(b"HTTP/1.1 400 Enough\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    return serve
