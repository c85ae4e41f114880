"""How far each notifier has come in the events, which are the outbox, and what was given up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from syncd.state.db.rows import fetch_all, fetch_one, insert_new
from syncd.state.db.schema_serving import dead_letters, notifiers
from syncd.state.releases import events


@dataclass(frozen=True, slots=True)
class NotifierProgress:
    """The newest event that a notifier has sent or passed over, and the failures of the one after it."""

    name: str
    event_id: int
    failures: int
    reason: str
    due_at: datetime


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A notification that was given up."""

    notifier: str
    event_id: int
    text: str
    reason: str
    at: datetime


def find(conn: sa.Connection, name: str) -> NotifierProgress | None:
    """The progress of a notifier, if it has begun."""
    return fetch_one(conn, NotifierProgress, sa.select(notifiers).where(notifiers.c.name == name))


def begin(conn: sa.Connection, name: str, now: datetime) -> None:
    """Have a new notifier begin with the events that come after now. Repeating it is harmless."""
    insert_new(conn, notifiers, name=name, event_id=events.newest(conn), due_at=now)


def advance(conn: sa.Connection, name: str, event_id: int, now: datetime) -> None:
    """Record that everything up to an event was sent or passed over."""
    values = {"event_id": event_id, "failures": 0, "reason": "", "due_at": now}
    conn.execute(sa.update(notifiers).where(notifiers.c.name == name, notifiers.c.event_id < event_id).values(**values))


def fail(conn: sa.Connection, name: str, reason: str, due_at: datetime) -> None:
    """Record a failure of the next event, and when to try again."""
    values = {"failures": notifiers.c.failures + 1, "reason": reason, "due_at": due_at}
    conn.execute(sa.update(notifiers).where(notifiers.c.name == name).values(**values))


def give_up(conn: sa.Connection, letter: DeadLetter) -> None:
    """Keep a notification that could not be sent, and go on after it."""
    values = {"notifier": letter.notifier, "event_id": letter.event_id, "text": letter.text, "reason": letter.reason}
    insert_new(conn, dead_letters, **values, at=letter.at)
    advance(conn, letter.notifier, letter.event_id, letter.at)


def all_progress(conn: sa.Connection) -> list[NotifierProgress]:
    """The progress of every notifier, by name."""
    return fetch_all(conn, NotifierProgress, sa.select(notifiers).order_by(notifiers.c.name))


def dead(conn: sa.Connection, limit: int) -> list[DeadLetter]:
    """At most `limit` dead letters, newest first."""
    query = sa.select(dead_letters).order_by(dead_letters.c.at.desc(), dead_letters.c.event_id.desc()).limit(limit)
    return fetch_all(conn, DeadLetter, query)
