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
from syncd.api.scopes import ModelIn
from syncd.errors import Invalid

Endpoint = Callable[[Request], Awaitable[Response]]


def _v1(path: str, endpoint: Endpoint, method: str, *query: str, model_in: ModelIn = ModelIn.NOTHING) -> Route:
    """A route below /v1, which refuses query keys other than `query`: a misspelt filter must not be ignored."""

    async def checked(request: Request) -> Response:
        request.state.model_in = model_in
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
    _v1("/releases", list_releases, "GET", "model", "limit", "before", model_in=ModelIn.QUERY),
    _v1("/releases", publish, "POST", model_in=ModelIn.BODY),
    _v1("/releases/{release}", show_release, "GET", model_in=ModelIn.RELEASE),
    _v1("/releases/{release}/cancel", cancel, "POST", model_in=ModelIn.RELEASE),
    _v1("/releases/{release}/approve", approve, "POST", model_in=ModelIn.RELEASE),
    _v1("/releases/{release}/dismiss", dismiss, "POST", model_in=ModelIn.RELEASE),
    _v1("/releases/{release}/retry", retry, "POST", model_in=ModelIn.RELEASE),
    _v1("/retry", retry, "POST"),
    _v1("/models", list_models, "GET"),
    _v1("/models/{model:path}/versions", list_versions, "GET", model_in=ModelIn.PATH),
    _v1("/models/{model:path}/rollback", rollback, "POST", model_in=ModelIn.PATH),
    _v1("/models/{model:path}/hold", hold, "POST", model_in=ModelIn.PATH),
    _v1("/models/{model:path}/unhold", unhold, "POST", model_in=ModelIn.PATH),
    _v1("/models/{model:path}/freeze", freeze, "POST", model_in=ModelIn.PATH),
    _v1("/models/{model:path}/unfreeze", unfreeze, "POST", model_in=ModelIn.PATH),
    _v1("/models/{model:path}/repair", repair, "POST", model_in=ModelIn.PATH),
    _v1("/models/{model:path}/repairs", list_repairs, "GET", model_in=ModelIn.PATH),
    _v1("/everything/freeze", freeze, "POST"),
    _v1("/everything/unfreeze", unfreeze, "POST"),
    _v1("/leases", list_leases, "GET"),
    _v1("/leases/{lease}", put_lease, "PUT"),
    _v1("/leases/{lease}", end_lease, "DELETE"),
    _v1("/health", health, "GET"),
    _v1("/status", status, "GET", "model", model_in=ModelIn.QUERY),
    _v1("/plan", plan, "GET", "name", model_in=ModelIn.NAME),
    _v1("/verification", verification, "GET", "model", model_in=ModelIn.QUERY),
    _v1("/starts", show_starts, "GET", "model", model_in=ModelIn.QUERY),
    _v1("/version", show_version, "GET", "name", model_in=ModelIn.NAME),
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
        model_in=ModelIn.QUERY,
    ),
    _v1("/drift", drift, "GET", "name", "ended"),
    _v1("/events", stream, "GET", "after"),
    _v1("/refusals", refusals, "GET"),
    Route("/hooks/{hook}", hook, methods=["POST"]),
)
