"""Repairs of placements in the record: who asked, who works on it, how it ended. One row for each placement."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import sqlalchemy as sa

from syncd.errors import SyncdError
from syncd.state.db.rows import fetch_all, fetch_one, insert
from syncd.state.db.schema_serving import repairs
from syncd.state.records import Repair, Version
from syncd.state.releases import events


def begin(conn: sa.Connection, version: Version, target: str, who: str, now: datetime) -> Repair:
    """Record that a placement is to be repaired. A repair under way keeps its first `who`, and is due now if no
    worker has it.
    """
    known = find(conn, version.id, target)
    if known is not None and known.done_at is None:
        if known.failures and known.due_at > now:
            _update(conn, known, due_at=now, failures=0)
        return get(conn, version.id, target)
    values = {
        "who": who,
        "asked_at": now,
        "due_at": now,
        "failures": 0,
        "reason": "",
        "hint": "",
        "result": {},
        "done_at": None,
    }
    row = insert(conn, repairs).values(version_id=version.id, target=target, **values)
    conn.execute(row.on_conflict_do_update(index_elements=[repairs.c.version_id, repairs.c.target], set_=values))
    _record_event(conn, "repair.requested", version.id, target, now, {"who": who})
    return get(conn, version.id, target)


def find(conn: sa.Connection, version_id: str, target: str) -> Repair | None:
    """The newest repair of a placement, if there was one."""
    return fetch_one(conn, Repair, sa.select(repairs).where(_key(version_id, target)))


def get(conn: sa.Connection, version_id: str, target: str) -> Repair:
    """As `find`, for one that was begun."""
    found = find(conn, version_id, target)
    assert found is not None, (version_id, target)
    return found


def of_versions(conn: sa.Connection, version_ids: list[str]) -> list[Repair]:
    """The newest repair of each placement of these versions, by version and target."""
    query = sa.select(repairs).where(repairs.c.version_id.in_(version_ids))
    return fetch_all(conn, Repair, query.order_by(repairs.c.version_id, repairs.c.target))


def has_unfinished(conn: sa.Connection) -> bool:
    """Whether a repair has not ended."""
    return conn.execute(sa.select(sa.literal(1)).where(repairs.c.done_at.is_(None)).limit(1)).first() is not None


def due(conn: sa.Connection, now: datetime) -> list[Repair]:
    """Repairs that no worker has and that are due, the oldest first."""
    query = sa.select(repairs).where(repairs.c.done_at.is_(None), repairs.c.due_at <= now)
    return fetch_all(conn, Repair, query.order_by(repairs.c.asked_at, repairs.c.version_id, repairs.c.target))


def claim(conn: sa.Connection, repair: Repair, lease_s: float, now: datetime) -> bool:
    """Take a due repair for `lease_s`. False: another worker has it, or it has ended."""
    free = sa.and_(repairs.c.done_at.is_(None), repairs.c.due_at <= now)
    values = {"due_at": now + timedelta(seconds=lease_s)}
    return bool(conn.execute(sa.update(repairs).where(_of(repair), free).values(**values)).rowcount)


def renew(conn: sa.Connection, repair: Repair, lease_s: float, now: datetime) -> None:
    """Keep a claimed repair for `lease_s` from now on."""
    _update(conn, repair, due_at=now + timedelta(seconds=lease_s))


def release(conn: sa.Connection, repair: Repair, now: datetime) -> None:
    """Give a claimed repair back: it is due now."""
    _update(conn, repair, due_at=now)


def postpone(conn: sa.Connection, repair: Repair, reason: str, hint: str, due_at: datetime) -> None:
    """Record a failure that may pass, and when the next attempt is due."""
    _update(conn, repair, due_at=due_at, reason=reason, hint=hint, failures=repair.failures + 1)


def finish(conn: sa.Connection, repair: Repair, result: Mapping[str, object], now: datetime) -> None:
    """Record that the placement is whole, and what was damaged."""
    _update(conn, repair, reason="", hint="", result=dict(result), done_at=now)
    _record_event(conn, "repair.done", repair.version_id, repair.target, now, result)


def fail(conn: sa.Connection, repair: Repair, error: SyncdError, now: datetime) -> None:
    """Record that it cannot be repaired, and why."""
    result = {"failure": type(error).__name__}
    _update(conn, repair, reason=error.message, hint=error.hint, result=result, done_at=now)
    _record_event(conn, "repair.failed", repair.version_id, repair.target, now, {"reason": error.message})


def _update(conn: sa.Connection, repair: Repair, **values: object) -> None:
    unfinished = repairs.c.done_at.is_(None)
    conn.execute(sa.update(repairs).where(_of(repair), unfinished).values(**values))


def _of(repair: Repair) -> sa.ColumnElement[bool]:
    return _key(repair.version_id, repair.target)


def _key(version_id: str, target: str) -> sa.ColumnElement[bool]:
    return sa.and_(repairs.c.version_id == version_id, repairs.c.target == target)


def _record_event(
    conn: sa.Connection, kind: str, version_id: str, target: str, now: datetime, more: Mapping[str, object]
) -> None:
    detail = {"model": version_id.partition("@")[0], "version": version_id, "target": target, **more}
    events.append(conn, kind, now=now, subject=target, detail=detail)
