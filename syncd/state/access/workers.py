"""Controllers and workers that share this record: who serves which queue, and what a person asked of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from syncd.errors import Conflict, Invalid, NotFound
from syncd.plan.phases import StepState
from syncd.plan.routing import FleetRole
from syncd.state.db.rows import fetch_all, fetch_one, insert
from syncd.state.db.schema import steps
from syncd.state.db.schema_fleet import workers
from syncd.state.releases import events

PROTOCOL: Final = 1  # raised by one when a controller and a worker say something else to each other
_APART_MAX: Final = 1  # so that a fleet is upgraded process by process
_FORGOTTEN_AFTER: Final = timedelta(days=1)
_CONTROLLER_FORGOTTEN_AFTER: Final = timedelta(minutes=10)  # its name has its process in it
_AHEAD: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class FleetMember:
    """A controller or a worker, as it last said. `capabilities` has its queues, and why it does not serve others."""

    name: str
    owner: str
    role: str
    region: str
    capabilities: Mapping[str, object]
    version: str
    protocol: int
    since: datetime
    seen_at: datetime
    active: bool
    cordoned: bool
    draining: bool

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that it serves."""
        found = self.capabilities.get("queues", ())
        return tuple(str(each) for each in found) if isinstance(found, list | tuple) else ()

    @property
    def faults(self) -> Mapping[str, str]:
        """Why it does not serve a queue of its region, by queue."""
        found = self.capabilities.get("faults", {})
        return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def enter(  # noqa: PLR0913 -- what a process says of itself when it comes
    conn: sa.Connection,
    name: str,
    *,
    owner: str,
    role: str,
    region: str,
    capabilities: Mapping[str, object],
    version: str,
    lease_s: float,
    now: datetime,
    is_dead: Callable[[str], bool] = lambda _owner: False,
    protocol: int = PROTOCOL,
) -> FleetMember:
    """Write that a process of this name has come. What a person asked of the name before stays.

    What a former owner of the name has left goes on at once where `is_dead` knows that it has ended.

    Raises:
        Conflict: Another process of this name was heard of within `lease_s`.
        Invalid: A process that was is more than one version of the fleet's protocol away.
    """
    others = [each for each in heard(conn, now, lease_s) if each.owner != owner and not is_dead(each.owner)]
    for other in others:
        if abs(other.protocol - protocol) > _APART_MAX:
            raise Invalid(
                f"{other.role} {other.name} is syncd {other.version} (fleet protocol {other.protocol}), this one is"
                f" {version} (fleet protocol {protocol}): they are more than one version apart",
                hint="upgrade one version at a time, every process before the next version",
            )
        if other.name == name:
            raise Conflict(
                f"another process is called {name}: {other.owner}, heard of at {other.seen_at:%H:%M:%S}Z",
                hint="give this one another name, with --name",
            )
    values: dict[str, Any] = {
        "owner": owner, "role": role, "region": region, "capabilities": dict(capabilities), "version": version,
        "protocol": protocol, "since": now, "seen_at": now, "active": False,
    }  # fmt: skip
    former = fetch_one(conn, FleetMember, sa.select(workers).where(workers.c.name == name))
    if former is not None and former.owner and is_dead(former.owner):
        left = sa.and_(steps.c.owner == former.owner, steps.c.state == StepState.RUNNING)
        conn.execute(sa.update(steps).where(left).values(lease_until=now))
    row = insert(conn, workers).values(name=name, **values)
    conn.execute(row.on_conflict_do_update(index_elements=[workers.c.name], set_=values))
    events.append(conn, "worker.came", now=now, subject=name, detail={"role": role, "region": region, "owner": owner})
    return get(conn, name)


def seen(
    conn: sa.Connection, name: str, owner: str, capabilities: Mapping[str, object], now: datetime, *, active: bool
) -> FleetMember | None:
    """Write that a process is alive and what it serves. None: another process has its name by now.

    Rows of processes long gone are deleted too, unless a person asked something of the name.
    """
    mine = sa.and_(workers.c.name == name, workers.c.owner == owner)
    before = fetch_one(conn, FleetMember, sa.select(workers).where(mine))
    if before is None:
        return None
    query = sa.update(workers).where(mine).values(seen_at=now, capabilities=dict(capabilities), active=active)
    conn.execute(query)
    if (before.active, dict(before.capabilities)) != (active, dict(capabilities)):
        detail = {"queues": list(before.queues), "active": active}
        events.append(conn, "worker.changed", now=now, subject=name, detail=detail)
    if active:
        conn.execute(sa.update(workers).where(workers.c.name != name, workers.c.active).values(active=False))
    controls = workers.c.role != FleetRole.WORKER
    stale = sa.or_(
        sa.and_(controls, workers.c.seen_at < now - _CONTROLLER_FORGOTTEN_AFTER),
        sa.and_(~workers.c.cordoned, workers.c.seen_at < now - _FORGOTTEN_AFTER),
    )
    conn.execute(sa.delete(workers).where(stale))
    return before


def gone(conn: sa.Connection, name: str, owner: str, now: datetime) -> None:
    """Write that a process stopped in order. The row stays where a person has cordoned the name."""
    mine = sa.and_(workers.c.name == name, workers.c.owner == owner)
    there = conn.execute(sa.delete(workers).where(mine, ~workers.c.cordoned)).rowcount
    left = {"owner": "", "capabilities": {}, "active": False}
    there += conn.execute(sa.update(workers).where(mine).values(**left)).rowcount
    if there:
        events.append(conn, "worker.left", now=now, subject=name, detail={"owner": owner})


def get(conn: sa.Connection, name: str) -> FleetMember:
    """Raises NotFound: no process of this name is known."""
    found = fetch_one(conn, FleetMember, sa.select(workers).where(workers.c.name == name))
    if found is None:
        raise NotFound(f"no worker or controller is called {name}", hint="`syncd workers` lists them")
    return found


def every(conn: sa.Connection) -> list[FleetMember]:
    """Every process that is known, controllers first, then by region and name."""
    return fetch_all(conn, FleetMember, sa.select(workers).order_by(workers.c.region, workers.c.role, workers.c.name))


def heard(conn: sa.Connection, now: datetime, lease_s: float) -> list[FleetMember]:
    """Those heard of within `lease_s`. A time in the future is from before the clock was set back."""
    first = now - timedelta(seconds=lease_s)
    return [each for each in every(conn) if each.owner and first <= each.seen_at <= now + _AHEAD]


def served(conn: sa.Connection, now: datetime, lease_s: float) -> frozenset[str]:
    """The queues that live workers take work from."""
    taking = (each for each in heard(conn, now, lease_s) if each.role == FleetRole.WORKER and not each.cordoned)
    return frozenset(queue for each in taking for queue in each.queues)


def loads(conn: sa.Connection) -> dict[str, int]:
    """How many steps each owner runs."""
    query = sa.select(steps.c.owner, sa.func.count()).where(steps.c.owner != "").group_by(steps.c.owner)
    return {str(owner): int(number) for owner, number in conn.execute(query)}


def ask(conn: sa.Connection, name: str, who: str, now: datetime, *, cordoned: bool, draining: bool) -> FleetMember:
    """Record what a person asks of a worker: to begin nothing more, and to leave what it runs to others.

    Raises:
        NotFound: No process of this name is known.
        Conflict: It is a controller: that one is stopped, not cordoned.
    """
    found = get(conn, name)
    if found.role != FleetRole.WORKER:
        raise Conflict(
            f"{name} is a {found.role}, which is not cordoned", hint="stop it: another controller takes over"
        )
    if (found.cordoned, found.draining) != (cordoned, draining):
        conn.execute(sa.update(workers).where(workers.c.name == name).values(cordoned=cordoned, draining=draining))
        kind = "worker.draining" if draining else "worker.cordoned" if cordoned else "worker.uncordoned"
        events.append(conn, kind, now=now, subject=name, detail={"who": who})
    return get(conn, name)
