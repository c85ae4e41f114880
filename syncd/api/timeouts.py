"""Connections on which no request comes are closed: each takes one of the few files that a process may have open."""

from __future__ import annotations

import asyncio
from typing import Final, cast

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEAD_S: Final = 15.0  # for all of a request but its body; beside what a connection may be idle between two
CONNECTIONS_MAX: Final = 800  # of the 1024 files that a process usually may have, many of which are its database's


class TimeoutProtocol(H11Protocol):
    """Uvicorn's, which by itself waits for ever for the first byte of a request, and for the last of its head."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            transport.close()
        else:
            self._expect(HEAD_S)

    def handle_events(self) -> None:
        """Whoever has sent a whole head is not waited for here any longer: its body has a limit of its own."""
        super().handle_events()
        cycle = cast("RequestResponseCycle | None", self.cycle)  # none before the first request, whatever its type says
        if cycle is not None and not cycle.response_complete:
            self._expect(None)

    def on_response_complete(self) -> None:
        """Wait for the next one, which may have come already."""
        self._expect(self.timeout_keep_alive + HEAD_S)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._expect(None)
        super().connection_lost(exc)

    def _expect(self, within_s: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if within_s is None else self.loop.call_later(within_s, self.transport.close)
