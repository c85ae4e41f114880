"""Dependencies of the routes: the parts of the process, callers, and the threads that query the record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address
from typing import Final, TypeVar

from starlette.requests import Request

from syncd.api.limits.allowances import Allowances
from syncd.api.limits.bodies import BodyBudget
from syncd.api.limits.connections import connection_of
from syncd.api.limits.refused_callers import RefusedCallers
from syncd.api.metrics import Metrics
from syncd.api.responses import ProblemResponse
from syncd.api.scopes import check_scope
from syncd.api.token_checks import TokenChecks
from syncd.api.webhooks.delivery_batcher import DeliveryBatcher
from syncd.api.webhooks.webhooks import Webhook
from syncd.artifact.names import MODEL_MAX
from syncd.daemon.health import Health
from syncd.errors import SyncdError
from syncd.plan.roles import Role
from syncd.plan.token_limits import NO_LIMITS, TokenLimits
from syncd.plan.topology import Topology
from syncd.reconcile.context import World
from syncd.reconcile.requests.create import RequestOrigin
from syncd.reconcile.requests.operations import Requester
from syncd.registry.base import Registry
from syncd.state.access import refusals
from syncd.state.access.refusals import RefusalSummary
from syncd.state.state import State

T = TypeVar("T")
THREADS: Final = 6  # of the 16 connections that a process has to its record; steps and polls need the others
WAITING_MAX: Final = 64  # calls queued for these threads; a query takes milliseconds
REPORT_REFUSALS_S: Final = 5.0
_BEARER: Final = "bearer "


@dataclass(frozen=True, slots=True)
class Caller:
    """The owner of a token, and the address of the request. A token may be for some models only."""

    name: str
    role: Role
    address: str
    limits: TokenLimits = NO_LIMITS

    @property
    def who(self) -> str:
        """The name for events: `ci@10.0.0.7`."""
        return f"{self.name}@{self.address}"


@dataclass(frozen=True)
class Dependencies:
    """Parts of the process that the API uses."""

    world: World
    hooks: Mapping[str, Webhook]
    pulse: Health
    wake: Callable[[], None]  # something was requested: start a pass now
    clock: Callable[[], float] = time.time
    private_paths: Mapping[str, str] = field(default_factory=dict)  # of this machine, and their names in answers

    @property
    def state(self) -> State:
        """The record."""
        return self.world.state

    @property
    def topology(self) -> Topology:
        """The topology of the configuration."""
        return self.world.topology

    @property
    def registries(self) -> Mapping[str, Registry]:
        """The registries by name."""
        return self.world.registries


@dataclass
class Server:
    """State of one running server. Its methods are called in the server's event loop only."""

    site: Dependencies
    metrics: Metrics
    refused: RefusedCallers = field(default_factory=RefusedCallers)
    bodies: BodyBudget = field(default_factory=BodyBudget)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    streams: dict[str, int] = field(default_factory=dict)  # open event streams, by caller
    allowances: Allowances = field(default_factory=Allowances)
    _asked: int = 0

    def __post_init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="api")
        self.intake = DeliveryBatcher(self.site.state, self.ask)
        self._checks = TokenChecks(self.site.state, self.ask)

    async def ask(self, question: Callable[[], T]) -> T:
        """Run a blocking call in a thread.

        Raises:
            ProblemResponse: Too many calls wait already (503).
            SyncdError: As `question` raises.
        """
        if self._asked >= THREADS + WAITING_MAX:
            raise ProblemResponse(503, "unavailable", "too many requests at once", headers={"Retry-After": "1"})
        self._asked += 1
        try:
            return await self.loop.run_in_executor(self._threads, question)
        finally:
            self._asked -= 1

    async def report_refusals(self) -> None:
        """Write the summary of refused callers to the record whenever it has changed, until this is cancelled."""
        written = RefusalSummary()
        while True:
            found = self.refused.summary()
            if found != written:
                with suppress(SyncdError):  # the record is locked or gone: the next round writes it
                    await self.ask(partial(self._write_refusals, found))
                    written = found
            await asyncio.sleep(REPORT_REFUSALS_S)

    def _write_refusals(self, found: RefusalSummary) -> None:
        state = self.site.state
        with state.write() as conn:
            refusals.write(conn, found, state.now(conn))

    def close(self) -> None:
        """Wait for running calls. Repeating it succeeds."""
        self._threads.shutdown(wait=True)

    async def caller(self, request: Request, wanted: Role) -> Caller:
        """Authenticate and authorize a request.

        A token for some models is accepted only where the route says which model the request is about.

        Raises:
            ProblemResponse: No token, or one that is unknown or has ended (401); its role is insufficient, it is for
                other models, or is not accepted from this address (403); too many requests with it (429), or in
                progress (503).
        """
        found = await self.owner(token_in(request), request, wanted, is_for_some_models=True)
        if found.limits.models:
            await check_scope(self, found, request)
        return found

    async def owner(self, text: str, request: Request, wanted: Role, *, is_for_some_models: bool = False) -> Caller:
        """The owner of a token that came with a request, or that its session was begun with. Raises as `caller`.

        `is_for_some_models` says that the caller judges a token that is for some models; else it is refused.
        """
        token = await self._checks.find(text)
        address = address_of(request)
        found = None if token is None else Caller(token.name, token.role, address, TokenLimits.of_json(token.limits))
        if found is not None and found.limits:
            self._check_limits(found)
            if found.limits.models and not is_for_some_models:
                raise self.out_of_scope(found, "this page shows every model", "sign in with a token without --model")
        if found is None:
            self.refused.note("unknown token" if text else "no token", "", address_of(request))
            hint = "send `Authorization: Bearer TOKEN`; `syncd token create` makes one"
            challenge = {"WWW-Authenticate": "Bearer"}
            message = "expected a valid token in the Authorization header"
            raise ProblemResponse(401, "unauthenticated", message, hint=hint, headers=challenge)
        return self.admit(found, request, wanted)

    def _check_limits(self, found: Caller) -> None:
        if found.limits.is_ended(datetime.fromtimestamp(self.site.clock(), UTC)):
            self.refused.note("ended token", found.name, found.address)
            hint = f"revoke it and create another: syncd token revoke {found.name}; syncd token create {found.name}"
            message = f"the token {found.name} ended at {found.limits.ends_at:%Y-%m-%d %H:%M:%SZ}"
            raise ProblemResponse(401, "unauthenticated", message, hint=hint, headers={"WWW-Authenticate": "Bearer"})
        if not found.limits.admits(found.address):
            self.refused.note("token from another address", found.name, found.address)
            message = f"the token {found.name} is not accepted from {found.address}"
            raise ProblemResponse(403, "forbidden", message, hint="`syncd token list` shows from where it is")
        wait_s = self.allowances.take(found.name, found.limits.per_minute)
        if wait_s:
            self.refused.note("too many requests", found.name, found.address)
            message = f"the token {found.name} is for {found.limits.per_minute} requests a minute"
            raise ProblemResponse(429, "busy", message, headers={"Retry-After": str(wait_s)})

    def check_model(self, found: Caller, model: str) -> None:
        """Raises ProblemResponse: The caller's token is for other models (403)."""
        if not found.limits.selects(model):
            raise self.out_of_scope(found, f"this is about {model[:MODEL_MAX]}", "use the token of that model")

    def out_of_scope(self, found: Caller, why: str, hint: str) -> ProblemResponse:
        """The refusal of a caller whose token is for some models, counted."""
        self.refused.note("token of other models", found.name, found.address)
        message = f"the token {found.name} is for the models {', '.join(found.limits.models)} only; {why}"
        return ProblemResponse(403, "forbidden", message, hint=hint)

    def admit(self, found: Caller, request: Request, wanted: Role) -> Caller:
        """A caller who is known, if their role is sufficient. Raises as `caller`."""
        if not found.role.allows(wanted):
            self.refused.note(f"role {found.role} where {wanted} is needed", found.name, found.address)
            message = f"expected a token with the role {wanted} or more, got {found.name} with {found.role}"
            hint = f"create one with: syncd token create NAME --role {wanted}"
            raise ProblemResponse(403, "forbidden", message, hint=hint)
        keep(request)
        return found

    def requester(self, caller: Caller, origin: RequestOrigin = RequestOrigin.PIPELINE) -> Requester:
        """The requester that stands for a caller in the record."""
        return Requester(self.site.world, caller.who, origin)


def token_in(request: Request) -> str:
    """The Bearer token of a request; "" if there is none."""
    given = request.headers.get("authorization", "")
    return given[len(_BEARER) :].strip() if given.lower().startswith(_BEARER) else ""


def server_of(request: Request) -> Server:
    """The server that got the request."""
    server = request.app.state.server
    assert isinstance(server, Server)
    return server


def keep(request: Request) -> None:
    """The caller is proven: keep the connection to the end of the request.

    Raises:
        ProblemResponse: Too many requests of proven callers are in progress (503).
    """
    connection = connection_of(request.scope)
    if connection is not None and not connection.prove():
        raise ProblemResponse(503, "unavailable", "too many requests at once", headers={"Retry-After": "1"})


def address_of(request: Request) -> str:
    """The client's address, as a trusted proxy reports it or as connected."""
    try:
        return str(ip_address(request.client.host if request.client else ""))
    except ValueError:
        return "unknown"
