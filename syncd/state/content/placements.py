"""Placements: one version at one target. Only `transitions.advance` changes their phase."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from syncd.errors import NotFound
from syncd.plan.phases import PlacementPhase
from syncd.state.db.rows import among, fetch_all, fetch_one, insert_new
from syncd.state.db.schema import events as history
from syncd.state.db.schema import placements, releases, versions
from syncd.state.records import Placement
from syncd.state.releases import events


def ensure(conn: sa.Connection, version_id: str, target: str, now: datetime) -> Placement:
    """The placement as it is, or a new one in phase `wanted`."""
    if insert_new(conn, placements, version_id=version_id, target=target, updated_at=now):
        detail = {"model": version_id.partition("@")[0], "version": version_id, "target": target}
        events.append(conn, "placement.wanted", now=now, subject=target, detail=detail)
    return get(conn, version_id, target)


def get(conn: sa.Connection, version_id: str, target: str) -> Placement:
    """Raises NotFound: this version was never requested at this target."""
    found = fetch_one(conn, Placement, sa.select(placements).where(_key(version_id, target)))
    if found is None:
        raise NotFound(f"{version_id} has no placement at {target}")
    return found


def of_version(conn: sa.Connection, version_id: str) -> list[Placement]:
    """The placements of a version, ordered by target."""
    query = sa.select(placements).where(placements.c.version_id == version_id).order_by(placements.c.target)
    return fetch_all(conn, Placement, query)


def of_versions(conn: sa.Connection, version_ids: Collection[str]) -> list[Placement]:
    """The placements of these versions, ordered by target, in one statement."""
    mine = among(conn, placements.c.version_id, version_ids)
    return fetch_all(conn, Placement, sa.select(placements).where(mine).order_by(placements.c.target))


def unsealed(conn: sa.Connection, before: datetime) -> list[Placement]:
    """Unfinished placements that are idle since `before`, and all that are being withdrawn."""
    idle = sa.and_(
        placements.c.phase.in_((PlacementPhase.WANTED, PlacementPhase.COPYING)), placements.c.updated_at < before
    )
    going = placements.c.phase == PlacementPhase.WITHDRAWING
    query = sa.select(placements).where(sa.or_(idle, going)).order_by(placements.c.version_id, placements.c.target)
    return fetch_all(conn, Placement, query)


def sealed_bytes(conn: sa.Connection, model: str | None = None) -> dict[str, int]:
    """The size of all sealed versions by target, of one model or of all."""
    size = sa.func.sum(versions.c.size_bytes)
    query = sa.select(placements.c.target, size).join(versions, versions.c.id == placements.c.version_id)
    query = query.where(placements.c.phase == PlacementPhase.SEALED)
    if model is not None:
        query = query.where(versions.c.model == model)
    return {target: int(total) for target, total in conn.execute(query.group_by(placements.c.target))}


@dataclass(frozen=True, slots=True)
class PlacementTime:
    """How long one placement took, from the first byte to the seal."""

    version_id: str
    target: str
    size_bytes: int
    seconds: float


def times(conn: sa.Connection, model: str) -> list[PlacementTime]:
    """How long each placement of a model's versions took, oldest first: only what was copied, and not found there."""
    known = sa.select(versions.c.id, versions.c.size_bytes).where(versions.c.model == model)
    sizes = {row.id: row.size_bytes for row in conn.execute(known)}
    mine = sa.select(releases.c.id).where(releases.c.model == model)
    kinds = ("placement.copying", "placement.sealed")
    query = sa.select(history.c.kind, history.c.at, history.c.detail)
    query = query.where(history.c.release_id.in_(mine), history.c.kind.in_(kinds)).order_by(history.c.id)
    begun: dict[tuple[str, str], datetime] = {}
    found = []
    for kind, at, detail in conn.execute(query):
        place = (str(detail.get("version")), str(detail.get("target")))
        if kind == kinds[0]:
            begun[place] = at
        elif (since := begun.pop(place, None)) and place[0] in sizes:
            found.append(PlacementTime(*place, sizes[place[0]], (at - since).total_seconds()))
    return found


def note_progress(
    conn: sa.Connection, version_id: str, target: str, bytes_sent: int, progress: Mapping[str, object], now: datetime
) -> None:
    """Record the progress of a copy, for display; written about once a second, never per part.

    Raises:
        NotFound: This version has no placement at this target.
    """
    _note(conn, version_id, target, bytes_sent=bytes_sent, progress=dict(progress), updated_at=now)


def note_reason(conn: sa.Connection, version_id: str, target: str, reason: str, now: datetime) -> None:
    """Record why the placement does not progress, for display.

    Raises:
        NotFound: This version has no placement at this target.
    """
    _note(conn, version_id, target, reason=reason, updated_at=now)


def _key(version_id: str, target: str) -> sa.ColumnElement[bool]:
    return sa.and_(placements.c.version_id == version_id, placements.c.target == target)


def _note(conn: sa.Connection, version_id: str, target: str, **values: Any) -> None:
    if not conn.execute(sa.update(placements).where(_key(version_id, target)).values(**values)).rowcount:
        raise NotFound(f"{version_id} has no placement at {target}")
