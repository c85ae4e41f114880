"""Sending a body over a socket piece by piece.

The standard library gives a body as a whole the time that a socket may be silent, so that a part to a slow store never
arrives. Here each piece has that time, and the thread can be called off between two of them.
"""

from __future__ import annotations

import socket
import ssl
from typing import Final

from syncd.store.base import Buffer
from syncd.watchdog import note_activity

# OpenSSL does not come back before all of it has gone; a plain socket takes what fits and comes back at once.
_RECORDS_BYTES: Final = 256 << 10


def send_in_chunks(connection: socket.socket, body: Buffer) -> None:
    """All of it, from where it is.

    Raises:
        TimeoutError: The socket's own timeout has passed, and nothing more was taken.
        Cancelled: Nobody waits for this thread any more. The connection is of no more use.
    """
    rest = memoryview(body)
    most = _RECORDS_BYTES if isinstance(connection, ssl.SSLSocket) else len(rest)
    while rest:
        rest = rest[connection.send(rest[:most]) :]
        note_activity()
