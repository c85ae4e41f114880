"""The address of a database, which may be cut, or lead to another server: a proxy on loopback to its socket."""

from __future__ import annotations

import contextlib
import socket
import threading

import sqlalchemy as sa


class Line:
    """A proxy on loopback to a PostgreSQL socket. Cut, clients are reset and the server hears nothing of it.

    `upstream` may be another server's by the next connection, as the address of a database is after a failover.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._clients: list[socket.socket] = []
        self._servers: list[socket.socket] = []
        self.is_up = True
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self.is_up = False
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.cut()
        for end in (self._listener, *self._clients, *self._servers):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self.is_up:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(self.upstream)
            self._clients.append(client)
            self._servers.append(server)
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        if self.is_up or sink in self._clients:  # a server hears nothing of a line that is cut
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_RDWR)


def through(line: Line, url: str) -> str:
    by_line = sa.make_url(url).set(host="127.0.0.1", port=line.port, query={})
    return by_line.render_as_string(hide_password=False)
