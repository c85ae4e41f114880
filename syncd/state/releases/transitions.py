"""The only writer of phases: one legal transition from the phase that the caller read, with its event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from syncd.errors import Conflict
from syncd.plan.phases import Phase, may_transition
from syncd.state.db.schema import flips, placements, releases
from syncd.state.records import Flip, Placement, Release, Step
from syncd.state.releases import events

PhaseSubject = TypeVar("PhaseSubject", Release, Placement, Flip)


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
    events.append(
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
