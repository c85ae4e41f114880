"""Processes that work on this record, for `status` and `health`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from syncd.state.db.rows import fetch_all, insert
from syncd.state.db.schema import processes
from syncd.state.records import ProcessSeen

SILENT_AFTER_S: Final = 30.0  # three missed heartbeats; the process of an older row was killed
AHEAD_MAX: Final = timedelta(seconds=2)  # a row written between the reader's clock and its snapshot is no older clock's
FORGOTTEN_AFTER: Final = timedelta(days=1)


def record_seen(conn: sa.Connection, owner: str, host: str, pid: int, now: datetime) -> None:
    """Record that a process is alive. Rows of processes long gone, or seen in the future, are deleted too."""
    values = {"host": host, "pid": pid, "seen_at": now}
    row = insert(conn, processes).values(owner=owner, **values)
    conn.execute(row.on_conflict_do_update(index_elements=[processes.c.owner], set_=values))
    stale = sa.or_(processes.c.seen_at < now - FORGOTTEN_AFTER, processes.c.seen_at > now + AHEAD_MAX)
    conn.execute(sa.delete(processes).where(stale))


def record_gone(conn: sa.Connection, owner: str, now: datetime) -> None:
    """Record that a process stopped in order: it is not `lost`, nor is one that fell silent before it did.

    Repeating it is success.
    """
    silent = processes.c.seen_at < now - timedelta(seconds=SILENT_AFTER_S)
    conn.execute(sa.delete(processes).where(sa.or_(processes.c.owner == owner, silent)))


def alive(conn: sa.Connection, now: datetime) -> list[ProcessSeen]:
    """Processes seen within `SILENT_AFTER_S`, the latest first.

    A time in the future is from before the clock was set back and proves nothing.
    """
    recent = processes.c.seen_at.between(now - timedelta(seconds=SILENT_AFTER_S), now + AHEAD_MAX)
    return fetch_all(conn, ProcessSeen, sa.select(processes).where(recent).order_by(processes.c.seen_at.desc()))


def lost(conn: sa.Connection, now: datetime) -> ProcessSeen | None:
    """The process last heard of among those that fell silent without stopping in order, within a day of `now`."""
    silent = processes.c.seen_at.between(now - FORGOTTEN_AFTER, now - timedelta(seconds=SILENT_AFTER_S))
    query = sa.select(processes).where(silent).order_by(processes.c.seen_at.desc()).limit(1)
    return next(iter(fetch_all(conn, ProcessSeen, query)), None)
