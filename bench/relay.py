"""A line that is slow: what comes in at its port goes out to another one, so many bytes a second for all together."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Self

_PIECE_BYTES = 16 << 10


class Relay:
    """A context manager. Only the way towards `port` is slow, and counted: `passed_bytes`, headers too.

    `moment` is a number of them and what is done once when so many have come in, before any more go out.
    """

    def __init__(self, port: int, bytes_s: float, moment: tuple[float, Callable[[], None]] | None = None) -> None:
        self._to = port
        self._bytes_s = bytes_s
        self.passed_bytes = 0
        self._moment = moment
        self._lock = threading.Lock()
        self._free_s = time.monotonic()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * _PIECE_BYTES)
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._open += [near, far]
                for source, sink, is_slow in ((near, far, True), (far, near, False)):
                    threading.Thread(target=self._pass, args=(source, sink, is_slow), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, is_slow: bool) -> None:  # noqa: FBT001 - of this class
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE_BYTES):
                if is_slow:
                    self._wait(len(piece))
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)

    def _wait(self, size_bytes: int) -> None:
        with self._lock:
            now_s = time.monotonic()
            self.passed_bytes += size_bytes
            self._free_s = max(self._free_s, now_s) + size_bytes / self._bytes_s
            pause_s = self._free_s - now_s
            if self._moment is not None and self.passed_bytes >= self._moment[0]:
                self._moment[1]()
                self._moment = None
        time.sleep(pause_s)
