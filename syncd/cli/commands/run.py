"""`syncd run`: the daemon."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.exit_codes import Exit
from syncd.cli.output.output import OutputFormat
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption
from syncd.plan.routing import FleetRole, Routing

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from syncd.config import Config
    from syncd.daemon.health import Health
    from syncd.daemon.process import Service
    from syncd.daemon.standby import Standby
    from syncd.engine.lock import RecordLock
    from syncd.reconcile.context import Context
    from syncd.ui.provider_settings import ProviderSettings


RoleOption = Annotated[
    FleetRole, typer.Option("--role", help="all: the only daemon of a record; the others need PostgreSQL.")
]
NameOption = Annotated[str, typer.Option("--name", help="The name of this process in `syncd workers`.")]
RegionOption = Annotated[str, typer.Option("--region", help="Of a worker: the region whose steps it runs.")]


def run(
    role: RoleOption = FleetRole.ALL,
    region: RegionOption = "",
    name: NameOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> int:
    """Run the daemon: poll registries, execute releases, serve the API where it is configured, until SIGTERM.

    SIGTERM drains: no step is started, running ones stop between two effects, nothing is left half-recorded. After
    a kill -9 the next start resumes from the record. Logs go to standard error, as
    JSON when that is not a terminal or with -o json.

    With a record in PostgreSQL a fleet of processes shares the work: two of --role controller, of which one is active
    and the other stands by, and a worker for each region, which runs all steps of that region.

    Example: syncd run -c /etc/syncd/config.toml
    """
    if role is FleetRole.WORKER:
        if not region:
            raise typer.BadParameter("a worker has a region: --region cn-shanghai")
        return run_worker(region, name, config, output, verbose=verbose)
    if region:
        raise typer.BadParameter("only a worker has a region: --role worker")
    with opened(config, output, verbose=verbose) as (loaded, context):
        _control(loaded, context, role, name)
    return Exit.OK


def run_worker(region: str, name: str, config: Path, output: OutputFormat, *, verbose: bool) -> int:
    """Run a worker until SIGTERM. Raises Invalid: the configuration has nothing in this region, or uses SQLite."""
    with opened(config, output, verbose=verbose, region=region) as (loaded, context):
        from syncd.daemon.process import stopped_by_signals  # noqa: PLC0415
        from syncd.daemon.standby import refuse_sqlite  # noqa: PLC0415
        from syncd.daemon.worker import Worker, WorkerSettings  # noqa: PLC0415
        from syncd.errors import Invalid  # noqa: PLC0415

        refuse_sqlite(context, "a worker")
        regions = sorted(set(context.topology.regions.values()))
        if region not in regions:
            raise Invalid(f"nothing is configured in the region {region!r}", hint=f"regions: {', '.join(regions)}")
        named = name or f"{socket.gethostname()}-{region}"
        worker = Worker(context, WorkerSettings(named, region, loaded.policy.drain_s))
        with stopped_by_signals(worker):
            worker.run()
    return Exit.OK


@contextmanager
def opened(config: Path, output: OutputFormat, *, verbose: bool, region: str = "") -> Iterator[tuple[Config, Context]]:
    """The configuration as a process in `region` uses it, and its context; logs are configured."""
    from syncd import logs  # noqa: PLC0415 -- `run --help` needs none of what follows
    from syncd.config import load  # noqa: PLC0415
    from syncd.state import schema_version  # noqa: PLC0415
    from syncd.state.state import State  # noqa: PLC0415
    from syncd.wiring import context_of  # noqa: PLC0415
    from syncd.wiring_stores import inside  # noqa: PLC0415

    loaded = inside(load(config, os.environ), region)
    as_json = output is OutputFormat.JSON or not sys.stderr.isatty()
    logs.configure(json=as_json, level="DEBUG" if verbose else "INFO", secrets=loaded.secrets())
    state = State(loaded.state.connect_url.render_as_string(hide_password=False))
    try:
        schema_version.check(state)
        yield loaded, replace(context_of(loaded, state), is_shared=state.url.get_backend_name() != "sqlite")
    finally:
        state.close()


def _control(config: Config, context: Context, role: FleetRole, name: str) -> None:
    from syncd.daemon.process import Process, stopped_by_signals  # noqa: PLC0415
    from syncd.daemon.settings import settings_of  # noqa: PLC0415
    from syncd.daemon.standby import Member, Standby, refuse_sqlite  # noqa: PLC0415
    from syncd.engine import lock  # noqa: PLC0415

    if role is FleetRole.CONTROLLER:
        refuse_sqlite(context, f"--role {role}")
    if context.is_shared:
        context = replace(context, routing=partial(_routing, context, is_strict=role is FleetRole.CONTROLLER))
    url = context.state.url.render_as_string(hide_password=False)
    member = Member(context, name or f"{socket.gethostname()}-{os.getpid()}", role) if context.is_shared else None
    locks: list[lock.RecordLock] = []

    def check_locks() -> None:
        for each in locks:
            each.check()

    process = Process(context, settings_of(config, polls=True), sole=True, check_lock=check_locks, member=member)
    beside = _beside(config, context, process.health)
    with stopped_by_signals(process), ExitStack() as stack:
        if role is FleetRole.CONTROLLER and member is not None:
            member.enter()
            stack.callback(member.leave)
            beside = [*beside[:-1], started(beside[-1], stack)] if config.api.listen else beside
            announced = _announced(url, Standby(context, member, process.health), stack)
            if announced is None:
                return
            locks.append(announced)
        else:
            # A command that works here for its own release gives way once this is announced.
            locks.append(stack.enter_context(lock.announce(url, lock.Claimant.DAEMON)))
        locks.append(stack.enter_context(lock.hold(url, wait_s=config.policy.drain_s + lock.GIVE_WAY_S)))
        if role is FleetRole.ALL and member is not None:
            member.enter()
        process.run(beside=beside)


def _announced(url: str, standby: Standby, stack: ExitStack) -> RecordLock | None:
    """Stand by until this controller is announced, until `stack` ends. None: it was asked to stop."""
    from syncd.engine import lock  # noqa: PLC0415
    from syncd.errors import Conflict  # noqa: PLC0415

    while standby.wait():
        with suppress(Conflict):  # of two stand-bys one comes first
            return stack.enter_context(lock.announce(url, lock.Claimant.DAEMON))
    return None


def _routing(context: Context, conn: Connection, *, is_strict: bool) -> Routing:
    from syncd.state.access import workers  # noqa: PLC0415

    return Routing(workers.served(conn, context.state.now(conn), context.lease_s), is_strict=is_strict)


@dataclass(frozen=True)
class Started:
    """A service that was started already: the API of a stand-by answers before it has any work."""

    service: Service

    def start(self) -> None:
        """It was."""

    def stop(self) -> None:
        """Stop it. Repeating it is success."""
        self.service.stop()


def started(service: Service, stack: ExitStack) -> Started:
    """Start a service now; it is stopped with the stack at the latest."""
    service.start()
    stack.callback(service.stop)
    return Started(service)


def _beside(config: Config, context: Context, pulse: Health) -> list[Service]:
    from syncd.daemon.notification_service import NotificationService  # noqa: PLC0415
    from syncd.wiring import notifiers_of  # noqa: PLC0415

    notifying: list[Service] = [NotificationService(context.state, notifiers_of(config))] if config.notify else []
    if not config.api.listen:
        return notifying
    from syncd.api.server import api_of  # noqa: PLC0415 -- the web server: only where it is configured

    if not config.ui.enabled:
        return [*notifying, api_of(config, context, pulse)]
    from syncd.ui.routes import routes_of  # noqa: PLC0415

    return [*notifying, api_of(config, context, pulse, routes_of(_provider_of(config)))]


def _provider_of(config: Config) -> ProviderSettings | None:
    """The provider where people sign in to the dashboard; None: they do with tokens only."""
    from syncd.plan.roles import Role  # noqa: PLC0415
    from syncd.ui.provider_settings import ProviderSettings  # noqa: PLC0415

    ui = config.ui
    if ui.issuer is None or ui.client_secret is None or ui.public_url is None:
        return None
    roles = {Role(role): names for role, names in ui.roles.items()}
    return ProviderSettings(ui.issuer, ui.client_id, ui.client_secret, ui.public_url, ui.claim, roles, ui.scopes)
