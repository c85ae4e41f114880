"""Retirements: versions that a person takes out of service for good, and their progress."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from syncd.state.db.rows import fetch_all, fetch_one, insert
from syncd.state.db.schema_serving import retirements
from syncd.state.records import Retirement, Version
from syncd.state.releases import events


def begin(conn: sa.Connection, version: Version, who: str, why: str, now: datetime) -> Retirement:
    """Record that a version is to be retired. A retirement under way keeps its first `who` and `why`."""
    known = find(conn, version.id)
    if known is not None and known.done_at is None:
        return known
    values = {"who": who, "why": why, "asked_at": now, "done_at": None}
    row = insert(conn, retirements).values(version_id=version.id, **values)
    conn.execute(row.on_conflict_do_update(index_elements=[retirements.c.version_id], set_=values))
    _record_event(conn, "version.retiring", version, now, {"who": who, "why": why})
    return Retirement(version.id, who, why, now, None)


def find(conn: sa.Connection, version_id: str) -> Retirement | None:
    """The retirement of a version, if it was requested."""
    return fetch_one(conn, Retirement, sa.select(retirements).where(retirements.c.version_id == version_id))


def unfinished(conn: sa.Connection) -> list[Retirement]:
    """Retirements under way, the oldest first."""
    query = sa.select(retirements).where(retirements.c.done_at.is_(None)).order_by(retirements.c.asked_at)
    return fetch_all(conn, Retirement, query)


def finish(conn: sa.Connection, version: Version, now: datetime) -> None:
    """Record that only the record of the version is left. Repeating it is success."""
    mine = sa.and_(retirements.c.version_id == version.id, retirements.c.done_at.is_(None))
    if conn.execute(sa.update(retirements).where(mine).values(done_at=now)).rowcount:
        _record_event(conn, "version.retired", version, now, {})


def give_up(conn: sa.Connection, version: Version, reason: str, now: datetime) -> None:
    """Record that the version stays, and why. Repeating it is success."""
    mine = sa.and_(retirements.c.version_id == version.id, retirements.c.done_at.is_(None))
    if conn.execute(sa.delete(retirements).where(mine)).rowcount:
        _record_event(conn, "version.kept", version, now, {"reason": reason})


def _record_event(conn: sa.Connection, kind: str, version: Version, now: datetime, more: dict[str, object]) -> None:
    detail = {"model": version.model, "version": version.id, **more}
    events.append(conn, kind, now=now, subject=f"{version.model}@{version.name}", detail=detail)
