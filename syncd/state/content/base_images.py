"""Bases of images: what a release lays a version over, and what the base's name was seen to mean since when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from syncd.artifact.digest import Digest
from syncd.plan.phases import ReleasePhase
from syncd.state.content import images
from syncd.state.db.rows import fetch_all, fetch_one, insert
from syncd.state.db.schema import releases
from syncd.state.db.schema_images import bases_seen, release_bases
from syncd.state.records import ImageBase, Release, ReleaseBase, SeenBase, Version

Over = Mapping[tuple[str, str], Digest]  # version and target -> the base

_FAILED: Final = (ReleasePhase.STALLED, ReleasePhase.UNDONE, ReleasePhase.CANCELLED)


def of_release(conn: sa.Connection, release_id: str) -> list[ReleaseBase]:
    """What a release lays over what: its own version, and those that lie in images it has staged anew."""
    mine = sa.select(release_bases).where(release_bases.c.release_id == release_id)
    return fetch_all(conn, ReleaseBase, mine.order_by(release_bases.c.version_id, release_bases.c.target))


def over(conn: sa.Connection, release_id: str) -> dict[tuple[str, str], Digest]:
    """The same, to be looked up."""
    return {(each.version_id, each.target): each.digest for each in of_release(conn, release_id)}


def of_model(conn: sa.Connection, model: str) -> dict[str, dict[str, Digest]]:
    """Of every release of a model: what its own version lies over, by target."""
    mine = sa.and_(releases.c.model == model, releases.c.version_id == release_bases.c.version_id)
    query = sa.select(release_bases).join(releases, releases.c.id == release_bases.c.release_id).where(mine)
    found: dict[str, dict[str, Digest]] = {}
    for each in fetch_all(conn, ReleaseBase, query):
        found.setdefault(each.release_id, {})[each.target] = each.digest
    return found


def wanted(conn: sa.Connection, release_id: str, version_id: str, target: str) -> ReleaseBase | ImageBase | None:
    """What a release is to lay a version over: what it was begun for, else what the version has. None: not known."""
    mine = (release_bases.c.release_id == release_id, release_bases.c.version_id == version_id)
    query = sa.select(release_bases).where(*mine, release_bases.c.target == target)
    return fetch_one(conn, ReleaseBase, query) or images.base(conn, version_id, target)


def note(conn: sa.Connection, lies: ReleaseBase) -> None:
    """Say what a release lays a version over. Saying it again replaces it, and keeps what the release was begun for."""
    key = {"release_id": lies.release_id, "version_id": lies.version_id, "target": lies.target}
    values = {"base": lies.base, "digest": lies.digest}
    row = insert(conn, release_bases).values(**key, **values, was=lies.was)
    conn.execute(row.on_conflict_do_update(index_elements=list(key), set_=values))


def take_over(conn: sa.Connection, before: Release, release: Release) -> None:
    """Have a rollback lay its version over what the release lay it over that it goes back to."""
    for each in of_release(conn, before.id):
        if each.version_id == release.version_id:
            note(conn, replace(each, release_id=release.id, was=None))


def settle(conn: sa.Connection, release: Release, now: datetime) -> None:
    """Of a release that went live: from now on its version has the bases that this release has laid it over."""
    for each in of_release(conn, release.id):
        known = images.base(conn, each.version_id, each.target)
        if each.version_id == release.version_id and (known is None or known.digest != each.digest):
            images.found_base(conn, ImageBase(each.version_id, each.target, each.base, each.digest, now))


def is_settled(conn: sa.Connection, version: Version, seen: SeenBase) -> bool:
    """Whether nothing is to be begun any more to lay a version over what was seen.

    A release was begun for that already: since it came, or ever, and failed. (One that a newer release took the place
    of was not tried.) Or the model was rolled back since it came: what was there then is for a person to ask for.
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
    """What the base of a target's images was last seen to be; None where nobody has looked."""
    return fetch_one(conn, SeenBase, sa.select(bases_seen).where(bases_seen.c.target == target))


def all_seen(conn: sa.Connection) -> list[SeenBase]:
    """The same of every target, in their order."""
    return fetch_all(conn, SeenBase, sa.select(bases_seen).order_by(bases_seen.c.target))


def record_seen(conn: sa.Connection, target: str, base: str, digest: Digest, now: datetime) -> bool:
    """Remember a look that found something. Whether it is something else than was seen before."""
    known = seen(conn, target)
    is_new = known is None or (known.base, known.digest) != (base, digest)
    since = now if known is None or is_new else known.since
    _remember(conn, SeenBase(target, base, digest, since, now, "", None))
    return is_new


def record_missed(conn: sa.Connection, target: str, base: str, reason: str, now: datetime) -> None:
    """Remember a look that failed. What was seen of the same base before stays."""
    known = seen(conn, target)
    if known is None or known.base != base:
        known = SeenBase(target, base, None, None, None, "", None)
    _remember(conn, replace(known, reason=reason, failing_since=known.failing_since or now))


def _remember(conn: sa.Connection, found: SeenBase) -> None:
    values = {field.name: getattr(found, field.name) for field in fields(found)}
    row = insert(conn, bases_seen).values(**values)
    conn.execute(row.on_conflict_do_update(index_elements=["target"], set_=values))
