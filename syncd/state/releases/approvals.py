"""Approvals: a person's consent to flip a release."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from syncd.artifact.digest import Digest
from syncd.state.db.rows import fetch_one, insert
from syncd.state.db.schema import approvals
from syncd.state.records import Approval, Release
from syncd.state.releases import events


def put(conn: sa.Connection, release: Release, digest: Digest, who: str, now: datetime) -> Approval:
    """Approve a release for these bytes. Repeating it for the same bytes keeps the first approval."""
    found = find(conn, release.id)
    if found is not None and found.digest == digest:
        return found
    values = {"digest": digest, "who": who, "at": now}
    row = insert(conn, approvals).values(release_id=release.id, **values)
    conn.execute(row.on_conflict_do_update(index_elements=[approvals.c.release_id], set_=values))
    detail: dict[str, object] = {"who": who, "digest": digest.hex}
    events.append(conn, "release.approved", now=now, release_id=release.id, subject=release.model, detail=detail)
    return Approval(release.id, digest, who, now)


def find(conn: sa.Connection, release_id: str) -> Approval | None:
    """The approval of a release, if there is one."""
    return fetch_one(conn, Approval, sa.select(approvals).where(approvals.c.release_id == release_id))
