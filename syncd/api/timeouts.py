"""Connection timeouts: idle connections are closed, since each takes one of the process's few file descriptors."""

from __future__ import annotations

import asyncio
from typing import Final, cast

from uvicorn.protocols.http.h11_impl import RequestResponseCycle

from syncd.api.parser_errors import ParserErrorProtocol

HEAD_S: Final = 15.0  # for the head of a request; the idle time between two requests is separate
CONNECTIONS_MAX: Final = 800  # of the usual limit of 1024 open files, many of which are the database's


class TimeoutProtocol(ParserErrorProtocol):
    """Uvicorn's protocol with a timeout for the head of a request, which uvicorn awaits without limit."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            transport.close()
        else:
            self._expect(HEAD_S)

    def handle_events(self) -> None:
        """End the timeout once the head is complete: the body has a limit of its own."""
        super().handle_events()
        cycle = cast("RequestResponseCycle | None", self.cycle)  # none before the first request, whatever its type says
        if cycle is not None and not cycle.response_complete:
            self._expect(None)

    def on_response_complete(self) -> None:
        """Restart the timeout for the next request, which may have arrived already."""
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
