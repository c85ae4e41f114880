"""Retirements: versions that a person takes out of service for good, and how far that is."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from syncd.state.db.rows import fetch_all, fetch_one, insert
from syncd.state.db.schema_serving import retirements
from syncd.state.records import Retirement, Version
from syncd.state.releases import events


def begin(conn: sa.Connection, version: Version, who: str, why: str, now: datetime) -> Retirement:
    """Say that a version is to be retired. One that is being retired keeps the first word."""
    known = find(conn, version.id)
    if known is not None and known.done_at is None:
        return known
    values = {"who": who, "why": why, "asked_at": now, "done_at": None}
    row = insert(conn, retirements).values(version_id=version.id, **values)
    conn.execute(row.on_conflict_do_update(index_elements=[retirements.c.version_id], set_=values))
    _tell(conn, "version.retiring", version, now, {"who": who, "why": why})
    return Retirement(version.id, who, why, now, None)


def find(conn: sa.Connection, version_id: str) -> Retirement | None:
    """What became of a version's retirement, if it was ever asked for."""
    return fetch_one(conn, Retirement, sa.select(retirements).where(retirements.c.version_id == version_id))


def going(conn: sa.Connection) -> list[Retirement]:
    """Those that are not done, the oldest first."""
    query = sa.select(retirements).where(retirements.c.done_at.is_(None)).order_by(retirements.c.asked_at)
    return fetch_all(conn, Retirement, query)


def finish(conn: sa.Connection, version: Version, now: datetime) -> None:
    """Say that nothing of the version is left but the record. Repeating it is success."""
    mine = sa.and_(retirements.c.version_id == version.id, retirements.c.done_at.is_(None))
    if conn.execute(sa.update(retirements).where(mine).values(done_at=now)).rowcount:
        _tell(conn, "version.retired", version, now, {})


def give_up(conn: sa.Connection, version: Version, reason: str, now: datetime) -> None:
    """Say that the version stays after all, and why. Repeating it is success."""
    mine = sa.and_(retirements.c.version_id == version.id, retirements.c.done_at.is_(None))
    if conn.execute(sa.delete(retirements).where(mine)).rowcount:
        _tell(conn, "version.kept", version, now, {"reason": reason})


def _tell(conn: sa.Connection, kind: str, version: Version, now: datetime, more: dict[str, object]) -> None:
    detail = {"model": version.model, "version": version.id, **more}
    events.append(conn, kind, now=now, subject=f"{version.model}@{version.name}", detail=detail)
