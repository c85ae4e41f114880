"""`GET /v1/events`: what happens, as it happens (server-sent events), from any event on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from syncd.api.answers import Problem, plain
from syncd.api.desk import Desk, desk_of, token_in
from syncd.errors import Invalid, SyncdError
from syncd.plan.roles import Role
from syncd.reconcile.scene import event_told
from syncd.state import events, tokens
from syncd.state.records import Event

STREAMS_MAX: Final = 32  # each asks the record twice a second
STREAMS_EACH_MAX: Final = 8
BATCH_MAX: Final = 100  # events held for one client; the next are read when these have been sent
LOOK_EVERY_S: Final = 0.5
ALIVE_EVERY_S: Final = 15.0  # proxies cut a connection that is silent for a minute
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def stream(request: Request) -> Response:
    """Everything after `Last-Event-ID` (or `?after=`), then what comes; without either only what comes.

    A client that reads slowly gets the same later: nothing is held for it but one batch. The stream ends when the
    process stops, and when the token is taken back; who reconnects with the last id it saw misses nothing.
    """
    desk = desk_of(request)
    caller = await desk.caller(request, Role.READ)
    if request.method == "HEAD":
        return Response(media_type="text/event-stream", headers=_HEADERS)
    after = _asked(request)
    if sum(desk.streams.values()) >= STREAMS_MAX or desk.streams.get(caller.name, 0) >= STREAMS_EACH_MAX:
        hint = f"at most {STREAMS_EACH_MAX} of one token and {STREAMS_MAX} of all"
        raise Problem(429, "busy", "too many event streams", hint=hint, headers={"Retry-After": "5"})
    if after is None:
        after = await desk.ask(lambda: _newest(desk))
    told = _told(desk, caller.name, token_in(request), after)
    return StreamingResponse(told, media_type="text/event-stream", headers=_HEADERS)


def _asked(request: Request) -> int | None:
    text = request.headers.get("last-event-id") or request.query_params.get("after")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise Invalid("Last-Event-ID is not the id of an event", hint="send back the last `id` that came")
    return int(text)


async def _told(desk: Desk, name: str, token: str, after: int) -> AsyncIterator[str]:
    desk.streams[name] = desk.streams.get(name, 0) + 1
    try:
        yield f": after {after}\n\n"
        silent_s = 0.0
        while not desk.stopping.is_set():
            found = await _next(desk, token, after)
            if found is None:
                yield ": the token was taken back\n\n"
                return
            for event in found:
                after = event.id
                yield _line(event)
            silent_s = 0.0 if found else silent_s + LOOK_EVERY_S
            if silent_s >= ALIVE_EVERY_S:
                silent_s = 0.0
                yield ": still here\n\n"
            if len(found) < BATCH_MAX:
                await _pause(desk)
    finally:
        desk.streams[name] -= 1


async def _next(desk: Desk, token: str, after: int) -> list[Event] | None:
    """The next batch; none where the record cannot be read now: the next look is as good. None: the token is gone."""

    def look() -> list[Event] | None:
        with desk.site.state.read() as conn:
            if tokens.find(conn, token) is None:
                return None
            return events.after(conn, after, BATCH_MAX)

    try:
        return await desk.ask(look)
    except SyncdError:
        return []


async def _pause(desk: Desk) -> None:
    try:
        async with asyncio.timeout(LOOK_EVERY_S):
            await desk.stopping.wait()
    except TimeoutError:
        return


def _newest(desk: Desk) -> int:
    with desk.site.state.read() as conn:
        return events.newest(conn)


def _line(event: Event) -> str:
    told = {**event_told(event), "release": event.release_id}
    return f"id: {event.id}\nevent: {event.kind}\ndata: {json.dumps(told, default=plain)}\n\n"
