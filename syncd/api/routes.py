"""Routes of the API. Each calls the same functions as the command of that name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from syncd.api.endpoints.actions import (
    approve,
    cancel,
    dismiss,
    freeze,
    hold,
    publish,
    repair,
    retry,
    rollback,
    unfreeze,
    unhold,
)
from syncd.api.endpoints.deliveries import hook
from syncd.api.endpoints.leases import end_lease, list_leases, put_lease
from syncd.api.endpoints.probes import healthz, metrics, openapi, readyz
from syncd.api.endpoints.reads import (
    drift,
    health,
    list_models,
    list_releases,
    list_repairs,
    list_versions,
    plan,
    refusals,
    show_advice,
    show_release,
    show_starts,
    show_version,
    status,
    verification,
)
from syncd.api.endpoints.stream import stream
from syncd.api.scopes import ScopedBy
from syncd.errors import Invalid

Endpoint = Callable[[Request], Awaitable[Response]]


def _v1(path: str, endpoint: Endpoint, method: str, *query: str, scoped_by: ScopedBy = ScopedBy.NOTHING) -> Route:
    """A route below /v1, which refuses query keys other than `query`: a misspelt filter must not be ignored."""

    async def checked(request: Request) -> Response:
        request.state.scoped_by = scoped_by
        for key, count in Counter(name for name, _ in request.query_params.multi_items()).items():
            if key not in query:
                hint = f"known keys: {', '.join(query)}" if query else "this path has none"
                raise Invalid(f"the query has an unknown key {ascii(key)[:80]}", hint=hint)
            if count > 1:
                raise Invalid(f"{key}: expected one value, got {count}")
        return await endpoint(request)

    return Route(f"/v1{path}", checked, methods=[method])


ROUTES: Final = (
    Route("/healthz", healthz, methods=["GET"]),
    Route("/readyz", readyz, methods=["GET"]),
    Route("/metrics", metrics, methods=["GET"]),
    Route("/openapi.json", openapi, methods=["GET"]),
    _v1("/releases", list_releases, "GET", "model", "limit", "before", scoped_by=ScopedBy.QUERY),
    _v1("/releases", publish, "POST", scoped_by=ScopedBy.BODY),
    _v1("/releases/{release}", show_release, "GET", scoped_by=ScopedBy.RELEASE),
    _v1("/releases/{release}/cancel", cancel, "POST", scoped_by=ScopedBy.RELEASE),
    _v1("/releases/{release}/approve", approve, "POST", scoped_by=ScopedBy.RELEASE),
    _v1("/releases/{release}/dismiss", dismiss, "POST", scoped_by=ScopedBy.RELEASE),
    _v1("/releases/{release}/retry", retry, "POST", scoped_by=ScopedBy.RELEASE),
    _v1("/retry", retry, "POST"),
    _v1("/models", list_models, "GET"),
    _v1("/models/{model:path}/versions", list_versions, "GET", scoped_by=ScopedBy.PATH),
    _v1("/models/{model:path}/rollback", rollback, "POST", scoped_by=ScopedBy.PATH),
    _v1("/models/{model:path}/hold", hold, "POST", scoped_by=ScopedBy.PATH),
    _v1("/models/{model:path}/unhold", unhold, "POST", scoped_by=ScopedBy.PATH),
    _v1("/models/{model:path}/freeze", freeze, "POST", scoped_by=ScopedBy.PATH),
    _v1("/models/{model:path}/unfreeze", unfreeze, "POST", scoped_by=ScopedBy.PATH),
    _v1("/models/{model:path}/repair", repair, "POST", scoped_by=ScopedBy.PATH),
    _v1("/models/{model:path}/repairs", list_repairs, "GET", scoped_by=ScopedBy.PATH),
    _v1("/everything/freeze", freeze, "POST"),
    _v1("/everything/unfreeze", unfreeze, "POST"),
    _v1("/leases", list_leases, "GET"),
    _v1("/leases/{lease}", put_lease, "PUT"),
    _v1("/leases/{lease}", end_lease, "DELETE"),
    _v1("/health", health, "GET"),
    _v1("/status", status, "GET", "model", scoped_by=ScopedBy.QUERY),
    _v1("/plan", plan, "GET", "name", scoped_by=ScopedBy.NAME),
    _v1("/verification", verification, "GET", "model", scoped_by=ScopedBy.QUERY),
    _v1("/starts", show_starts, "GET", "model", scoped_by=ScopedBy.QUERY),
    _v1("/version", show_version, "GET", "name", scoped_by=ScopedBy.NAME),
    _v1(
        "/advice",
        show_advice,
        "GET",
        "model",
        "version",
        "starts",
        "calls",
        "reads_twice",
        "multi_zone",
        scoped_by=ScopedBy.QUERY,
    ),
    _v1("/drift", drift, "GET", "name", "ended"),
    _v1("/events", stream, "GET", "after"),
    _v1("/refusals", refusals, "GET"),
    Route("/hooks/{hook}", hook, methods=["POST"]),
)
