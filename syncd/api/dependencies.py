"""What the routes work with: the rooms of the process, and a few threads in which the record is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final, TypeVar

from starlette.requests import Request

from syncd.api.responses import ProblemResponse
from syncd.api.webhooks.delivery_batcher import DeliveryBatcher
from syncd.api.webhooks.webhooks import Webhook
from syncd.daemon.health import Health
from syncd.plan.roles import Role
from syncd.plan.topology import Topology
from syncd.reconcile.context import World
from syncd.reconcile.requests.create import Origin
from syncd.reconcile.requests.operations import Requester
from syncd.registry.base import Registry
from syncd.state.access import tokens
from syncd.state.state import State

T = TypeVar("T")
THREADS: Final = 6  # of the 16 connections that a process has to its record; steps and polls need the others
WAITING_MAX: Final = 64  # asked of these threads and not begun; a query takes milliseconds
_BEARER: Final = "bearer "


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and from where."""

    name: str
    role: Role
    address: str

    @property
    def who(self) -> str:
        """As it stands in events: `ci@10.0.0.7`."""
        return f"{self.name}@{self.address}"


@dataclass(frozen=True)
class Dependencies:
    """What the API needs of the process it lives in."""

    world: World
    hooks: Mapping[str, Webhook]
    pulse: Health
    wake: Callable[[], None]  # something was asked for: look now
    clock: Callable[[], float] = time.time

    @property
    def state(self) -> State:
        """The record."""
        return self.world.state

    @property
    def topology(self) -> Topology:
        """The configured shape."""
        return self.world.topology

    @property
    def registries(self) -> Mapping[str, Registry]:
        """The registries by name."""
        return self.world.registries


@dataclass
class Server:
    """One per server; its methods are called in the server's loop only."""

    site: Dependencies
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    streams: dict[str, int] = field(default_factory=dict)  # open event streams, by caller
    _asked: int = 0

    def __post_init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="api")
        self.intake = DeliveryBatcher(self.site.state, self.ask)

    async def ask(self, question: Callable[[], T]) -> T:
        """Run what blocks in a thread.

        Raises:
            Problem: Too much is waiting already (503); and what `question` raises.
        """
        if self._asked >= THREADS + WAITING_MAX:
            raise ProblemResponse(503, "unavailable", "too many requests at once", headers={"Retry-After": "1"})
        self._asked += 1
        try:
            return await self.loop.run_in_executor(self._threads, question)
        finally:
            self._asked -= 1

    def close(self) -> None:
        """Wait for what runs. Repeating it is success."""
        self._threads.shutdown(wait=True)

    async def caller(self, request: Request, wanted: Role) -> Caller:
        """Who asks.

        Raises:
            Problem: No token, or one that is not known (401); its role is not enough (403).
        """
        text = token_in(request)

        def look() -> Caller | None:
            with self.site.state.read() as conn:
                found = tokens.find(conn, text)
            return None if found is None else Caller(found.name, found.role, _address(request))

        found = await self.ask(look) if text else None
        if found is None:
            hint = "send `Authorization: Bearer TOKEN`; `syncd token create` makes one"
            challenge = {"WWW-Authenticate": "Bearer"}
            raise ProblemResponse(401, "unauthenticated", "no valid token was sent", hint=hint, headers=challenge)
        if not found.role.allows(wanted):
            message = f"the token {found.name} may {found.role}, and this needs {wanted}"
            raise ProblemResponse(
                403, "forbidden", message, hint=f"make one with: syncd token create NAME --role {wanted}"
            )
        return found

    def requester(self, caller: Caller) -> Requester:
        """In whose name something is asked for."""
        return Requester(self.site.world, caller.who, Origin.PIPELINE)


def token_in(request: Request) -> str:
    """What was sent as a token; "" where nothing was."""
    given = request.headers.get("authorization", "")
    return given[len(_BEARER) :].strip() if given.lower().startswith(_BEARER) else ""


def server_of(request: Request) -> Server:
    """The desk of the server that got the request."""
    server = request.app.state.server
    assert isinstance(server, Server)
    return server


def _address(request: Request) -> str:
    """Where the request comes from, as a trusted proxy says or as it came."""
    try:
        return str(ip_address(request.client.host if request.client else ""))
    except ValueError:
        return "unknown"
