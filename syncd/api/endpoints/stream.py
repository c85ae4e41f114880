"""`GET /v1/events`: stream of server-sent events, from any event on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from syncd.api.dependencies import Server, server_of, token_in
from syncd.api.responses import ALWAYS, ProblemResponse, plain
from syncd.errors import Invalid, SyncdError
from syncd.plan.roles import Role
from syncd.plan.token_limits import TokenLimits
from syncd.reconcile.views.release import streamed
from syncd.state.access import tokens
from syncd.state.records import Event
from syncd.state.releases import events

STREAMS_MAX: Final = 32  # each queries the record twice a second
STREAMS_EACH_MAX: Final = 8
BATCH_MAX: Final = 100  # events held for one client; the next are read when these have been sent
POLL_EVERY_S: Final = 0.5
KEEPALIVE_EVERY_S: Final = 15.0  # proxies cut a connection that is silent for a minute
_HEADERS: Final = {**ALWAYS, "X-Accel-Buffering": "no"}


async def stream(request: Request) -> Response:
    """All events after `Last-Event-ID` (or `?after=`), then new ones; without either only new ones.

    A slow client gets the same events later: only one batch is held for it. The stream ends when the process stops, and
    when the token is revoked; a client that reconnects with the last id it saw misses nothing.
    """
    server = server_of(request)
    caller = await server.caller(request, Role.READ)
    if request.method == "HEAD":
        return Response(media_type="text/event-stream", headers=_HEADERS)
    after = _start_of(request)
    if sum(server.streams.values()) >= STREAMS_MAX or server.streams.get(caller.name, 0) >= STREAMS_EACH_MAX:
        hint = f"at most {STREAMS_EACH_MAX} of one token and {STREAMS_MAX} of all"
        raise ProblemResponse(429, "busy", "too many event streams", hint=hint, headers={"Retry-After": "5"})
    if after is None:
        after = await server.ask(lambda: _newest(server))
    lines = _lines(server, caller.name, token_in(request), after)
    return StreamingResponse(lines, media_type="text/event-stream", headers=_HEADERS)


def _start_of(request: Request) -> int | None:
    text = request.headers.get("last-event-id") or request.query_params.get("after")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise Invalid("Last-Event-ID: expected the id of an event", hint="send the last `id` that the stream had")
    return int(text)


async def _lines(server: Server, name: str, token: str, after: int) -> AsyncIterator[str]:
    server.streams[name] = server.streams.get(name, 0) + 1
    try:
        yield f": after {after}\n\n"
        silent_s = 0.0
        while not server.stopping.is_set():
            found = await _next(server, token, after)
            if found is None:
                yield ": the token was revoked, or has ended\n\n"
                return
            for event in found:
                after = event.id
                yield _line(event)
            silent_s = 0.0 if found else silent_s + POLL_EVERY_S
            if silent_s >= KEEPALIVE_EVERY_S:
                silent_s = 0.0
                yield ": keep-alive\n\n"
            if len(found) < BATCH_MAX:
                await _pause(server)
    finally:
        server.streams[name] -= 1


async def _next(server: Server, token: str, after: int) -> list[Event] | None:
    """The next batch; empty if the record cannot be read now. None if the token is revoked or has ended."""

    state = server.site.state

    def read() -> list[Event] | None:
        with state.read() as conn:
            found = tokens.find(conn, token)
            if found is None or TokenLimits.of_json(found.limits).is_ended(state.now(conn)):
                return None
            return events.after(conn, after, BATCH_MAX)

    try:
        return await server.ask(read)
    except SyncdError:
        return []


async def _pause(server: Server) -> None:
    try:
        async with asyncio.timeout(POLL_EVERY_S):
            await server.stopping.wait()
    except TimeoutError:
        return


def _newest(server: Server) -> int:
    with server.site.state.read() as conn:
        return events.newest(conn)


def _line(event: Event) -> str:
    return f"id: {event.id}\nevent: {event.kind}\ndata: {json.dumps(streamed(event), default=plain)}\n\n"
