"""A small threaded HTTP/1.1 server on raw sockets: what both local services stand on.

One thread a connection, blocking sockets, bodies read into the caller's own buffers and files sent with
sendfile(2), so that gigabytes cost little more than their checksums. A handler that raises is a bug of
ours: the connection is closed and the traceback reaches `threading.excepthook`; it is never dressed up as a
cloud's fault.
"""

import socket
import threading

from syncd.localcloud.connection import hang_up, serve_connection
from syncd.localcloud.messages import Body, FileBody, Handler, Headers, Request, Response, WireFault

__all__ = ["Body", "FileBody", "Handler", "Headers", "HttpServer", "Request", "Response", "WireFault"]

_ACCEPT_AGAIN_S = 0.05


class HttpServer:
    """Serves `handler` on one port until stopped.

    `start` and `stop` are for one thread; `stop` may be repeated. `port` is what was asked for until
    `start` has bound it, so pass 0 and read it afterwards. `stop` cuts what is in flight and returns when
    every thread has ended and every socket is closed.
    """

    def __init__(self, handler: Handler, host: str = "127.0.0.1", port: int = 0) -> None:
        self.port = port
        self.stopping = threading.Event()
        self._handler = handler
        self._host = host
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}

    def start(self) -> None:
        """Bind and serve. Raises OSError when the port is taken."""
        listener = socket.create_server((self._host, self.port), backlog=256)
        self.port = listener.getsockname()[1]
        self.stopping.clear()
        self._listener = listener
        self._acceptor = threading.Thread(target=self._accept, args=(listener,), name=f"http-{self.port}", daemon=True)
        self._acceptor.start()

    def hang_up(self) -> None:
        """Take no more requests and cut every connection; handlers at work are not waited for. May be repeated."""
        self.stopping.set()
        if self._listener is not None and self._acceptor is not None:
            hang_up(self._listener)
            self._acceptor.join()
            self._listener.close()
            self._listener = self._acceptor = None
        with self._lock:
            for connection in self._open:
                hang_up(connection)

    def stop(self) -> None:
        """Hang up, and wait for the handlers at work."""
        self.hang_up()
        with self._lock:
            waiting = list(self._open.values())
        for thread in waiting:
            thread.join()

    def _accept(self, listener: socket.socket) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                # Stopped; or the client gave up between SYN and accept; or there is no file descriptor left just now.
                self.stopping.wait(_ACCEPT_AGAIN_S)
                continue
            thread = threading.Thread(
                target=self._serve, args=(connection,), name=f"http-{self.port}-conn", daemon=True
            )
            with self._lock:
                self._open = {sock: old for sock, old in self._open.items() if old.is_alive()}
                self._open[connection] = thread
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            serve_connection(connection, self._handler, self.stopping)
