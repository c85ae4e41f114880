"""Phases and their history. Only `advance` writes a phase, in one legal step from the one that the caller read.

An event is written in the transaction that it describes, and never changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from syncd.errors import Conflict
from syncd.plan.phases import Phase, may_transition
from syncd.state.db import changes, rows
from syncd.state.db.rows import fetch_all
from syncd.state.db.schema import events, flips, placements, releases
from syncd.state.records import Event, Flip, Placement, Release, Step

# PostgreSQL assigns a number before the commit, so a later one may be visible first. A gap that is younger
# than this may still be filled; transactions last milliseconds.
SETTLED_AFTER: Final = timedelta(seconds=5)
PhaseSubject = TypeVar("PhaseSubject", Release, Placement, Flip)


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
    changes.mark(conn)
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


def having(conn: sa.Connection, release_ids: Collection[str], kind: str) -> frozenset[str]:
    """Those of these releases that have an event of this kind, in one statement."""
    mine = sa.select(events.c.release_id).where(
        rows.among(conn, events.c.release_id, release_ids), events.c.kind == kind
    )
    return frozenset(conn.execute(mine.distinct()).scalars())


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
    young = rows.now(conn) - SETTLED_AFTER
    return next((index for index in gaps if found[index].at > young), len(found))


def advance(  # noqa: PLR0913 -- what moves, where to, when, and the text of its event
    conn: sa.Connection,
    thing: PhaseSubject,
    to: Phase,
    *,
    now: datetime,
    reason: str = "",
    hint: str = "",
    step: Step | None = None,
    detail: Mapping[str, object] | None = None,
) -> PhaseSubject:
    """Move a release, placement or flip from the phase in `thing` to `to`, and append the event.

    `reason` replaces the previous one, and so does a release's `hint`. Returns the record as it is now.

    Raises:
        Conflict: `to` may not follow, or another process has moved it since `thing` was read.
    """
    name = _name(thing)
    if type(to) is not type(thing.phase) or not may_transition(thing.phase, to):
        raise Conflict(f"{name} is {thing.phase} and may not become {to}")
    table, key, described = _location(conn, thing)
    changes: dict[str, Any] = {"phase": to, "reason": reason, "updated_at": now}
    if isinstance(thing, Release):
        changes["hint"] = hint
    moved = conn.execute(sa.update(table).where(key, table.c.phase == thing.phase).values(**changes))
    if moved.rowcount != 1:
        raise Conflict(f"{name} is no longer {thing.phase}; another process moved it before it could become {to}")
    said: dict[str, object] = {"was": thing.phase.value, **described}
    said |= {word: text for word, text in (("reason", reason), ("hint", hint)) if text}
    append(
        conn,
        f"{type(thing).__name__.lower()}.{to.value}",
        now=now,
        release_id=_release_id(thing, step),
        step_id=step.id if step else None,
        attempt=step.attempt if step else None,
        subject=_subject(thing),
        detail=said | dict(detail or {}),
    )
    return replace(thing, **changes)


def _location(
    conn: sa.Connection, thing: Release | Placement | Flip
) -> tuple[sa.Table, sa.ColumnElement[bool], dict[str, object]]:
    """The table, the row's key, and the row's part of the event."""
    match thing:
        case Release():
            described: dict[str, object] = {"model": thing.model, "version": thing.version_id, "ref": thing.ref}
            return releases, releases.c.id == thing.id, described
        case Placement():
            key = sa.and_(placements.c.version_id == thing.version_id, placements.c.target == thing.target)
            described = {
                "model": thing.version_id.partition("@")[0],
                "version": thing.version_id,
                "target": thing.target,
            }
            return placements, key, described
        case Flip():
            release = conn.execute(
                sa.select(releases.c.model, releases.c.version_id).where(releases.c.id == thing.release_id)
            ).one()
            described = {"model": release.model, "version": release.version_id, "binding": thing.binding}
            described |= {"from_version": thing.from_version, "to_version": thing.to_version}
            return flips, sa.and_(flips.c.release_id == thing.release_id, flips.c.binding == thing.binding), described


def _name(thing: Release | Placement | Flip) -> str:
    match thing:
        case Release():
            return f"release {thing.id}"
        case Placement():
            return f"placement of {thing.version_id} at {thing.target}"
        case Flip():
            return f"flip of {thing.binding} in {thing.release_id}"


def _subject(thing: Release | Placement | Flip) -> str:
    match thing:
        case Release():
            return thing.model
        case Placement():
            return thing.target
        case Flip():
            return thing.binding


def _release_id(thing: Release | Placement | Flip, step: Step | None) -> str | None:
    match thing:
        case Release():
            return thing.id
        case Placement():
            return step.release_id if step else None
        case Flip():
            return thing.release_id
