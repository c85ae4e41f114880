"""ASGI application: routes, the common error shape, and what every request must be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from syncd.api.dependencies import Dependencies, Server
from syncd.api.limits.refused_callers import RefusedCallers
from syncd.api.metrics import Metrics
from syncd.api.responses import ProblemResponse, on_http_error, on_syncd_error, on_unexpected_error, problem
from syncd.api.routes import ROUTES
from syncd.errors import SyncdError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Unambiguous:
    """Refuses a request whose end two programs see in different places, before its body is read."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = {name for name, _ in scope["headers"]} if scope["type"] == "http" else set()
        if {b"content-length", b"transfer-encoding"} <= names:  # RFC 9112, 6.1: may be an attempt at request smuggling
            message = "expected Content-Length or Transfer-Encoding, got both"
            refusal = ProblemResponse(400, "invalid", message, headers={"Connection": "close"})
            await problem(refusal)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def app_of(site: Dependencies, refused: RefusedCallers | None = None, pages: Sequence[BaseRoute] = ()) -> Starlette:
    """Build the application of one process, which counts refused callers in `refused` and serves `pages` as well.

    Objects bound to an event loop are created when the server starts.
    """

    metrics = Metrics(site.state, site.topology, site.pulse, site.hooks)

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        server = Server(site, metrics, refused or RefusedCallers())
        app.state.server = server
        work = [asyncio.create_task(each) for each in (server.intake.work(), server.report_refusals())]
        try:
            yield
        finally:
            for task in work:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            server.close()

    app = Starlette(
        routes=[*ROUTES, *pages],
        middleware=[Middleware(Unambiguous)],
        exception_handlers={SyncdError: on_syncd_error, HTTPException: on_http_error, Exception: on_unexpected_error},
        lifespan=life,
    )
    app.router.redirect_slashes = False
    return app
