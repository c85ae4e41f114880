"""Probes of the process, its metrics, and the description of the API."""

from __future__ import annotations

import json
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from syncd.api.dependencies import server_of
from syncd.api.metrics import CONTENT_TYPE
from syncd.api.openapi import DOCUMENT
from syncd.api.responses import ALWAYS, ProblemResponse, document, long_document
from syncd.errors import SyncdError
from syncd.plan.roles import Role
from syncd.reconcile.views.shapes.serving import HealthDocument, ReadyComponentDocument
from syncd.state import schema_version

_DOCUMENT: Final = json.dumps(DOCUMENT, separators=(",", ":")).encode()


async def healthz(request: Request) -> Response:
    """Liveness: the main loop makes passes. Does not query the database."""
    if server_of(request).site.pulse.is_alive():
        return document(HealthDocument(status="ok").as_json())
    raise ProblemResponse(
        503, "stuck", "the daemon has not started a pass for too long", hint="restart it; nothing is lost"
    )


async def readyz(request: Request) -> Response:
    """Readiness: the loop runs, the record has this schema version, and every registry was polled once.

    What the daemon works with stands in the body and never changes the status: an outage elsewhere must not take
    rollback out of the Service.
    """
    server = server_of(request)
    pulse = server.site.pulse
    if not pulse.is_alive():
        raise ProblemResponse(503, "not_ready", "the daemon has not started a pass for too long", hint="restart it")
    try:
        await server.ask(lambda: schema_version.check(server.site.state))
    except SyncdError as error:
        raise ProblemResponse(503, "not_ready", error.message, hint=error.hint) from error
    unpolled = pulse.unpolled()
    if unpolled:
        raise ProblemResponse(
            503, "not_ready", f"not polled yet: {', '.join(unpolled)}", hint="wait for the first poll"
        )
    components = [
        ReadyComponentDocument(section=each.section, name=each.name, state=each.state, since=each.since)
        for each in pulse.components.shown()
    ]
    return document(HealthDocument(status="ok", components=components).as_json())


async def metrics(request: Request) -> Response:
    """Metrics for Prometheus, in its text format."""
    server = server_of(request)
    await server.caller(request, Role.READ)
    return Response(await server.ask(server.metrics.scrape), headers=ALWAYS, media_type=CONTENT_TYPE)


async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    del request
    return long_document(_DOCUMENT)
