"""Proofs: when the bytes of each copy were last found right, and how its newest check ended."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from syncd.plan.phases import PlacementPhase
from syncd.state.db.rows import among, fetch_all, insert
from syncd.state.db.schema import placements
from syncd.state.db.schema_keeping import proofs
from syncd.state.records import Version
from syncd.state.releases import events


@dataclass(frozen=True, slots=True)
class Proof:
    """The newest proof of a sealed copy: its seal, if it was not proven since. `fault` is of a newer check, or ""."""

    version_id: str
    target: str
    proven_at: datetime
    how: str  # "bytes", "checksums" or "seal"
    checked_at: datetime
    fault: str


_OF_PLACEMENT = sa.and_(proofs.c.version_id == placements.c.version_id, proofs.c.target == placements.c.target)
_proven_at = sa.func.coalesce(proofs.c.proven_at, placements.c.updated_at, type_=proofs.c.proven_at.type)
_checked_at = sa.func.coalesce(proofs.c.checked_at, placements.c.updated_at, type_=proofs.c.proven_at.type)
_how = sa.case((proofs.c.proven_at.is_not(None), proofs.c.how), else_="seal")
_SEALED = (
    sa.select(
        placements.c.version_id,
        placements.c.target,
        _proven_at.label("proven_at"),
        _how.label("how"),
        _checked_at.label("checked_at"),
        sa.func.coalesce(proofs.c.fault, "").label("fault"),
    )
    .outerjoin(proofs, _OF_PLACEMENT)
    .where(placements.c.phase == PlacementPhase.SEALED)
    .order_by(_proven_at, placements.c.version_id, placements.c.target)
)


def note(conn: sa.Connection, version_id: str, target: str, *, how: str, now: datetime) -> None:
    """Record that a copy was found right."""
    _put(conn, version_id, target, {"proven_at": now, "how": how, "checked_at": now, "fault": ""})


def note_fault(conn: sa.Connection, version_id: str, target: str, fault: str, now: datetime) -> None:
    """Record that a copy was found damaged, with an event. Its last proof stays."""
    _put(conn, version_id, target, {"checked_at": now, "fault": fault})
    detail = {"model": version_id.partition("@")[0], "version": version_id, "target": target, "reason": fault[:1000]}
    events.append(conn, "copy.damaged", now=now, subject=target, detail=detail)


def note_lost(conn: sa.Connection, version: Version, now: datetime) -> bool:
    """Record, with an event, that every sealed copy of a version is damaged by its newest check. False if not."""
    if not all(each.fault for each in of_versions(conn, [version.id])):
        return False
    detail = {"model": version.model, "version": version.id, "reason": "every copy is damaged, nothing is deleted"}
    events.append(conn, "version.no_good_copy", now=now, subject=f"{version.model}@{version.name}", detail=detail)
    return True


def due(conn: sa.Connection, before: datetime) -> list[Proof]:
    """Sealed copies whose proof, and check, are older than `before`, the oldest proof first."""
    return fetch_all(conn, Proof, _SEALED.where(_proven_at < before, _checked_at < before))


def of_versions(conn: sa.Connection, version_ids: Collection[str]) -> list[Proof]:
    """The proofs of the sealed copies of these versions, the oldest first."""
    return fetch_all(conn, Proof, _SEALED.where(among(conn, placements.c.version_id, version_ids)))


@dataclass(frozen=True, slots=True)
class TargetProof:
    """The oldest proof at a target, and how many of its copies are damaged by their newest checks."""

    target: str
    oldest_proof_at: datetime
    copies: int
    damaged: int


def by_target(conn: sa.Connection) -> list[TargetProof]:
    """The proofs of every target that has a sealed copy, ordered by target, in one statement."""
    each = _SEALED.order_by(None).subquery()
    oldest = sa.func.min(each.c.proven_at, type_=proofs.c.proven_at.type).label("oldest_proof_at")
    damaged = sa.func.coalesce(sa.func.sum(sa.case((each.c.fault != "", 1), else_=0)), 0).label("damaged")
    query = sa.select(each.c.target, oldest, sa.func.count().label("copies"), damaged)
    found = fetch_all(conn, TargetProof, query.group_by(each.c.target).order_by(each.c.target))
    return [TargetProof(row.target, row.oldest_proof_at, row.copies, int(row.damaged)) for row in found]


def _put(conn: sa.Connection, version_id: str, target: str, values: dict[str, object]) -> None:
    row = insert(conn, proofs).values(version_id=version_id, target=target, **values)
    conn.execute(row.on_conflict_do_update(index_elements=[proofs.c.version_id, proofs.c.target], set_=values))
