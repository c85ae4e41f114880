"""Verdicts of the trust policy on versions, and waivers of persons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from syncd.artifact.digest import Digest
from syncd.errors import Conflict
from syncd.state.db.rows import fetch_all, fetch_one, insert
from syncd.state.db.schema_trust import verdicts, waivers
from syncd.state.records import Version
from syncd.state.releases import events
from syncd.trust.policy import Outcome


@dataclass(frozen=True, slots=True)
class TrustVerdict:
    """The result of an evaluation: of a digest, by one version of the policy and of the tools."""

    digest: Digest
    policy: Digest
    tools: str
    model: str
    version_id: str
    outcome: Outcome
    findings: Mapping[str, object]
    evidence: Mapping[str, object]
    release_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class TrustWaiver:
    """A person's permission to release one digest once, up to `until`. `used_by` is "" or the release."""

    digest: Digest
    version_id: str
    who: str
    why: str
    since: datetime
    until: datetime
    used_by: str

    def lets_through(self, release_id: str, now: datetime) -> bool:
        """Whether a release may go on by it: unused and not ended, or used by this very release."""
        return self.used_by == release_id if self.used_by else now < self.until


def record(conn: sa.Connection, verdict: TrustVerdict) -> None:
    """Record a verdict in place of the one by the same policy and tools, with its event."""
    values = {name: getattr(verdict, name) for name in verdicts.c.keys()}  # noqa: SIM118 -- columns, by their names
    row = insert(conn, verdicts).values(**values)
    key = [verdicts.c.digest, verdicts.c.policy, verdicts.c.tools]
    conn.execute(row.on_conflict_do_update(index_elements=key, set_=values))
    detail: dict[str, object] = {
        "model": verdict.model,
        "version": verdict.version_id,
        "outcome": verdict.outcome.value,
    }
    detail |= {"digest": verdict.digest.hex, "policy": verdict.policy.hex, "tools": verdict.tools, **verdict.findings}
    events.append(
        conn,
        "trust.evaluated",
        now=verdict.at,
        release_id=verdict.release_id or None,
        subject=verdict.version_id,
        detail=detail,
    )


def newest(conn: sa.Connection, version_id: str) -> TrustVerdict | None:
    """The newest verdict on a version, by whatever policy."""
    query = sa.select(verdicts).where(verdicts.c.version_id == version_id).order_by(verdicts.c.at.desc()).limit(1)
    return fetch_one(conn, TrustVerdict, query)


def waiver(conn: sa.Connection, digest: Digest) -> TrustWaiver | None:
    """The waiver of a digest, used or not."""
    return fetch_one(conn, TrustWaiver, sa.select(waivers).where(waivers.c.digest == digest))


def all_waivers(conn: sa.Connection) -> list[TrustWaiver]:
    """Every waiver, the newest first."""
    return fetch_all(conn, TrustWaiver, sa.select(waivers).order_by(waivers.c.since.desc(), waivers.c.digest))


def waive(conn: sa.Connection, version: Version, who: str, why: str, until: datetime, now: datetime) -> TrustWaiver:
    """Let one release of these bytes through. A waiver of this digest that was there is replaced."""
    made = TrustWaiver(version.digest, version.id, who, why, now, until, "")
    values = {name: getattr(made, name) for name in waivers.c.keys()}  # noqa: SIM118 -- columns, by their names
    row = insert(conn, waivers).values(**values)
    conn.execute(row.on_conflict_do_update(index_elements=[waivers.c.digest], set_=values))
    detail = {"model": version.model, "version": version.id, "digest": version.digest.hex, "who": who, "why": why}
    events.append(conn, "trust.waived", now=now, subject=version.id, detail=detail | {"until": until.isoformat()})
    return made


def use(conn: sa.Connection, found: TrustWaiver, release_id: str, now: datetime) -> None:
    """Use a waiver up.

    Raises:
        Conflict: Another release has used it meanwhile.
    """
    mine = sa.and_(waivers.c.digest == found.digest, waivers.c.used_by.in_(("", release_id)))
    if not conn.execute(sa.update(waivers).where(mine).values(used_by=release_id)).rowcount:
        raise Conflict(f"the waiver of {found.version_id} was used by another release meanwhile")
    if not found.used_by:
        detail = {"model": found.version_id.partition("@")[0], "version": found.version_id, "who": found.who}
        events.append(
            conn, "trust.waiver_used", now=now, release_id=release_id, subject=found.version_id, detail=detail
        )


def unwaive(conn: sa.Connection, version: Version, who: str, now: datetime) -> bool:
    """Take a waiver back. False if there is none that could still be used."""
    mine = sa.and_(waivers.c.digest == version.digest, waivers.c.used_by == "")
    if not conn.execute(sa.delete(waivers).where(mine)).rowcount:
        return False
    detail = {"model": version.model, "version": version.id, "digest": version.digest.hex, "who": who}
    events.append(conn, "trust.unwaived", now=now, subject=version.id, detail=detail)
    return True
