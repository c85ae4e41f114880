"""Recorded versions and their files. A row never changes, except its pin, quarantine and checksums.

A version that was never sealed anywhere may be replaced: its row stays, set aside under the name `<name>#<digest12>`,
which no version can have, so that releases and events still lead to it. Callers never see that name.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import FilePath
from syncd.errors import Conflict, NotFound
from syncd.plan.phases import RELEASE_ENDS, PlacementPhase
from syncd.state.db.rows import among, fetch_all, fetch_one, insert_new
from syncd.state.db.schema import events as events_table
from syncd.state.db.schema import files, function_versions, live, placements, releases, versions
from syncd.state.db.schema_images import images
from syncd.state.records import Version
from syncd.state.releases import events
from syncd.state.state import CommittedError

_ASIDE: Final = "#"  # no name of a version has it


@dataclass(frozen=True, slots=True)
class _ListedFile:
    path: FilePath
    size_bytes: int
    sha256: Digest


def record(conn: sa.Connection, manifest: Manifest, registry: str, pin: str, now: datetime) -> Version:
    """Record a version and its files. The same manifest again, from any registry, returns the known version.

    A known version with another digest is replaced if it `is_replaceable`.

    Raises:
        CommittedError: The name is known with another digest, and was published. The known version is now
            quarantined, and `State.write` commits that; so write nothing before this call in the transaction that
            must not stay.
    """
    known = _locked(conn, manifest)
    if known is None and _insert(conn, manifest, registry, pin, now):
        return get(conn, identity(manifest))
    known = known or _locked(conn, manifest)
    if known is None:
        raise Conflict(f"{manifest} was recorded and deleted by another process meanwhile")
    if known.digest == manifest.digest:
        if known.quarantined and is_replaceable(conn, known):
            lift_quarantine(conn, known, registry, "it shows the recorded bytes again", now)
            return get(conn, known.id)
        return known
    if not is_replaceable(conn, known):
        raise _quarantine(conn, known, manifest, registry, now)
    _set_aside(conn, known, manifest, registry, now)
    if not _bring_back(conn, manifest, registry, pin):
        _insert(conn, manifest, registry, pin, now)
    return get(conn, identity(manifest))


def is_replaceable(conn: sa.Connection, version: Version) -> bool:
    """Whether other bytes may take the version's name: it was never sealed, pushed or live, and no release needs it."""
    at = [PlacementPhase(row.phase) for row in conn.execute(_of(placements, version.id, placements.c.phase))]
    if PlacementPhase.SEALED in at or conn.execute(_of(images, version.id, images.c.target)).first():
        return False
    needed = _of(releases, version.id, releases.c.id).where(releases.c.phase.not_in(tuple(RELEASE_ENDS)))
    if conn.execute(needed).first():
        return False
    for table in (live, function_versions):
        if any(version.id in row.models.values() for row in conn.execute(sa.select(table.c.models))):
            return False
    if not at:
        return True
    told = sa.cast(events_table.c.detail, sa.Text).contains(f'"{version.id}"', autoescape=True)
    sealed = sa.select(events_table.c.id).where(events_table.c.kind == "placement.sealed", told)
    return conn.execute(sealed.limit(1)).first() is None


def identity(manifest: Manifest) -> str:
    """The id of a manifest's version: `<model>@<version>#<digest12>`."""
    return f"{manifest.model}@{manifest.version}#{manifest.digest.short}"


def get(conn: sa.Connection, version_id: str) -> Version:
    """Raises NotFound: the version does not exist."""
    found = fetch_one(conn, Version, sa.select(versions).where(versions.c.id == version_id))
    if found is None:
        raise NotFound(f"version {version_id} does not exist")
    return _named(found)


def of(conn: sa.Connection, version_ids: Collection[str]) -> dict[str, Version]:
    """The versions with these ids, by id, in one statement."""
    found = fetch_all(conn, Version, sa.select(versions).where(among(conn, versions.c.id, version_ids)))
    return {each.id: _named(each) for each in found}


def known_of(conn: sa.Connection, models: Collection[str]) -> dict[str, list[Version]]:
    """As `known`, of these models, by model, in one statement."""
    query = sa.select(versions).where(among(conn, versions.c.model, models))
    found: dict[str, list[Version]] = {model: [] for model in models}
    for version in fetch_all(conn, Version, query.order_by(versions.c.created_at, versions.c.id)):
        if _ASIDE not in version.name:
            found[version.model].append(version)
    return found


def quarantined(conn: sa.Connection) -> list[Version]:
    """The quarantined versions of all models, in the order of recording."""
    query = sa.select(versions).where(sa.text("versions.quarantined <> ''"))  # in the words of its index
    return fetch_all(conn, Version, query.order_by(versions.c.created_at, versions.c.id))


def find(conn: sa.Connection, model: str, name: str) -> Version | None:
    """The version of this name, if it was recorded."""
    return fetch_one(conn, Version, sa.select(versions).where(versions.c.model == model, versions.c.name == name))


def known(conn: sa.Connection, model: str) -> list[Version]:
    """Every version of a model, in the order of recording, without those that were replaced."""
    query = sa.select(versions).where(versions.c.model == model).order_by(versions.c.created_at, versions.c.id)
    return [each for each in fetch_all(conn, Version, query) if _ASIDE not in each.name]


def manifest(conn: sa.Connection, version_id: str) -> Manifest:
    """The manifest, equal to the one that was recorded, byte for byte.

    Raises:
        NotFound: The version does not exist.
        Conflict: The rows do not have the version's digest: the database was edited outside syncd.
    """
    version = get(conn, version_id)
    columns = (files.c.path, files.c.size_bytes, files.c.sha256)
    rows = fetch_all(conn, _ListedFile, sa.select(*columns).where(files.c.version_id == version_id))
    found = Manifest.of(version.model, version.name, (Entry(row.path, row.size_bytes, row.sha256) for row in rows))
    if found.digest != version.digest:
        raise Conflict(f"files of {version_id}: expected digest {version.digest}, got {found.digest}")
    return found


def repin(conn: sa.Connection, version: Version, pin: str) -> None:
    """Record the new pin of a registry that shows the same bytes, for example after a file was touched."""
    conn.execute(sa.update(versions).where(versions.c.id == version.id).values(pin=pin))


def lift_quarantine(conn: sa.Connection, version: Version, who: str, why: str, now: datetime) -> bool:
    """Allow a version to be published again. False if it was not quarantined."""
    mine = sa.and_(versions.c.id == version.id, versions.c.quarantined != "")
    if not conn.execute(sa.update(versions).where(mine).values(quarantined="")).rowcount:
        return False
    detail = {"model": version.model, "version": version.id, "who": who, "why": why, "was": version.quarantined}
    events.append(conn, "version.unquarantined", now=now, subject=f"{version.model}@{version.name}", detail=detail)
    return True


def _named(version: Version) -> Version:
    """A version with the name it has or had."""
    return replace(version, name=version.name.partition(_ASIDE)[0]) if _ASIDE in version.name else version


def _of(table: sa.Table, version_id: str, column: sa.Column[str]) -> sa.Select[str]:
    return sa.select(column).where(table.c.version_id == version_id)


def _locked(conn: sa.Connection, manifest: Manifest) -> Version | None:
    """As `find`; nobody else replaces or pins it until this transaction ends."""
    query = sa.select(versions).where(versions.c.model == manifest.model, versions.c.name == manifest.version)
    return fetch_one(conn, Version, query.with_for_update())


def _set_aside(conn: sa.Connection, version: Version, shown: Manifest, registry: str, now: datetime) -> None:
    name = f"{version.name}{_ASIDE}{version.digest.short}"
    conn.execute(sa.update(versions).where(versions.c.id == version.id).values(name=name, quarantined=""))
    detail = {"model": version.model, "version": version.id, "registry": registry, "by": identity(shown)}
    events.append(conn, "version.replaced", now=now, subject=str(shown), detail=detail)


def _bring_back(conn: sa.Connection, manifest: Manifest, registry: str, pin: str) -> bool:
    """Whether these bytes had been set aside: their row has the name again."""
    mine = sa.update(versions).where(versions.c.id == identity(manifest))
    return bool(conn.execute(mine.values(name=manifest.version, registry=registry, pin=pin)).rowcount)


def _insert(conn: sa.Connection, manifest: Manifest, registry: str, pin: str, now: datetime) -> bool:
    """Whether the version is new; a concurrent writer of the same name is waited for and wins."""
    row = {"id": identity(manifest), "model": manifest.model, "name": manifest.version, "digest": manifest.digest}
    row |= {"registry": registry, "pin": pin, "size_bytes": manifest.size_bytes, "created_at": now}
    if not insert_new(conn, versions, **row):
        return False
    entries = [
        {"version_id": row["id"], "path": e.path, "size_bytes": e.size_bytes, "sha256": e.sha256}
        for e in manifest.entries
    ]
    conn.execute(sa.insert(files), entries)
    detail = {"model": manifest.model, "version": row["id"], "registry": registry, "pin": pin}
    detail |= {"digest": manifest.digest.hex, "files": len(entries), "bytes": manifest.size_bytes}
    events.append(conn, "version.recorded", now=now, subject=str(manifest), detail=detail)
    return True


def _quarantine(conn: sa.Connection, version: Version, shown: Manifest, registry: str, now: datetime) -> CommittedError:
    reason = f"{registry} shows {shown} with digest {shown.digest}; it was published with {version.digest}"
    if not version.quarantined:
        conn.execute(sa.update(versions).where(versions.c.id == version.id).values(quarantined=reason))
        detail = {"model": version.model, "version": version.id, "registry": registry, "reason": reason}
        events.append(conn, "version.quarantined", now=now, subject=str(shown), detail=detail)
    return CommittedError(
        reason, hint="a published version never changes: publish those bytes under a new version name"
    )
