"""Routes of the dashboard, below /ui of the API's server."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from syncd.api.responses import ProblemResponse
from syncd.plan.roles import Role
from syncd.ui.actions import confirm, do
from syncd.ui.details import binding, model, registries, release, release_list, release_part
from syncd.ui.live import stream
from syncd.ui.matrix import matrix, matrix_part
from syncd.ui.provider_settings import CALLBACK, ProviderSettings
from syncd.ui.rendering import Pages, assets
from syncd.ui.sessions import Sessions
from syncd.ui.sign_in import asset, oidc_begin, oidc_finish, sign_in, sign_in_page, sign_out
from syncd.ui.visits import SIGN_IN, Dashboard, Endpoint, failed, visited
from syncd.ui.watches import Watches

if TYPE_CHECKING:
    from syncd.ui.oidc import Provider


def routes_of(settings: ProviderSettings | None = None) -> list[BaseRoute]:
    """The routes of one server, with sessions of their own. `settings`: where people sign in, beside tokens."""
    provider = _provider(settings) if settings else None
    dashboard = Dashboard(Sessions(time.monotonic), Pages(assets()), Watches(), provider)

    def page(path: str, endpoint: Endpoint, method: str = "GET", role: Role = Role.READ) -> Route:
        return Route(f"/ui{path}", visited(dashboard, endpoint, role), methods=[method])

    async def unknown(request: Request) -> Response:
        return failed(dashboard, request, ProblemResponse(404, "not_found", "there is no such page"))

    at_provider = (
        [
            Route("/ui/oidc", oidc_begin(dashboard, provider), methods=["GET"]),
            Route(CALLBACK, oidc_finish(dashboard, provider), methods=["GET"]),
        ]
        if provider
        else []
    )
    return [
        *at_provider,
        Route("/ui/static/{digest}/{name}", asset(dashboard), methods=["GET"]),
        Route(SIGN_IN, sign_in_page(dashboard), methods=["GET"]),
        Route(SIGN_IN, sign_in(dashboard), methods=["POST"]),
        page("/sign-out", sign_out, "POST"),
        page("", matrix),
        page("/", matrix),
        page("/part", matrix_part),
        page("/stream", stream),
        page("/releases", release_list),
        page("/releases/{release}", release),
        page("/releases/{release}/part", release_part),
        page("/models/{model:path}", model),
        page("/bindings/{binding}", binding),
        page("/registries", registries),
        page("/do/{verb}", confirm, role=Role.OPERATE),
        page("/do/{verb}", do, "POST", Role.OPERATE),
        page("/do/{verb}/{subject:path}", confirm, role=Role.OPERATE),
        page("/do/{verb}/{subject:path}", do, "POST", Role.OPERATE),
        Route("/ui/{rest:path}", unknown, methods=["GET", "POST"]),
    ]


def _provider(settings: ProviderSettings) -> Provider:
    with warnings.catch_warnings(record=True):  # Authlib 1.9 says, whatever the filters, that it prefers httpx2
        from syncd.ui.oidc import Provider  # noqa: PLC0415 -- with its library, only where there is a provider

    return Provider(settings)
