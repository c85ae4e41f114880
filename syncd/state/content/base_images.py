"""Base images: which base a release builds on, and which digest each base's tag was seen with, and since when."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from syncd.artifact.digest import Digest
from syncd.plan.phases import ReleasePhase
from syncd.state.content import images
from syncd.state.db.rows import among, fetch_all, fetch_one, insert
from syncd.state.db.schema import releases
from syncd.state.db.schema_images import bases_seen, release_bases
from syncd.state.records import ImageBase, Release, ReleaseBase, SeenBase, Version

Over = Mapping[tuple[str, str], Digest]  # version and target -> the base

_FAILED: Final = (ReleasePhase.STALLED, ReleasePhase.UNDONE, ReleasePhase.CANCELLED)


def of_release(conn: sa.Connection, release_id: str) -> list[ReleaseBase]:
    """Bases that a release builds on: for its own version, and for versions in images that it stages again."""
    mine = sa.select(release_bases).where(release_bases.c.release_id == release_id)
    return fetch_all(conn, ReleaseBase, mine.order_by(release_bases.c.version_id, release_bases.c.target))


def over(conn: sa.Connection, release_id: str) -> dict[tuple[str, str], Digest]:
    """The same as a mapping from (version, target) to the base's digest."""
    return {(each.version_id, each.target): each.digest for each in of_release(conn, release_id)}


def rebuilt(conn: sa.Connection, release_ids: Collection[str]) -> set[str]:
    """Those of these releases that were started for a new base, in one statement."""
    mine = sa.and_(among(conn, release_bases.c.release_id, release_ids), release_bases.c.was.is_not(None))
    return set(conn.execute(sa.select(release_bases.c.release_id).where(mine)).scalars())


def of_model(conn: sa.Connection, model: str) -> dict[str, dict[str, Digest]]:
    """For every release of a model: the base of its own version, by target."""
    mine = sa.and_(releases.c.model == model, releases.c.version_id == release_bases.c.version_id)
    query = sa.select(release_bases).join(releases, releases.c.id == release_bases.c.release_id).where(mine)
    found: dict[str, dict[str, Digest]] = {}
    for each in fetch_all(conn, ReleaseBase, query):
        found.setdefault(each.release_id, {})[each.target] = each.digest
    return found


def wanted(conn: sa.Connection, release_id: str, version_id: str, target: str) -> ReleaseBase | ImageBase | None:
    """The base a release must build a version on: the one it was created for, else the version's. None: unknown."""
    mine = (release_bases.c.release_id == release_id, release_bases.c.version_id == version_id)
    query = sa.select(release_bases).where(*mine, release_bases.c.target == target)
    return fetch_one(conn, ReleaseBase, query) or images.base(conn, version_id, target)


def newest_of(conn: sa.Connection, model: str, target: str) -> ReleaseBase | None:
    """The base of the newest release of a model that built its version at a target; None if none did."""
    mine = sa.and_(releases.c.model == model, releases.c.version_id == release_bases.c.version_id)
    query = sa.select(release_bases).join(releases, releases.c.id == release_bases.c.release_id)
    newest = query.where(mine, release_bases.c.target == target).order_by(releases.c.created_at.desc())
    return fetch_one(conn, ReleaseBase, newest.limit(1))


def note(conn: sa.Connection, base: ReleaseBase) -> None:
    """Record the base a release builds a version on. Repeating it replaces the base and keeps `was`."""
    key = {"release_id": base.release_id, "version_id": base.version_id, "target": base.target}
    values = {"base": base.base, "digest": base.digest}
    row = insert(conn, release_bases).values(**key, **values, was=base.was)
    conn.execute(row.on_conflict_do_update(index_elements=list(key), set_=values))


def take_over(conn: sa.Connection, before: Release, release: Release) -> None:
    """Have a rollback build its version on the bases of the release that it returns to."""
    for each in of_release(conn, before.id):
        if each.version_id == release.version_id:
            note(conn, replace(each, release_id=release.id, was=None))


def settle(conn: sa.Connection, release: Release, now: datetime) -> None:
    """After a release went live: make the bases it used the bases of its version."""
    for each in of_release(conn, release.id):
        known = images.base(conn, each.version_id, each.target)
        if each.version_id == release.version_id and (known is None or known.digest != each.digest):
            images.found_base(conn, ImageBase(each.version_id, each.target, each.base, each.digest, now))


def is_settled(conn: sa.Connection, version: Version, seen: SeenBase) -> bool:
    """Whether no release needs to be created to build a version on the base that was seen.

    That is so if a release was created for this base since it appeared, or at any time and failed (a superseded
    release was not tried), or if the model was rolled back since: then a person must request it.
    """
    tried = sa.and_(
        release_bases.c.version_id == version.id,
        release_bases.c.target == seen.target,
        release_bases.c.digest == seen.digest,
        release_bases.c.was.is_not(None),
        releases.c.phase != ReleasePhase.SUPERSEDED,
        sa.or_(releases.c.phase.in_(_FAILED), releases.c.created_at >= seen.since),
    )
    begun = sa.select(releases.c.id).join(release_bases, releases.c.id == release_bases.c.release_id).where(tried)
    of_model = sa.and_(releases.c.model == version.model, releases.c.rollback, releases.c.created_at >= seen.since)
    back = sa.select(releases.c.id).where(of_model)
    return conn.execute(sa.union_all(begun, back).limit(1)).first() is not None


def seen(conn: sa.Connection, target: str) -> SeenBase | None:
    """The base of a target's images as it was last seen; None if it was never checked."""
    return fetch_one(conn, SeenBase, sa.select(bases_seen).where(bases_seen.c.target == target))


def all_seen(conn: sa.Connection) -> list[SeenBase]:
    """The same for every target, ordered by target."""
    return fetch_all(conn, SeenBase, sa.select(bases_seen).order_by(bases_seen.c.target))


def record_seen(conn: sa.Connection, target: str, base: str, digest: Digest, now: datetime) -> bool:
    """Record a successful check. Returns whether the base differs from the one seen before."""
    known = seen(conn, target)
    is_new = known is None or (known.base, known.digest) != (base, digest)
    since = now if known is None or is_new else known.since
    _remember(conn, SeenBase(target, base, digest, since, now, "", None))
    return is_new


def record_missed(conn: sa.Connection, target: str, base: str, reason: str, now: datetime) -> None:
    """Record a failed check. What was seen of the same base before stays."""
    known = seen(conn, target)
    if known is None or known.base != base:
        known = SeenBase(target, base, None, None, None, "", None)
    _remember(conn, replace(known, reason=reason, failing_since=known.failing_since or now))


def _remember(conn: sa.Connection, found: SeenBase) -> None:
    values = {field.name: getattr(found, field.name) for field in fields(found)}
    row = insert(conn, bases_seen).values(**values)
    conn.execute(row.on_conflict_do_update(index_elements=["target"], set_=values))
