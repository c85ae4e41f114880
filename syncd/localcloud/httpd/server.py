"""Threaded HTTP/1.1 server on raw sockets.

One thread per connection, blocking sockets, bodies read into the caller's buffers and files sent with
sendfile(2), so that large bodies cost little more than their checksums. An exception in a handler is a bug:
the connection is closed and the traceback reaches `threading.excepthook`, never a client.
"""

import socket
import threading

from syncd.localcloud.httpd.connection import hang_up, serve_connection
from syncd.localcloud.httpd.messages import Handler

_ACCEPT_RETRY_S = 0.05


class HttpServer:
    """Serves `handler` on one port until stopped.

    Call `start` and `stop` from one thread; `stop` is idempotent. With port 0, `port` is the bound port after
    `start`. `stop` cuts open connections and returns when every thread has ended and every socket is closed.
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
        """Accept no more requests and cut every connection, without waiting for handlers. Idempotent."""
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
        """Hang up, and wait for running handlers."""
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
                # Stopped; or the client disconnected before accept; or no file descriptor is free.
                self.stopping.wait(_ACCEPT_RETRY_S)
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
