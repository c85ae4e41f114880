"""ASGI application: routes, the common error shape, and a limit on concurrent requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from syncd.api.dependencies import Dependencies, Server
from syncd.api.responses import ProblemResponse, on_http_error, on_syncd_error, on_unexpected_error, problem
from syncd.api.routes import ROUTES
from syncd.errors import SyncdError

AT_ONCE_MAX: Final = 512  # requests, event streams among them; each may hold a body of 1 MiB

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Bounded:
    """Concurrency limit: refuses a request while too many are in progress, before its body is read."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._now = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._now >= AT_ONCE_MAX:
            retry: Mapping[str, str] = {"Retry-After": "1", "Connection": "close"}
            refusal = ProblemResponse(503, "unavailable", "too many requests at once", headers=retry)
            await problem(refusal)(scope, receive, send)
            return
        self._now += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._now -= 1


def app_of(site: Dependencies) -> Starlette:
    """Build the application of one process. Objects bound to an event loop are created when the server starts."""

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        server = Server(site)
        app.state.server = server
        work = asyncio.create_task(server.intake.work())
        try:
            yield
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
            server.close()

    app = Starlette(
        routes=list(ROUTES),
        middleware=[Middleware(Bounded)],
        exception_handlers={SyncdError: on_syncd_error, HTTPException: on_http_error, Exception: on_unexpected_error},
        lifespan=life,
    )
    app.router.redirect_slashes = False
    return app
