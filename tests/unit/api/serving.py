"""A real server on a port of its own, over a world in memory and a real database; and callers of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import httpx
from starlette.routing import BaseRoute
from syncd.api.dependencies import Dependencies as ApiSite
from syncd.api.dependencies import Server
from syncd.api.limits.refused_callers import RefusedCaller
from syncd.api.server import ApiServer
from syncd.api.webhooks.webhooks import Webhook
from syncd.daemon.health import Health
from syncd.plan.roles import Role
from syncd.state.access import tokens
from syncd.state.state import State

from tests.support.rooms import Site

LIMIT_S = 30.0


@dataclass
class Served:
    """A server that runs, and tokens for it."""

    site: Site
    api: ApiServer
    pulse: Health
    woken: list[int]
    _tokens: dict[Role, str] = field(default_factory=dict)

    @property
    def state(self) -> State:
        return self.site.state

    @property
    def url(self) -> str:
        return self.api.address

    def token(self, role: Role) -> str:
        """A token of that role, made once."""
        if role not in self._tokens:
            with self.state.write() as conn:
                made = tokens.create(conn, f"a-{role}er", role, "ann@desk", self.state.now(conn))
            self._tokens[role] = made.reveal()
        return self._tokens[role]

    def call(
        self, method: str, path: str, role: Role | None = None, headers: Mapping[str, str] | None = None, **more: object
    ) -> httpx.Response:
        """One request, whole."""
        given = dict(headers or {})
        if role is not None:
            given["Authorization"] = f"Bearer {self.token(role)}"
        with httpx.Client(base_url=self.url, timeout=LIMIT_S, trust_env=False, verify=False) as client:
            return client.request(method, path, headers=given, **more)  # type: ignore[arg-type]

    def refused(self) -> list[RefusedCaller]:
        """The refused callers that the server counted."""
        return self._server.refused.listed()

    @property
    def _server(self) -> Server:
        found = self.api._app.state.server
        assert isinstance(found, Server)
        return found

    def connection_count(self) -> int:
        """How many connections the server has."""
        return len(self.api._server.server_state.connections)

    def get(self, path: str, role: Role | None = Role.READ, **more: object) -> httpx.Response:
        return self.call("GET", path, role, **more)  # type: ignore[arg-type]

    def post(self, path: str, role: Role | None = Role.OPERATE, **more: object) -> httpx.Response:
        return self.call("POST", path, role, **more)  # type: ignore[arg-type]


@contextmanager
def serving(
    site: Site,
    hooks: Mapping[str, Webhook] | None = None,
    clock_s: float | None = None,
    proxies: tuple[str, ...] = (),
    private_paths: Mapping[str, str] | None = None,
    pages: Sequence[BaseRoute] = (),
) -> Iterator[Served]:
    """Serve a site until the block ends. It is healthy, and its registries are not polled yet."""
    pulse = Health(["models"], 1.0)
    woken: list[int] = []
    context = site.context
    at = ApiSite(context, hooks or {}, pulse, lambda: woken.append(1))
    if clock_s is not None:
        at = replace(at, clock=lambda: clock_s)
    at = replace(at, private_paths=private_paths or {})
    api = ApiServer(at, "127.0.0.1:0", proxies, pages)
    api.start()
    try:
        yield Served(site, api, pulse, woken)
    finally:
        api.stop()


def problem(answer: httpx.Response) -> tuple[int, str]:
    """The status and code of an error, which must have the one shape."""
    reported = answer.json()
    assert set(reported) == {"code", "message", "hint"}, reported
    assert "Traceback" not in answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.status_code, reported["code"]
