"""Leases: versions that readers outside syncd use until a time. A leased version is not removed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from syncd.state.db.rows import fetch_all, insert
from syncd.state.db.schema_keeping import leases
from syncd.state.records import Version
from syncd.state.releases import events


@dataclass(frozen=True, slots=True)
class Lease:
    """A version that a reader outside syncd uses until a time: it is not removed before."""

    name: str
    version_id: str
    who: str
    since: datetime
    until: datetime


def put(conn: sa.Connection, name: str, version: Version, who: str, until: datetime, now: datetime) -> Lease:
    """Take a lease, or renew it. The same name again moves it to this version and this end."""
    values = {"version_id": version.id, "who": who, "since": now, "until": until}
    row = insert(conn, leases).values(name=name, **values)
    conn.execute(row.on_conflict_do_update(index_elements=[leases.c.name], set_=values))
    detail = {"model": version.model, "version": version.id, "who": who, "until": until.isoformat()}
    events.append(conn, "lease.put", now=now, subject=name, detail=detail)
    return Lease(name, version.id, who, now, until)


def end(conn: sa.Connection, name: str, who: str, now: datetime) -> bool:
    """End a lease. False if there was none, or it had run out."""
    found = conn.execute(sa.delete(leases).where(leases.c.name == name).returning(leases)).first()
    if found is None or found.until <= now:
        return False
    detail = {"model": found.version_id.partition("@")[0], "version": found.version_id, "who": who}
    events.append(conn, "lease.ended", now=now, subject=name, detail=detail)
    return True


def all(conn: sa.Connection, now: datetime) -> list[Lease]:  # noqa: A001 -- read as `leases.all`
    """The leases in effect, ordered by name."""
    return fetch_all(conn, Lease, sa.select(leases).where(leases.c.until > now).order_by(leases.c.name))


def of_version(conn: sa.Connection, version_id: str, now: datetime) -> list[Lease]:
    """The leases on a version, ordered by name."""
    return [each for each in all(conn, now) if each.version_id == version_id]
