"""Releases: requests to serve a version in the bindings of a model. Only `transitions.advance` changes their phase."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from syncd.errors import Conflict, NotFound
from syncd.plan.phases import FlipPhase, ReleasePhase
from syncd.state.db.rows import among, fetch_all, fetch_one, insert, insert_new
from syncd.state.db.schema import RELEASE_UNFINISHED, counters, flips, left_behind, releases
from syncd.state.records import Release
from syncd.state.releases import events

_NEWEST_FIRST: Final = releases.c.number.desc()
_UNFINISHED: Final = sa.text(f"releases.{RELEASE_UNFINISHED}")  # in the words of its index


def create(  # noqa: PLR0913 -- one argument a column of a new row
    conn: sa.Connection,
    *,
    model: str,
    ref: str,
    registry: str,
    requested_by: str,
    rollback: bool = False,
    version_id: str | None = None,
    now: datetime,
) -> Release:
    """Create a release, in phase `requested`. Numbers follow the order of commits, without gaps: creators wait."""
    number = _next_number(conn)
    row = {"number": number, "id": f"r-{number}", "model": model, "ref": ref, "registry": registry}
    row |= {"requested_by": requested_by, "rollback": rollback, "version_id": version_id}
    conn.execute(sa.insert(releases).values(**row, created_at=now, updated_at=now))
    conn.execute(sa.delete(left_behind).where(left_behind.c.model == model))
    release = get(conn, f"r-{number}")
    detail: dict[str, object] = {"model": model, "version": version_id, "ref": ref, "registry": registry}
    detail |= {"rollback": rollback, "requested_by": requested_by}
    events.append(conn, "release.requested", now=now, release_id=release.id, subject=model, detail=detail)
    return release


def get(conn: sa.Connection, release_id: str) -> Release:
    """Raises NotFound: the release does not exist."""
    found = fetch_one(conn, Release, sa.select(releases).where(releases.c.id == release_id))
    if found is None:
        raise NotFound(f"release {release_id[:40]} does not exist", hint="list them with: syncd releases")
    return found


def unfinished(conn: sa.Connection, model: str | None = None) -> list[Release]:
    """Releases that have not ended, of one model or of all, oldest first."""
    query = sa.select(releases).where(_UNFINISHED).order_by(releases.c.number)
    return fetch_all(conn, Release, query if model is None else query.where(releases.c.model == model))


def live_with_abandoned(conn: sa.Connection) -> list[Release]:
    """Releases that are the newest of their model, went live, and abandoned a binding they had claimed.

    It runs at every tick, so it reads only what `note_left_behind` noted: the table has the releases of years.
    """
    query = sa.select(releases).join(left_behind, left_behind.c.release_id == releases.c.id)
    return fetch_all(conn, Release, query.where(releases.c.phase == ReleasePhase.LIVE).order_by(releases.c.number))


def note_left_behind(conn: sa.Connection, release: Release) -> None:
    """Note a release that goes live and abandoned a binding it had claimed; until a newer one of its model."""
    abandoned = sa.exists().where(flips.c.release_id == release.id, flips.c.phase == FlipPhase.ABANDONED)
    if conn.execute(sa.select(abandoned)).scalar_one():
        insert_new(conn, left_behind, model=release.model, release_id=release.id)


def newest_failed(conn: sa.Connection) -> list[Release]:
    """Releases that are the newest of their model and ended stalled or undone, oldest first."""
    other = releases.alias("newer")
    newer = sa.exists().where(other.c.model == releases.c.model, other.c.number > releases.c.number)
    failed = releases.c.phase.in_((ReleasePhase.STALLED, ReleasePhase.UNDONE))
    return fetch_all(conn, Release, sa.select(releases).where(failed, ~newer).order_by(releases.c.number))


def latest_ids(conn: sa.Connection, models: Collection[str]) -> dict[str, str]:
    """The id of the newest release of each of these models that has one, in one statement."""
    newest = sa.select(sa.func.max(releases.c.number)).where(among(conn, releases.c.model, models))
    query = sa.select(releases.c.model, releases.c.id)
    found = query.where(releases.c.number.in_(newest.group_by(releases.c.model)))
    return {row.model: row.id for row in conn.execute(found)}


def refs(conn: sa.Connection, model: str) -> frozenset[str]:
    """Every ref of the model with a release, in any phase."""
    return frozenset(conn.execute(sa.select(releases.c.ref).where(releases.c.model == model).distinct()).scalars())


def latest(conn: sa.Connection, model: str, requested_by: str | None = None) -> Release | None:
    """The newest release of a model, in any phase; with `requested_by`, the newest of that requester."""
    query = sa.select(releases).where(releases.c.model == model).order_by(_NEWEST_FIRST).limit(1)
    return fetch_one(
        conn, Release, query if requested_by is None else query.where(releases.c.requested_by == requested_by)
    )


def latest_of_ref(conn: sa.Connection, model: str, ref: str) -> Release | None:
    """The newest release of one ref of a model, in any phase."""
    mine = sa.select(releases).where(releases.c.model == model, releases.c.ref == ref)
    return fetch_one(conn, Release, mine.order_by(_NEWEST_FIRST).limit(1))


def recent(conn: sa.Connection, limit: int, model: str | None = None, before: int | None = None) -> list[Release]:
    """At most `limit` releases, newest first, of one model or of all; only those with a number below `before`."""
    query = sa.select(releases).order_by(_NEWEST_FIRST).limit(limit)
    query = query if before is None else query.where(releases.c.number < before)
    return fetch_all(conn, Release, query if model is None else query.where(releases.c.model == model))


def pin(conn: sa.Connection, release: Release, version_id: str, now: datetime) -> Release:
    """Set the version of a release, once. Repeating it with the same version is success.

    Raises:
        Conflict: It has another version.
    """
    unpinned = sa.or_(releases.c.version_id.is_(None), releases.c.version_id == version_id)
    query = sa.update(releases).where(releases.c.id == release.id, unpinned)
    if not conn.execute(query.values(version_id=version_id, updated_at=now)).rowcount:
        raise Conflict(f"release {release.id} has another version already, not {version_id}")
    if release.version_id is None:
        detail = {"model": release.model, "version": version_id, "ref": release.ref}
        events.append(conn, "release.pinned", now=now, release_id=release.id, subject=release.model, detail=detail)
    return replace(release, version_id=version_id, updated_at=now)


def note(conn: sa.Connection, release_id: str, reason: str, hint: str, now: datetime) -> None:
    """Record why it does not progress and what a person can do; the next `advance` clears both.

    Raises:
        NotFound: The release does not exist.
    """
    query = sa.update(releases).where(releases.c.id == release_id)
    if not conn.execute(query.values(reason=reason, hint=hint, updated_at=now)).rowcount:
        raise NotFound(f"release {release_id} does not exist")


def request_cancel(conn: sa.Connection, release: Release, why: str, now: datetime) -> bool:
    """Request the cancellation of a release in the phase it was read in. False: it has another phase by now.

    Repeating it keeps the first reason.
    """
    here = sa.and_(releases.c.id == release.id, releases.c.phase == release.phase)
    query = (
        sa.update(releases)
        .where(here)
        .values(cancel=sa.case((releases.c.cancel == "", why), else_=releases.c.cancel), updated_at=now)
    )
    if not conn.execute(query).rowcount:
        return False
    if not release.cancel:
        about = {"why": why}
        events.append(
            conn, "release.cancel_wanted", now=now, release_id=release.id, subject=release.model, detail=about
        )
    return True


def lock_creation(conn: sa.Connection) -> None:
    """Keep others from creating releases until this transaction ends, so that what was read before stays true."""
    first = insert(conn, counters).values(name="releases", value=0)
    same = first.on_conflict_do_update(index_elements=[counters.c.name], set_={"value": counters.c.value})
    conn.execute(same)


def _next_number(conn: sa.Connection) -> int:
    first = insert(conn, counters).values(name="releases", value=1)
    query = first.on_conflict_do_update(index_elements=[counters.c.name], set_={"value": counters.c.value + 1})
    number: int = conn.execute(query.returning(counters.c.value)).scalar_one()
    return number
