"""Events: the history, in order. An event is written in the transaction that it describes, and never changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from syncd.state.db import clock
from syncd.state.db.rows import fetch_all
from syncd.state.db.schema import events
from syncd.state.records import Event

# PostgreSQL assigns a number before the commit, so a later one may be visible first. A gap that is younger
# than this may still be filled; transactions last milliseconds.
SETTLED_AFTER: Final = timedelta(seconds=5)


def append(  # noqa: PLR0913 -- an event is flat: one argument a column
    conn: sa.Connection,
    kind: str,
    *,
    now: datetime,
    release_id: str | None = None,
    step_id: str | None = None,
    attempt: int | None = None,
    subject: str = "",
    detail: Mapping[str, object] | None = None,
) -> None:
    """Add an event to the caller's transaction. `detail` must be JSON, small, and without secrets."""
    values = {"at": now, "kind": kind, "release_id": release_id, "step_id": step_id}
    conn.execute(
        sa.insert(events).values(**values, attempt=attempt, subject=subject, detail=dict(detail or {})),
    )


def of_release(conn: sa.Connection, release_id: str) -> list[Event]:
    """All events of a release, oldest first."""
    return fetch_all(conn, Event, sa.select(events).where(events.c.release_id == release_id).order_by(events.c.id))


def has(conn: sa.Connection, release_id: str, kind: str) -> bool:
    """Whether a release has an event of this kind."""
    mine = sa.select(sa.literal(1)).where(events.c.release_id == release_id, events.c.kind == kind).limit(1)
    return conn.execute(mine).first() is not None


def after(conn: sa.Connection, event_id: int, limit: int) -> list[Event]:
    """At most `limit` events that came after `event_id` (0: from the beginning), oldest first.

    Following with the last id seen misses nothing: events behind a fresh gap are held back until the gap is
    filled, or is older than SETTLED_AFTER and so was rolled back.
    """
    found = fetch_all(conn, Event, sa.select(events).where(events.c.id > event_id).order_by(events.c.id).limit(limit))
    return found if conn.dialect.name == "sqlite" else found[: _settled(conn, event_id, found)]


def newest(conn: sa.Connection) -> int:
    """The id of the newest event, 0 without events: to follow from here shows only later events."""
    return conn.execute(sa.select(sa.func.max(events.c.id))).scalar_one() or 0


def _settled(conn: sa.Connection, event_id: int, found: list[Event]) -> int:
    """How many of `found` cannot be preceded by an event that is still being written."""
    before = [event_id, *(event.id for event in found)]
    gaps = [index for index, event in enumerate(found) if event.id != before[index] + 1]
    if not gaps:
        return len(found)
    young = clock.now(conn) - SETTLED_AFTER
    return next((index for index in gaps if found[index].at > young), len(found))
