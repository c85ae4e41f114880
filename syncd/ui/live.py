"""Live pages: a stream that says when the overview, or a release, has changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Final

from starlette.responses import Response, StreamingResponse

from syncd.api.responses import ProblemResponse
from syncd.errors import SyncdError
from syncd.plan.roles import Role
from syncd.reconcile.views.console.release import overview_stamp, release_stamp
from syncd.reconcile.views.release import parse_release
from syncd.ui.rendering import HEADERS
from syncd.ui.visits import Visit, who

_HEADERS: Final = {**HEADERS, "X-Accel-Buffering": "no"}
_CHANGED: Final = "event: changed\ndata: 1\n\n"
_END: Final = "event: end\ndata: 1\n\n"  # a stream that only ends is opened again by the browser


async def stream(visit: Visit) -> Response:
    """Says when the overview, or a release, has changed. Ends when the session does."""
    server, state = visit.server, visit.server.site.state
    given = visit.request.query_params.get("release")
    key = "" if given is None else parse_release(given)
    read = (lambda: release_stamp(state, key)) if key else (lambda: overview_stamp(state))
    await server.ask(read)  # an unknown release is refused before the stream begins
    visit.dashboard.watches.admit(visit.caller.name)
    return StreamingResponse(_lines(visit, key, read), media_type="text/event-stream", headers=_HEADERS)


async def _lines(visit: Visit, key: str, read: Callable[[], str]) -> AsyncIterator[str]:
    async with aclosing(visit.dashboard.watches.follow(visit.server, visit.caller.name, key, read)) as changes:
        async for is_new in changes:
            if not await _is_signed_in(visit):
                yield _END
                return
            yield _CHANGED if is_new else ": keep-alive\n\n"


async def _is_signed_in(visit: Visit) -> bool:
    if visit.dashboard.sessions.find(visit.cookie) is None:
        return False
    try:
        await who(visit.dashboard, visit.session, visit.request, Role.READ)
    except ProblemResponse as error:
        return error.status != 401
    except SyncdError:
        return True  # the record cannot be read now, and so cannot be shown
    return True
