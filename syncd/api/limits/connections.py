"""Connections of the server: how long each may wait, and which one is closed for a newer one when there are many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, MutableMapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any, Final, cast

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import RequestResponseCycle
from uvicorn.server import ServerState

from syncd.api.parser_errors import ParserErrorProtocol

HEAD_S: Final = 15.0  # for the head of a request; the idle time between two requests is separate
WRITE_S: Final = 10.0  # for a client to read what it was sent
PROVEN_WRITE_S: Final = 60.0  # the same, for the owner of a token: an event stream may be slow
CONNECTIONS_MAX: Final = 256  # × (32 KiB of head, or 16 KiB that wait to be sent)
ADDRESS_MAX: Final = 64  # of one address that is not a proxy
PROVEN_MAX: Final = 224  # requests in progress that are proven, which are never closed: the others are for newcomers
CHUNKS_MAX: Final = 4096  # of one body; each takes the parser as long as 10 kB in one piece
WRITE_BYTES: Final = 16 << 10  # waiting to be sent: then the application waits
READ_BYTES: Final = 16 << 10  # in one read, and then in four copies on the way to a body; asyncio reads 256 KiB
_SCOPE_KEY: Final = "syncd.connection"


class ConnectionTable:
    """Open connections of one server. Its methods are called in the server's event loop only.

    A newcomer is always admitted. When there are too many, one that has proven nothing is closed for it: the oldest of
    the address that has the most. So an address with many connections loses its own. A request whose caller is
    proven (a token, a delivery's signature) is never ended.
    """

    def __init__(self, proxies: Collection[str] = (), on_closed: Callable[[str], None] = lambda _address: None) -> None:
        """`proxies`: addresses and networks that one address's limit does not apply to."""
        self._proxies = tuple(ip_network(each, strict=False) for each in proxies)
        self._on_closed = on_closed
        self._addresses: dict[str, _Held] = {}
        self._count = 0
        self._proven_count = 0

    def admit(self, connection: BoundedProtocol) -> None:
        """Add a connection, and close another one where there are too many."""
        address = connection.peer
        held = self._addresses.setdefault(address, _Held(is_proxy=self._is_proxy(address)))
        held.unproven[connection] = None
        self._count += 1
        if not held.is_proxy and held.count > ADDRESS_MAX:
            self._close_one(held)
        elif self._count > CONNECTIONS_MAX:
            self._close_one(max(self._addresses.values(), key=lambda each: (len(each.unproven), len(each.idle))))

    def begin_proven(self, connection: BoundedProtocol) -> bool:
        """Keep the connection until the end of its request. False: too many are kept already."""
        held = self._addresses.get(connection.peer)
        if held is None or connection in held.busy:
            return True
        if self._proven_count >= PROVEN_MAX:
            return False
        if held.discard(connection):  # one that was closed meanwhile stays away
            held.busy[connection] = None
            self._proven_count += 1
        return True

    def end_proven(self, connection: BoundedProtocol) -> None:
        """The request has ended: the connection may be closed for a newer one, after those that prove nothing."""
        held = self._addresses.get(connection.peer)
        if held is not None and connection in held.busy:
            del held.busy[connection]
            held.idle[connection] = None
            self._proven_count -= 1

    def discard(self, connection: BoundedProtocol) -> None:
        """Forget a connection. Repeating it succeeds."""
        held = self._addresses.get(connection.peer)
        if held is None:
            return
        self._proven_count -= connection in held.busy
        if held.discard(connection):
            self._count -= 1
        if not held.count:
            del self._addresses[connection.peer]

    def _close_one(self, held: _Held) -> None:
        victim = next(iter(held.unproven or held.idle), None)
        if victim is not None:
            self.discard(victim)
            self._on_closed(victim.peer)
            victim.transport.abort()

    def _is_proxy(self, address: str) -> bool:
        try:
            found = ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._proxies)


@dataclass(slots=True)
class _Held:
    """The connections of one address, oldest first: nothing proven yet, proven before, and proven in progress."""

    is_proxy: bool
    unproven: dict[BoundedProtocol, None] = field(default_factory=dict)
    idle: dict[BoundedProtocol, None] = field(default_factory=dict)
    busy: dict[BoundedProtocol, None] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(self.unproven) + len(self.idle) + len(self.busy)

    def discard(self, connection: BoundedProtocol) -> bool:
        kept = next((each for each in (self.unproven, self.idle, self.busy) if connection in each), None)
        if kept is not None:
            del kept[connection]
        return kept is not None


class BoundedProtocol(ParserErrorProtocol):
    """Uvicorn's protocol with limits that uvicorn leaves to a proxy.

    A time for the head of a request and for the client to read its answer, one request at a time, and a place in the
    table of connections.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        table: ConnectionTable,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.peer = ""
        self._table = table
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._is_proven = False
        self._chunks = 0
        self._next_event = self.conn.next_event
        self.conn.next_event = self._counted_event  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]  # of asyncio's own transports
        transport.set_write_buffer_limits(high=WRITE_BYTES)
        self.peer = self.client[0] if self.client else ""
        self._expect(HEAD_S)
        self._table.admit(self)

    def handle_events(self) -> None:
        """End the timeout once the head is complete: the body has a limit of its own."""
        before = self._current()
        super().handle_events()
        cycle = self._current()
        if cycle is None or cycle.response_complete:
            return
        self._expect(None)
        if cycle is not before:
            scope = cast("MutableMapping[str, Any]", self.scope)
            scope.setdefault("extensions", {})[_SCOPE_KEY] = self
        if self.conn.their_state is h11.DONE and self.conn.trailing_data[0]:
            self._refuse_pipelined(cycle)

    def prove(self) -> bool:
        """The caller of the request in progress is known: keep it to its end. False: too many are kept already."""
        self._is_proven = self._table.begin_proven(self)
        return self._is_proven

    def on_response_complete(self) -> None:
        """Restart the timeout for the next request, which may have arrived already."""
        self._chunks = 0
        self._is_proven = False
        self._table.end_proven(self)
        self._expect(WRITE_S if self.transport.is_closing() else self.timeout_keep_alive + HEAD_S)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """See `H11Protocol`: the connection closes, and does not wait for the client to read."""
        super().send_400_response(msg)
        self._expect(WRITE_S)

    def timeout_keep_alive_handler(self) -> None:
        """See `H11Protocol`: the connection closes, and does not wait for the client to read."""
        super().timeout_keep_alive_handler()
        self._expect(WRITE_S)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`: the client has to read within a time."""
        super().pause_writing()
        if self._write_timer is None:
            within_s = PROVEN_WRITE_S if self._is_proven else WRITE_S
            self._write_timer = self.loop.call_later(within_s, self.transport.abort)

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._end_write_timer()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._expect(None)
        self._end_write_timer()
        self._table.discard(self)
        super().connection_lost(exc)
        vars(self.conn).pop("next_event", None)  # a cycle of references, which would keep every buffer for a while
        if (cycle := self._current()) is not None:
            cycle.body = bytearray()

    def _current(self) -> RequestResponseCycle | None:
        return cast("RequestResponseCycle | None", self.cycle)  # none before the first request, whatever its type says

    def _refuse_pipelined(self, cycle: RequestResponseCycle) -> None:
        """Answer this request only: a client that sends more before it reads would have many answers held for it."""
        if cycle.keep_alive:
            cycle.keep_alive = False
            cycle.scope["headers"] = [*cycle.scope["headers"], CLOSE_HEADER]
            self.flow.pause_reading()

    def _counted_event(self) -> Any:
        event = self._next_event()
        if isinstance(event, h11.Data):
            self._chunks += 1
            if self._chunks > CHUNKS_MAX:
                raise h11.RemoteProtocolError("too many chunks")
        return event

    def _end_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _expect(self, within_s: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if within_s is None else self.loop.call_later(within_s, self.transport.abort)


def connection_of(scope: MutableMapping[str, Any]) -> BoundedProtocol | None:
    """The connection of a request; None where another server runs the application."""
    found = scope.get("extensions", {}).get(_SCOPE_KEY)
    return found if isinstance(found, BoundedProtocol) else None
