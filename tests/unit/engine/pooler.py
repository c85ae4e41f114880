"""A pooler in transaction mode: a client has a session of the server from the begin of a transaction to its end."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Final

_SSL_REQUEST: Final = 80877103
_PARAMETERS: Final = {"client_encoding": "UTF8", "server_version": "16.0", "standard_conforming_strings": "on"}


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def _exactly(line: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = line.recv(count - len(data))
        if not more:
            raise ConnectionError
        data += more
    return data


def _one(line: socket.socket) -> tuple[bytes, bytes]:
    kind, length = struct.unpack("!cI", _exactly(line, 5))
    return kind, _exactly(line, length - 4)


class Pooler:
    """Listens on loopback. The server is reached by its socket, without a password."""

    def __init__(self, server: str, user: str, database: str) -> None:
        self._server, self._user, self._database = server, user, database
        self._free: list[socket.socket] = []  # the last one that was returned goes first, as in PgBouncer
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        for session in self._free:
            session.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _session(self) -> socket.socket:
        with self._lock:
            if self._free:
                return self._free.pop()
        session = socket.socket(socket.AF_UNIX)
        session.connect(self._server)
        words = b"".join(part.encode() + b"\0" for part in ("user", self._user, "database", self._database))
        session.sendall(_message(b"", struct.pack("!I", 3 << 16) + words + b"\0"))
        while _one(session)[0] != b"Z":
            pass
        return session

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            (length,) = struct.unpack("!I", _exactly(client, 4))
            if struct.unpack("!I", _exactly(client, length - 4)[:4])[0] == _SSL_REQUEST:
                client.sendall(b"N")
                (length,) = struct.unpack("!I", _exactly(client, 4))
                _exactly(client, length - 4)
            told = [_message(b"S", f"{name}\0{value}\0".encode()) for name, value in _PARAMETERS.items()]
            ready = _message(b"K", bytes(8)) + _message(b"Z", b"I")
            client.sendall(_message(b"R", bytes(4)) + b"".join(told) + ready)
            self._relay(client)

    def _relay(self, client: socket.socket) -> None:
        session: socket.socket | None = None
        while True:
            kind, body = _one(client)
            if kind == b"X":
                return
            session = session or self._session()
            session.sendall(_message(kind, body))
            if kind not in {b"Q", b"S"}:
                continue
            answer = b""
            while answer != b"Z":
                answer, body = _one(session)
                client.sendall(_message(answer, body))
            if body == b"I":
                with self._lock:
                    self._free.append(session)
                session = None


@contextlib.contextmanager
def pooler(server: str, user: str, database: str) -> Iterator[int]:
    """The port of a pooler in front of a server's socket."""
    made = Pooler(server, user, database)
    try:
        yield made.port
    finally:
        made.close()
