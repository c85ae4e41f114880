"""Controllers of a fleet: the word of each in the record, and the wait of a stand-by for the active one to leave."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from importlib.metadata import version
from typing import Final

import structlog

from syncd.daemon.health import Health, notify
from syncd.engine import lock
from syncd.errors import Invalid, SyncdError, Unavailable
from syncd.plan.routing import FleetRole
from syncd.reconcile.context import Context
from syncd.state.access import workers

log = structlog.get_logger("syncd.standby")

BEATS_PER_LEASE: Final = 4
BEAT_AT_MOST_S: Final = 5.0
_SILENT: Final = 0.6  # of the lease: a controller that said nothing for so long is taken over from
_AGAIN_S: Final = 1.0


def beat_s(lease_s: float) -> float:
    """How often a process of a fleet says that it is alive: often enough that one lost word ends nothing."""
    return min(BEAT_AT_MOST_S, lease_s / BEATS_PER_LEASE)


def is_dead_here(owner: str) -> bool:
    """Whether an owner was a process of this machine that has ended. One of another machine may be alive."""
    host, _, rest = owner.rpartition(":")[0].rpartition(":")
    if host != socket.gethostname() or not rest.isdigit():
        return False
    if int(rest) == os.getpid():  # of a container that was started again
        return True
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


class Member:
    """A controller's word in the record: which one it is, and whether it is the active one."""

    def __init__(self, context: Context, name: str, role: str) -> None:
        self._context = context
        self._name = name
        self._role = role

    def enter(self) -> None:
        """Enter the fleet, as a stand-by.

        Raises:
            Conflict: A live process has this name.
            Invalid: A live process is more than one version of syncd away.
            Unavailable: The record cannot be reached.
        """
        context = self._context
        with context.state.write() as conn:
            workers.enter(
                conn, self._name, owner=context.owner, role=self._role, region="", capabilities={},
                version=version("syncd"), lease_s=context.lease_s, now=context.state.now(conn), is_dead=is_dead_here,
            )  # fmt: skip

    def beat(self, *, active: bool) -> None:
        """Say that it is alive. Raises what the record raises."""
        context = self._context
        with context.state.write() as conn:
            workers.seen(conn, self._name, context.owner, {}, context.state.now(conn), active=active)

    def leave(self) -> None:
        """Say that it has stopped in order, where the record can be reached."""
        context = self._context
        with suppress(SyncdError), context.state.write() as conn:
            workers.gone(conn, self._name, context.owner, context.state.now(conn))


class Standby:
    """The wait of a controller until no other one is active."""

    def __init__(self, context: Context, member: Member, health: Health) -> None:
        self._context = context
        self._member = member
        self._health = health
        self._is_told = False

    def wait(self) -> bool:
        """Wait for the other controller to leave, die, or be silent for most of the lease. False: asked to stop."""
        context = self._context
        url = context.state.url.render_as_string(hide_password=False)
        self._health.stand_by()
        while not context.draining.is_set():
            self._health.beat()
            try:
                return lock.await_turn(url, context.draining, self._look)
            except Unavailable as error:
                log.warning("standby.waiting", message="The record cannot be reached; the stand-by waits.",
                            error=error.message)  # fmt: skip
                context.draining.wait(_AGAIN_S)
        return False

    def _look(self) -> bool:
        """Say that this one stands by. Whether the active controller is silent for too long."""
        notify("WATCHDOG=1")
        self._health.beat()
        if not self._is_told:
            self._is_told = True
            notify("READY=1")
            log.info("standby.began", message="Another controller is active; this one stands by.",
                     owner=self._context.owner)  # fmt: skip
        try:
            self._member.beat(active=False)
            with self._context.state.read() as conn:
                now, members = self._context.state.now(conn), workers.every(conn)
        except SyncdError as error:
            log.warning("standby.unheard", message="The record could not be told that the stand-by is alive.",
                        error=error.message)  # fmt: skip
            return False
        active = [each for each in members if each.active and each.role != FleetRole.WORKER]
        silent_s = self._context.lease_s * _SILENT
        return bool(active) and all((now - each.seen_at).total_seconds() > silent_s for each in active)


def refuse_sqlite(context: Context, what: str) -> None:
    """Raises Invalid: several processes need PostgreSQL."""
    if not context.is_shared:
        raise Invalid(
            f"{what} needs a record in PostgreSQL: this one is in SQLite, which one process works on",
            hint="use `syncd run`, or move the record: `syncd state export`, then `syncd state import`",
        )
